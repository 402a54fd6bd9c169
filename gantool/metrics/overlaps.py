"""How much volumes overlap: the intersection over the union (IoU) of what is filled, and figures of it.

A volume is filled where it is above 0. Two empty volumes have the IoU 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def distances(these: Tensor, those: Tensor) -> Tensor:
    """1 - IoU of each pair of rows (N, V), (M, V) in [-1, 1]: (N, M)."""
    one, other = (these > 0).float(), (those > 0).float()
    shared = one @ other.T  # whole numbers, exact in float32 up to 2^24 voxels
    union = one.sum(1)[:, None] + other.sum(1) - shared
    return torch.where(union > 0, 1 - shared / union.clamp(min=1), 0.0)


@dataclass(frozen=True)
class Matching:
    """Coverage and matching by IoU (Achlioptas et al. 2018, arXiv:1707.02392).

    `coverage`: the share of the reals that are the nearest real of a fake. `matching`: the IoU of a real with its
    nearest fake, the mean over the reals. At best both are 1.
    """

    coverage: float
    matching: float


def matching(reals: Tensor, fakes: Tensor) -> Matching:
    """From reals (N, V) and fakes (M, V) in [-1, 1]."""
    found = distances(reals, fakes)
    return Matching(len(set(found.argmin(0).tolist())) / len(reals), 1 - float(found.amin(1).mean()))
