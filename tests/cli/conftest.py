"""The command line in this process."""

from __future__ import annotations

import pytest
from support.inprocess import Run, runner


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`cli("export", path)` → (exit code, stdout, stderr)."""
    return runner(monkeypatch, capsys)
