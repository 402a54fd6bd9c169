"""ONNX artifacts: plain and seeded, at every precision, verified against the generator in torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from gantool.artifact import inspection, manifest
from gantool.artifact.manifest import Manifest, file_name
from gantool.errors import GantoolError
from gantool.exporting import golden, verify
from gantool.exporting.onnx_files import graph as onnx_graph
from gantool.exporting.onnx_files import int8, optimize, precision, rounding
from gantool.exporting.onnx_files.seeds import seeded_model
from gantool.exporting.source import Artifact, Options, Source, as_seeded, parity
from gantool.exporting.verify import Arrays, Check
from gantool.runtime import Generator

# levels by which another host's pixels may differ from the golden ones: a GPU computes half in 16 bits, and the 8-bit
# products of other processors are rounded elsewhere
TOLERANCES = {"float32": 1, "half-weights": 1, "half": 8, "int8": 8}


def write(
    source: Source,
    kinds: Sequence[str],
    options: Options,
    inputs: Arrays,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[Artifact, list[Artifact]]:
    """The plain file whose weights torch's files have too (`options.torch`), and all files of `kinds` and `options`."""
    model = onnx_graph.to_onnx(source.generator, source.inputs, source.output, options.opset)
    rewritten: list[optimize.Rewrite] = []
    if options.optimize == "auto":
        model, rewritten = optimize.optimize(model, lambda count: verify.first(inputs, count), say=say)
    about = dataclasses.replace(
        source.about,
        opset=options.opset,
        batch=options.batch,
        optimize={"choice": options.optimize, "rewritten": [dataclasses.asdict(layer) for layer in rewritten]},
    )
    full = dataclasses.replace(source, about=about)
    # always made: the others are compared with it
    plains = {"float32": _plain(full, model, "float32", options, inputs, folder)}
    wanted: list[Artifact] = []
    for name in options.precisions:
        reduced = model
        if name != "float32":
            say(f"{name}: converting and measuring")
            reduced = _convert(name, model, source, options, rewritten)
            plains[name] = _reduced(full, reduced, model, name, options, inputs, folder)
        if "onnx" in kinds:
            wanted.append(plains[name])
        if "onnx-seeded" in kinds:
            wanted.append(_seeded(full, reduced, name, options, inputs, folder, plains[name]))
    return plains[options.torch], wanted


def _plain(
    source: Source, model: onnx.ModelProto, name: str, options: Options, inputs: Arrays, folder: Path
) -> Artifact:
    path = folder / file_name("onnx", name)
    described = dataclasses.replace(source.about, weights_sha256=inspection.weights_sha256(model))
    runtime = _save(model, described, path, options.batch)
    checks = verify.check_float("onnx", source.generator, runtime.run, inputs)
    return _finish(source, model, described, runtime, checks, options)


def _reduced(
    source: Source,
    model: onnx.ModelProto,
    full: onnx.ModelProto,
    name: str,
    options: Options,
    inputs: Arrays,
    folder: Path,
) -> Artifact:
    """A plain file of a lower precision: held against the float32 graph's samples, within limits of its own."""
    path = folder / file_name("onnx", name)
    described = dataclasses.replace(
        source.about,
        precision=name,
        tolerance=TOLERANCES[name],
        weights_sha256=inspection.weights_sha256(model),
    )
    runtime = _save(model, described, path, options.batch)
    samples = verify.reference_inputs(source.inputs, verify.STATISTICS, source.rows)
    # the CPU computes a half graph in float32: judged is what a GPU would make of it
    computed = precision.half_as_computed(model) if name == "half" else model
    drifted = precision.compare(full, computed, samples)
    if name == "int8":
        speed = int8.speed(full, model, inputs)
        checks = [
            dataclasses.replace(check, waived=not check.passed)
            for check in int8.admit_int8(speed, drifted, options.force, path.name)
        ]
    else:
        checks = precision.checks(path.name, name, drifted)
    alone = verify.MAX_FLOAT if name == "half-weights" else (TOLERANCES[name] + 0.5) / 127.5
    checks.append(verify.check_alone(path.name, runtime.run, inputs, alone))
    return _finish(source, model, described, runtime, checks, options)


def _convert(
    name: str, model: onnx.ModelProto, source: Source, options: Options, rewritten: Sequence[optimize.Rewrite]
) -> onnx.ModelProto:
    if name == "half":
        return precision.half(model)
    if name == "int8":
        return int8.int8(model, int8.calibration_feeds(source.inputs, source.rows))
    # exported anew: the generator's own weights are rounded, as in the torch files of `half-weights`
    generator = rounding.rounded(source.generator)
    model = onnx_graph.to_onnx(generator, source.inputs, source.output, options.opset)
    if options.optimize == "auto":
        model = optimize.repeat(model, rewritten)
    return precision.half_weights(model, rounding.channel_factors(generator))


def _seeded(
    source: Source,
    plain_model: onnx.ModelProto,
    name: str,
    options: Options,
    inputs: Arrays,
    folder: Path,
    plain: Artifact,
) -> Artifact:
    path = folder / file_name("onnx-seeded", name)
    image = source.output.is_image
    model = seeded_model(plain_model, [(i.name, i.shape) for i in source.normals], image)
    described = as_seeded(plain.manifest, "onnx-seeded", source.output)
    for axis, side in enumerate(described.output.shape, start=1):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = side
    described = dataclasses.replace(described, weights_sha256=inspection.weights_sha256(model))
    seeded, twin = _save(model, described, path, options.batch), Generator(plain.path)
    # the reference inputs are the latents of seed 1, so that torch gets the same ones

    def sample(first: int, count: int) -> np.ndarray:
        return seeded.sample(count, 1, first)

    count = max(verify.BATCHES)
    checks: list[Check] = []
    if name == "float32":
        checks = verify.check_samples("onnx-seeded", source.generator, sample, inputs, image)
    checks.append(verify.check_equal(path.name, f"to {plain.path.name}", sample(0, count), twin.sample(count, 1, 0)))
    return _finish(source, model, described, seeded, checks, options)


def _finish(
    source: Source, model: onnx.ModelProto, described: Manifest, made: Generator, checks: list[Check], options: Options
) -> Artifact:
    """Save again with what was measured, and golden images that the file itself, open as `made`, makes."""
    verify.demand(checks)
    images = golden.goldens(made) if source.seedable and source.output.is_image else ()
    described = dataclasses.replace(described, parity=parity(checks), golden=images)
    runtime = _save(model, described, made.path, options.batch)
    golden.self_test(runtime)
    return Artifact(made.path, runtime.manifest, tuple(checks))


def _save(model: onnx.ModelProto, described: Manifest, path: Path, batch: int | None) -> Generator:
    """The file, opened as an app opens it."""
    written = onnx.ModelProto()
    written.CopyFrom(model)
    if batch is not None:
        onnx_graph.fix_batch(written, batch)
    graph = hashlib.sha256(written.graph.SerializeToString()).hexdigest()
    described = dataclasses.replace(described, graph_sha256=graph)
    del written.metadata_props[:]
    onnx.helper.set_model_props(written, {manifest.KEY: described.to_json()})
    onnx.checker.check_model(written, full_check=True)
    try:
        onnx.save_model(written, str(path))  # one file: below 2 GB nothing is stored outside
    except ValueError as error:  # protobuf's own limit
        raise GantoolError(f"The graph is larger than the 2 GB of an ONNX file: {error}.") from error
    return Generator(path)
