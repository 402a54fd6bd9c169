"""Write a model for NVIDIA's Triton Inference Server, made of an exported generator.onnx.

Triton's dynamic batching joins requests along the batch, so that each row of one run may belong to another client.
Every row has its own seed and index: image i of seed s stays the same whatever rows it is computed with.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from gantool.artifact import inspection, latents
from gantool.artifact.cards import cards
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError, excerpt
from gantool.exporting import verify
from gantool.exporting.app.readme import markdown
from gantool.exporting.onnx_files.seeds import INDEX, SEED, declare_output, seeded_model
from gantool.exporting.source import as_bytes
from gantool.exporting.verify import Check
from gantool.runtime import Generator
from gantool.runtime.session import open_session
from gantool.system.files import listing, replacing_folder, require_place

CONFIG, MODEL, README = "config.pbtxt", "1/model.onnx", "README.md"
MARKER = "# Written by gantool export --triton, which replaces this folder as a whole.\n"  # the config's first line
PROVENANCE = "gantool.provenance"  # metadata key of the file's origin; it has no manifest, for its inputs are others
MAX_BATCH_SIZE = 64
QUEUE_DELAY = 500  # microseconds that a request may wait for others
NEARLY = 0.95  # of the best images a second
_TYPES = {"int16": "TYPE_INT16", "float32": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model, as the config declares it: shape without batch; None: a side of any length."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def dims(self) -> str:
        """As a config has them: -1 for any length."""
        return ", ".join(str(-1 if side is None else side) for side in self.shape)


def write_model(repository: Path, name: str, plain: Path, preferred: Sequence[int] = ()) -> Path:
    """Write the verified model `name` into `repository`, whole or not at all; returns its folder.

    `plain`: an exported generator.onnx of any precision. The model takes `seed` and `index`, int64 (1,) a row (and
    labels likewise), and gives a sample a row as a seeded file does, uint8 (H, W, C) of images. `preferred`: batches
    that Triton should form. Other models of the repository stay as they are. GantoolError, and nothing changed, for a
    file that can't be served, and for a folder that `check` refuses.
    """
    check(repository, name)
    wrong = [batch for batch in preferred if not 1 <= batch <= MAX_BATCH_SIZE]
    if wrong:
        raise GantoolError(f"A batch of {wrong[0]} can't be preferred.", f"Give 1 to {MAX_BATCH_SIZE}.")
    manifest = _servable(plain)
    model, inputs, output = _model(plain, manifest)
    data = model.SerializeToString(deterministic=True)
    verify.demand([_check_rows(name, data, plain, manifest)])
    folder = repository / name
    with replacing_folder(folder) as new:
        (new / MODEL).parent.mkdir()
        (new / MODEL).write_bytes(data)
        (new / CONFIG).write_text(_config(name, inputs, output, sorted(set(preferred))), encoding="utf-8")
        (new / README).write_text(_readme(repository, name, inputs, output, manifest), encoding="utf-8")
    return folder


def check(repository: Path, name: str) -> None:
    """GantoolError unless the model's folder is new, or holds nothing but the files of an earlier `write_model`."""
    if not _NAME.fullmatch(name):
        raise GantoolError(f"{name!r} is no name for a model.", "Use letters, digits, '_', '-' and '.'.")
    require_place(repository, "--triton")
    folder = repository / name
    require_place(folder, "--triton")
    known = {Path(CONFIG), Path(MODEL), Path(README)}
    others = [path for path in listing(folder) if path not in known]
    config = folder / CONFIG
    if config.is_file() and not config.read_bytes().startswith(MARKER.encode()):
        others.append(Path(CONFIG))
    if others:
        raise GantoolError(
            f"{folder} holds {others[0]}, which gantool did not write: it is not replaced.",
            "Name another repository, or move that file away.",
        )


def preferred_batches(
    report: Mapping[str, Any], *, origin: object = "The report", architecture: str = "", model: str = ""
) -> list[int]:
    """The batches of a `gantool bench --json` report within 5 % of its best images a second.

    Ascending, and at most MAX_BATCH_SIZE; of a report with several cells, those of the best cell. `origin`: the
    report's file, for messages. `architecture` and `model` (`Manifest.model`, which tells its weights): those of the
    generator to be served; a report of another is refused, and what a report does not say is not compared. Raises
    GantoolError for what is no such report.
    """
    try:
        cells = [cell for cell in report["cells"] if cell["status"] == "measured"]
        architectures = {str(cell["file"]["architecture"]) for cell in cells if cell["file"].get("architecture")}
        rates = [
            {int(row["batch"]): float(row["images_per_second"]) for row in cell["batches"]}
            for cell in cells
            if not model or cell["file"].get("model") in (None, model)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GantoolError(
            f"{origin} is no report of gantool bench: it has no batches with a rate.",
            "Make one: gantool bench --json > report.json",
        ) from error
    if architecture and architectures and architecture not in architectures:
        named = ", ".join(sorted(map(excerpt, architectures)))
        raise GantoolError(
            f"{origin} is of another generator: it measures {named}, not {architecture}.",
            "Measure this one: gantool bench --json > report.json",
        )
    if cells and not rates:
        raise GantoolError(
            f"{origin} is of another training of {architecture or 'this generator'}: its weights are others.",
            "Measure these: gantool bench --json > report.json",
        )
    served = [{batch: rate for batch, rate in each.items() if 1 <= batch <= MAX_BATCH_SIZE} for each in rates]
    best = max(served, key=lambda each: max(each.values(), default=0.0), default={})
    if not best:
        raise GantoolError(
            f"{origin} measures no batch from 1 to {MAX_BATCH_SIZE}.", f"gantool bench --batches 1,8,{MAX_BATCH_SIZE}"
        )
    return sorted(batch for batch, rate in best.items() if rate >= NEARLY * max(best.values()))


def _servable(plain: Path) -> Manifest:
    """The manifest of a file that can be served from seeds."""
    manifest = inspection.inspect(plain).manifest
    if manifest.kind != "onnx":
        raise GantoolError(f"{plain} is of kind {manifest.kind}.", "Name a generator.onnx: gantool export --onnx")
    if manifest.batch is not None:
        raise GantoolError(
            f"The batch of {plain} is fixed at {manifest.batch}: Triton could not join requests.",
            "Export it with a free batch.",
        )
    if not manifest.output.levels:
        raise GantoolError(f"{plain} gives sounds or volumes as earlier versions did.", "Export it again.")
    if manifest.picture is None and (not manifest.latents or manifest.input("data")):
        takes = ", ".join(f"{i.name} ({i.distribution})" for i in manifest.inputs)
        raise GantoolError(f"The generator of {plain} takes {takes}: no seed decides its samples.")
    return manifest


def _model(plain: Path, manifest: Manifest) -> tuple[onnx.ModelProto, list[Tensor], Tensor]:
    """The seeded graph with a seed for each row, its inputs and its output."""
    made, shape = manifest.output, manifest.output_axes
    output = Tensor(made.name, made.levels, (*shape[1:], shape[0]))
    picture = manifest.picture
    model = seeded_model(
        onnx.load(str(plain)),
        [(i.name, i.shape) for i in manifest.latents],
        per_row=True,
        pictures=[picture.name] if picture else (),
    )
    declare_output(model, output.shape)
    _widen_rows(model)
    fields = ("gantool", "architecture", "training", "data", "licence", "rng", "precision", "weights_sha256")
    origin = {name: value for name, value in asdict(manifest).items() if name in fields}
    helper.set_model_props(model, {PROVENANCE: json.dumps(origin, allow_nan=False)})
    onnx.checker.check_model(model, full_check=True)
    values = {item.name for item in manifest.values}
    inputs = [
        Tensor(picture.name, "uint8", as_bytes(picture).axes)
        if picture and v.name == picture.name
        else Tensor(v.name, "float32" if v.name in values else "int64", (1,))
        for v in model.graph.input
    ]
    return model, inputs, output


def _widen_rows(model: onnx.ModelProto) -> None:
    """Give inputs (batch,) a second axis of 1: Triton knows no row without one."""
    graph = model.graph
    for value in [v for v in graph.input if len(v.type.tensor_type.shape.dim) == 1]:
        value.type.tensor_type.shape.dim.add().dim_value = 1
        inner = f"{value.name}/row"
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == value.name:
                    node.input[place] = inner
        graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), f"{inner}/shape"))
        graph.node.insert(0, helper.make_node("Reshape", [value.name, f"{inner}/shape"], [inner], name=inner))


def _check_rows(name: str, data: bytes, plain: Path, manifest: Manifest) -> Check:
    """Rows of different seeds in one run, as Triton joins them, against the file's own samples of each seed alone."""
    seeds = np.array([0, 7, -1, 2**40 + 7, 0, 7, -1, 2**40 + 7], np.int64)
    index = np.array([0, 3, 2**47 - 1, 5, 1, 0, 70_000, 6], np.int64)
    others = {i.name: np.arange(8) % i.classes for i in manifest.inputs if i.distribution == "label"}
    others |= {i.name: np.linspace(i.low, i.high, 8, dtype=np.float32) for i in manifest.values}
    drawn = {SEED: seeds, INDEX: index} if manifest.latents else {}
    rows: dict[str, np.ndarray] = {name: array[:, None] for name, array in {**drawn, **others}.items()}
    floats: dict[str, np.ndarray] = dict(others)
    picture = manifest.picture
    if picture:
        rows[picture.name] = pictures = cards(0, 8, *picture.sides, picture.channels)
        floats[picture.name] = latents.floats(pictures)
    made = open_session(data, plain).run(None, rows)[0]
    generator = Generator(plain)
    shapes = {i.name: i.shape for i in manifest.latents}
    alone = []
    for i in range(8):
        own = latents.draw(shapes, int(seeds[i]), index[i : i + 1])
        alone.append(generator.run(own | {name: array[i : i + 1] for name, array in floats.items()}))
    wanted = np.concatenate(alone)
    levels = np.abs(made.astype(int) - latents.levels(wanted).astype(int)).max()
    return Check(name, "levels off the file's own images", float(levels), max(1, manifest.tolerance))


def _config(name: str, inputs: Sequence[Tensor], output: Tensor, preferred: Sequence[int]) -> str:
    """The text format of Triton's ModelConfig."""

    def tensors(field: str, items: Sequence[Tensor]) -> str:
        lines = [f"  {{ name: {json.dumps(t.name)} data_type: {_TYPES[t.dtype]} dims: [ {t.dims} ] }}" for t in items]
        return f"{field} [\n" + ",\n".join(lines) + "\n]\n"

    batches = f"  preferred_batch_size: [ {', '.join(map(str, preferred))} ]\n" if preferred else ""
    return f"""\
{MARKER}\
name: {json.dumps(name)}
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {MAX_BATCH_SIZE}
{tensors("input", inputs)}{tensors("output", [output])}\
dynamic_batching {{
{batches}  max_queue_delay_microseconds: {QUEUE_DELAY}
}}
instance_group [
  {{ kind: KIND_AUTO count: 1 }}
]
"""


def _readme(repository: Path, name: str, inputs: Sequence[Tensor], output: Tensor, manifest: Manifest) -> str:
    place = repository.resolve().name
    mount = f'"$PWD/{place}:/models"' if _NAME.fullmatch(place) else f'"$PWD"/{shlex.quote(place)}:/models'
    classes = {i.name: i.classes for i in manifest.inputs if i.distribution == "label"}
    feeds = {SEED: "seed", INDEX: "index", **{label: f"index % {count}" for label, count in classes.items()}}
    feeds |= {i.name: f"np.full((16, 1), {i.default:g}, np.float32)" for i in manifest.values}
    values = "".join(f" `{markdown(i.name)}` is float32 (rows, 1), {i.low:g} to {i.high:g}." for i in manifest.values)
    picture = manifest.picture
    number = f"image `index` of `seed`, both int64 (rows, 1){', as are labels' if classes else ''}"
    what = f"makes {number}. Each row has\nits own"
    if picture:
        sides = as_bytes(picture)
        feeds[picture.name] = f"np.zeros((16, {', '.join(map(str, sides.shape))}), np.uint8)"
        multiple = f" of any sides that {picture.multiple} divides" if picture.multiple else ""
        noise = f", with the noise of\n{number}" if manifest.latents else ""
        taken = f"`{markdown(picture.name)}`, uint8 (rows, {Tensor('', '', sides.axes).dims}){multiple}"
        what = f"makes a picture of {taken}{noise}"
    fed = ", ".join(f"{json.dumps(t.name)}: {feeds[t.name]}" for t in inputs)
    shape = output.dims
    origin = {
        "architecture": manifest.architecture.get("name", "unknown"),
        "run": manifest.training.get("run", "unknown"),
        "data": manifest.data.get("name", "unknown"),
        "licence": manifest.licence or "none given",
        "weights": manifest.weights_sha256[:12],
        "gantool": manifest.gantool,
    }
    return f"""\
# {name}, a model for Triton

In the folder that holds {markdown(place)} (any release from 25.01 on; without a GPU leave out `--gpus all`):

```sh
docker run --rm --gpus all -p8000:8000 -p8001:8001 -v {mount} \\
  nvcr.io/nvidia/tritonserver:25.01-py3 tritonserver --model-repository=/models
```

`{name}` {what}; Triton joins requests up to {MAX_BATCH_SIZE} rows, and no image depends on those beside it.{values}
A client (`pip install "tritonclient[http]"`):

```python
import numpy as np
import tritonclient.http as http

client = http.InferenceServerClient("localhost:8000")
seed, index = np.full((16, 1), 7), np.arange(16).reshape(16, 1)  # images 0 to 15 of seed 7
inputs = []
for name, values in {{{fed}}}.items():
    kind = {{"float32": "FP32", "uint8": "UINT8"}}.get(values.dtype.name, "INT64")
    item = http.InferInput(name, list(values.shape), kind)
    item.set_data_from_numpy(values)
    inputs.append(item)
images = client.infer({json.dumps(name)}, inputs).as_numpy({json.dumps(output.name)})  # {output.dtype} (16, {shape})
```

Made from: {"; ".join(f"{what} {markdown(value)}" for what, value in origin.items())}.
All of it is in the metadata of `{MODEL}`, under `{PROVENANCE}`. The next `gantool export --triton` of this
name replaces the folder: copy it under another name to keep a config of your own.
"""
