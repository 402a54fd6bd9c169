"""Many images on a Ray cluster, in parts: each worker opens the generator once. Any part can be made again alone.

    pip install 'gantool[cpu,ray]'          # on every machine
    python ray_batch.py generator.seeded.onnx images/ --count 100000

`gantool generate --count N --engine ray` does the same with shards, resuming and checks (docs/scale.md). This is the
pattern for images that go into a job of your own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import ray
from ray.util import ActorPool

from gantool.runtime import Generator

PART = 1000  # images of a task


@ray.remote(num_cpus=1)
class Worker:
    def __init__(self, file: bytes) -> None:
        """`file`: the bytes of the .onnx, so that it need not lie on every machine."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generator.onnx"
            path.write_bytes(file)
            self.generator = Generator(path, threads=1)  # reads it whole

    def make(self, seed: int, part: range) -> tuple[int, np.ndarray]:
        """The first number of the part, and its images: uint8 (count, height, width, channels).

        Put your own work here, and return what is left of it.
        """
        return part.start, self.generator.sample(len(part), seed=seed, first=part.start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate images on a Ray cluster, into NPZ files.")
    parser.add_argument("file", type=Path, help="an exported .onnx file")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    ray.init()
    file = ray.put(given.file.read_bytes())
    workers = ActorPool([Worker.remote(file) for _ in range(int(ray.available_resources().get("CPU", 1)))])
    parts = [range(first, min(first + PART, given.count)) for first in range(0, given.count, PART)]
    for first, images in workers.map_unordered(lambda worker, part: worker.make.remote(given.seed, part), parts):
        np.savez_compressed(given.out / f"{first:08d}.npz", images=images)
        print(f"{first} to {first + len(images) - 1}: {images.shape}")


if __name__ == "__main__":
    main()
