"""Texts of others (names of files, classes, runs and data) never steer a terminal or a page: every command is tried."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.inprocess import Run, runner

NASTY = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2066\r\x08"  # clears the screen, sets titles, turns the direction


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    run = runner(monkeypatch, capsys)

    def checked(*arguments: object) -> tuple[int, str, str]:
        code, out, err = run(*arguments)
        for text in (out, err):
            assert {c for c in text if not c.isprintable()} <= {"\n"}, arguments
        return code, out, err

    return checked


def test_no_command_prints_what_steers_a_terminal(cli: Run, tmp_path: Path) -> None:
    for number in range(8):
        path = Path("data", f"{number % 2}{NASTY}", f"{number}{NASTY}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 30 * number, np.uint8)).save(path)
    data = Path("data").rename(f"data{NASTY}")
    assert cli("data", "info", data)[0] == 0
    assert cli("data", "pack", data, "-o", f"pack{NASTY}")[0] == 0
    small = ("--steps", 2, "--tick", 1, "--device", "cpu", "--batch-size", 4, "--tensorboard")
    code, out, err = cli("train", "cgan", "--data", f"pack{NASTY}", *small)
    assert (code, "finished at step 2" in out) == (0, True), err
    (run,) = Path("runs").iterdir()
    assert cli("export", run, "--onnx", "--seeded", "--app", "kit")[0] == 0
    assert cli("runs")[0] == 0
    assert cli("inspect", run / "export/generator.onnx")[0] == 0
    code, out, err = cli("generate", run / "export/generator.seeded.onnx", "--label", f"none{NASTY}")
    assert (code, "There is no class" in err, "\\x1b[2J" in err) == (1, True, True)
    assert cli("generate", run / "export/generator.onnx", "-n", 2, "-o", f"a{NASTY}.png")[0] == 0
    for path in (*Path("kit").rglob("*.html"), *Path("kit").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert {c for c in text if not c.isprintable()} <= set("\n\t\ufeff"), path


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", f"a{NASTY}.onnx"), ("generate", f"a{NASTY}"), ("bench", f"a{NASTY}"), ("export", f"a{NASTY}"),
        ("runs", "compare", f"a{NASTY}", "b"), ("runs", "delete", f"a{NASTY}"), ("data", "info", f"a{NASTY}"),
        ("data", "pack", f"a{NASTY}", "-o", "b"), ("data", "fetch", f"a{NASTY}"), ("evaluate", f"a{NASTY}"),
        ("train", "mlp", "--data", f"a{NASTY}"), ("train", "mlp", "--config", f"a{NASTY}"),
        ("train", "mlp", "--resume", f"a{NASTY}"), ("plugins", "show", f"a{NASTY}"),
        ("generate", "--runs", f"a{NASTY}"), ("bench", "--compare", f"a{NASTY}"), ("runs", "--runs", f"a{NASTY}"),
    ],
)  # fmt: skip
def test_no_error_prints_what_steers_a_terminal(cli: Run, arguments: tuple[str, ...]) -> None:
    cli(*arguments)


def test_no_key_or_value_of_a_file_does(cli: Run) -> None:
    run = Path("runs/0001-a")
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({f"key{NASTY}": 1}))
    assert "0001-a is broken" in cli("runs")[1]
    Path("a.toml").write_text(f'"key{json.dumps(NASTY)[1:-1]}" = 1\n')
    assert cli("train", "mlp", "--config", "a.toml")[0] == 1
    Path("a.json").write_text(json.dumps({"schema_version": 1, "kind": NASTY}))
    assert cli("inspect", "a.json")[0] == 1
    np.savez("a.npz", **{f"x{NASTY}": np.zeros(3)})
    assert cli("data", "info", "a.npz")[0] == 1
    Path("images").mkdir()
    Image.new("L", (8, 8)).save("images/a.png")
    Path("labels.csv").write_text(f"file,label\nb{NASTY},1\n", encoding="utf-8", newline="")
    assert cli("data", "pack", "images", "-o", "b", "--labels", "labels.csv")[0] == 1
