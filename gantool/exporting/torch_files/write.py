"""Write artifacts for programs that have torch: TorchScript (for LibTorch), plain or seeded, and .pt2."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gantool.artifact import inspection, latents
from gantool.artifact.manifest import Golden, Manifest, file_name
from gantool.exporting import verify
from gantool.exporting.libraries import refusing
from gantool.exporting.source import Artifact, Source, as_seeded, parity
from gantool.exporting.torch_files import archive, seeded, torchscript
from gantool.exporting.verify import Arrays, Check


def write_torch(source: Source, kind: str, inputs: Arrays, folder: Path, golden: tuple[Golden, ...]) -> Artifact:
    """Write the file of `kind` (a key of WRITERS), verified with `inputs`. `golden`: the images of generator.onnx."""
    about = dataclasses.replace(
        source.about,
        kind=kind,
        opset=None,
        exporter=f"torch.jit.trace + freeze, torch {torch.__version__}",
        weights_sha256=inspection.digest({k: _array(v) for k, v in source.generator.state_dict().items()}),
        golden=golden,
    )
    path = folder / file_name(kind)
    with refusing(f"{path.name} does not run", verify.HINT):  # as with a batch that tracing took for a constant
        return WRITERS[kind](source, inputs, path, about)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Its values; those of a bfloat16, which numpy does not have, as float32."""
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _torchscript(source: Source, inputs: Arrays, path: Path, about: Manifest) -> Artifact:
    traced = torchscript.to_torchscript(source.generator, [torch.from_numpy(array[:2]) for array in inputs.values()])

    def check() -> list[Check]:
        loaded = torchscript.load(path)
        return verify.check_float(
            "torchscript", source.generator, lambda part: verify.run_torch(loaded, part), inputs, source.picture
        )

    return _verified(path, about, lambda manifest: torchscript.save(traced, path, manifest), check)


def _seeded(source: Source, inputs: Arrays, path: Path, about: Manifest) -> Artifact:
    scripted = seeded.to_seeded_torchscript(source.generator, source.inputs, source.output)
    others = [item for item in source.inputs if item.distribution != "normal"]

    def check() -> list[Check]:
        loaded = torchscript.load(path)

        def sample(given: Arrays, first: int, count: int) -> np.ndarray:
            index = np.arange(first, first + count, dtype=np.int64)
            arguments: list[np.ndarray] = [np.array([1], np.int64), index] if source.normals else []
            for item in others:
                rows = given[item.name][first : first + count]
                arguments.append(latents.pixels(rows) if item.is_picture else rows)
            with torch.no_grad():
                made: np.ndarray = loaded(*map(torch.from_numpy, arguments)).numpy()
            return made

        return verify.check_levels(about.kind, source.generator, sample, inputs, source.picture)

    about = as_seeded(about, about.kind)
    return _verified(path, about, lambda manifest: torchscript.save(scripted, path, manifest), check)


def _archive(source: Source, inputs: Arrays, path: Path, about: Manifest) -> Artifact:
    program = archive.to_program(source.generator, source.inputs)

    def check() -> list[Check]:
        loaded = archive.load(path)
        return verify.check_float(
            "pt2", source.generator, lambda part: verify.run_torch(loaded, part), inputs, source.picture
        )

    about = dataclasses.replace(about, exporter=f"torch.export, torch {torch.__version__}")
    return _verified(path, about, lambda manifest: archive.save(program, path, manifest), check)


def _verified(path: Path, about: Manifest, save: Callable[[str], None], check: Callable[[], list[Check]]) -> Artifact:
    """Save the file, check it as it was loaded again, and save it with what was measured."""
    save(about.to_json())
    checks = check()
    verify.demand(checks)
    about = dataclasses.replace(about, parity=parity(checks))
    save(about.to_json())
    return Artifact(path, about, tuple(checks))


WRITERS: dict[str, Callable[[Source, Arrays, Path, Manifest], Artifact]] = {
    "torchscript": _torchscript,
    "torchscript-seeded": _seeded,
    "pt2": _archive,
}
