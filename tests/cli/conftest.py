"""The command line in this process: its exit code and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from gantool.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`cli("export", path)` → (exit code, stdout, stderr); wide enough that nothing is wrapped."""
    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gantool", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run
