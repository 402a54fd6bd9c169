"""A folder of made volumes: furniture, and glyphs that are extruded or turned, a sub-folder a class, as .binvox files.

    python benchmarks/shapes.py OUT [--each 150] [--size 32] [--seed 0]

Ten classes, --each of them, with random proportions; the same arguments make the same files. Then:
gantool data info OUT -o sheet.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gantool.artifact.volumes import binvox

# Places are shares of a cube: x to the right, y upwards, z to the back.
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


class Canvas:
    """A volume bool (D, H, W) to which solids are added."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.volume = np.zeros((size, size, size), bool)
        depth, height, width = (np.indices(self.volume.shape) + 0.5) / size
        self.x, self.y, self.z = width, 1 - height, depth

    def box(self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> None:
        """At least a voxel thick."""
        low, high = np.floor(np.array([x, y, z]).T * self.size + 0.5)
        high = np.maximum(high, low + 1)
        places = np.stack([self.x, self.y, self.z]) * self.size
        inside = (places > low.reshape(3, 1, 1, 1)) & (places < high.reshape(3, 1, 1, 1))
        self.volume |= inside.all(axis=0)

    def turned(self, radius: Callable[[np.ndarray], np.ndarray], y: tuple[float, float]) -> None:
        """What a profile makes around the upright axis: `radius` of heights from 0 to 1 between the two of `y`."""
        height = np.clip((self.y - y[0]) / (y[1] - y[0]), 0, 1)
        away = np.hypot(self.x - 0.5, self.z - 0.5)
        self.volume |= (away <= np.maximum(radius(height), 0.6 / self.size)) & (self.y >= y[0]) & (self.y <= y[1])


def _legs(canvas: Canvas, half: tuple[float, float], top: float, thick: float, bottom: float = 0.06) -> None:
    for x in (0.5 - half[0], 0.5 + half[0] - thick):
        for z in (0.5 - half[1], 0.5 + half[1] - thick):
            canvas.box((x, x + thick), (bottom, top), (z, z + thick))


def chair(canvas: Canvas, rng: np.random.Generator) -> None:
    half, seat, thick = rng.uniform(0.2, 0.3, 2), rng.uniform(0.35, 0.5), rng.uniform(0.04, 0.08)
    _legs(canvas, (half[0], half[1]), seat, thick)
    canvas.box((0.5 - half[0], 0.5 + half[0]), (seat, seat + thick), (0.5 - half[1], 0.5 + half[1]))
    top, back = rng.uniform(0.75, 0.94), 0.5 + half[1]
    if rng.random() < 0.5:
        canvas.box((0.5 - half[0], 0.5 + half[0]), (seat, top), (back - thick, back))
    else:
        for x in np.linspace(0.5 - half[0], 0.5 + half[0] - thick, int(rng.integers(2, 5))):
            canvas.box((x, x + thick), (seat, top), (back - thick, back))
        canvas.box((0.5 - half[0], 0.5 + half[0]), (top - thick, top), (back - thick, back))
    if rng.random() < 0.4:
        for x in (0.5 - half[0], 0.5 + half[0] - thick):
            canvas.box((x, x + thick), (seat + 0.16, seat + 0.16 + thick), (0.5 - half[1], back))


def table(canvas: Canvas, rng: np.random.Generator) -> None:
    half, top, thick = rng.uniform(0.28, 0.44, 2), rng.uniform(0.4, 0.7), rng.uniform(0.04, 0.09)
    if rng.random() < 0.3:
        canvas.turned(lambda height: np.full_like(height, half[0]), (top, top + thick))
        canvas.turned(lambda height: np.where(height < 0.12, half[0] * 0.6, thick), (0.06, top))
        return
    canvas.box((0.5 - half[0], 0.5 + half[0]), (top, top + thick), (0.5 - half[1], 0.5 + half[1]))
    _legs(canvas, (half[0], half[1]), top, thick)


def lamp(canvas: Canvas, rng: np.random.Generator) -> None:
    foot, shade, stem = rng.uniform(0.14, 0.26), rng.uniform(0.18, 0.36), rng.uniform(0.02, 0.05)
    begin, end, narrow = rng.uniform(0.5, 0.68), rng.uniform(0.82, 0.94), rng.uniform(0.3, 0.9)
    canvas.turned(lambda height: np.full_like(height, foot), (0.06, 0.06 + rng.uniform(0.04, 0.1)))
    canvas.turned(lambda height: np.full_like(height, stem), (0.06, end))
    canvas.turned(lambda height: shade * (1 - (1 - narrow) * height), (begin, end))


def shelf(canvas: Canvas, rng: np.random.Generator) -> None:
    half, deep = rng.uniform(0.22, 0.42), rng.uniform(0.1, 0.2)
    top, thick = rng.uniform(0.7, 0.94), rng.uniform(0.03, 0.06)
    for x in (0.5 - half, 0.5 + half - thick):
        canvas.box((x, x + thick), (0.06, top), (0.5 - deep, 0.5 + deep))
    for y in np.linspace(0.06, top - thick, int(rng.integers(3, 7))):
        canvas.box((0.5 - half, 0.5 + half), (y, y + thick), (0.5 - deep, 0.5 + deep))
    if rng.random() < 0.5:
        canvas.box((0.5 - half, 0.5 + half), (0.06, top), (0.5 + deep - thick, 0.5 + deep))


def bed(canvas: Canvas, rng: np.random.Generator) -> None:
    half, seat, thick = rng.uniform(0.2, 0.34), rng.uniform(0.2, 0.34), rng.uniform(0.05, 0.1)
    _legs(canvas, (half, 0.42), seat, thick)
    canvas.box((0.5 - half, 0.5 + half), (seat, seat + rng.uniform(0.08, 0.16)), (0.08, 0.92))
    canvas.box((0.5 - half, 0.5 + half), (seat, seat + rng.uniform(0.2, 0.36)), (0.92 - thick, 0.92))
    if rng.random() < 0.5:
        canvas.box((0.5 - half, 0.5 + half), (seat, seat + rng.uniform(0.1, 0.2)), (0.08, 0.08 + thick))


def sofa(canvas: Canvas, rng: np.random.Generator) -> None:
    half, deep, seat, arm = (
        rng.uniform(0.3, 0.44),
        rng.uniform(0.16, 0.26),
        rng.uniform(0.24, 0.34),
        rng.uniform(0.06, 0.12),
    )
    canvas.box((0.5 - half, 0.5 + half), (0.12, seat), (0.5 - deep, 0.5 + deep))
    canvas.box((0.5 - half, 0.5 + half), (0.12, seat + rng.uniform(0.18, 0.32)), (0.5 + deep - arm, 0.5 + deep))
    for x in (0.5 - half, 0.5 + half - arm):
        canvas.box((x, x + arm), (0.12, seat + 0.12), (0.5 - deep, 0.5 + deep))
    _legs(canvas, (half, deep), 0.14, 0.06)


def vase(canvas: Canvas, rng: np.random.Generator) -> None:
    belly, neck, mouth = rng.uniform(0.16, 0.36), rng.uniform(0.06, 0.16), rng.uniform(0.1, 0.26)
    at, top, wall = rng.uniform(0.25, 0.5), rng.uniform(0.6, 0.94), rng.uniform(0.05, 0.08)
    heights = np.array([0, at, 0.78, 1.0])
    radii = np.array([belly * rng.uniform(0.4, 0.8), belly, neck, mouth])
    canvas.turned(lambda height: np.interp(height, heights, radii), (0.06, top))
    hollow = Canvas(canvas.size)
    hollow.turned(lambda height: np.interp(height, heights, radii) - wall, (0.06 + wall, 1.0))
    away = np.hypot(canvas.x - 0.5, canvas.z - 0.5)
    canvas.volume &= ~(hollow.volume & (away < np.interp((canvas.y - 0.06) / (top - 0.06), heights, radii) - wall))


def bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    body, neck = rng.uniform(0.13, 0.26), rng.uniform(0.04, 0.08)
    shoulder, top = rng.uniform(0.45, 0.65), rng.uniform(0.75, 0.94)
    heights, radii = np.array([0, shoulder, min(0.95, shoulder + rng.uniform(0.08, 0.25)), 1]), [body, body, neck, neck]
    canvas.turned(lambda height: np.interp(height, heights, radii), (0.06, top))


def _glyph(size: int, rng: np.random.Generator, letters: str) -> np.ndarray:
    """A letter as bool (size, size), upright."""
    side = 8 * size
    picture = Image.new("L", (side, side))
    font = ImageFont.load_default(size=side * rng.uniform(0.75, 0.95))
    letter = str(rng.choice(list(letters)))
    ImageDraw.Draw(picture).text((side / 2, side / 2), letter, 255, font, anchor="mm", stroke_width=side // 64)
    picture = picture.rotate(rng.uniform(-8, 8))
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX)) > 100


def letter(canvas: Canvas, rng: np.random.Generator) -> None:
    half = rng.uniform(0.08, 0.22)
    canvas.volume |= _glyph(canvas.size, rng, "ABEFHKLMNTXZ")[None] & (np.abs(canvas.z - 0.5) <= half)


def spinner(canvas: Canvas, rng: np.random.Generator) -> None:
    """The right half of a letter, turned around its left edge."""
    glyph = _glyph(canvas.size, rng, "BCDOPRSU238")
    columns = np.flatnonzero(glyph.any(axis=0))
    profile = glyph[:, (columns[0] + columns[-1]) // 2 :]
    away = np.floor(np.hypot(canvas.x - 0.5, canvas.z - 0.5) * canvas.size).astype(int)
    rows = np.broadcast_to(np.arange(canvas.size)[None, :, None], away.shape)
    canvas.volume |= profile[rows, np.minimum(away, profile.shape[1] - 1)] & (away < profile.shape[1])


CLASSES = (bed, bottle, chair, lamp, letter, shelf, sofa, spinner, table, vase)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=150, help="volumes of a class (150)")
    parser.add_argument("--size", type=int, default=32, help="voxels of a side (32)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for number, draw in enumerate(CLASSES):
        folder = asked.out / draw.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(asked.each):
            canvas = Canvas(asked.size)
            draw(canvas, np.random.default_rng([asked.seed, number, i]))
            (folder / f"{i:04}.binvox").write_bytes(binvox(canvas.volume))
    print(f"{len(CLASSES) * asked.each:,} files in {asked.out}. Next: gantool data info {asked.out}")


if __name__ == "__main__":
    main()
