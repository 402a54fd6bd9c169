"""What is exported (a source), how (options), and what comes out (artifacts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from gantool import __version__
from gantool.artifact import latents
from gantool.artifact.manifest import PRECISIONS, InputInfo, Manifest, OutputInfo
from gantool.errors import GantoolError
from gantool.exporting.onnx_files import graph, rounding
from gantool.exporting.onnx_files.seeds import INDEX, OPSET, OPSETS, SEED
from gantool.exporting.verify import Check
from gantool.plugin.architecture import Input, SampleSpec

OPTIMIZE = ("auto", "none")
MAX_FIXED = 1024  # a fixed batch is computed whole, however few images are asked for: so are all checks


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

    def rounded(self) -> Source:
        """The same with weights of 16 bits, as the ONNX files of `half-weights` have them."""
        about = replace(self.about, precision="half-weights")
        return replace(self, generator=rounding.rounded(self.generator), about=about)


@dataclass(frozen=True)
class Options:
    """How ONNX files are written; GantoolError for what can't be.

    - `precisions`: of `gantool.artifact.manifest.PRECISIONS`; a file each.
    - `optimize`: `auto` rewrites what is measured to be faster on this machine, `none` leaves torch's graph.
    - `opset`: 17 to 25. `batch`: the one batch that the files take; None: any.
    - `force`: write an int8 file that is slower, or further from float32, than it should be.
    """

    precisions: tuple[str, ...] = ("float32",)
    optimize: str = "auto"
    opset: int = OPSET
    batch: int | None = None
    force: bool = False

    @property
    def torch(self) -> str:
        """The precision of the weights in files for torch: 16 bits where all ONNX files have them, for equal pixels."""
        return "half-weights" if self.precisions == ("half-weights",) else "float32"

    def __post_init__(self) -> None:
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown or not self.precisions:
            given = ", ".join(unknown) or "none"
            raise GantoolError(f"There is no precision {given}.", f"Use {', '.join(PRECISIONS)}.")
        if self.optimize not in OPTIMIZE:
            raise GantoolError(f"Graphs can't be optimized {self.optimize!r}.", f"Use {' or '.join(OPTIMIZE)}.")
        if self.opset not in OPSETS:
            raise GantoolError(f"Opset {self.opset} can't be written.", f"Give one from {OPSETS[0]} to {OPSETS[-1]}.")
        if self.batch is not None and not 1 <= self.batch <= MAX_FIXED:
            raise GantoolError(f"A batch of {self.batch} can't be fixed.", f"Give 1 to {MAX_FIXED}.")


@dataclass(frozen=True)
class Artifact:
    path: Path
    manifest: Manifest
    checks: tuple[Check, ...]


def as_seeded(described: Manifest, kind: str, spec: SampleSpec) -> Manifest:
    """The manifest of a file that draws its own latents: seed and index in their place, images as uint8 (H, W, C)."""
    drawn = (InputInfo(SEED, (), "int64", "seed"), InputInfo(INDEX, (), "int64", "index"))
    name = described.output.name
    return replace(
        described,
        kind=kind,
        inputs=drawn + tuple(i for i in described.inputs if i.distribution != "normal"),
        output=OutputInfo(name, (*spec.sides, spec.channels), "uint8", "HWC")
        if spec.is_image
        else OutputInfo(name, spec.shape, "float32", "C…"),
    )


def parity(checks: Sequence[Check]) -> dict[str, object]:
    return {check.measure: {"value": check.value, "limit": check.limit} for check in checks}


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
        output=OutputInfo(graph.output_name(output), output.shape, "float32", "CHW" if output.is_image else "C…"),
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


def _info(item: Input) -> InputInfo:
    return InputInfo(item.name, item.shape, item.dtype, item.distribution, item.classes)
