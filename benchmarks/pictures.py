"""Pictures from pictures: `pix2pix` and `cyclegan` on drawings, against doing nothing and against L1 alone.

    npm pack openmoji@17.0.0 @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5 --pack-destination PACKAGES
    python benchmarks/pictures.py --packages PACKAGES --minutes 15 \
        --json benchmarks/results/pictures-64-cpu.json --pictures docs/images

Each contender trains on one thread. The clock is the processor time of its process: the first steps show how many fit.
A tenth of the pictures is kept from the training, and all figures are of those. `l1` is pix2pix whose adversarial loss
weighs nothing beside the distance to the target. `noto-to-twemoji` is learned without pairs; those that the two sets
have by their names are used for the figures only.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from budget import train_for  # beside this file
from PIL import Image

import gantool
from gantool.artifact import pictures
from gantool.data import rules
from gantool.data.readers.emoji import draw, load_emoji
from gantool.system import machine
from gantool.system.files import write_json

TESTED = 10  # one picture in so many is not trained on
SHOWN = 12  # pictures of a sheet
L1_ALONE = 1e6  # of `closeness`
SETS = ("iconify-json-noto", "iconify-json-twemoji")
FIGURES = ("difference", "psnr", "ssim", "features", "frechet_distance")
Arrays = dict[str, np.ndarray]


def by_rule(name: str, factor: int = 1) -> Callable[[int, Path], Arrays]:
    def pairs(size: int, packages: Path) -> Arrays:
        images = load_emoji([package(packages, name) for name in SETS], size).arrays["images"]
        return {"images": images, "sources": rules.apply(name, factor, images)}

    return pairs


def black_to_colour(size: int, packages: Path) -> Arrays:
    """OpenMoji's outlines and its coloured drawings, by code point."""
    drawn: dict[str, dict[str, np.ndarray]] = {"black": {}, "color": {}}
    with tarfile.open(package(packages, "openmoji")) as archive:
        for member in archive:
            kind, _, name = member.name.removeprefix("package/").partition("/svg/")
            content = archive.extractfile(member) if kind in drawn and name.endswith(".svg") else None
            if content:
                drawn[kind][name] = draw(content.read().decode(), size)
    names = sorted(drawn["black"].keys() & drawn["color"])
    sources, targets = (np.stack([drawn[kind][name] for name in names]) for kind in ("black", "color"))
    return {"images": targets, "sources": sources}


def noto_to_twemoji(size: int, packages: Path) -> Arrays:
    """Noto's drawings as sources, Twemoji's of the same names as targets."""
    sets = [dict(_named(package(packages, name))) for name in SETS]
    names = sorted(sets[0].keys() & sets[1])
    sources, targets = (np.stack([draw(one[name], size) for name in names]) for one in sets)
    return {"images": targets, "sources": sources}


def package(packages: Path, name: str) -> Path:
    """The file of an npm package."""
    (found,) = packages.glob(f"{name}-[0-9]*.tgz")
    return found


def _named(package: Path) -> Iterator[tuple[str, str]]:
    """Name and SVG of the drawings in an Iconify package."""
    with tarfile.open(package) as archive:
        content = archive.extractfile("package/icons.json")
        icons = json.load(io.TextIOWrapper(content, "utf-8")) if content else {"icons": {}}
    for name, icon in icons["icons"].items():
        side = icon.get("width", icons.get("width", 16))
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        yield name, f'<svg {spaces} viewBox="0 0 {side} {side}">{icon["body"]}</svg>'


TASKS: dict[str, Callable[[int, Path], Arrays]] = {
    "edges-to-emoji": by_rule("edges"),
    "grey-to-colour": by_rule("grey"),
    "small-to-large": by_rule(rules.SMALL, 4),
    "black-to-colour": black_to_colour,
    "noto-to-twemoji": noto_to_twemoji,
}
UNPAIRED = ("noto-to-twemoji",)
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pix2pix": ("pix2pix", {}),
    "l1": ("pix2pix", {"closeness": L1_ALONE}),
    "cyclegan": ("cyclegan", {}),
}


def divided(arrays: Arrays, folder: Path, paired: bool) -> tuple[Path, Path]:
    """Files of what is trained on and what is tested on; unpaired: the first has two classes."""
    tested = np.arange(len(arrays["images"])) % TESTED == TESTED - 1
    train, test = ({name: array[rows] for name, array in arrays.items()} for rows in (~tested, tested))
    if not paired:
        both = [train["sources"], train["images"]]
        train = {"images": np.concatenate(both), "labels": np.repeat(np.arange(2), [len(part) for part in both])}
    files = folder / "train.npz", folder / "test.npz"
    for file, part in zip(files, (train, test), strict=True):
        np.savez(file, **part)
    return files


def contest(task: str, contender: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train, export, measure, and draw a sheet of one contender on one task."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arrays = TASKS[task](given.size, given.packages)
        train, test = divided(arrays, folder, task not in UNPAIRED)
        architecture, own = CONTENDERS[contender]
        run = train_for(given.minutes, architecture, folder, data=str(train), **own, **given.options)
        made = run.evaluate(data=test, extractor="efficientnet-lite0", threads=1, progress=False)
        (exported, *_) = run.export("onnx-seeded")
        sheet(gantool.Generator(exported.path), test).save(given.pictures / f"pictures-{task}-{contender}.png")
        found = {key: made["figures"][key]["value"] for key in FIGURES if key in made["figures"]}
        return {
            "task": task,
            "contender": contender,
            "pictures": len(arrays["images"]),
            "steps": run.step,
            "figures": found,
            "sources": made["sources"],
            "verdict": made["verdict"],
        }


def sheet(generator: gantool.Generator, test: Path) -> Image.Image:
    """Source, result and target of pictures spread over those that are tested."""
    with np.load(test) as arrays:
        rows = np.linspace(0, len(arrays["images"]) - 1, SHOWN).astype(int)
        sources, targets = (np.moveaxis(arrays[name][rows], 1, 3) for name in ("sources", "images"))
    results = generator.translate(sources)
    return pictures.grid(pictures.side_by_side(sources, results, targets), columns=3, scale=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--contenders", default="", help="default: pix2pix,l1, and cyclegan where there are no pairs")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=15.0, help="of processor time, each")
    parser.add_argument("--packages", type=Path, default=Path(), help="folder of the npm packages")
    parser.add_argument("--options", type=json.loads, default={}, help='JSON of options, such as {"batch_size": 8}')
    parser.add_argument("--pictures", type=Path, default=Path("pictures"), help="folder of the sheets")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("TASK", "CONTENDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    if given.one:
        print(json.dumps(contest(*given.one, given)))
        return
    results = []
    for task in given.tasks.split(","):
        usual = "cyclegan" if task in UNPAIRED else "pix2pix,l1"
        for contender in (given.contenders or usual).split(","):
            command = [sys.executable, *sys.argv, "--one", task, contender]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
            results.append(result)
            print(task, contender, result["steps"], result["figures"], result["verdict"], flush=True)
            if given.json:
                write_json(given.json, {"machine": machine.describe(), "minutes": given.minutes, "results": results})


if __name__ == "__main__":
    main()
