"""Which exported file a name means: a file, a folder, a run, or none: the newest."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from gantool.artifact.manifest import FILES
from gantool.errors import GantoolError
from gantool.run.exports import ONNX_FILES, TORCH_FILES, find_artifact


def export(run: Path, *names: str) -> None:
    """Files that look exported."""
    (run / "export").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    for name in names:
        (run / "export" / name).write_bytes(b"PK\x03\x04" if name.endswith(".pt") else b"onnx")


def test_names_are_those_of_the_export() -> None:
    assert {*ONNX_FILES, *TORCH_FILES} >= set(FILES.values())
    assert ONNX_FILES[:2] == ("generator.seeded.onnx", "generator.onnx")
    assert "generator.int8.seeded.onnx" in ONNX_FILES


@pytest.mark.parametrize("given", [None, "1", "0001", "0001-mlp-a", "RUNS/0001-mlp-a", "RUNS/0001-mlp-a/export"])
def test_artifact_is_found(tmp_path: Path, given: str | None) -> None:
    export(tmp_path / "0001-mlp-a", *ONNX_FILES, *TORCH_FILES)
    (tmp_path / "0002-mlp-b").mkdir()  # trained later, not exported
    (tmp_path / "0002-mlp-b" / "run.json").write_text("{}")
    named = given and given.replace("RUNS", str(tmp_path))
    assert find_artifact(named, tmp_path) == tmp_path / "0001-mlp-a" / "export" / "generator.seeded.onnx"


def test_an_older_run_that_was_exported_last_is_the_newest(tmp_path: Path) -> None:
    for number, time in ((1, 2000), (2, 1000)):
        run = tmp_path / f"000{number}-mlp"
        export(run, "generator.onnx")
        os.utime(run / "export" / "generator.onnx", (time, time))
    assert find_artifact(None, tmp_path).parts[-3] == "0001-mlp"


def test_plain_file_where_there_is_no_seeded_one(tmp_path: Path) -> None:
    export(tmp_path / "0001-mlp", *ONNX_FILES)
    export(tmp_path / "0002-cycle", "generator.onnx")
    export(tmp_path / "0003-mlp", TORCH_FILES[0])
    assert find_artifact(None, tmp_path) == tmp_path / "0002-cycle" / "export" / "generator.onnx"
    plain = tmp_path / "0001-mlp" / "export" / "generator.onnx"
    assert find_artifact(str(plain), tmp_path) == plain


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (None, "is exported to ONNX yet", "gantool export"),
        ("1", "not exported yet", "gantool export "),
        ("2", "exported for torch only", "--onnx"),
        ("7", "There is no run '7'", "Newest runs"),
        ("gone.onnx", "There is no file gone.onnx", "newest export"),
        ("RUNS/0002-mlp/export/generator.torchscript.pt", "take ONNX files", "gantool export --onnx"),
    ],
)
def test_artifact_is_missing(tmp_path: Path, given: str | None, message: str, hint: str) -> None:
    export(tmp_path / "0001-mlp")
    export(tmp_path / "0002-mlp", TORCH_FILES[0])
    with pytest.raises(GantoolError) as caught:
        find_artifact(given and given.replace("RUNS", str(tmp_path)), tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_archive_is_torchscript_only_with_code_or_a_manifest(tmp_path: Path) -> None:
    def found(name: str, *members: str) -> str:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, b"")
        return refusal(str(tmp_path / name), tmp_path).message

    assert "images.npz is not an ONNX file" in found("images.npz", "images.npy")
    assert "is a file for torch" in found("renamed.onnx", "g/data.pkl", "g/code/__torch__.py")
    assert "is a file for torch" in found("ours.zip", "g/extra/gantool.manifest")
    assert "is a file for torch" in found("weights.pt", "g/data.pkl")
    (tmp_path / "cut.onnx").write_bytes(b"PK\x03\x04")
    assert "cut.onnx is not an ONNX file" in refusal(str(tmp_path / "cut.onnx"), tmp_path).message


def refusal(given: str | None, runs: Path) -> GantoolError:
    with pytest.raises(GantoolError) as caught:
        find_artifact(given, runs)
    return caught.value


def test_what_is_there_but_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given in (str(tmp_path / "empty"), os.devnull):
        error = refusal(given, tmp_path / "runs")
        assert error.message == f"{given} is neither an ONNX file, an export folder nor a run."
        assert "Newest runs" in error.hint


def test_a_folder_of_another_thing_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path / "runs" / "0001-mlp", "generator.onnx")
    (tmp_path / "1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_artifact("1", Path("runs")) == Path("runs/0001-mlp/export/generator.onnx")


@pytest.mark.parametrize("given", [None, "1", "RUNS/0001-mlp", "RUNS/0001-mlp/export/generator.onnx"])
def test_what_may_not_be_looked_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    export(tmp_path / "0001-mlp", "generator.onnx")
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> object:  # chmod would not stop root
        if (tmp_path / "0001-mlp") in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    error = refusal(given and given.replace("RUNS", str(tmp_path)), tmp_path)
    assert "can't be read: Permission denied" in error.message
    assert "0001-mlp" in error.message


def test_no_runs_at_all(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="nothing is exported") as caught:
        find_artifact(None, tmp_path / "runs")
    assert "gantool train" in caught.value.hint
