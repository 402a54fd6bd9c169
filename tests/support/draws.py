"""Seeds, indices, latents and values for every twin of `gantool.artifact.latents`: in numpy, ONNX and torch."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from gantool.artifact import latents

Layout = tuple[tuple[str, tuple[int, ...]], ...]

SEEDS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 1 << 32])
INDEXES = st.lists(st.integers(0, latents.MAX_INDEX - 1) | st.just(latents.MAX_INDEX - 1), min_size=1, max_size=5)
LAYOUTS: list[Layout] = [
    (("z", (1,)),),
    (("z", (2,)),),
    (("z", (7,)),),
    (("z", (100,)),),
    (("z", (1, 2, 2)),),
    (("w", ()),),
    (("z", (5,)), ("noise", (1, 4, 4))),
    (("z", (3,)), ("scale", ()), ("noise", (2, 3)), ("w", (4,))),
]
_HALVES = ((np.arange(-2, 259) - 127) / 127.5).astype(np.float32)  # x * 127.5 + 128 is a whole number, or beside one
_BESIDE = [np.nextafter(_HALVES, np.float32(to)) for to in (-9, 9)]
_EXTREMES = np.array([-1, 1, 0, -0.0, -1.5, 7, 1e30, -1e30, 1e-30], np.float32)
EDGES = np.concatenate([_HALVES, *_BESIDE, _EXTREMES]).reshape(1, 1, 1, -1)  # samples at the edges of grey levels
