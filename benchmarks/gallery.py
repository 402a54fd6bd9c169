"""The gallery: what each architecture makes of real data with its default recipe. Writes docs/gallery.md.

    python benchmarks/gallery.py --minutes 5
    python benchmarks/gallery.py --only mlp,dcgan --minutes 2

Everything is made from scratch: each is trained on one core for the minutes given, of processor time, so that other
work on the machine costs it nothing; then exported, evaluated, and drawn from the exported file. The README's picture
is made of some of them. Colour comes from benchmarks/contest.py, pictures to pictures from benchmarks/pictures.py,
sounds and volumes from benchmarks/sounds.py.
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
from gantool.artifact.pictures import stacked
from gantool.plugin import registry
from gantool.runtime import Generator
from gantool.runtime.saving import save
from gantool.system import machine
from gantool.system.files import write_json

ROOT = Path(__file__).parents[1]
DIGITS = ("cgan", "mlp", "dcgan", "wgan", "sngan")
PRESETS = ("quick", "tiny")  # for a CPU, where there is one
README = "made.png"  # its picture: columns of these
COLUMNS = (
    ("contest/icgan-0",),
    ("gallery-digits-cgan",),
    ("pictures-edges-to-emoji-pix2pix", "pictures-small-to-large-pix2pix"),
)
TRANSLATED = {
    "edges-to-emoji": "edges of drawings → drawings (`--pairs edges`)",
    "grey-to-colour": "grey → colour (`--pairs grey`)",
    "small-to-large": "16 → 64 pixels (`--pairs small:4`)",
    "black-to-colour": "OpenMoji's outlines → its coloured drawings (two folders, `--pairs names`)",
    "noto-to-twemoji": "Google's emoji → Twitter's, learned without pairs (`--target`)",
}
PAGE = """# Gallery

What each architecture makes of real data with its default recipe (the preset for a CPU, `tiny` or `quick`, where it has
one): the images of seed 0 in their order, none picked. All were trained on one core, with gantool {version}, for the
processor time that stands beside each, by `gallery.py`, `contest.py`, `pictures.py` and `sounds.py` in benchmarks/,
where results/ names the processors. That is little: on a GPU, or over night, all get further.
[What the figures mean](evaluate.md).
{sections}"""
ENTRY = """
### {name}

{summary}.

![Digits of {name}](images/gallery-digits-{name}.png)

`{command}`: {step:,} steps in {minutes:g} minutes of a core. {label} {distance:.1f}. {verdict}
"""
COLOUR = """
### {name}

![Drawings of {name}](images/contest/{name}-0.png)

`gantool train {name} --data emoji --size 32{preset}`: {step:,} steps in {minutes:g} minutes of a core. Fréchet distance
(EfficientNet-Lite0) {distance:.0f}.
"""
DATA = {
    "shapes": "made furniture, letters and turned shapes (`benchmarks/shapes.py`)",
    "digits": "spoken digits (`benchmarks/spoken_digits.py`)",
}
KINDS = """
### {architecture}: {what}

![Left: of the data; right: made. A row a class](images/sounds-{task}.png)

Left {samples:,} samples of {shape} are learned from, right what is made; a row a class. {steps:,} steps in {minutes:g}
minutes of a core. A linear classifier finds the right class in {own:.0%} of what is made, in {unseen:.0%} of data that
it has not seen. Fréchet distance ({extractor}) {distance:.3g}; one half of the data to the other {halves:.2g}, noise
{noise:.3g}.
"""
PAIRS = """
### {contender}: {what}

![Source, result and target](images/pictures-{task}-{contender}.png)

Source, result, target, of pictures that were not trained on. {steps:,} steps in {minutes:g} minutes of a core.
{verdict}
"""


def make(name: str, folder: Path, images: Path, minutes: float, samples: int) -> dict[str, Any]:
    """Train, export, evaluate and draw one architecture; what its part of the page says."""
    found = registry.find(name).architecture
    assert found is not None
    preset = next((each for each in PRESETS if each in found.presets), None)
    options = {"preset": preset} if preset else {}
    run = train_for(minutes, name, folder / name, data="digits", **options)
    (exported,) = run.export("onnx-seeded")
    report = run.evaluate(samples=samples, threads=1, progress=False)
    # as `gantool generate` draws it: with classes, a row of each
    save(Generator(exported.path), images / f"gallery-digits-{name}.png")
    figure = report["figures"]["frechet_distance"]
    flags = " ".join(f"--{key} {value}" for key, value in options.items())
    command = f"gantool train {name} {flags}".strip()
    return {
        "name": name,
        "summary": found.summary[0].upper() + found.summary[1:],
        "command": command,
        "step": run.step,
        "minutes": minutes,
        "label": figure["name"],
        "distance": figure["value"],
        "verdict": report["verdict"],
    }


def coloured(results: Path) -> str:
    """The part of the page about drawings, from what `benchmarks/contest.py` wrote."""
    if not results.is_file():
        return ""
    found = json.loads(results.read_text())
    entries = ""
    known = {plugin.name: plugin.architecture for plugin in registry.discover()}
    for row in (row for row in found["rows"] if row["seed"] == 0 and row["name"] in known):
        architecture = known[row["name"]]
        preset = " --preset tiny" if architecture and "tiny" in architecture.presets else ""
        last = row["curve"][-1]
        shown = {"name": row["name"], "preset": preset, "step": last["iteration"], "distance": last["distance"]}
        entries += COLOUR.format(**shown, minutes=found["minutes"])
    return "\n## Emoji: 14,807 drawings of four sets, 32×32\n" + entries


def translated(results: Path) -> str:
    """The part of the page about pictures made of pictures, from what `benchmarks/pictures.py` wrote."""
    if not results.is_file():
        return ""
    found = json.loads(results.read_text())
    shown = [one for one in found["results"] if one["contender"] != "l1"]
    entries = [PAIRS.format(**{"minutes": found["minutes"], **one}, what=TRANSLATED[one["task"]]) for one in shown]
    return "\n## Pictures to pictures, 64×64\n" + "".join(entries)


def other_kinds(results: Path) -> str:
    """The part of the page about sounds and volumes, from what `benchmarks/sounds.py` wrote."""
    if not results.is_file():
        return ""
    entries = ""
    for one in json.loads(results.read_text())["results"]:
        accuracy, figures = one["class_accuracy"], one["figures"]
        distances = {name: figures[name]["frechet_distance"] for name in figures}
        entries += KINDS.format(
            **{**one, "what": DATA[one["task"]], "shape": "×".join(map(str, one["shape"]))},
            own=accuracy["generator"],
            unseen=accuracy["reals that it has not seen"],
            distance=distances["generator"],
            halves=distances["halves of the data"],
            noise=distances["noise"],
        )
    return "\n## Sounds and volumes\n" + entries


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
    parser.add_argument("--minutes", type=float, default=5.0, help="of processor time, each; 0: only write the page")
    parser.add_argument("--samples", type=int, default=5000, help="fakes and reals of the evaluation")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="the folder of gallery.md and images/")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results", help="folder of the others' JSON")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/gallery-cpu.json")
    given = parser.parse_args()
    images = given.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    known = json.loads(given.json.read_text())["shown"] if given.json.is_file() else {}  # of earlier calls
    with tempfile.TemporaryDirectory() as folder:
        names = given.only.split(",") if given.only else DIGITS
        for name in names if given.minutes else ():
            known[name] = made = make(name, Path(folder), images, given.minutes, given.samples)
            print(ENTRY.format(**made), flush=True)
            write_json(given.json, {"machine": machine.describe(), "shown": known})
    columns = [[images / f"{name}.png" for name in names] for names in COLUMNS]
    if all(path.is_file() for paths in columns for path in paths):
        beside([stacked([Image.open(path) for path in paths]) for paths in columns]).save(images / README)
    sections = "\n## Digits: 10,000 of MNIST, 28×28\n" + "".join(ENTRY.format(**known[n]) for n in DIGITS if n in known)
    sections += coloured(given.results / "contest-32-cpu.json") + translated(given.results / "pictures-64-cpu.json")
    sections += other_kinds(given.results / "sounds-cpu.json")
    page = PAGE.format(version=gantool.__version__, sections=sections)
    (given.out / "gallery.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
