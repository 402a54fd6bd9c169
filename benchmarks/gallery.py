"""The gallery: what each architecture makes of real data with its default recipe. Writes docs/gallery.md.

    gantool data fetch emoji --size 32
    python benchmarks/gallery.py --digits 3 --emoji 6
    python benchmarks/gallery.py --only mlp --digits 1 --out /tmp/gallery

Everything is made from scratch: each is trained on one core for the minutes given, of processor time, so that other
work on the machine costs it nothing; then exported, evaluated, and drawn from the exported file. The README's pictures
are copies of some of them. Pictures to pictures come from `benchmarks/pictures.py`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from budget import train_for  # beside this file
from PIL import Image

import gantool
from gantool.plugin import registry
from gantool.runtime import Generator
from gantool.runtime.saving import save
from gantool.system import machine
from gantool.system.files import write_json

ROOT = Path(__file__).parents[1]
SHOWN: dict[str, tuple[str, ...]] = {
    "digits": ("mlp", "dcgan", "wgan", "sngan", "cgan"),
    "emoji": ("dcgan", "sngan", "r3gan", "stylegan2", "projected"),
}
OPTIONS: dict[str, dict[str, Any]] = {"digits": {}, "emoji": {"size": 32}}
PRESETS = ("quick", "tiny")  # for a CPU, where there is one
README = {
    "digits.png": ("digits-mlp", "digits-dcgan", "digits-wgan"),
    "cgan-dcgan.png": ("digits-cgan",),
}  # its pictures: of these, in a row
TRANSLATED = {
    "edges-to-emoji": "edges of drawings → drawings (`--pairs edges`)",
    "grey-to-colour": "grey → colour (`--pairs grey`)",
    "small-to-large": "16 → 64 pixels (`--pairs small:4`)",
    "black-to-colour": "OpenMoji's outlines → its coloured drawings (two folders, `--pairs names`)",
    "noto-to-twemoji": "Google's emoji → Twitter's, learned without pairs (`--target`)",
}
PAGE = """# Gallery

What each architecture makes of real data with its default recipe (the preset for a CPU, `tiny` or `quick`, where it has
one): the images of seed 0 in their order, none picked. All were trained on one core of {cpu}, with gantool {version},
for the processor time that stands beside each, by `python benchmarks/gallery.py` and `python benchmarks/pictures.py`.
That is little: on a GPU, or over night, all get further. [What the figures mean](evaluate.md).
{sections}"""
TITLES = {
    "digits": "Digits: 10,000 of MNIST, 28×28",
    "emoji": "Emoji: 14,807 drawings of four sets, 32×32 (`gantool data fetch emoji --size 32`)",
}
ENTRY = """
### {name}

{summary}.

![{data} of {name}](images/gallery-{data}-{name}.png)

`{command}`: {step:,} steps in {minutes:g} minutes of a core. {label} {distance:.1f}. {verdict}
"""
PAIRS = """
### {contender}: {what}

![Source, result and target](images/pictures-{task}-{contender}.png)

Source, result, target, of pictures that were not trained on. {steps:,} steps in {minutes:g} minutes of a core.
{verdict}
"""


def make(data: str, name: str, folder: Path, images: Path, minutes: float, samples: int) -> dict[str, Any]:
    """Train, export, evaluate and draw one architecture; what its part of the page says."""
    found = registry.find(name).architecture
    assert found is not None
    preset = next((each for each in PRESETS if each in found.presets), None)
    options = {**OPTIONS[data], **({"preset": preset} if preset else {})}
    run = train_for(minutes, name, folder / data / name, data=data, **options)
    (exported,) = run.export("onnx-seeded")
    extractor = None if data == "digits" else "efficientnet-lite0"
    report = run.evaluate(samples=samples, extractor=extractor, threads=1, progress=False)
    # as `gantool generate` draws it: with classes, a row of each
    save(Generator(exported.path), images / f"gallery-{data}-{name}.png")
    figure = report["figures"]["frechet_distance"]
    flags = " ".join(f"--{key} {value}" for key, value in options.items())
    command = f"gantool train {name} --data {data} {flags}".strip()
    return {
        "data": data,
        "name": name,
        "summary": found.summary[0].upper() + found.summary[1:],
        "command": command,
        "step": run.step,
        "minutes": minutes,
        "label": figure["name"],
        "distance": figure["value"],
        "verdict": report["verdict"],
    }


def translated(results: Path) -> str:
    """The part of the page about pictures made of pictures, from what `benchmarks/pictures.py` wrote."""
    if not results.is_file():
        return ""
    found = json.loads(results.read_text())
    shown = [one for one in found["results"] if one["contender"] != "l1"]
    entries = [PAIRS.format(**one, what=TRANSLATED[one["task"]], minutes=found["minutes"]) for one in shown]
    return "\n## Pictures to pictures, 64×64\n" + "".join(entries)


def beside(shown: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Pictures in a row, as high as the highest."""
    sheet = Image.new("RGB", (sum(p.width + gap for p in shown) - gap, max(p.height for p in shown)), "white")
    left = 0
    for picture in shown:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="names with commas between them; default: all")
    parser.add_argument("--digits", type=float, default=3.0, help="minutes of processor time each, on the digits")
    parser.add_argument("--emoji", type=float, default=6.0, help="minutes of processor time each, on the emoji")
    parser.add_argument("--samples", type=int, default=5000, help="fakes and reals of the evaluation")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of gallery.md and images/")
    parser.add_argument("--pairs", type=Path, default=ROOT / "benchmarks/results/pictures-64-cpu.json")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/gallery-cpu.json")
    given = parser.parse_args()
    images = given.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    known = json.loads(given.json.read_text())["shown"] if given.json.is_file() else {}  # of earlier calls
    with tempfile.TemporaryDirectory() as folder:
        for data, names in SHOWN.items():
            minutes = getattr(given, data)
            chosen = [name for name in names if minutes and name in (given.only.split(",") if given.only else names)]
            for name in chosen:
                known[f"{data}-{name}"] = made = make(data, name, Path(folder), images, minutes, given.samples)
                print(ENTRY.format(**made), flush=True)
                write_json(given.json, {"machine": machine.describe(), "shown": known})
    for file, parts in README.items():
        if set(parts) <= set(known):
            beside([Image.open(images / f"gallery-{part}.png") for part in parts]).save(images / file)
    sections = ""
    for data, names in SHOWN.items():
        entries = [ENTRY.format(**known[f"{data}-{name}"]) for name in names if f"{data}-{name}" in known]
        sections += f"\n## {TITLES[data]}\n{''.join(entries)}" if entries else ""
    sections += translated(given.pairs)
    page = PAGE.format(cpu=machine.describe()["cpu"], version=gantool.__version__, sections=sections)
    (given.out / "gallery.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
