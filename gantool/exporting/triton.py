"""A model repository for NVIDIA's Triton Inference Server, made of an exported generator.onnx.

Triton's dynamic batching joins requests along the batch, so that each row of one run may belong to another client:
here every row has its own seed and index, and image i of seed s stays the same in whatever company it is made.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from gantool.artifact import inspection, latents
from gantool.artifact.manifest import InputInfo, Manifest
from gantool.errors import GantoolError, excerpt
from gantool.exporting import verify
from gantool.exporting.app.readme import markdown
from gantool.exporting.onnx_files.seeds import INDEX, PIXELS_INPUT, SEED, latents_graph, pixels_graph, seeded_model
from gantool.exporting.verify import Check
from gantool.runtime import Generator
from gantool.runtime.session import open_session
from gantool.system.files import listing, read_json, replacing_folder, require_place, sha256_of, write_json

MARKER = "gantool.json"  # beside the models, where Triton looks at folders alone; tells which files are ours
README = "README.md"
SCHEMA = 2  # of MARKER; 1 had no digests
PROVENANCE = "gantool.provenance"  # the metadata key of what came from where, in files that have no manifest
MAX_BATCH_SIZE = 64
QUEUE_DELAY = 500  # microseconds that a request may wait for others
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU")
NEARLY = 0.95  # of the best images a second
_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model without its batch, as Triton is told of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Served:
    """What the repository's models share: the settings of each one's config."""

    name: str
    max_batch_size: int
    preferred: tuple[int, ...]
    instances: int
    kind: str
    queue_delay: int


def write_repository(
    folder: Path,
    name: str,
    plain: Path,
    *,
    ensemble: bool = False,
    preferred: Sequence[int] = (),
    max_batch_size: int = MAX_BATCH_SIZE,
    instances: int = 1,
    kind: str = "KIND_AUTO",
    queue_delay: int = QUEUE_DELAY,
) -> list[str]:
    """Write the model `name` to the repository `folder`, verified, at once or not at all; returns its models' names.

    `plain`: an exported generator.onnx of any precision. The model takes `seed` and `index`, int64 (1,) a row (and
    labels likewise), and gives uint8 (H, W, C) a row, or float32 for what is no image. With `ensemble`, the same as
    NAME_latents, NAME_generator (the file itself, but for a second axis of labels) and NAME_pixels, joined in
    NAME_ensemble. `preferred`: batches that Triton should form, at most `max_batch_size`; `instances` of `kind`
    (KIND_AUTO, KIND_GPU, KIND_CPU) run side by side; `queue_delay`: microseconds a request may wait for others.

    A repository may serve several: what an earlier call wrote under another name stays, byte for byte; all models of
    the same name are replaced. GantoolError, and nothing changed, for a file or setting that does not serve, and for a
    `folder` with a file that no such call wrote, or that was changed since (see `check`).
    """
    served = _Served(name, max_batch_size, tuple(sorted(set(preferred))), instances, kind, queue_delay)
    _check(served)
    described = _described(plain)
    others = {other: kept for other, kept in _held(folder).items() if other != name}
    with replacing_folder(folder) as temporary:
        models = [_write_seeded(temporary, served, plain, described)]
        if ensemble:
            models += _write_ensemble(temporary, served, plain, described)
        verify.demand(_checks(temporary, served, plain, described, ensemble))
        written = {path.as_posix(): sha256_of(temporary / path) for path in listing(temporary)}
        usage = _usage(served, models, described)
        _keep(folder, temporary, others, served.name, models)
        all_served = others | {name: {"models": models, **_provenance(described), "usage": usage, "files": written}}
        readme = _readme(folder, [all_served[each]["usage"] for each in sorted(all_served)])
        (temporary / README).write_text(readme, encoding="utf-8")
        readme_sha256 = sha256_of(temporary / README)
        write_json(temporary / MARKER, {"schema_version": SCHEMA, "readme_sha256": readme_sha256, "served": all_served})
    return models


def check(folder: Path) -> None:
    """GantoolError unless `write_repository` may write to `folder`.

    It must be new, empty, or a repository of ours in which every file is as it was written, and no other is: configs
    that were edited, labels and further versions of a model are somebody's work.
    """
    _held(folder)


def preferred_batches(
    report: Mapping[str, Any],
    max_batch_size: int = MAX_BATCH_SIZE,
    *,
    origin: object = "The report",
    architecture: str = "",
    model: str = "",
) -> list[int]:
    """The batches of a `gantool bench --json` report, or of its choice, within 5 % of its best images a second,
    ascending.

    Only batches up to `max_batch_size` count; of a report's cells, that with the best. `origin`: the file that it is
    from, for messages. `architecture` and `model` (`Manifest.model`, which tells its weights): of the generator that is
    to be served, if the report is to be of it; what a report does not say is not compared. Raises GantoolError for
    what is no such report, or has none of them.
    """
    try:
        choices = [report] if "batches" in report else [c for c in report["cells"] if c["status"] == "measured"]
        # a choice has its file's name under `file`, and what a report says of a file beside it
        files = [c["file"] if isinstance(c.get("file"), dict) else c for c in choices]
        of_model = [file.get("model") in (None, model) for file in files]
        benched = {str(file["architecture"]) for file in files if file.get("architecture")}
        measured = [{int(row["batch"]): float(row["images_per_second"]) for row in c["batches"]} for c in choices]
    except (KeyError, TypeError, ValueError) as error:
        raise GantoolError(
            f"{origin} is no report of gantool bench: it has no batches with images a second.",
            "Make one: gantool bench --json > report.json",
        ) from error
    if architecture and benched and architecture not in benched:
        named = ", ".join(sorted(map(excerpt, benched)))
        raise GantoolError(
            f"{origin} is of another generator: it measures {named}, not {architecture}.",
            "Measure this one: gantool bench --json > report.json",
        )
    if model and not any(of_model):
        raise GantoolError(
            f"{origin} is of another training of {architecture or 'this generator'}: its weights are others.",
            "Measure these: gantool bench --json > report.json",
        )
    if model:
        measured = [rates for rates, own in zip(measured, of_model, strict=True) if own]
    served = [{batch: rate for batch, rate in rates.items() if 1 <= batch <= max_batch_size} for rates in measured]
    rates = max(served, key=lambda rates: max(rates.values(), default=0.0), default={})
    if not rates:
        raise GantoolError(
            f"{origin} measures no batch from 1 to {max_batch_size}.", f"gantool bench --batches 1,8,{max_batch_size}"
        )
    enough = NEARLY * max(rates.values())
    return sorted(batch for batch, rate in rates.items() if rate >= enough)


# models


def _write_seeded(folder: Path, served: _Served, plain: Path, described: Manifest) -> str:
    image = _is_image(described)
    normals = [(i.name, i.shape) for i in described.latents]
    model = seeded_model(onnx.load(str(plain)), normals, image, per_row=True)
    output = _pixels(described) if image else _output(described)
    for axis, side in enumerate(output.shape, start=1):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = side
    _two_axes(model)
    _write_model(folder, served.name, model, described)
    _write_config(folder, served.name, _config(served, served.name, [*_SEEDS, *_labels(described)], [output]))
    return served.name


def _write_ensemble(folder: Path, served: _Served, plain: Path, described: Manifest) -> list[str]:
    """The three steps, and the ensemble that joins them; the weights are in the second alone."""
    drawing, generator, pixels, ensemble = (
        f"{served.name}_{part}" for part in ("latents", "generator", "pixels", "ensemble")
    )
    normal, labels, made = [_tensor(i) for i in described.latents], _labels(described), _output(described)
    opset = described.opset
    assert opset is not None  # of an ONNX file it is known

    graph = latents_graph([(t.name, t.shape) for t in normal], opset, per_row=True)
    _write_model(folder, drawing, graph, described)
    _write_config(folder, drawing, _config(served, drawing, _SEEDS, normal))

    model = onnx.load(str(plain))
    if _two_axes(model):
        _write_model(folder, generator, model, described)
    else:  # it may keep its manifest
        (folder / generator / "1").mkdir(parents=True)
        shutil.copyfile(plain, folder / generator / "1" / "model.onnx")
    takes = [_tensor(i) for i in described.inputs]
    _write_config(folder, generator, _config(served, generator, takes, [made]))

    # in the ensemble, every tensor of a step goes by its own name, but the generator's when pixels follow
    steps = [
        (drawing, {t.name: t.name for t in _SEEDS}, {t.name: t.name for t in normal}),
        (generator, {t.name: t.name for t in takes}, {made.name: made.name}),
    ]
    models, final = [drawing, generator], made
    if _is_image(described):
        final = _pixels(described)
        graph = pixels_graph(final.name, made.shape, opset)
        _write_model(folder, pixels, graph, described)
        _write_config(folder, pixels, _config(served, pixels, [Tensor(PIXELS_INPUT, made.dtype, made.shape)], [final]))
        between = f"{made.name}/float"
        steps[-1] = (generator, steps[-1][1], {made.name: between})
        steps.append((pixels, {PIXELS_INPUT: between}, {final.name: final.name}))
        models.append(pixels)
    _write_config(folder, ensemble, _ensemble_config(served, ensemble, [*_SEEDS, *labels], [final], steps))
    # a version without a file; stores of objects, not folders, keep it for what is in it
    (folder / ensemble / "1").mkdir()
    (folder / ensemble / "1" / ".keep").touch()
    return [*models, ensemble]


def _two_axes(model: onnx.ModelProto) -> bool:
    """Give inputs (batch,) a second axis of 1, for Triton knows no row without one; whether there was such an input.

    Its own `reshape` does the same, but not in ensembles (triton-inference-server/server#7355).
    """
    graph = model.graph
    flat = [value for value in graph.input if len(value.type.tensor_type.shape.dim) == 1]
    for value in flat:
        value.type.tensor_type.shape.dim.add().dim_value = 1
        inner = f"{value.name}/row"
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == value.name:
                    node.input[place] = inner
        graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), f"{inner}/shape"))
        graph.node.insert(0, helper.make_node("Reshape", [value.name, f"{inner}/shape"], [inner], name=inner))
    return bool(flat)


def _write_model(folder: Path, name: str, model: onnx.ModelProto, described: Manifest) -> None:
    del model.metadata_props[:]
    helper.set_model_props(model, {PROVENANCE: json.dumps(_provenance(described), allow_nan=False)})
    onnx.checker.check_model(model, full_check=True)
    path = folder / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save_model(model, str(path))


def _provenance(described: Manifest) -> dict[str, Any]:
    return {
        "gantool": described.gantool,
        "architecture": described.architecture,
        "training": described.training,
        "data": described.data,
        "licence": described.licence,
        "rng": described.rng,
        "precision": described.precision,
        "weights_sha256": described.weights_sha256,
    }


# tensors

_SEEDS = [Tensor(SEED, "int64", (1,)), Tensor(INDEX, "int64", (1,))]


def _tensor(item: InputInfo) -> Tensor:
    return Tensor(item.name, item.dtype, item.shape or (1,))


def _labels(described: Manifest) -> list[Tensor]:
    return [_tensor(i) for i in described.inputs if i.distribution == "label"]


def _output(described: Manifest) -> Tensor:
    return Tensor(described.output.name, described.output.dtype, described.output.shape)


def _pixels(described: Manifest) -> Tensor:
    channels, *sides = described.output.shape
    return Tensor(described.output.name, "uint8", (*sides, channels))


def _is_image(described: Manifest) -> bool:
    return described.output.layout == "CHW"


# configs, as the text format of Triton's ModelConfig


def _config(served: _Served, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    preferred = f"  preferred_batch_size: [ {', '.join(map(str, served.preferred))} ]\n" if served.preferred else ""
    return f"""\
name: {_text(name)}
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: {served.max_batch_size}
{_tensors("input", inputs)}{_tensors("output", outputs)}\
dynamic_batching {{
{preferred}  max_queue_delay_microseconds: {served.queue_delay}
}}
instance_group [
  {{ kind: {served.kind} count: {served.instances} }}
]
{_ACCELERATORS}"""


def _ensemble_config(
    served: _Served,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    steps: Sequence[tuple[str, Mapping[str, str], Mapping[str, str]]],
) -> str:
    """`steps`: a model, its inputs and its outputs, each with its name in the ensemble. They batch, not it."""

    def maps(kind: str, names: Mapping[str, str]) -> str:
        return "".join(
            f"      {kind}_map {{ key: {_text(inner)} value: {_text(outer)} }}\n" for inner, outer in names.items()
        )

    parts = ",\n".join(
        f"    {{\n      model_name: {_text(model)}\n      model_version: -1\n"
        f"{maps('input', takes)}{maps('output', gives)}    }}"
        for model, takes, gives in steps
    )
    return f"""\
name: {_text(name)}
platform: "ensemble"
max_batch_size: {served.max_batch_size}
{_tensors("input", inputs)}{_tensors("output", outputs)}\
ensemble_scheduling {{
  step [
{parts}
  ]
}}
"""


def _tensors(field: str, tensors: Sequence[Tensor]) -> str:
    lines = [
        f"  {{ name: {_text(t.name)} data_type: {_TYPES[t.dtype]} dims: [ {', '.join(map(str, t.shape))} ] }}"
        for t in tensors
    ]
    return f"{field} [\n" + ",\n".join(lines) + "\n]\n"


def _text(value: str) -> str:
    return json.dumps(value)


_ACCELERATORS = """\
## On a GPU the CUDA provider runs the model. To search algorithms of convolution fast rather than exhaustively:
# optimization { execution_accelerators {
#   gpu_execution_accelerator: [ { name: "cuda" parameters { key: "cudnn_conv_algo_search" value: "HEURISTIC" } } ]
# } }
## Or TensorRT, which leaves to CUDA what it can't take (64-bit latents); it builds engines at the first requests:
# optimization { execution_accelerators {
#   gpu_execution_accelerator: [ {
#     name: "tensorrt"
#     parameters { key: "precision_mode" value: "FP32" }
#     parameters { key: "max_workspace_size_bytes" value: "1073741824" }
#   } ]
# } }
"""


def _write_config(folder: Path, name: str, config: str) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")


def _readme(folder: Path, usages: Sequence[str]) -> str:
    name = folder.resolve().name
    mount = f'"$PWD/{name}:/models"' if _NAME.fullmatch(name) else f'"$PWD"/{shlex.quote(name)}:/models'
    return f"""\
# A model repository for Triton

In the folder above this one (any release from 25.01 on; without a GPU leave out `--gpus all`):

```sh
docker run --rm --gpus all -p8000:8000 -p8001:8001 -v {mount} \\
  nvcr.io/nvidia/tritonserver:25.01-py3 tritonserver --model-repository=/models
```

The next `gantool export --triton` to this folder replaces models of the name that it exports, and keeps the others. It
refuses where a file was changed or added since: `{MARKER}` has the SHA-256 of each. Edit a copy of this folder.

{"".join(usages).rstrip()}
"""


def _usage(served: _Served, models: Sequence[str], described: Manifest) -> str:
    """The README's section on one generator."""
    labels = [i for i in described.inputs if i.distribution == "label"]
    feeds = ['"seed": seed', '"index": index', *(f"{_text(i.name)}: index % {i.classes}" for i in labels)]
    output = _pixels(described) if _is_image(described) else _output(described)
    shape = ", ".join(map(str, output.shape))
    steps = ", ".join(f"`{model}`" for model in models[1:-1])
    also = f"""
`{models[-1]}` answers the same, as an ensemble of {steps}.
`{served.name}_generator` takes your own latents.
"""
    origin = {
        "architecture": described.architecture.get("name", "unknown"),
        "run": described.training.get("run", "unknown"),
        "data": described.data.get("name", "unknown"),
        "licence": described.licence or "none given",
        "weights": described.weights_sha256[:12],
        "gantool": described.gantool,
    }
    made_from = "; ".join(f"{what} {markdown(value)}" for what, value in origin.items())
    return f"""\
## {served.name}

`{served.name}` makes image `index` of `seed`, both int64 (rows, 1){", as are labels" if labels else ""}. Each row has
its own; Triton joins requests up to {served.max_batch_size} rows, and no image depends on those beside it.
A client (`pip install "tritonclient[http]"`):

```python
import numpy as np
import tritonclient.http as http

client = http.InferenceServerClient("localhost:8000")
seed, index = np.full((16, 1), 7), np.arange(16).reshape(16, 1)  # images 0 to 15 of seed 7
inputs = []
for name, values in {{{", ".join(feeds)}}}.items():
    item = http.InferInput(name, list(values.shape), "INT64")
    item.set_data_from_numpy(values.astype(np.int64))
    inputs.append(item)
images = client.infer({_text(served.name)}, inputs).as_numpy({_text(output.name)})  # {output.dtype} (16, {shape})
```
{also if steps else ""}
Made from: {made_from}.
The same, complete, is in `{MARKER}` and in the metadata of each model.onnx.

"""


# checks


def _check(served: _Served) -> None:
    if not _NAME.fullmatch(served.name):
        raise GantoolError(f"{served.name!r} is no name for a model.", "Use letters, digits, '_', '-' and '.'.")
    if served.max_batch_size < 1:
        raise GantoolError(f"A maximal batch of {served.max_batch_size} was asked for.", "Give 1 or more.")
    wrong = [batch for batch in served.preferred if not 1 <= batch <= served.max_batch_size]
    if wrong:
        raise GantoolError(
            f"A preferred batch of {wrong[0]} was asked for.", f"Give 1 to {served.max_batch_size}, the maximal batch."
        )
    if served.instances < 1 or served.queue_delay < 0:
        raise GantoolError(
            f"{served.instances} instances and a delay of {served.queue_delay} µs were asked for.",
            "Give 1 instance or more, and 0 µs or more.",
        )
    if served.kind not in KINDS:
        raise GantoolError(f"There is no kind of instance {served.kind!r}.", f"Give one of {', '.join(KINDS)}.")


def _described(plain: Path) -> Manifest:
    """The manifest of a file that can be served from seeds."""
    described = inspection.inspect(plain).manifest
    if described.kind != "onnx":
        raise GantoolError(f"{plain} is of kind {described.kind}.", "Name a generator.onnx: gantool export --onnx")
    if described.batch is not None:
        raise GantoolError(
            f"The batch of {plain} is fixed at {described.batch}: Triton could not join requests.",
            "Export it with a free batch.",
        )
    if not described.latents or any(i.distribution == "data" for i in described.inputs):
        takes = ", ".join(f"{i.name} ({i.distribution})" for i in described.inputs)
        raise GantoolError(f"The generator of {plain} takes {takes}: no seed decides its images.")
    return described


def _checks(folder: Path, served: _Served, plain: Path, described: Manifest, ensemble: bool) -> list[Check]:
    """Rows of different seeds in one run, as Triton joins them, against the file's own samples of each seed alone."""
    count = min(8, served.max_batch_size)
    seeds = np.array([0, 7, -1, 2**40 + 7] * 2, np.int64)[:count]
    index = np.array([0, 3, 2**47 - 1, 5, 1, 0, 70_000, 6], np.int64)[:count]
    given = {
        i.name: np.arange(count, dtype=np.int64) % i.classes for i in described.inputs if i.distribution == "label"
    }
    rows = {SEED: seeds[:, None], INDEX: index[:, None], **{name: label[:, None] for name, label in given.items()}}
    made = _run(folder, served.name, rows)[0]
    generator = Generator(plain)
    shapes = {i.name: i.shape for i in described.latents}
    alone = []
    for i in range(count):
        drawn = latents.draw(shapes, int(seeds[i]), index[i : i + 1])
        alone.append(generator.run(drawn | {name: label[i : i + 1] for name, label in given.items()}))
    wanted, image = np.concatenate(alone), _is_image(described)
    if image:
        levels = np.abs(made.astype(int) - latents.pixels(wanted).astype(int)).max()
        checks = [Check(served.name, "levels off the file's own images", float(levels), max(1, described.tolerance))]
    else:
        difference = float(np.abs(made - wanted).max())
        checks = [Check(served.name, "max abs difference to the file's own samples", difference, verify.MAX_FLOAT)]
    if ensemble:
        names = [item.name for item in described.latents]
        joined = _run(folder, f"{served.name}_latents", {name: rows[name] for name in (SEED, INDEX)})
        feeds = dict(zip(names, joined, strict=True)) | {name: rows[name] for name in given}
        (end,) = _run(folder, f"{served.name}_generator", feeds)
        if image:
            (end,) = _run(folder, f"{served.name}_pixels", {PIXELS_INPUT: end})
        checks.append(verify.check_equal(f"{served.name}_ensemble", f"to {served.name}", end, made))
    return checks


def _run(folder: Path, name: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a model, in order."""
    path = folder / name / "1" / "model.onnx"
    outputs: list[np.ndarray] = open_session(path.read_bytes(), path).run(None, feeds)
    return outputs


# the folder


def _held(folder: Path) -> dict[str, Any]:
    """What a repository of ours serves, as its MARKER says: by name, each with its `models`, `files` and `usage`.

    What was deleted whole is left out. Raises GantoolError as `check` tells.
    """
    require_place(folder, "--triton")
    if not folder.exists() or not any(folder.iterdir()):
        return {}
    marker = read_json(folder / MARKER) if (folder / MARKER).is_file() else None
    served = _read_marker(folder, marker) if marker is not None else {}
    digests = {MARKER: None, README: marker.get("readme_sha256")} if isinstance(marker, dict) else {}
    for entry in served.values():
        digests |= entry["files"]
    paths = [path.relative_to(folder) for path in folder.rglob("*")]
    folders = {parent for name in digests for parent in Path(name).parents}
    strangers = sorted(path.as_posix() for path in paths if path not in folders and path.as_posix() not in digests)
    if strangers:
        raise GantoolError(
            f"{folder} holds {strangers[0]}, which is not of a Triton repository that gantool wrote.",
            "Name another folder, or move that away.",
        )
    there = {path.as_posix() for path in paths}
    for name, digest in digests.items():
        if name in there and name != MARKER and ((folder / name).is_symlink() or sha256_of(folder / name) != digest):
            raise GantoolError(
                f"{folder / name} was changed since gantool wrote it: it is not replaced.",
                "Name another folder, or move that file away.",
            )
    return {name: entry for name, entry in served.items() if there & entry["files"].keys()}


def _read_marker(folder: Path, marker: object) -> dict[str, Any]:
    """The `served` of a MARKER; GantoolError when it is damaged, or of another schema."""
    served = marker.get("served") if isinstance(marker, dict) and marker.get("schema_version") == SCHEMA else None
    if not isinstance(served, dict) or not all(map(_is_entry, served.values())):
        raise GantoolError(
            f"{folder / MARKER} does not tell what was written there: it is damaged, or of another gantool.",
            "Name another folder, or move this one away.",
        )
    return served


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    models, files, usage = (entry.get(name) for name in ("models", "files", "usage"))
    named = isinstance(models, list) and all(isinstance(model, str) for model in models)
    return named and isinstance(files, dict) and isinstance(usage, str)


def _keep(folder: Path, new: Path, others: Mapping[str, Any], name: str, models: Sequence[str]) -> None:
    """Copy what `others` have in `folder` to `new`; GantoolError when one lacks a file, or has one of `models`."""
    held = set(listing(folder)) if others else set()
    for other, entry in others.items():
        same = set(models) & set(entry["models"])
        if same:
            raise GantoolError(
                f"{name} needs a model {min(same)}, and {other} in {folder} has one of that name.",
                "Name another folder.",
            )
        for path in entry["files"]:
            if Path(path) not in held:
                raise GantoolError(
                    f"{folder / path} of {other} is missing: it can't be kept.",
                    f"Name another folder, or remove all of {', '.join(entry['models'])}.",
                )
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, new / path)
