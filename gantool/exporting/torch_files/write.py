"""Write artifacts for programs that have torch: TorchScript (for LibTorch), plain or seeded, and .pt2."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gantool.artifact import inspection
from gantool.artifact.manifest import Golden, Manifest, file_name
from gantool.exporting import verify
from gantool.exporting.source import Artifact, Source, as_seeded, parity
from gantool.exporting.torch_files import archive, seeded, torchscript
from gantool.exporting.verify import Arrays


def write_torch(source: Source, kind: str, inputs: Arrays, folder: Path, golden: tuple[Golden, ...]) -> Artifact:
    """Write the file of `kind` (a key of WRITERS), verified with `inputs`. `golden`: the images of generator.onnx."""
    described = dataclasses.replace(
        source.about,
        kind=kind,
        opset=None,
        exporter=f"torch.jit.trace + freeze, torch {torch.__version__}",
        weights_sha256=inspection.digest({k: v.numpy() for k, v in source.generator.state_dict().items()}),
        golden=golden,
    )
    return WRITERS[kind](source, inputs, folder / file_name(kind), described)


def _torchscript(source: Source, inputs: Arrays, path: Path, described: Manifest) -> Artifact:
    example = [torch.from_numpy(array[:2]) for array in inputs.values()]
    traced = torchscript.to_torchscript(source.generator, example)
    torchscript.save(traced, path, described.to_json())
    loaded = torchscript.load(path)
    checks = verify.check_float("torchscript", source.generator, lambda part: verify.run_torch(loaded, part), inputs)
    described = dataclasses.replace(described, parity=parity(checks))
    torchscript.save(traced, path, described.to_json())
    return Artifact(path, described, tuple(checks))


def _seeded(source: Source, inputs: Arrays, path: Path, described: Manifest) -> Artifact:
    described = as_seeded(described, described.kind, source.output)
    scripted = seeded.to_seeded_torchscript(source.generator, source.inputs, source.output)
    torchscript.save(scripted, path, described.to_json())
    loaded = torchscript.load(path)
    labels = [inputs[item.name] for item in source.inputs if item.distribution == "label"]

    def sample(first: int, count: int) -> np.ndarray:
        part = slice(first, first + count)
        index = np.arange(first, first + count, dtype=np.int64)
        arguments = (np.array([1], np.int64), index, *(array[part] for array in labels))
        with torch.no_grad():
            made: np.ndarray = loaded(*map(torch.from_numpy, arguments)).numpy()
        return made

    checks = verify.check_samples(described.kind, source.generator, sample, inputs, source.output.is_image)
    described = dataclasses.replace(described, parity=parity(checks))
    torchscript.save(scripted, path, described.to_json())
    return Artifact(path, described, tuple(checks))


def _archive(source: Source, inputs: Arrays, path: Path, described: Manifest) -> Artifact:
    described = dataclasses.replace(described, exporter=f"torch.export, torch {torch.__version__}")
    program = archive.to_program(source.generator, source.inputs)
    archive.save(program, path, described.to_json())
    loaded = archive.load(path)
    checks = verify.check_float("pt2", source.generator, lambda part: verify.run_torch(loaded, part), inputs)
    described = dataclasses.replace(described, parity=parity(checks))
    archive.save(program, path, described.to_json())
    return Artifact(path, described, tuple(checks))


WRITERS: dict[str, Callable[[Source, Arrays, Path, Manifest], Artifact]] = {
    "torchscript": _torchscript,
    "torchscript-seeded": _seeded,
    "pt2": _archive,
}
