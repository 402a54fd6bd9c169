"""`gantool push` and `gantool pull`, against a hub on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.hub import TOKEN, Hub, serving
from support.inprocess import Run

import gantool
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir

REPO = "me/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    with serving() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # uploads by LFS, which the loopback hub speaks
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
        yield made


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(exported_run.path, tmp_path / "runs" / exported_run.name)))


def test_there_and_back(run: RunDir, hub: Hub, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = cli("push", REPO, run.path, "--private", "--license", "mit")
    assert (code, hub.private[REPO]) == (0, True)
    sent = {path.name for path in run.export.iterdir() if path.is_file() and path.name.startswith("generator")}
    assert {"README.md", "samples.png", *sent} == hub.repos[REPO].keys() - {".gitattributes"}
    assert f"{hub.address}/{REPO}/commit/" in out
    assert b'license: "mit"' in hub.repos[REPO]["README.md"]

    hub.repos[REPO]["../../evil.py"] = hub.repos[REPO]["model.pkl"] = b"print(1)"
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("pull", REPO)
    assert (code, out.strip()) == (0, "→ tiny")
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {"README.md", "samples.png", *sent}
    assert not list(tmp_path.rglob("evil.py"))
    for name in sent:
        assert (tmp_path / "tiny" / name).read_bytes() == (run.export / name).read_bytes()
    code, _, _ = cli("generate", "tiny", "-n", "4", "-o", "images.png")
    assert code == 0
    here, there = (gantool.Generator(folder / "generator.seeded.onnx") for folder in (run.export, Path("tiny")))
    np.testing.assert_array_equal(here.sample(4, seed=3), there.sample(4, seed=3))


def test_a_push_replaces_the_last_one(run: RunDir, hub: Hub) -> None:
    gantool.push(REPO, run.path)
    hub.repos[REPO] |= {"generator.int8.onnx": b"old", "generator.int8.onnx.json": b"{}", "notes.txt": b"mine"}
    done = gantool.push(REPO, run.path, message="better")
    assert done.removed == ("generator.int8.onnx", "generator.int8.onnx.json")
    assert hub.repos[REPO]["notes.txt"] == b"mine"
    assert "generator.int8.onnx" not in hub.repos[REPO]
    assert [each["summary"] for each in hub.commits] == ["gantool push: mlp", "better"]


def test_a_pulled_card_keeps_what_was_written_in_it(run: RunDir, hub: Hub, tmp_path: Path) -> None:
    gantool.push(REPO, run.path, licence="cc-by-4.0")
    folder = gantool.pull(REPO, tmp_path / "pulled", progress=False)
    gantool.push("me/second", folder)
    assert b'license: "cc-by-4.0"' in hub.repos["me/second"]["README.md"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("size", "did not arrive as the hub describes it"),
        ("bytes", "did not arrive as the hub describes it"),
        ("weights", "has changed since its export"),
        ("manifest", "is not what generator"),
        ("none", "has no file of `gantool export`"),
    ],
)
def test_what_a_pull_refuses(run: RunDir, hub: Hub, tmp_path: Path, spoil: str, words: str) -> None:
    gantool.push(REPO, run.path)
    files = hub.repos[REPO]
    whole = files["generator.seeded.onnx"]
    if spoil == "size":
        hub.spoil["README.md"] = files["README.md"] + b"more"
    elif spoil == "bytes":
        hub.spoil["generator.seeded.onnx"] = whole[:-9] + bytes(9)
    elif spoil == "weights":  # the hub has it, and says the right digest of it
        import onnx

        model = onnx.load_from_string(whole)
        weight = next(each for each in model.graph.initializer if len(each.raw_data) > 400)
        weight.raw_data = weight.raw_data[::-1]
        files["generator.seeded.onnx"] = model.SerializeToString()
    elif spoil == "manifest":
        about = json.loads(files["generator.seeded.onnx.json"])
        files["generator.seeded.onnx.json"] = json.dumps({**about, "licence": "mine"}).encode()
    else:
        hub.repos[REPO] = {"model.safetensors": b"?"}
    with pytest.raises(GantoolError, match=words):
        gantool.pull(REPO, tmp_path / "pulled", progress=False)
    assert not (tmp_path / "pulled").exists()


def test_a_folder_that_is_there_is_kept(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(GantoolError, match="is there already"):
        gantool.pull(REPO, tmp_path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("name", "is no name of a model on a hub"),
        ("up", "is no name of a model on a hub"),
        ("nothing", "is no name of a model on a hub"),
        ("page", "does not answer as a hub does"),
        ("missing", "There is no model me/nothing"),
        ("revision", "has no such revision"),
        ("token", "The hub refuses this"),
        ("offline", "The hub can't be reached"),
    ],
)
def test_what_the_hub_refuses(
    run: RunDir, hub: Hub, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    hub.repos[REPO] = {}
    monkeypatch.chdir(tmp_path)
    if how == "token":
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    if how == "page":
        hub.page = b"<html>Log in to the network</html>"
    if how == "offline":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    given = {
        "name": ["pull", "a//b"],
        "up": ["pull", "a/.."],
        "nothing": ["pull", ""],
        "page": ["pull", REPO],
        "missing": ["pull", "me/nothing"],
        "revision": ["pull", REPO, "--revision", "v9"],
        "token": ["push", "me/new", run.path],
        "offline": ["pull", REPO],
    }[how]
    code, _, error = cli(*given)
    assert (code, words in error) == (1, True), error
