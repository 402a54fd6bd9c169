"""What the discriminator makes of the plane, when samples are points: for `gantool watch`."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantool.artifact.points import EXTENT
from gantool.training.state import State

CELLS = 40  # a side
ARROWS = 256  # fakes whose slopes are told


def described(state: State, reals: np.ndarray, fakes: np.ndarray) -> dict[str, Any]:
    """For JSON: `extent`, `reals` and `fakes` (N, 2); and if one takes points alone, of the first such discriminator:

    `scores`: (rows, columns) at the centres of CELLS×CELLS cells, the first row at the top, y = `extent`. `slopes`:
    (ARROWS, 2), the gradients of the scores of the first fakes, along which points look more real.
    """
    told: dict[str, Any] = {"extent": EXTENT, "reals": _rounded(reals), "fakes": _rounded(fakes)}
    for player in state.game.players:
        for module in player.modules.values() if player.role == "discriminator" else ():
            if (scored := _scores(module, fakes[:ARROWS], state.device)) is not None:
                return told | {"scores": _rounded(scored[0]), "slopes": _rounded(scored[1])}
    return told


def _scores(module: nn.Module, fakes: np.ndarray, device: torch.device) -> tuple[np.ndarray, np.ndarray] | None:
    parameters = inspect.signature(module.forward).parameters.values()
    if sum(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters) != 1:
        return None  # it takes a label, say
    centres = (np.arange(CELLS) + 0.5) / CELLS * 2 * EXTENT - EXTENT
    columns, rows = np.meshgrid(centres, -centres)
    plane = np.stack([columns.ravel(), rows.ravel()], axis=1)
    points = torch.tensor(np.concatenate([plane, fakes]), dtype=torch.float32, device=device, requires_grad=True)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()  # without dropout
    try:
        with torch.enable_grad():
            scores: Tensor = module(points)
            if scores.numel() != len(points):
                return None
            (slopes,) = torch.autograd.grad(scores.sum(), points)
    except (RuntimeError, TypeError, ValueError, IndexError):  # no judge of points
        return None
    finally:
        for part, training in modes:
            part.training = training
    values = scores.detach().float().cpu().numpy().ravel()
    return values[: len(plane)].reshape(CELLS, CELLS), slopes[len(plane) :].cpu().numpy()


def _rounded(values: np.ndarray) -> list[Any]:
    rounded: list[Any] = np.nan_to_num(values.astype(np.float64), posinf=1e6, neginf=-1e6).round(4).tolist()
    return rounded
