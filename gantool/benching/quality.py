"""What a variant's images are worth beside the float32 file's. It loads torch: never in a measured process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantool.benching.cell import Cell
from gantool.benching.images import difference, maker
from gantool.benching.matrix import reference_of
from gantool.metrics.extractors import Extractor, load_extractor
from gantool.metrics.frechet import frechet_distance
from gantool.plugin.architecture import SampleSpec
from gantool.runtime import Generator

IMAGES = 1024
TOGETHER = 64
SEED = 0x7175616C


def add_quality(report: dict[str, Any], listener: Callable[[str], None] = lambda stage: None) -> None:
    """Give `report` its `quality`: a row a measured file that has a float32 file beside it.

    Each of the same latents on the CPU: `worst_level` and `mean_level` of 255, and `distance`, the Fréchet distance of
    IMAGES images on the features `pixels`, named by `label`.
    """
    paths = {c["file"]["path"]: c["file"]["name"] for c in report["cells"] if c["status"] == "measured"}
    made: dict[Path, np.ndarray] = {}
    rows = []
    for given, name in paths.items():
        path = Path(given)
        reference = reference_of(Cell(given))
        if reference is None:
            continue
        listener(f"quality of {path.name}")
        for file in (path, reference):
            if file not in made:
                made[file] = _images(Generator(file))
        rows.append({"file": given, "name": name, **_row(made[path], made[reference], reference)})
    report["quality"] = rows


def _row(images: np.ndarray, wanted: np.ndarray, reference: Path) -> dict[str, Any]:
    off = difference(images, wanted)
    samples = [_samples(array) for array in (images, wanted)]
    extractor: Extractor = load_extractor("pixels", SampleSpec(tuple(samples[0].shape[1:])), torch.device("cpu"))
    distance = frechet_distance(*(extractor.features(part) for part in samples))
    return {
        "reference": reference.name,
        "images": len(images),
        "worst_level": off.worst,
        "mean_level": off.mean,
        "label": extractor.label,
        "distance": distance,
    }


def _images(generator: Generator) -> np.ndarray:
    return np.concatenate(
        [maker(generator, SEED, first, min(TOGETHER, IMAGES - first))() for first in range(0, IMAGES, TOGETHER)]
    )


def _samples(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, C) or float32 (N, C, …) → float32 (N, C, …) in [-1, 1]."""
    made = torch.from_numpy(images)
    return made.movedim(-1, 1).float() / 127.5 - 1 if images.dtype == np.uint8 else made
