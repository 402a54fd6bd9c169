"""How far samples can be moved along a direction and still be like the data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gantool.control.space import Space
from gantool.metrics.extractors import Extractor, Outputs
from gantool.metrics.neighbours import manifolds
from gantool.metrics.samples import gather, joined

STEP, MOST = 0.125, 6.0  # strengths that are tried, in standard deviations
FINER = (STEP / 2, STEP / 4, STEP / 8)  # where the first is too far
LEAST = STEP / 16  # the narrowest bound, not tried
TRIALS = 1 + 2 * round(MOST / STEP)  # at most
SAMPLES = 512
REALS = 2000
PRECISE = 0.9  # of the precision at strength 0
KEPT = 0.94  # share of the samples whose class stays: of others it is then 90 % at least


def bounds(
    space: Space,
    vector: Tensor,
    extractor: Extractor,
    reals: Tensor,
    *,
    seed: int,
    keep_classes: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[float, float]:
    """The lowest and the highest strength of `vector` (size,) with which samples stay like the data.

    Up to there precision (Kynkäänniemi et al. 2019, arXiv:1904.06991; by the features `reals` (N, D) of the data) is at
    least 0.9 of what it is at strength 0; with `keep_classes` and an extractor that classifies, 94 % keep their class.
    """
    inputs = space.inputs(seed, np.arange(SAMPLES, dtype=np.int64))
    points = space.points(inputs)

    def outputs(strength: float) -> Outputs:
        made = joined([gather(extractor, samples) for samples in space.batches(inputs, points + strength * vector)])
        advance(1)
        return made

    def precision(found: Outputs) -> float:
        return manifolds(reals, found.features).precision

    start = outputs(0.0)
    wanted = PRECISE * precision(start)

    def stays(found: Outputs) -> bool:
        if keep_classes and start.probabilities is not None and found.probabilities is not None:
            same = start.probabilities.argmax(1) == found.probabilities.argmax(1)
            if float(same.float().mean()) < KEPT:
                return False
        return precision(found) >= wanted

    def reach(sign: int) -> float:
        reached = 0.0
        for strength in torch.arange(STEP, MOST + STEP / 2, STEP).tolist():
            if not stays(outputs(sign * strength)):
                break
            reached = strength
        return reached or next((strength for strength in FINER if stays(outputs(sign * strength))), LEAST)

    return -reach(-1), reach(1)
