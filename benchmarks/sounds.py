"""Sounds and volumes: `wavegan` on spoken digits, `gan3d` on made shapes, each with its classes.

    python benchmarks/spoken_digits.py DIGITS --takes 240 && python benchmarks/shapes.py SHAPES
    python benchmarks/sounds.py --digits DIGITS --shapes SHAPES --minutes 40 \
        --json benchmarks/results/sounds-cpu.json --pictures docs/images

Each is trained on one thread for the minutes given, of processor time, then exported; all figures are of the exported
file. Its distances stand beside those of one half of the data to the other, and of noise. Classes are heard, or seen,
by a linear classifier of the extractor's features, fitted to one half of the data and checked on the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budget import train_for  # beside this file
from torch import Tensor

import gantool
from gantool.artifact import latents, pictures, sounds
from gantool.data import Dataset
from gantool.metrics import default_extractor, load_extractor
from gantool.metrics.samples import gather
from gantool.system import machine
from gantool.system.files import write_bytes, write_json

EACH = 50  # samples of a class that are classified
SHOWN = 4  # reals, and as many samples, of a class in the picture
FIGURES = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage", "diversity")
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("wavegan", {"preset": "tiny", "rate": 6000, "size": 4096}),
    "shapes": ("gan3d", {"preset": "tiny"}),
}


class Classifier:
    """A linear classifier of features (N, D), by logistic regression; `accuracy` on features that it has not seen."""

    def __init__(self, features: Tensor, labels: Tensor, seed: int = 0) -> None:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
        seen, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        self.mean, self.scale = features[seen].mean(0), features[seen].std(0) + 1e-3
        self.layer = torch.nn.Linear(features.shape[1], int(labels.max()) + 1)
        optimizer = torch.optim.LBFGS(self.layer.parameters(), max_iter=300, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            wrong = torch.nn.functional.cross_entropy(self.layer(self._scaled(features[seen])), labels[seen])
            total: Tensor = wrong + 1e-3 * self.layer.weight.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        self.accuracy = self.agrees(features[unseen], labels[unseen])

    def agrees(self, features: Tensor, labels: Tensor) -> float:
        """The share of rows that it gives the class in `labels`."""
        with torch.no_grad():
            found = self.layer(self._scaled(features)).argmax(1)
        return float((found == labels).double().mean())

    def _scaled(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale


def contest(task: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Train, export, measure and draw one task."""
    architecture, options = TASKS[task]
    source = str(getattr(given, task))
    run = train_for(given.minutes, architecture, folder, data=source, **options | given.options)
    (exported,) = run.export("onnx-seeded")
    generator = gantool.Generator(exported.path)
    data = gantool.data.load(*run.info.request())
    extractor = load_extractor(default_extractor(data), data.spec, torch.device("cpu"))
    half = len(data) // 2
    common: dict[str, Any] = {"samples": half, "threads": 1, "progress": False, "runs": folder}
    found = {
        "generator": gantool.evaluate(run, **common)["figures"],
        "halves of the data": gantool.evaluate(floor=True, **common)["figures"],
        "noise": gantool.evaluate(ceiling=True, **common)["figures"],
    }
    assert data.labels is not None
    real = gather(extractor, data.images).features
    classifier = Classifier(real, torch.from_numpy(data.labels))
    labels = np.arange(EACH * len(data.class_counts)) % len(data.class_counts)
    made = generator.sample(len(labels), labels=labels)
    features = gather(extractor, latents.floats(made)).features
    sheet(data, latents.floats(made)).save(given.pictures / f"sounds-{task}.png")
    if data.spec.kind == "audio":
        heard = made[: len(data.class_counts)].reshape(-1, made.shape[-1])
        write_bytes(given.pictures / f"sounds-{task}.wav", sounds.wav(heard, data.rate))
    return {
        "task": task,
        "architecture": architecture,
        "samples": len(data),
        "shape": list(data.spec.shape),
        "rate": data.rate,
        "steps": run.step,
        "extractor": extractor.name,
        "compared": half,
        "figures": {name: {key: one[key]["value"] for key in FIGURES} for name, one in found.items()},
        "class_accuracy": {
            "reals that it has not seen": classifier.accuracy,
            "generator": classifier.agrees(features, torch.from_numpy(labels)),
        },
    }


def sheet(data: Dataset, made: np.ndarray) -> Any:
    """A row a class: SHOWN reals, a gap, SHOWN samples."""
    assert data.labels is not None
    classes = len(data.class_counts)
    tiles = []
    for label in range(classes):
        rows = np.flatnonzero(data.labels == label)
        reals = data.images[rows[:: max(1, len(rows) // SHOWN)][:SHOWN]]
        shown = [pictures.to_pictures(part, data.rate) for part in (_floats(reals), made[label::classes][:SHOWN])]
        tiles += [shown[0], np.full_like(shown[0][:1], pictures.SPACE), shown[1]]
    return pictures.grid(np.concatenate(tiles), columns=2 * SHOWN + 1, scale=1)


def _floats(samples: np.ndarray) -> np.ndarray:
    """Of data: channels first."""
    return latents.floats(np.moveaxis(samples, 1, -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--digits", type=Path, default=Path("spoken-digits"), help="made by spoken_digits.py")
    parser.add_argument("--shapes", type=Path, default=Path("shapes"), help="made by shapes.py")
    parser.add_argument("--minutes", type=float, default=40.0, help="of processor time, each")
    parser.add_argument("--options", type=json.loads, default={}, help='JSON of options, such as {"width": 16}')
    parser.add_argument("--pictures", type=Path, default=Path("pictures"), help="folder of the sheets")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.json.read_text())["results"] if given.json and given.json.is_file() else []
    for task in given.tasks.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            found = {"minutes": given.minutes, **contest(task, Path(temporary), given)}
        print(json.dumps(found), flush=True)
        results = [one for one in results if one["task"] != task] + [found]
        if given.json:
            write_json(given.json, {"machine": machine.describe(), "results": results})


if __name__ == "__main__":
    main()
