"""Compare each variant's images with the float32 file's. It loads torch: never in a measured process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantool.benching.matrix import Cell, reference_of
from gantool.benching.proof import difference, maker
from gantool.metrics import load_extractor
from gantool.metrics.distances import frechet_distance
from gantool.plugin.architecture import SampleSpec
from gantool.runtime import Generator

IMAGES = 1024
BATCH = 64
SEED = 0x7175616C


def add_quality(report: dict[str, Any], listener: Callable[[str], None] = lambda stage: None) -> None:
    """Give `report` its `quality`: a row for each measured file that has a float32 file beside it.

    Of the same latents on the CPU: `worst_level` and `mean_level` of 255, and `distance`, the Fréchet distance of
    IMAGES images on the features `pixels`, which `label` names.
    """
    names = {c["file"]["path"]: c["file"]["name"] for c in report["cells"] if c["status"] == "measured"}
    images: dict[Path, np.ndarray] = {}
    rows = []
    for file, name in names.items():
        path, reference = Path(file), reference_of(Cell(file))
        if reference is None:
            continue
        listener(f"quality of {path.name}")
        for one in (path, reference):
            if one not in images:
                generator = Generator(one)
                parts = [maker(generator, SEED, first, BATCH)() for first in range(0, IMAGES, BATCH)]
                images[one] = np.concatenate(parts)
        off = difference(images[path], images[reference])
        samples, wanted = _samples(images[path]), _samples(images[reference])
        extractor = load_extractor("pixels", SampleSpec(tuple(samples.shape[1:])), torch.device("cpu"))
        rows.append(
            {
                "file": file,
                "name": name,
                "reference": reference.name,
                "images": IMAGES,
                "worst_level": off.worst,
                "mean_level": off.mean,
                "label": extractor.label,
                "distance": frechet_distance(extractor.features(samples), extractor.features(wanted)),
            }
        )
    report["quality"] = rows


def _samples(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, C) or float32 (N, C, …) → float32 (N, C, …) in [-1, 1]."""
    tensor = torch.from_numpy(images)
    return tensor.movedim(-1, 1).float() / 127.5 - 1 if images.dtype == np.uint8 else tensor
