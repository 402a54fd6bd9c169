"""The command line in this process, which is fast: its exit code and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from gantool.cli import main

Run = Callable[..., tuple[int, str, str]]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function from arguments to (exit code, stdout, stderr), as wide as it takes that nothing is wrapped."""
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
