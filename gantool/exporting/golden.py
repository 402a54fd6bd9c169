"""Golden vectors: images that a file made where it was exported, so that any host can test itself."""

from __future__ import annotations

import hashlib

import numpy as np

from gantool.artifact.manifest import Golden
from gantool.exporting import verify
from gantool.exporting.verify import Check
from gantool.runtime import Generator

SEEDS = (0, 1, 2**40 + 7)
COUNT = 4


def goldens(generator: Generator) -> tuple[Golden, ...]:
    """A few images of a few seeds as digests, and of each image its corners, centre and brightest pixel."""
    made = []
    for seed in SEEDS:
        images = generator.sample(COUNT, seed, seed % 1000)
        height, width = images.shape[1:3]
        pixels = []
        for number, image in enumerate(images):
            brightest = divmod(int(image.sum(2, dtype=np.int64).argmax()), width)
            for row, column in {(0, 0), (height // 2, width // 2), (height - 1, width - 1), brightest}:
                pixels.append((number, row, column, tuple(int(v) for v in image[row, column])))
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        made.append(Golden(seed, seed % 1000, COUNT, digest, tuple(sorted(pixels))))
    return tuple(made)


def self_test(generator: Generator) -> None:
    """GantoolError unless a file as it will be shipped, opened anew, makes its golden images to the byte."""
    if generator.manifest.golden:
        test = generator.self_test()
        levels = Check(generator.path.name, "levels off its golden images", test.worst, 0)
        verify.demand([levels, Check(generator.path.name, "golden images repeated", float(test.exact), 1, least=True)])
