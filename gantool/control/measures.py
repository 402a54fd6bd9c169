"""Measures of samples that people have words for. Each is one number a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.plugin.architecture import SampleSpec

TINY = 1e-6


def measured(samples: Tensor, spec: SampleSpec) -> dict[str, Tensor]:
    """Samples float32 (N, *shape) in [-1, 1] → name → (N,).

    - Images: `brightness`, `contrast`, of the shape in front of the background (the mean of the corners) `area`,
      `width`, `height` and `slant` (how far its rows shift to the right from bottom to top); in colour `warmth` (red
      less blue), `green` (green less red and blue) and `saturation`.
    - Audio: `loudness`, and `pitch` (the mean of the spectrum). Volumes: `size`, and the extent `width`, `height`,
      `depth`. Points: `x` and `y`.
    """
    if spec.kind == "point":
        return dict(zip("xyz", samples.unbind(1), strict=False))
    if spec.kind == "audio":
        return _of_sounds(samples)
    if spec.kind == "volume":
        filled = (samples.mean(1) + 1) / 2
        axes = zip(("depth", "height", "width"), _extents(filled), strict=True)
        return {"size": filled.flatten(1).mean(1), **dict(axes)}
    grey = samples.mean(1)
    found = {"brightness": grey.flatten(1).mean(1), "contrast": grey.flatten(1).std(1)}
    corners = samples[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].mean(2)
    shape = (samples - corners[:, :, None, None]).abs().mean(1)
    height, width = _extents(shape)
    found |= {"area": shape.flatten(1).mean(1), "width": width, "height": height, "slant": _slant(shape)}
    if samples.shape[1] == 3:
        red, green, blue = samples.flatten(2).mean(2).unbind(1)
        spread = (samples.amax(1) - samples.amin(1)).flatten(1).mean(1)
        found |= {"warmth": red - blue, "green": green - (red + blue) / 2, "saturation": spread}
    return found


def _of_sounds(samples: Tensor) -> dict[str, Tensor]:
    loudness = samples.square().flatten(1).mean(1).clamp(min=TINY).log10() * 10
    spectrum = torch.fft.rfft(samples.mean(1)).abs()
    places = torch.linspace(0, 1, spectrum.shape[1])
    return {"loudness": loudness, "pitch": (spectrum * places).sum(1) / spectrum.sum(1).clamp(min=TINY)}


def _extents(weights: Tensor) -> list[Tensor]:
    """The deviation of weights (N, sides…) along each axis, in shares of its side."""
    return [_moments(weights, axis)[1].sqrt() for axis in range(weights.dim() - 1)]


def _moments(weights: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the places along an axis, which run from 0 to 1."""
    others = [other + 1 for other in range(weights.dim() - 1) if other != axis]
    line = weights.sum(others)
    places = torch.linspace(0, 1, line.shape[1])
    line = line / line.sum(1, keepdim=True).clamp(min=TINY)
    mean = (line * places).sum(1)
    return mean, (line * (places - mean[:, None]).square()).sum(1)


def _slant(weights: Tensor) -> Tensor:
    """How far the shape leans to the right, as a share of its height: minus covariance over variance of rows."""
    (top, tall), (left, _) = _moments(weights, 0), _moments(weights, 1)
    rows, columns = (torch.linspace(0, 1, side) for side in weights.shape[1:])
    away = (rows[:, None] - top[:, None, None]) * (columns - left[:, None, None])
    share = weights / weights.sum((1, 2), keepdim=True).clamp(min=TINY)
    return -(share * away).sum((1, 2)) / tall.clamp(min=TINY)
