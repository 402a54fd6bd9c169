"""The command line in this process, which is fast: its exit code and what it prints."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from gantool.cli import main

Run = Callable[..., tuple[int, str, str]]


def typed(line: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command line `gantool …`."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", shlex.split(line)), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code: object = 0
        except SystemExit as leaving:
            code = leaving.code or 0
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


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
