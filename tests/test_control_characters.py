"""Texts of others (names of files, classes, runs and data) never steer a terminal or a page: every command is tried."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel, Field
from support.benched import measured, report_of, row
from support.exports import Conditional, Z, source
from support.inprocess import Run, runner
from support.trainings import save_npz

from gantool import Run as TrainedRun
from gantool import exporting, train
from gantool.artifact import manifest
from gantool.artifact.manifest import Manifest
from gantool.benching import html
from gantool.benching.matrix import Cell
from gantool.errors import GantoolError
from gantool.exporting.app import kit, playground
from gantool.plugin import DataSource, registry
from gantool.plugin.architecture import Architecture, Input, Recipe
from gantool.plugin.registry import Plugin
from gantool.run import metrics_log
from gantool.run.rundir import DataInfo, RunDir, RunInfo
from gantool.system import terminal

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


# --- any text: C0 and C1, directions and other formats, ends of lines, halves of surrogate pairs, tags, markup

CONTROLS = (
    "\x00\x07\x08\t\r\x0b\x1b\x7f\x80\x85\x9b\xad\u061c\u200b\u200e\u2028\u2029\u202e\u2066\ufeff\udc80\U000e0041"
)
TEXTS = st.text(st.sampled_from(CONTROLS + "[]<>&'\";:\\%{}|é本 0"), min_size=1, max_size=12)
STYLE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")  # Rich's own: TEXTS have no letters of ASCII
each_text = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def require_harmless(text: str, also: str = "") -> None:
    """`also`: what may be there besides ends of lines."""
    wrong = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - set("\n" + also)
    assert not wrong, f"{sorted(wrong)} in {text[:500]!r}"


@pytest.mark.parametrize("tty", [False, True])
@given(text=TEXTS)
@each_text
def test_what_is_printed(
    text: str, tty: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.text import Text

    monkeypatch.setenv("FORCE_COLOR" if tty else "NO_COLOR", "1")  # Rich takes the first for a terminal
    terminal.print_error(GantoolError(text, text))
    terminal.print_table([text, "b"], [[text, text]], title=text)
    terminal.console().print(text)
    terminal.console().print(Text(text), [text], {text: text})
    terminal.print_json({text: text})
    with terminal.status() as say:
        say(text)
    with terminal.progress(text, every=0.0) as bar:
        bar.start(text, 2)
        bar.update(1, text)
        bar.note(text)
    for written in capsys.readouterr():
        require_harmless(STYLE.sub("", written), "\r" if tty else "")


@given(text=TEXTS)
@each_text
def test_an_error_that_a_program_prints(text: str) -> None:
    require_harmless(str(GantoolError(text, text)))


@functools.cache
def report() -> dict[str, Any]:
    made = report_of([Cell("/x/generator.onnx")], lambda cell: measured(cell, [row(1, [100.0])]))
    made["compare"] = {"file": "x", "device": "cpu", "rounds": 1, "contenders": [
        {"name": "gantool", "way": "gantool", "proof": "x", "batches": [
            {"batch": 1, "images_per_second": 200.0, "ratio": 1.0, "rates": [200.0]}]},
        {"name": "x", "way": "compile", "cause": "x"}]}  # fmt: skip
    return made


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each text in nested lists and dictionaries: what holds it, and where."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, str):
            yield value, key
        elif isinstance(inner, dict | list):
            yield from leaves(inner)


@given(text=TEXTS)
@settings(each_text, max_examples=8)
def test_the_page_of_a_bench(text: str) -> None:
    changed = copy.deepcopy(report())
    for holder, key in leaves(changed):
        if key not in ("status", "created", "way", "provider", "kind", "precision", "model"):  # words of the program
            holder[key] = text
    require_harmless(html.page(changed))


@functools.cache
def exported() -> dict[str, bytes]:
    """The seeded file of a conditional generator, its TorchScript twin and their manifests, by name."""
    with tempfile.TemporaryDirectory() as folder:
        label = Input("label", (), "label", classes=3)
        exporting.write(source(Conditional(), Z, label), ["onnx-seeded", "torchscript"], Path(folder, "made"))
        return {path.name: path.read_bytes() for path in Path(folder, "made").iterdir()}


def described_by(name: str, text: str) -> Manifest:
    """The manifest of an exported file, with `text` wherever a text may be anything."""
    made = manifest.from_json(exported()[f"{name}.json"], name)
    return dataclasses.replace(
        made,
        gantool=text,
        created=text,
        architecture={"name": text, "plugin": text, "plugin_version": text, "config": {text: text}},
        training={"run": text, "step": 2, text: text},
        data={"name": text, "fingerprint": text, "count": 3, "class_names": [text, text + "a", text + "b"]},
        exporter=text,
        licence=text,
        versions={text: text},
        optimize={text: text},
    )


@pytest.mark.skipif(not (playground.ASSETS / playground.RECORD).is_file(), reason="no browser runtime: make assets")
@given(text=TEXTS)
@settings(each_text, max_examples=4)
def test_the_files_of_an_app(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in ("generator.seeded.onnx", "generator.torchscript.pt"):
            Path(folder, name).write_bytes(exported()[name])
            made.append(exporting.Artifact(Path(folder, name), described_by(name, text), []))
        run = RunDir(Path(folder, "0001-a"))
        run.sample(0).parent.mkdir(parents=True)
        metrics_log.append(run, {"step": 1, f"loss.{text}.{text}": 0.5})
        require_harmless(run.metrics.read_text())
        kit.write_app(*made, run, Path(folder, "kit"))
        for path in Path(folder, "kit").rglob("*"):
            if path.is_file() and path.suffix not in (".onnx", ".pt", ".wasm", ".f32") and "ort" not in path.parts:
                require_harmless(path.read_text(encoding="utf-8"), "\t\ufeff")  # XMP begins with the latter


@given(text=TEXTS)
@each_text
def test_what_a_manifest_says(text: str, cli: Run) -> None:
    Path("a.json").write_text(described_by("generator.seeded.onnx", text).to_json())
    code, out, err = cli("inspect", "a.json")
    assert code == 0, err
    require_harmless(out + err)


@given(text=TEXTS)
@settings(each_text, max_examples=8)
def test_what_a_run_says(text: str, cli: Run) -> None:
    data = DataInfo(
        source=text, name=text, size=None, shape=(1, 8, 8), classes=2, count=4, fingerprint=text,
        class_names=(text, text + "a"), class_counts=(2, 2), licence=text,
    )  # fmt: skip
    info = RunInfo(
        created="2026-11-29T06:00:00+00:00", status="finished", step=4, architecture=text, plugin=text,
        plugin_version=text, config={text: text}, recipe={text: text}, data=data, steps=4, versions={text: text},
    )  # fmt: skip
    run = RunDir(Path("runs/0001-a"))
    run.path.mkdir(parents=True, exist_ok=True)
    run.write(info)
    RunDir(Path("runs/0002-b")).path.mkdir(exist_ok=True)
    RunDir(Path("runs/0002-b")).write(info.model_copy(update={"architecture": "b" + text}))
    metrics_log.append(run, {"step": 4, "event": text, "kind": text, "text": text})
    require_harmless(run.metrics.read_text() + repr(TrainedRun(run.path)) + TrainedRun(run.path)._repr_html_())
    for command in ((), ("--json",), ("compare", "1", "2")):
        code, out, err = cli("runs", *command)
        assert code == 0, err
        require_harmless(out + err)
    code, out, err = cli("train", "mlp", "--resume", "1")
    assert code == 1
    require_harmless(out + err)


def test_the_bar_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    def display(bundle: dict[str, str], **options: object) -> SimpleNamespace:
        shown.append(bundle)
        return SimpleNamespace(update=display)

    pytest.importorskip("IPython.display")
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=1))
    monkeypatch.setattr("IPython.display.display", display)
    data = save_npz(tmp_path / f"noise{NASTY}.npz")
    train("mlp", data=str(data), widths=(8,), steps=2, tick=1, batch_size=8, device="cpu", runs=str(tmp_path / "runs"))
    assert "\\x1b[2J" in shown[-1]["text/plain"]
    require_harmless("".join(shown[-1].values()))


@given(text=TEXTS)
@settings(each_text, max_examples=8)
def test_what_a_plugin_says(text: str, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: Any) -> Any:
        raise RuntimeError(text)

    class Config(BaseModel):
        layers: int = Field(1, description=text)

    made = Architecture(name="mine", summary=text, config=Config, recipe=Recipe(), build=build)
    found = (
        Plugin("mine", text, text, architecture=made), Plugin(text, text, text, error=text),
        Plugin("set", text, text, dataset=DataSource("set", text, build, text)),
    )  # fmt: skip
    monkeypatch.setattr(registry, "discover", lambda: found)
    for command in (("plugins",), ("plugins", "show", "mine"), ("data", "list")):
        code, out, err = cli(*command)
        assert code == 0, err
        require_harmless(out + err)
    code, out, err = cli("data", "info", "set")
    assert code == 1
    require_harmless(out + err)


@given(text=TEXTS)
@settings(each_text, max_examples=10)
def test_names_of_files_and_classes(text: str, cli: Run) -> None:
    name = text.translate({0: "\x01", ord("/"): "_"})
    with tempfile.TemporaryDirectory() as folder:
        for each in ("a", "b"):
            path = Path(folder, "images" + name, each + name, f"{name}.png")
            path.parent.mkdir(parents=True)
            Image.new("L", (8, 8)).save(path)
            path.with_name(name + ".txt" + name).write_text("")
        path.with_name("broken.png").write_bytes(b"no")
        images = Path(folder, "images" + name)
        for command in (("info", images), ("pack", images, "-o", Path(folder, name + "pack"))):
            code, out, err = cli("data", *command)
            require_harmless(out + err)
        code, out, err = cli("data", "pack", images, "-o", Path(folder, name + "pack"), "--skip-broken")
        assert code == 0, err
        require_harmless(out + err)
        code, out, err = cli("data", "info", Path(folder, name + "pack"))
        assert code == 0, err
        require_harmless(out + err)
