"""gantool.exporting.triton: repositories that hold what their configs say, and make the images of each row's seed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from support.exports import Tiny, Z, source, source_of
from torch import Tensor, nn

from gantool import exporting
from gantool.errors import GantoolError
from gantool.exporting import triton
from gantool.exporting.onnx_files import seeds
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")

ROWS = {"seed": np.array([[0], [7], [-1], [7], [2**62]]), "index": np.array([[3], [0], [2**47 - 1], [1], [3]])}
LABELS = np.array([[0], [2], [1], [1], [0]])


class Noisy(nn.Module):
    """Two normal inputs, one of them a number a row; the sample is audio."""

    def __init__(self) -> None:
        super().__init__()
        self.tiny = Tiny((2, 16))

    def forward(self, z: Tensor, gain: Tensor) -> Tensor:
        sample: Tensor = self.tiny(z) * gain.unsqueeze(-1).unsqueeze(-1).sigmoid()
        return sample


@pytest.fixture(scope="module")
def plain(exported_run: RunDir) -> Path:
    """An unconditional generator.onnx."""
    return exported_run.export / "generator.onnx"


@pytest.fixture(scope="module")
def conditional(conditional_export: Path) -> Path:
    return conditional_export / "generator.onnx"


@pytest.fixture(scope="module")
def repository(conditional: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the conditional generator."""
    folder: Path = tmp_path_factory.mktemp("triton") / "models"
    assert triton.write_model(folder, "tiny", conditional, [64, 8]) == folder / "tiny"
    return folder


def config_of(folder: Path, name: str) -> Any:
    """A model's config as Triton parses it; an unknown field or value is an error."""
    return text_format.Parse((folder / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


DTYPES = {"TYPE_INT64": np.int64, "TYPE_INT16": np.int16, "TYPE_FP32": np.float32, "TYPE_UINT8": np.uint8}
ONNX_TYPES = {
    "TYPE_INT64": "tensor(int64)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_UINT8": "tensor(uint8)",
}


def dtype_of(tensor: Any) -> str:
    name: str = model_config_pb2.DataType.Name(tensor.data_type)
    return name


class Server:
    """Triton as far as these models need it: rows in and out by config, checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def infer(self, name: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config = config_of(self.folder, name)
        self.check(config.input, feeds, config.max_batch_size)
        path = self.folder / name / "1" / config.default_model_filename
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [item.name for item in config.output]
        outputs = dict(zip(names, session.run(names, dict(feeds)), strict=True))
        self.check(config.output, outputs, config.max_batch_size)
        return outputs

    @staticmethod
    def check(declared: Any, tensors: Mapping[str, np.ndarray], most: int) -> None:
        assert {item.name for item in declared} == set(tensors)
        (rows,) = {len(array) for array in tensors.values()}
        assert 1 <= rows <= most
        for item in declared:
            assert tensors[item.name].shape[1:] == tuple(item.dims)
            assert tensors[item.name].dtype == DTYPES[dtype_of(item)]


def images_of(path: Path, rows: Mapping[str, np.ndarray], labels: np.ndarray | None = None) -> np.ndarray:
    generator = Generator(path)
    return np.concatenate(
        [
            generator.sample(1, int(seed), int(index), None if labels is None else int(labels[i, 0]))
            for i, (seed, index) in enumerate(zip(rows["seed"][:, 0], rows["index"][:, 0], strict=True))
        ]
    )


# the graph


# the repository


def test_a_config_describes_its_file(repository: Path) -> None:
    config = config_of(repository, "tiny")
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "onnxruntime", 64)
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 64]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    (group,) = config.instance_group
    assert (group.count, model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind)) == (1, "KIND_AUTO")
    assert [path.name for path in (repository / "tiny").iterdir() if path.is_dir()] == ["1"]
    path = repository / "tiny" / "1" / config.default_model_filename
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        said = [(item.name, ONNX_TYPES[dtype_of(item)], ["batch", *item.dims]) for item in declared]
        assert said == [(item.name, item.type, item.shape) for item in real]


def test_rows_of_different_seeds_are_each_their_image(repository: Path, conditional: Path) -> None:
    made = Server(repository).infer("tiny", {**ROWS, "label": LABELS})
    np.testing.assert_array_equal(made["image"], images_of(conditional, ROWS, LABELS))


def test_the_file_tells_where_it_comes_from(repository: Path, conditional: Path) -> None:
    described = Generator(conditional).manifest
    (entry,) = onnx.load(str(repository / "tiny" / "1" / "model.onnx")).metadata_props
    assert entry.key == triton.PROVENANCE  # no manifest: its inputs are others
    told = json.loads(entry.value)
    assert told["architecture"] == described.architecture
    assert told["weights_sha256"] == described.weights_sha256


def test_the_readme_client_gets_the_images_it_speaks_of(
    repository: Path, conditional: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tritonclient.grpc import InferInput

    class Client:
        def __init__(self, url: str) -> None:
            assert url == "localhost:8000"

        def infer(self, name: str, inputs: list[Any]) -> Any:
            feeds = {item.name(): raw(item) for item in inputs}
            outputs = Server(repository).infer(name, feeds)
            return SimpleNamespace(as_numpy=outputs.__getitem__)

    def raw(item: Any) -> np.ndarray:
        assert item.datatype() == "INT64"
        return np.frombuffer(item._get_content(), np.int64).reshape(item.shape())

    module = SimpleNamespace(InferInput=InferInput, InferenceServerClient=Client)
    monkeypatch.setitem(sys.modules, "tritonclient.http", module)
    text = (repository / "tiny" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    np.testing.assert_array_equal(names["images"], Generator(conditional).sample(16, seed=7))
    assert f'-v "$PWD/{repository.name}:/models"' in text
    assert "architecture tiny" in text


def test_an_unconditional_generator(plain: Path, tmp_path: Path) -> None:
    triton.write_model(tmp_path / "models", "a-1.b", plain)
    config = config_of(tmp_path / "models", "a-1.b")
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.preferred_batch_size
    made = Server(tmp_path / "models").infer("a-1.b", ROWS)
    np.testing.assert_array_equal(made["image"], images_of(plain, ROWS))
    assert {path.name for path in tmp_path.rglob("*")} == {  # nothing is left beside it
        "models", "a-1.b", "1", "model.onnx", "config.pbtxt", "README.md",
    }  # fmt: skip


def test_audio_leaves_in_16_bits(tmp_path: Path) -> None:
    inputs = (Z, Input("gain", (), "normal"))
    (made,) = exporting.write(source(Noisy(), *inputs, shape=(2, 16)), ["onnx"], tmp_path)
    triton.write_model(tmp_path / "models", "wave", made.path)
    generator = Generator(made.path)
    wanted = np.concatenate([generator.sample(1, int(ROWS["seed"][i, 0]), int(ROWS["index"][i, 0])) for i in range(5)])
    served = Server(tmp_path / "models").infer("wave", ROWS)["sample"]
    assert served.dtype == np.int16
    assert np.abs(served.astype(int) - wanted).max() <= 1


@pytest.mark.slow
def test_a_convolutional_generator(tmp_path: Path) -> None:
    (made,) = exporting.write(source_of("dcgan", 28), ["onnx"], tmp_path)
    triton.write_model(tmp_path / "models", "dcgan", made.path)
    difference = np.abs(
        Server(tmp_path / "models").infer("dcgan", ROWS)["image"].astype(int) - images_of(made.path, ROWS)
    )
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.001


# what is there already, and what does not serve


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_model_is_replaced_and_the_others_stay(plain: Path, conditional: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()  # empty: nothing to lose
    triton.write_model(folder, "other", conditional)
    triton.write_model(folder, "tiny", conditional)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "config.pbtxt").write_text("mine")
    others = {name: data for name, data in content(folder).items() if not name.startswith("tiny")}
    triton.write_model(folder, "tiny", plain)
    made = content(folder)
    assert {name: made[name] for name in others} == others
    assert set(made) - set(others) == {"tiny/config.pbtxt", "tiny/1/model.onnx", "tiny/README.md"}
    np.testing.assert_array_equal(Server(folder).infer("tiny", ROWS)["image"], images_of(plain, ROWS))


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.txt", "mine"), ("2/model.onnx", "mine"), ("config.pbtxt", 'name: "tiny"')],
    ids=["labels", "version", "config"],
)
def test_the_work_of_a_person_is_not_lost(plain: Path, tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / "models"
    triton.write_model(folder, "tiny", plain)
    triton.check(folder, "tiny")
    (folder / "tiny" / name).parent.mkdir(exist_ok=True)
    (folder / "tiny" / name).write_text(text)
    before = content(folder)
    with pytest.raises(GantoolError, match=f"holds {name}, which gantool did not write") as caught:
        triton.check(folder, "tiny")
    assert "move that file away" in caught.value.hint
    with pytest.raises(GantoolError, match="did not write"):
        triton.write_model(folder, "tiny", plain)
    assert content(folder) == before


def test_the_folder_one_is_in_is_not_replaced(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    triton.write_model(Path("models"), "tiny", plain)
    monkeypatch.chdir(tmp_path / "here" / "models" / "tiny")
    with pytest.raises(GantoolError, match="the folder you are in"):
        triton.write_model(Path(".."), "tiny", plain)
    assert Path.cwd().exists()


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no sh on the path")
@pytest.mark.parametrize("name", ["models", "my $HOME's models"])
def test_the_line_to_serve_names_the_folder(plain: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    docker.chmod(0o755)
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    triton.write_model(tmp_path / "link", "tiny", plain)
    (line,) = re.findall(r"```sh\n(.*?)```", (tmp_path / name / "tiny" / "README.md").read_text(), re.S)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert f"{tmp_path / name}:/models" in done.stdout.splitlines()


def test_a_file_in_the_place_of_a_folder(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GantoolError, match="file is a file"):
        triton.write_model(tmp_path / "file", "new", plain)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_check_leaves_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = seeds.latents_graph

    def wrong(inputs: Any, *arguments: Any, **options: Any) -> onnx.ModelProto:
        model = right(inputs, *arguments, **options)
        (table,) = (t for t in model.graph.initializer if t.name == "latents/table")
        table.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(table), table.name))
        return model

    monkeypatch.setattr(seeds, "latents_graph", wrong)
    with pytest.raises(GantoolError, match="failed its verification"):
        triton.write_model(tmp_path / "models", "tiny", plain)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "batches", "message"),
    [
        *((name, [], "is no name for a model") for name in ("a b", "../up", ".hidden")),
        *(("tiny", [8, batch], f"batch of {batch} can't be preferred") for batch in (0, 65)),
    ],
)
def test_names_and_batches_that_are_none(
    plain: Path, tmp_path: Path, name: str, batches: list[int], message: str
) -> None:
    with pytest.raises(GantoolError, match=message):
        triton.write_model(tmp_path / "models", name, plain, batches)
    assert not (tmp_path / "models").exists()


def test_files_that_do_not_serve(exported_run: RunDir, tmp_path: Path) -> None:
    for name, message in (("generator.seeded.onnx", "is of kind onnx-seeded"), ("missing.onnx", r"missing\.onnx")):
        with pytest.raises(GantoolError, match=message):
            triton.write_model(tmp_path / "models", "tiny", exported_run.export / name)


# batches from a report


def cell(rates: Mapping[int, float], model: str | None = None, architecture: str = "mlp") -> dict[str, Any]:
    batches = [{"batch": batch, "images_per_second": rate} for batch, rate in rates.items()]
    file = {"path": "g.onnx", "architecture": architecture, "model": model}
    return {"file": file, "status": "measured", "batches": batches}


def report(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": [*cells, {"status": "crashed"}]}


def test_preferred_batches_are_those_near_the_best() -> None:
    rates = {256: 1200.0, 1: 100.0, 64: 1000.0, 8: 949.0, 16: 951.0, 32: 950.0}
    assert triton.preferred_batches(report(cell(rates))) == [16, 32, 64]
    with pytest.raises(GantoolError, match="no batch from 1 to 64"):
        triton.preferred_batches(report(cell({128: 10.0})))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"cells": None},
        {"cells": [3]},
        {"cells": [cell({1: 1.0}) | {"batches": [{"batch": 1}]}]},
        {"cells": [cell({1: 1.0}) | {"file": "g.onnx"}]},
        [],
    ],
    ids=str,
)
def test_what_is_no_report(broken: Any) -> None:
    with pytest.raises(GantoolError, match="no report of gantool bench"):
        triton.preferred_batches(broken)
    with pytest.raises(GantoolError, match=r"^bench\.json is no report"):
        triton.preferred_batches(broken, origin=Path("bench.json"))


def test_a_report_of_other_weights_is_refused_and_cells_of_others_are_passed_over() -> None:
    both = report(cell({8: 1.0, 64: 10.0}, "a" * 64), cell({8: 9.0}, "b" * 64))
    assert triton.preferred_batches(both, architecture="mlp", model="a" * 64) == [64]
    assert triton.preferred_batches(both, architecture="mlp", model="b" * 64) == [8]
    with pytest.raises(GantoolError, match="another training of mlp"):
        triton.preferred_batches(both, architecture="mlp", model="c" * 64)
    # one of before reports had digests is taken as it is
    assert triton.preferred_batches(report(cell({8: 1.0})), architecture="mlp", model="c" * 64) == [8]


def test_a_report_of_another_generator() -> None:
    measured = report(cell({8: 10.0}, architecture="dcgan"))
    assert triton.preferred_batches(measured, architecture="dcgan") == [8]
    with pytest.raises(GantoolError, match=r"^b\.json is of another generator: it measures dcgan, not mlp"):
        triton.preferred_batches(measured, origin="b.json", architecture="mlp")
