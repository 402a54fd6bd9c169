"""The gallery: what each architecture makes of the built-in digits with its default recipe. Writes docs/gallery.md.

    python benchmarks/gallery.py
    python benchmarks/gallery.py --architectures mlp --minutes 1 --out /tmp/gallery

Everything is made from scratch: each is trained for the steps of its recipe, or until its share of `--minutes` is over,
then exported, evaluated, and drawn from the exported file. The README's pictures are copies of two of
them. Run it on a quiet machine: the page says how long each took, and on what.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import gantool
from gantool.plugin import registry
from gantool.runtime import Generator
from gantool.runtime.saving import save
from gantool.system import machine

ROOT = Path(__file__).parents[1]
ARCHITECTURES = ("mlp", "dcgan", "wgan", "sngan", "cgan")
README = {
    "digits.png": ("mlp", "dcgan", "wgan"),
    "cgan-dcgan.png": ("cgan",),
}  # its pictures: of these, in a row
TRAINING = 0.8  # share of the time that is for training: the rest exports and evaluates
PAGE = """# Gallery

What each architecture makes of the 10,000 built-in digits (MNIST) with its default recipe: the images of seed 0 in
their order, none picked. Trained on {cpu}, {cores} cores, with gantool {version}, all by one script:
`python benchmarks/gallery.py --minutes {minutes:g}`. The Fréchet distance (digits) is that of {fakes:,} images to the
data; [what the figures mean](evaluate.md).
{entries}"""
ENTRY = """
## {name}

{summary}.

![Digits of {name}](images/gallery-{name}.png)

`gantool train {name}`: {step:,} of {steps:,} steps in {minutes:.1f} minutes. Fréchet distance (digits) {distance:.1f}.
{verdict}
"""


@dataclass(frozen=True)
class Shown:
    """What one architecture made. `seconds`: of its training."""

    name: str
    picture: Image.Image
    step: int
    steps: int
    seconds: float
    report: dict[str, Any]

    def entry(self) -> str:
        """Its part of the page."""
        found = registry.find(self.name).architecture
        assert found is not None
        return ENTRY.format(
            name=self.name,
            summary=found.summary[0].upper() + found.summary[1:],
            step=self.step,
            steps=self.steps,
            minutes=self.seconds / 60,
            distance=self.report["figures"]["frechet_distance"]["value"],
            verdict=self.report["verdict"],
        )


def make(name: str, folder: Path, minutes: float, samples: int) -> Shown:
    """Train, export, evaluate and draw one architecture, on the CPU."""
    began = time.perf_counter()

    def stop(record: dict[str, Any]) -> None:
        if time.perf_counter() - began > 60 * minutes:
            raise KeyboardInterrupt  # ends the training after this step, and saves

    run = gantool.train(name, data="digits", device="cpu", tick=50, runs=folder, callback=stop)
    seconds = time.perf_counter() - began
    (exported,) = run.export("onnx-seeded")
    report = run.evaluate(samples=samples)
    picture = folder / f"{name}.png"
    save(Generator(exported.path), picture)  # as `gantool generate` draws it: with classes, a row of each
    return Shown(name, Image.open(picture), run.step, run.info.steps, seconds, report)


def beside(shown: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Pictures in a row, as high as the highest."""
    sheet = Image.new("L", (sum(p.width + gap for p in shown) - gap, max(p.height for p in shown)), 255)
    left = 0
    for picture in shown:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES), help="names with commas between them")
    parser.add_argument("--minutes", type=float, default=25.0, help="for all of it")
    parser.add_argument("--samples", type=int, default=10_000, help="fakes and reals of the evaluation")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of gallery.md and images/")
    given = parser.parse_args()
    names = given.architectures.split(",")
    each = TRAINING * given.minutes / len(names)
    with tempfile.TemporaryDirectory() as folder:
        shown = {name: make(name, Path(folder), each, given.samples) for name in names}
    (given.out / "images").mkdir(parents=True, exist_ok=True)
    for name, one in shown.items():
        one.picture.save(given.out / "images" / f"gallery-{name}.png")
    for file, parts in README.items():
        if set(parts) <= set(shown):
            beside([shown[name].picture for name in parts]).save(given.out / "images" / file)
    about = machine.describe()
    page = PAGE.format(
        cpu=about["cpu"],
        cores=about["cores"],
        version=gantool.__version__,
        minutes=given.minutes,
        fakes=given.samples,
        entries="".join(one.entry() for one in shown.values()),
    )
    (given.out / "gallery.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
