"""Train the classifier whose features `gantool evaluate --extractor digits` compares; about two minutes on one core.

    python benchmarks/digits_classifier.py gantool/metrics/digits.safetensors

One seed decides the split, the first weights and the augmentation. The accuracy on the held-out digits, which the
training never sees, is written into the file; below 98 % no file is written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gantool import data
from gantool.metrics.digits import KEY, Classifier
from gantool.metrics.samples import as_samples
from gantool.system.files import replacing

VERSION = "1"
HELD_OUT = 2_000
EPOCHS = 25
BATCH = 128
NOISE = 0.5  # the largest standard deviation, of values in [-1, 1]
LEAST = 0.98


def augmented(images: Tensor) -> Tensor:
    """Each image turned by up to 12°, scaled by up to 10 % and moved by up to 2 pixels; every other one with noise.

    A generator's first images are noisy: a classifier that never saw any calls them all by one class.
    """
    count = len(images)
    low_high = torch.rand(4, count) * 2 - 1
    angle, scale = low_high[0] * math.radians(12), 1 + 0.1 * low_high[1]
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = low_high[2:] * (2 * 2 / images.shape[-1])
    matrix = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = F.grid_sample(images + 1, grid, align_corners=False) - 1  # outside lies 0: the background, -1
    level = torch.rand(len(moved[::2]), 1, 1, 1) * NOISE
    moved[::2] += torch.randn_like(moved[::2]) * level
    return moved.clamp(-1, 1)


def fit(
    network: nn.Module, logits: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, epochs: int
) -> Iterator[int]:
    """Train `network` to tell the labels by `logits(images)`; gives the number of each epoch, in evaluation mode."""
    steps = epochs * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(logits(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        network.eval()
        yield epoch


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the classifier of the extractor `digits`.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    digits = data.load("digits")
    assert digits.labels is not None
    order = np.random.default_rng(given.seed).permutation(len(digits))
    images, labels = as_samples(digits.images[order]), torch.from_numpy(digits.labels[order])
    held_images, held_labels = images[:HELD_OUT], labels[:HELD_OUT]
    images, labels = images[HELD_OUT:], labels[HELD_OUT:]

    network = Classifier()
    for epoch in fit(network, lambda rows: network(augmented(rows))[1], images, labels, given.epochs):
        with torch.inference_mode():
            accuracy = float((network(held_images)[1].argmax(1) == held_labels).float().mean())
        print(f"epoch {epoch + 1}: held-out accuracy {accuracy:.4f}", flush=True)
    if accuracy < LEAST:
        sys.exit(f"The held-out accuracy {accuracy:.4f} is less than {LEAST}: nothing is written.")
    metadata = {
        "version": VERSION,
        "held_out_accuracy": f"{accuracy:.4f}",
        "held_out": str(HELD_OUT),
        "trained_on": str(len(images)),
        "data": digits.fingerprint,
        "seed": str(given.seed),
        "epochs": str(given.epochs),
    }
    with replacing(given.output) as temporary:
        save_file(network.state_dict(), temporary, {KEY: json.dumps(metadata)})
    print(f"{given.output}: {given.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
