"""What commands print fits terminals of 60 and 80 columns, and no word is cut."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inprocess import Run

import gantool
from gantool import doctor, exporting
from gantool.run.rundir import RunDir

COMMANDS = {
    "runs": ["runs"],
    "compare": ["runs", "compare", "1", "1"],
    "plugins": ["plugins"],
    "mlp": ["plugins", "show", "mlp"],
    "sngan": ["plugins", "show", "sngan"],
    "info": ["data", "info", "digits"],
    "sets": ["data", "list", "--cache", "cache"],
    "export": ["export"],
    "checks": ["export", "--verbose"],
    "inspect": ["inspect", "runs/0001-tiny/export/generator.seeded.onnx"],
    "onnx": ["inspect", "runs/0001-tiny/export/generator.onnx"],
    "hosts": ["inspect", "runs/0001-tiny/export/generator.seeded.onnx", "--hosts"],
    "evaluate": ["evaluate", "-n", "60"],
    "bench": ["bench"],
    "models": ["bench", "several"],
    "dissect": ["dissect", "--samples", "2", "--units", "2", "--extractor", "digits", "-o", "atlas"],
    "doctor": ["doctor"],
}
PASTED = re.compile(r"(Next: +| +|Fetch one: )gantool|→ ")  # commands and paths: the terminal breaks them


@pytest.fixture(scope="module")
def slow_parts(exported_run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[..., object]]:
    """What the slow commands show, made once: reports of one file and of two, figures, an examination, an export."""
    timed = {"batches": (1, 8), "seconds": 0.0, "progress": False}
    with contextlib.chdir(exported_run.export):
        one = gantool.bench("generator.onnx", **timed)
        two = gantool.bench(["generator.onnx", "generator.seeded.onnx"], quality=True, **timed)
    with contextlib.chdir(exported_run.path.parents[1]):
        folder = tmp_path_factory.mktemp("judged")
        judged = gantool.evaluate("1", samples=60, device="cpu", output=folder, progress=False, say=lambda text: None)
    artifacts, examined = exporting.export_run(exported_run, None, tmp_path_factory.mktemp("out")), doctor.examine()
    return {
        "gantool.api.bench.bench": lambda files, **_: two if files else one,
        "gantool.exporting.export_run": lambda *_: artifacts,
        "gantool.exporting.app.atlas.build": lambda *_: "a page",
        "gantool.doctor.examine": lambda **_: examined,
        "gantool.api.evaluate.evaluate": lambda *_, **__: judged,
    }


@pytest.fixture
def terminal(
    cli: Run,
    exported_run: RunDir,
    slow_parts: dict[str, Callable[..., object]],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """The command line on a terminal, with runs/0001-tiny in the current folder."""
    (here / "runs").symlink_to(exported_run.path.parent)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "0")
    monkeypatch.setenv("NO_COLOR", "1")
    for name, made in slow_parts.items():
        monkeypatch.setattr(name, made)
    return cli


def words(text: str) -> set[str]:
    """But for ages, which change meanwhile."""
    return {word for word in re.split(r"[\s|/,;]+", text) if word.strip("─") and not re.fullmatch(r"\d+[smhd]", word)}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_fits(terminal: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shown = {}
    for columns in (400, 80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, _ = terminal(*COMMANDS[name])
        assert code == 0
        shown[columns] = re.sub(r"\x1b\[[0-9;]*m", "", out)
    for columns in (80, 60):
        lines = [line for line in shown[columns].splitlines() if not PASTED.match(line)]
        assert [line for line in lines if len(line) > columns] == []
        assert words(shown[columns]) <= words(shown[400]), words(shown[columns]) - words(shown[400])
