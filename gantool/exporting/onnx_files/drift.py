"""Measure how far the images of a reduced graph (16 bits, 8 bits) are off those of the float32 graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from gantool.artifact import latents
from gantool.errors import GantoolError
from gantool.exporting.libraries import first_line
from gantool.exporting.verify import FINITE, Check
from gantool.runtime.session import ORT_ERRORS

CHUNK = 64  # images a run


@dataclass(frozen=True)
class Limits:
    """Levels of 0…255 that images may be off those of the float32 file: the worst pixel, and the mean of all."""

    worst: float
    mean: float


# Measured on generators trained on digits (mlp 28, dcgan 32, wgan 28) with 256 latents, worst/mean: half-weights
# 1/0.004, half as a GPU computes it 1/0.02, int8 23/0.39 (no difference is visible). The limits leave room for other
# weights, deeper networks and images with more greys than digits have. The worst pixel of int8 is one on an edge, in
# some 200,000.
LIMITS = {"half-weights": Limits(2, 0.25), "half": Limits(8, 0.5), "int8": Limits(64, 2.0)}
MAX_NEWLY_SATURATED = 0.01  # of all pixels


@dataclass(frozen=True)
class Drift:
    """Images against those of the float32 file, in levels of 0…255; NaN where a value is not finite."""

    worst: float
    mean: float
    finite: float  # share of finite values
    newly_saturated: float  # share of values that went to 0 or 255, by more than the one level of a rounding


def drift(reference: np.ndarray, images: np.ndarray) -> Drift:
    """How far `images` are off `reference`, of the same shape: uint8 pixels, or float32 samples in [-1, 1].

    Float samples are turned into levels as `latents.pixels` does. Raises ValueError for other shapes or dtypes.
    """
    if reference.shape != images.shape or not images.size:
        raise ValueError(f"samples of shape {images.shape} can't be compared with {reference.shape}")
    finite = float(np.isfinite(images).mean()) if images.dtype.kind == "f" else 1.0
    if finite < 1:
        return Drift(math.nan, math.nan, finite, math.nan)
    wanted, got = _levels(reference), _levels(images)
    off = np.abs(got.astype(np.int16) - wanted)
    return Drift(
        worst=float(off.max()),
        mean=float(off.mean()),
        finite=finite,
        newly_saturated=float((np.isin(got, (0, 255)) & (off > 1)).mean()),
    )


def compare(reference: onnx.ModelProto, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Drift:
    """`drift` of two graphs on the same feeds (n rows each), run on the CPU."""
    return drift(images(reference, feeds), images(model, feeds))


def images(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """The output for all rows of `feeds`, run on the CPU."""
    run = runner(model)
    count = min(len(array) for array in feeds.values())
    parts = [{name: array[i : i + CHUNK] for name, array in feeds.items()} for i in range(0, count, CHUNK)]
    return np.concatenate([run(part) for part in parts])


def checks(artifact: str, precision: str, measured: Drift) -> list[Check]:
    """The checks of a file of `precision` (a key of LIMITS): its values finite, near float32's, no more saturated."""
    limits = LIMITS[precision]
    return [
        Check(artifact, FINITE, measured.finite, 1.0, least=True),
        Check(artifact, "levels off float32, worst", measured.worst, limits.worst),
        Check(artifact, "levels off float32, mean", measured.mean, limits.mean),
        Check(artifact, "share of pixels newly saturated", measured.newly_saturated, MAX_NEWLY_SATURATED),
    ]


def runner(model: onnx.ModelProto) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A call of feeds → first output, in ONNX Runtime on the CPU; GantoolError when it does not take the graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its failures come back as exceptions
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise unconvertible("a graph that ONNX Runtime runs", error) from error

    def run(feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        output: np.ndarray = session.run(None, dict(feeds))[0]
        return output

    return run


def _levels(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    if images.dtype != np.float32:
        raise ValueError(f"samples of {images.dtype}; wanted: uint8 or float32")
    return latents.pixels(images.reshape(len(images), 1, 1, -1))


def unconvertible(what: str, error: Exception) -> GantoolError:
    return GantoolError(
        f"The generator can't be turned into {what}: {first_line(error)}",
        "Use the float32 file, or --half-weights, which changes no operator.",
    )
