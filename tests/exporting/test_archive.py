"""gantool.exporting.torch_files.archive: .pt2 files that torch.export loads, any batch, with their manifest inside."""

from __future__ import annotations

import io
import json
import os
import pickletools
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.exports import Conditional, Tiny, Z, source_of
from torch import Tensor

from gantool.artifact import inspection, manifest
from gantool.errors import GantoolError
from gantool.exporting.torch_files import archive
from gantool.plugin.architecture import Input


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("archive") / "generator.pt2"
    made = source_of("dcgan", 28)
    archive.save(archive.to_program(made.generator, made.inputs), path, replace(made.about, kind="pt2").to_json())
    return path


def test_it_is_the_generator_at_any_batch(path: Path) -> None:
    for batch in (1, 7):
        z = torch.randn(batch, 100)
        with torch.no_grad():
            torch.testing.assert_close(archive.load(path)(z), source_of("dcgan", 28).generator(z), atol=1e-6, rtol=0)


def test_inputs_in_order(tmp_path: Path) -> None:
    inputs = (Z, Input("label", (), "label", 3))
    archive.save(archive.to_program(Conditional(), inputs), tmp_path / "generator.pt2", "{}")
    z, label = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    with torch.no_grad():
        made = archive.load(tmp_path / "generator.pt2")(z, label)
        torch.testing.assert_close(made, Conditional()(z, label), atol=1e-6, rtol=0)


def test_its_manifest_is_read_without_torch(path: Path) -> None:
    assert zipfile.ZipFile(path).read(f"generator/extra/{manifest.KEY}") == artifact_text(path)
    code = "import sys; from pathlib import Path; from gantool.artifact import inspection;"
    code += f"inspection.inspect(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True)
    assert (done.stdout, done.stderr) == (b"False\n", b"")


def artifact_text(path: Path) -> bytes:
    """What torch.export.load hands out as the extra file, once gantool's own reader took it for a manifest."""
    extra = {manifest.KEY: ""}
    torch.export.load(path, extra_files=extra)
    assert inspection.inspect(path).manifest == manifest.from_json(extra[manifest.KEY], path)
    return extra[manifest.KEY].encode()


def test_it_names_no_path_of_this_machine_and_holds_no_pickle(path: Path) -> None:
    with zipfile.ZipFile(path) as opened:
        records = {entry.filename: opened.read(entry) for entry in opened.infolist()}
    places = (Path(__file__).parents[2], Path.home(), path.parent, Path(torch.__file__).parent)
    for name, data in records.items():
        assert not any(str(place).encode() in data for place in places), name
        assert not zipfile.is_zipfile(io.BytesIO(data)), name  # as torch.save writes
        assert not is_pickle(data), name
    assert b".py" not in records["generator/models/model.json"]


def is_pickle(data: bytes) -> bool:
    if data[:1] != b"\x80":  # the PROTO opcode, of every pickle since protocol 2
        return False
    try:
        list(pickletools.genops(data))
    except ValueError:
        return False
    return True


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def pickled() -> bytes:
    made = io.BytesIO()
    torch.save(Bomb(), made)
    return made.getvalue()


def to_pickle(text: bytes) -> bytes:
    return text.replace(b'"use_pickle": false', b'"use_pickle": true', 1)


def to_guards(text: bytes) -> bytes:
    return text.replace(b'"guards_code": []', b"\"guards_code\": [\"__import__('os').mkdir('exploded')\"]")


def to_constant(text: bytes) -> bytes:
    about = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    return json.dumps({"config": {"x": about}}).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data/weights/model_weights_config.json": to_pickle, "data/weights/weight_0": pickled}, "a weight in it is"),
        (
            {"data/constants/model_constants_config.json": to_constant, "data/constants/opaque_obj_0": pickled},
            "is a pickle|opaque",
        ),
        ({"data/sample_inputs/model.pt": pickled}, "example inputs"),
        ({"data/weights/model.pt": pickled}, "data/weights/model.pt"),
        ({"data/constants/model.pt": pickled}, "data/constants/model.pt"),
        ({"models/model.json": to_guards}, "Python expressions"),
        ({"data/aotinductor/model/model.so": pickled}, "model.so"),
    ],
)
def test_what_torch_would_run_is_refused_and_not_run(
    path: Path, changes: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(path) as opened:
        records = {entry.filename: opened.read(entry) for entry in opened.infolist()}
    for name, change in changes.items():
        before = records.get(f"generator/{name}", b"")
        records[f"generator/{name}"] = pickled() if change is pickled else change(before)
        assert records[f"generator/{name}"] != before
    with zipfile.ZipFile(tmp_path / "generator.pt2", "w") as written:
        for name, data in records.items():
            written.writestr(name, data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GantoolError, match=rf"no \.pt2 file of gantool: .*{reason}"):
        archive.load(tmp_path / "generator.pt2")
    assert not Path("exploded").exists()


class Fixed(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return torch.cat([x[i : i + 1] for i in range(len(x))])


def test_a_fixed_batch_is_refused() -> None:
    with pytest.raises(GantoolError, match=r"torch.export can't take this generator: .*batch"):
        archive.to_program(Fixed(), [Z])
