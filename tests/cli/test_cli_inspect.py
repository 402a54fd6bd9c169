"""`gantool inspect`: for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from support.inprocess import Run

from gantool.artifact.inspection import inspect
from gantool.artifact.manifest import KEY
from gantool.run.rundir import RunDir

NAMES = ["generator.onnx", "generator.seeded.onnx", "generator.torchscript.pt", "generator.onnx.json"]


@pytest.mark.parametrize("name", NAMES)
def test_people_read_a_table(cli: Run, exported_run: RunDir, name: str) -> None:
    code, out, err = cli("inspect", exported_run.export / name)
    assert (code, err) == (0, "")
    described = inspect(exported_run.export / name).manifest
    for text in (
        "mlp (gantool 0.1.0)",
        "latent_dim 4",
        "widths 8",
        "step 2",
        "digits",
        described.licence,
        described.weights_sha256[:16],
        described.rng or "",
        "max abs difference to torch" if "seeded" not in name else "levels off torch",
        *described.versions.values(),
    ):
        assert text in out
    assert ("match" if "onnx" in name and "json" not in name else "not checked") in out


@pytest.mark.parametrize("name", NAMES)
def test_programs_read_json(cli: Run, exported_run: RunDir, name: str) -> None:
    code, out, err = cli("inspect", "--json", exported_run.export / name)
    assert (code, err) == (0, "")
    value = json.loads(out)
    found = inspect(exported_run.export / name)
    assert value.pop("bytes") == found.bytes
    assert value.pop("weights_match") is found.weights_match
    assert value.pop("graph_match") is found.graph_match
    assert value == json.loads(found.manifest.to_json())


def changed(path: Path, to: Path, **fields: object) -> Path:
    model = onnx.load(path)
    value = json.loads(model.metadata_props[0].value) | fields
    onnx.helper.set_model_props(model, {KEY: json.dumps(value)})
    onnx.save(model, to)
    return to


def test_changed_weights_are_told(cli: Run, exported_run: RunDir, tmp_path: Path) -> None:
    path = changed(exported_run.export / "generator.onnx", tmp_path / "g.onnx", weights_sha256="0" * 64)
    assert "DO NOT MATCH" in cli("inspect", path)[1]
    assert json.loads(cli("inspect", path, "--json")[1])["weights_match"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"architecture": {"config": [1, 2], "name": None}},
        {"parity": {"a": 3, "b": {"value": "x"}, "c": {"value": 10**19, "limit": None}}},
        {"licence": "[bold red]not markup[/] \ud800"},
        {"data": {}, "training": {}, "versions": {}, "golden": []},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_odd_manifests_are_shown_too(cli: Run, exported_run: RunDir, tmp_path: Path, fields: dict[str, object]) -> None:
    path = changed(exported_run.export / "generator.onnx", tmp_path / "g.onnx", **fields)
    for arguments in ([], ["--json"]):
        code, out, err = cli("inspect", path, *arguments)
        assert (code, err) == (0, "")
        assert out


@pytest.mark.parametrize("content", [None, b"", b"nothing", b"{}"])
@pytest.mark.parametrize("name", ["g.onnx", "g.pt", "g.json", "g.txt"])
def test_what_is_no_file_of_ours_exits_1(cli: Run, tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = cli("inspect", path)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert str(path) in err


@pytest.mark.parametrize("given", [[], ["1"], ["0001-tiny"], ["RUN"], ["EXPORT"]])
def test_a_run_means_its_export(cli: Run, exported_run: RunDir, given: list[str]) -> None:
    places = {"RUN": str(exported_run.path), "EXPORT": str(exported_run.export)}
    named = [places.get(word, word) for word in given]
    code, out, err = cli("inspect", *named, "--runs", exported_run.path.parent)
    assert (code, err) == (0, "")
    assert "generator.seeded.onnx" in out


def test_a_run_without_an_export_says_what_to_type(cli: Run, run: RunDir) -> None:
    code, out, err = cli("inspect", "1")
    assert (code, out) == (1, "")
    assert "is not exported yet." in err
    assert f"Type: gantool export {run.path.relative_to(Path.cwd())}" in err
