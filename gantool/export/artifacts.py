"""Verified files with their manifests, put in place together or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from gantool import __version__, artifact, latents, manifest
from gantool.architecture import Input, SampleSpec
from gantool.errors import GantoolError
from gantool.export import onnx_graph, torchscript, verify
from gantool.export.seeds import INDEX, OPSET, SEED, seeded_model
from gantool.export.verify import Check
from gantool.manifest import FILES, Golden, InputInfo, Manifest, OutputInfo
from gantool.runtime import Generator

GOLDEN_SEEDS = (0, 1, 2**40 + 7)
GOLDEN_COUNT = 4


@dataclass(frozen=True)
class Source:
    """A generator ready to export, with what its manifest will say of where it came from."""

    generator: nn.Module
    inputs: tuple[Input, ...]
    output: SampleSpec
    about: Manifest  # what all files share
    rows: Callable[[Input, int], np.ndarray]

    @property
    def normals(self) -> list[Input]:
        return [i for i in self.inputs if i.distribution == "normal"]

    @property
    def seedable(self) -> bool:
        """Whether a seed and an index decide an image: no input comes from data."""
        return bool(self.normals) and not any(i.distribution == "data" for i in self.inputs)


@dataclass(frozen=True)
class Artifact:
    path: Path
    manifest: Manifest
    checks: tuple[Check, ...]


def about(
    *,
    architecture: dict[str, object],
    training: dict[str, object],
    data: dict[str, object],
    licence: str,
    inputs: Sequence[Input],
    output: SampleSpec,
) -> Manifest:
    """The manifest that every file of one generator starts from."""
    return Manifest(
        kind="onnx",
        gantool=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=architecture,
        training=training,
        data=data,
        inputs=tuple(_info(item) for item in inputs),
        latents=tuple(_info(item) for item in inputs if item.distribution == "normal"),
        output=OutputInfo(onnx_graph.output_name(output), output.shape, "float32", "CHW" if output.is_image else "C…"),
        rng=latents.RNG_NAME,
        opset=OPSET,
        exporter=f"torch.onnx.export (dynamo), torch {torch.__version__}",
        licence=licence,
        weights_sha256="",
        versions={
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
    )


def write(source: Source, kinds: Sequence[str], folder: Path) -> list[Artifact]:
    """Export, verify, and only then put every file of `kinds` (keys of FILES) into `folder`.

    GantoolError, and not one file, when any check of any file fails.
    """
    generator_checks = verify.check_generator(
        source.generator, verify.reference_inputs(source.inputs, verify.STATISTICS, source.rows)
    )
    verify.demand(generator_checks)
    inputs = verify.reference_inputs(source.inputs, max(verify.BATCHES), source.rows)
    with _aside(folder) as temporary:
        made = []
        # always made: the seeded file is built from it, and TorchScript's golden images come from it
        plain = _write_plain(source, inputs, temporary)
        if "onnx" in kinds:
            made.append(plain)
        if "onnx-seeded" in kinds:
            made.append(_write_seeded(source, inputs, temporary, plain.path))
        if "torchscript" in kinds:
            made.append(_write_torchscript(source, inputs, temporary, plain.manifest.golden))
        for item in made:
            verify.demand(item.checks)
        return [_place(item, folder, (*generator_checks, *item.checks)) for item in made]


def _write_plain(source: Source, inputs: verify.Arrays, folder: Path) -> Artifact:
    path = folder / FILES["onnx"]
    model = onnx_graph.to_onnx(source.generator, source.inputs, source.output)
    described = dataclasses.replace(source.about, weights_sha256=artifact.weights_sha256(model))
    _save_onnx(model, described, path)
    runtime = Generator(path)
    checks = verify.check_float("onnx", source.generator, runtime.run, inputs)
    described = dataclasses.replace(described, parity=_parity(checks), golden=_golden(runtime, source))
    _save_onnx(model, described, path)
    _self_test(path, described)
    return Artifact(path, described, tuple(checks))


def _write_seeded(source: Source, inputs: verify.Arrays, folder: Path, plain: Path) -> Artifact:
    path = folder / FILES["onnx-seeded"]
    image = source.output.is_image
    model = seeded_model(onnx.load(plain), [(i.name, i.shape) for i in source.normals], image)
    shape = (*source.output.sides, source.output.channels) if image else source.output.shape
    for axis, side in enumerate(shape, start=1):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = side
    drawn = (InputInfo(SEED, (), "int64", "seed"), InputInfo(INDEX, (), "int64", "index"))
    described = dataclasses.replace(
        source.about,
        kind="onnx-seeded",
        inputs=drawn + tuple(i for i in source.about.inputs if i.distribution != "normal"),
        output=OutputInfo(source.about.output.name, shape, "uint8" if image else "float32", "HWC" if image else "C…"),
        weights_sha256=artifact.weights_sha256(model),
    )
    _save_onnx(model, described, path)
    seeded, twin = Generator(path), Generator(plain)
    # the reference inputs are the latents of seed 1, so that torch gets the same ones

    def sample(first: int, count: int) -> np.ndarray:
        return seeded.sample(count, 1, first)

    if image:
        checks = verify.check_pixels("onnx-seeded", source.generator, sample, inputs)
    else:
        count = max(verify.BATCHES)
        difference = np.abs(sample(0, count) - verify.run_torch(source.generator, inputs)).max()
        checks = [Check("onnx-seeded", "max abs difference to torch", float(difference), verify.MAX_FLOAT)]
    count = max(verify.BATCHES)
    checks.append(verify.check_equal("onnx-seeded", "to generator.onnx", sample(0, count), twin.sample(count, 1, 0)))
    described = dataclasses.replace(described, parity=_parity(checks), golden=_golden(seeded, source))
    _save_onnx(model, described, path)
    _self_test(path, described)
    return Artifact(path, described, tuple(checks))


def _write_torchscript(source: Source, inputs: verify.Arrays, folder: Path, golden: tuple[Golden, ...]) -> Artifact:
    path = folder / FILES["torchscript"]
    example = [torch.from_numpy(array[:2]) for array in inputs.values()]
    traced = torchscript.to_torchscript(source.generator, example)
    described = dataclasses.replace(
        source.about,
        kind="torchscript",
        opset=None,
        exporter=f"torch.jit.trace + freeze, torch {torch.__version__}",
        weights_sha256=artifact.digest({k: v.numpy() for k, v in source.generator.state_dict().items()}),
        golden=golden,
    )
    torchscript.save(traced, path, described.to_json())
    loaded = torchscript.load(path)
    checks = verify.check_float("torchscript", source.generator, lambda part: verify.run_torch(loaded, part), inputs)
    described = dataclasses.replace(described, parity=_parity(checks))
    torchscript.save(traced, path, described.to_json())
    return Artifact(path, described, tuple(checks))


def _save_onnx(model: onnx.ModelProto, described: Manifest, path: Path) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {manifest.KEY: described.to_json()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(path))  # one file: below 2 GB nothing is stored outside


def _golden(runtime: Generator, source: Source) -> tuple[Golden, ...]:
    """A few images of a few seeds as digests, and of each image its corners, centre and brightest pixel."""
    if not source.seedable or not source.output.is_image:
        return ()
    goldens = []
    for seed in GOLDEN_SEEDS:
        images = runtime.sample(GOLDEN_COUNT, seed, seed % 1000)
        height, width = images.shape[1:3]
        pixels = []
        for number, image in enumerate(images):
            brightest = divmod(int(image.sum(2, dtype=np.int64).argmax()), width)
            for row, column in {(0, 0), (height // 2, width // 2), (height - 1, width - 1), brightest}:
                pixels.append((number, row, column, tuple(int(v) for v in image[row, column])))
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        goldens.append(Golden(seed, seed % 1000, GOLDEN_COUNT, digest, tuple(sorted(pixels))))
    return tuple(goldens)


def _self_test(path: Path, described: Manifest) -> None:
    """The file as it will be shipped, opened anew."""
    if described.golden:
        test = Generator(path).self_test()
        verify.demand([Check(described.kind, "levels off its golden images", test.worst, 0)])


def _parity(checks: Sequence[Check]) -> dict[str, object]:
    return {check.measure: {"value": check.value, "limit": check.limit} for check in checks}


def _info(item: Input) -> InputInfo:
    return InputInfo(item.name, item.shape, item.dtype, item.distribution, item.classes)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the final place, so that files can be renamed into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".export-", dir=folder)
    except OSError as error:
        raise GantoolError(f"{folder} can't be written: {error.strerror}.", "Name another folder with -o.") from error
    with temporary as name:
        yield Path(name)


def _place(made: Artifact, folder: Path, checks: tuple[Check, ...]) -> Artifact:
    made.manifest.write_beside(made.path)
    for path in (made.path, manifest.beside(made.path)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(folder / path.name)
    return Artifact(folder / made.path.name, made.manifest, checks)
