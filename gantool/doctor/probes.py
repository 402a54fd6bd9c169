"""Small graphs that every provider must compute correctly. `make probes` makes the files; see docs/doctor.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantool.artifact import latents
from gantool.doctor.diagnosis import PROBES

GRAPHS = Path(__file__).parent / "graphs"
# |difference| / max |expected|. TF32, which CUDA uses for convolutions unless told not to, keeps 10 bits; OpenVINO may
# compute in bfloat16. Broken results (zeros, stale memory, another layout) differ by as much as their own size.
CPU_TOLERANCE, GPU_TOLERANCE = 1e-5, 1e-2


@dataclass(frozen=True)
class Probe:
    """A model with one output, its inputs, and the expected output. `exact`: every bit must match."""

    name: str
    model: bytes
    feeds: dict[str, NDArray[Any]]
    expected: NDArray[np.float32]
    exact: bool = False

    def difference(self, output: NDArray[Any]) -> float:
        """The largest difference to `expected`, relative to its largest value; inf for NaN, a wrong shape or type."""
        if output.shape != self.expected.shape or output.dtype != self.expected.dtype:
            return float("inf")
        worst = np.abs(output.astype(np.float64) - self.expected).max() / np.abs(self.expected).max()
        return float(worst) if np.isfinite(worst) else float("inf")

    def right(self, difference: float, provider: str) -> bool:
        """Whether this difference is within the tolerance of a provider ("cpu", "cuda" …)."""
        if self.exact:
            return difference == 0
        return difference <= (CPU_TOLERANCE if provider == "cpu" else GPU_TOLERANCE)


def probes() -> list[Probe]:
    """Conv, ConvTranspose and Gemm with weights and a bias, and the latents of a seeded export."""
    with np.load(GRAPHS / "arrays.npz", allow_pickle=False) as file:
        arrays = dict(file)
    found = []
    for name in PROBES:
        feeds = {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith(f"{name}/")}
        expected = feeds.pop("expected")
        exact = name == "latents"
        if exact:
            feeds["latents/table"] = latents.table()
        found.append(Probe(name, (GRAPHS / f"{name}.onnx").read_bytes(), feeds, expected, exact))
    return found
