"""The way through key frames: which latent each frame of a film has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gantool.errors import ArgumentError
from gantool.filming.keys import Keys

EASINGS = ("linear", "smooth")
INTERPOLATIONS = ("slerp", "great-circle")
OPPOSITE = -1 + 1e-6  # the cosine from which on no single arc joins two latents


@dataclass(frozen=True)
class Way:
    """Frame i lies between the key frames `start[i]` and `end[i]`, at the share `share[i]` of the arc."""

    keys: Keys
    z: np.ndarray  # float64 (K, D)
    start: np.ndarray
    end: np.ndarray
    share: np.ndarray

    def latents(self, which: slice) -> np.ndarray:
        """The latents of some frames, float32 (n, …)."""
        z = between(self.z[self.start[which]], self.z[self.end[which]], self.share[which, None])
        return z.reshape(-1, *self.keys.z.shape[1:]).astype(np.float32)

    @property
    def nearer(self) -> np.ndarray:
        """The number of the key frame that each frame is nearer to: it has that one's class."""
        return np.where(self.share < 0.5, self.start, self.end)


def lay(
    keys: Keys,
    frames: int,
    *,
    loop: bool = True,
    interpolation: str = "slerp",
    easing: str = "linear",
    speed: np.ndarray | None = None,
) -> Way:
    """A way through all key frames in `frames` frames; of a loop the frame after the last would be the first.

    Each arc between two key frames takes the same time, or with `speed` (frames,) > 0 as long as they say.
    `great-circle`: all latents have the mean length of the key frames'. `smooth`: it rests at each key frame.
    """
    z = keys.z.reshape(len(keys.z), -1).astype(np.float64)
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    if interpolation == "great-circle":
        if not lengths.all():
            raise ArgumentError("A key frame is all zeros: it lies on no great circle.", "Take --interpolation slerp.")
        z = z / lengths * lengths.mean()
    arcs = len(z) if loop else len(z) - 1
    following = np.roll(z, -1, axis=0)
    for arc, cosine in enumerate(cosines(z, following)[:arcs]):
        if cosine < OPPOSITE:
            names = keys.names[arc], keys.names[(arc + 1) % len(z)]
            raise ArgumentError(f"The key frames {' and '.join(names)} are opposite.", "Put another between them.")
    gone = np.cumsum(np.ones(frames) if speed is None else speed)
    whole = gone[-1] if loop else gone[-2] if frames > 1 else 1.0
    places = np.concatenate([[0.0], gone[:-1]]) / whole * arcs
    start = np.minimum(places.astype(np.int64), max(arcs - 1, 0))
    share = places - start
    if easing == "smooth":
        share = share * share * (3 - 2 * share)
    return Way(keys, z, start, (start + 1) % len(z), share)


def between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical interpolation (Shoemake 1985, doi:10.1145/325334.325242) of rows (n, D), at `share` (n, 1) of the arc.

    Rows of equal length keep it; those of nearly one direction are interpolated linearly.
    """
    angle = np.arccos(cosines(a, b))[:, None]
    sine = np.sin(angle)
    bent = sine > 1e-6
    sine = np.where(bent, sine, 1)
    first = np.where(bent, np.sin((1 - share) * angle) / sine, 1 - share)
    second = np.where(bent, np.sin(share * angle) / sine, share)
    mixed: np.ndarray = first * a + second * b
    return mixed


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the angles between rows (n, D); 0 where one is all zeros."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: np.ndarray = np.clip((a * b).sum(1) / np.where(lengths > 0, lengths, 1), -1, 1)
    return cosine


def swing(frames: int, loop: bool) -> np.ndarray:
    """From 0 to 1 and back over a film (frames,), by a cosine: how far a value that moves has come."""
    phase = np.arange(frames) / (frames if loop else max(1, frames - 1))
    return np.asarray((1 - np.cos(2 * np.pi * phase)) / 2)
