"""Small graphs that every provider must compute right, and what numpy says of them.

The graphs are written by `gantool.doctor.wire`, for a machine that only runs models has no `onnx`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantool.artifact import latents
from gantool.doctor.wire import FLOAT, INT64, TYPES, model, node

SEED, SIZE = 7, 16  # of the latents probe
# |difference| / max |expected|. TF32, which CUDA uses for convolutions unless told not to, keeps 10 bits; OpenVINO may
# compute in bfloat16. What is broken (zeros, stale memory, another layout) is out by its own size.
EXACT_FLOAT, REDUCED_FLOAT = 1e-5, 1e-2


@dataclass(frozen=True)
class Probe:
    """A model of one output, what it is fed, and what it has to give. `exact`: to the bit."""

    name: str
    model: bytes
    feeds: dict[str, NDArray[np.float32] | NDArray[np.int64]]
    expected: NDArray[np.float32]
    exact: bool = False

    def difference(self, got: object) -> float:
        """The largest difference to `expected`, as a share of its largest value; inf for another shape, type or NaN."""
        if not isinstance(got, np.ndarray) or got.shape != self.expected.shape or got.dtype != self.expected.dtype:
            return float("inf")
        worst = np.abs(got.astype(np.float64) - self.expected).max() / np.abs(self.expected).max()
        return float(worst) if np.isfinite(worst) else float("inf")

    def right(self, difference: float, provider: str) -> bool:
        """Whether a provider ("cpu", "cuda" …) may differ that much."""
        if self.exact:
            return difference == 0
        return difference <= (EXACT_FLOAT if provider == "cpu" else REDUCED_FLOAT)


def probes() -> list[Probe]:
    """Conv, ConvTranspose and Gemm with weights and a bias, and latents made from a seed."""
    draw = np.random.default_rng(20_04_06278)

    def numbers(*shape: int) -> NDArray[np.float32]:
        return draw.standard_normal(shape, np.float32)

    x, w, b = numbers(2, 3, 16, 16), numbers(8, 3, 3, 3), numbers(8)
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    conv = _one_node("Conv", x, w, b, conv_reference(x, w, b, stride=2, pad=1), window)
    x, w, b = numbers(2, 8, 4, 4), numbers(8, 4, 4, 4), numbers(4)
    window = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    transposed = _one_node("ConvTranspose", x, w, b, conv_transpose_reference(x, w, b, stride=2, pad=1), window)
    x, w, b = numbers(4, 64), numbers(64, 32), numbers(32)
    gemm = _one_node("Gemm", x, w, b, (x.astype(np.float64) @ w + b).astype(np.float32), {})
    return [conv, transposed, gemm, _latents()]


def conv_reference(
    x: NDArray[np.float32], w: NDArray[np.float32], b: NDArray[np.float32], *, stride: int, pad: int
) -> NDArray[np.float32]:
    """ONNX's Conv: x (N, C, H, W), w (M, C, k, k), b (M,) → (N, M, H', W'), summed in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    summed: NDArray[np.float64] = np.einsum("nchwij,mcij->nmhw", windows, w.astype(np.float64))
    return (summed + b[:, None, None]).astype(np.float32)


def conv_transpose_reference(
    x: NDArray[np.float32], w: NDArray[np.float32], b: NDArray[np.float32], *, stride: int, pad: int
) -> NDArray[np.float32]:
    """ONNX's ConvTranspose: x (N, C, H, W), w (C, M, k, k), b (M,) → (N, M, H', W'), summed in float64."""
    (n, _, height, width), (_, m, k, _) = x.shape, w.shape
    full = np.zeros((n, m, (height - 1) * stride + k, (width - 1) * stride + k))
    for row in range(height):
        for column in range(width):  # each pixel paints its kernel
            painted = np.einsum("nc,cmij->nmij", x[:, :, row, column].astype(np.float64), w)
            full[:, :, row * stride : row * stride + k, column * stride : column * stride + k] += painted
    inner = full[:, :, pad : full.shape[2] - pad, pad : full.shape[3] - pad]
    return (inner + b[:, None, None]).astype(np.float32)


def _one_node(
    op: str,
    x: NDArray[np.float32],
    w: NDArray[np.float32],
    b: NDArray[np.float32],
    expected: NDArray[np.float32],
    attributes: dict[str, list[int]],
) -> Probe:
    made = node(op, ["x", "w", "b"], "y", attributes)
    graph = model([made], {"w": w, "b": b}, ("x", FLOAT, x.shape), ("y", FLOAT, expected.shape))
    return Probe(op, graph, {"x": x}, expected)


def _latents() -> Probe:
    """`gantool.artifact.latents.normals` in uint64, as a seeded export computes them; the key is a constant."""
    index = np.array([0, 1, 12_345, latents.MAX_INDEX - 1], np.int64)
    key = latents.key_from_seed(SEED)
    count = latents.counters(SIZE)
    constants: dict[str, NDArray[np.generic]] = {
        "stride_key": np.array(latents.STRIDE * int(key) % 2**64, np.uint64),
        "key": np.array(key, np.uint64),
        "offsets": np.arange(count, dtype=np.uint64) * key,
        "two32": np.array(1 << 32, np.uint64),
        "levels": np.array(1 << 16, np.uint64),
        "table": latents.table(),
    }
    nodes: list[bytes] = []

    def emit(op: str, *inputs: str, **attributes: int) -> str:
        name = f"v{len(nodes)}"
        nodes.append(node(op, inputs, name, attributes))
        return name

    def swap(v: str) -> str:
        return emit("Add", emit("Div", v, "two32"), emit("Mul", v, "two32"))

    def square(v: str, plus: str) -> str:
        return emit("Add", emit("Mul", v, v), plus)

    y = emit("Add", emit("Mul", emit("Cast", "index", to=TYPES["uint64"]), "stride_key"), "offsets")
    z = emit("Add", y, "key")
    bits = emit("Div", square(swap(square(swap(square(swap(square(y, y)), z)), y)), z), "two32")
    high = emit("Div", bits, "levels")
    low = emit("Sub", bits, emit("Mul", high, "levels"))
    drawn = emit("Gather", "table", emit("Cast", emit("Concat", high, low, axis=1), to=INT64))
    rows = len(index)
    graph = model(nodes, constants, ("index", INT64, (rows, 1)), (drawn, FLOAT, (rows, SIZE)))
    return Probe("latents", graph, {"index": index[:, None]}, latents.normals(SEED, index, SIZE), exact=True)
