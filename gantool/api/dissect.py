"""`gantool.dissect`: what the units of a run's generator do, and a page that switches them off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantool.api import Named, name_of
from gantool.api.export import note
from gantool.control import dissect as search
from gantool.control.classes import Linear
from gantool.control.dissect import Change, Layer, Unit
from gantool.data import load
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting import Source, source_of
from gantool.exporting.app import atlas
from gantool.exporting.app.playground import require_fit
from gantool.metrics import load_extractor
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import gather
from gantool.run import rundir
from gantool.run.rundir import RunDir
from gantool.system import terminal
from gantool.system.files import replacing, write_json, writing

MAX_UNITS, MAX_SAMPLES = 4096, 100_000
REALS = 4000  # that a classifier is fitted to
PAGE, RECORD = "index.html", "units.json"


@dataclass(frozen=True)
class Dissection:
    """What the units of `layers` do in the first `samples` samples of `seed`.

    `extractor`: what told their classes, "" for none.
    """

    run: str
    step: int
    seed: int
    samples: int
    extractor: str
    layers: tuple[Layer, ...]
    source: Source = field(repr=False, compare=False)
    folder: Path = field(repr=False, compare=False)  # in the run, where the page goes by default

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the maps."""

        def change(made: Change) -> dict[str, Any]:
            shown: dict[str, Any] = {"pixels": _short(made.pixels)}
            if made.classes is not None:
                flips = [{"from": old, "to": new, "share": share} for old, new, share in made.flips]
                shown |= {"classes": made.classes, "flips": flips}
            return shown

        def unit(it: Unit) -> dict[str, Any]:
            shown = {"number": it.number, "mean": _short(it.mean), "peak": _short(it.peak), "top": list(it.top)}
            return shown | {"off": change(it.off), "boost": change(it.boost)}

        about = {name: getattr(self, name) for name in ("run", "step", "seed", "samples", "extractor")}
        layers = [
            {"name": it.name, "shape": list(it.shape), "units": [unit(u) for u in it.units]} for it in self.layers
        ]
        return {**about, "layers": layers}

    def save(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write `units.json`, and the page `index.html`, whose path is returned. It needs no network.

        `folder`: new, empty, or of an earlier page; default: `dissect/` in the run. GantoolError where it is another,
        or the generator can't be exported.
        """
        place = self.folder if folder is None else Path(folder)
        check(place)
        with writing(place, "Name another folder with -o."):
            place.mkdir(parents=True, exist_ok=True)
            write_json(place / RECORD, self.as_json())
        text = atlas.build(self.source, {it.name: it.shape for it in self.layers}, self._atlas(), self._shown())
        page = place / PAGE
        with writing(page, "Name another folder with -o."), replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return page

    def _atlas(self) -> dict[str, Any]:
        """What the page is told."""

        def change(made: Change) -> dict[str, Any]:
            shown = {name: getattr(made, name) for name in ("pixels", "classes", "flips")}
            return {**shown, "where": atlas.embedded_map(made.where)}

        def unit(it: Unit) -> dict[str, Any]:
            shown = {"number": it.number, "top": it.top, "map": atlas.embedded_map(it.map)}
            return {**shown, "off": change(it.off), "boost": change(it.boost)}

        layers = [{"name": it.name, "shape": it.shape, "units": [unit(u) for u in it.units]} for it in self.layers]
        return {"seed": str(self.seed), "samples": self.samples, "classes": bool(self.extractor), "layers": layers}

    @torch.no_grad()
    def _shown(self) -> dict[int, np.ndarray]:
        """The samples that excite a unit most."""
        wanted = sorted({sample for layer in self.layers for unit in layer.units for sample in unit.top})
        made: dict[int, np.ndarray] = {}
        for start in range(0, len(wanted), 16):
            part = wanted[start : start + 16]
            inputs = self.source.drawn(self.seed, np.array(part, np.int64))
            made |= zip(part, self.source.generator(*inputs.values()).numpy(), strict=True)
        return made


def check(folder: Path) -> None:
    """GantoolError unless a page can go to `folder`: nothing else of a person is in it."""
    if folder.exists() and not folder.is_dir():
        raise GantoolError(f"{folder} is no folder.", "Name another with -o.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise GantoolError(
            f"{folder} holds something else than a page of gantool dissect.", "Name another folder: -o DIR"
        )


def dissect(
    run: Named | None = None,
    *,
    layers: str | Sequence[str] = (),
    units: int = 24,
    samples: int = 100,
    extractor: str | None = None,
    step: int | str | None = None,
    which: str = "",
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> Dissection:
    """What the units (channels) of a run's layers do: when they are active, and what their ablation changes.

        found = gantool.dissect(run)
        found.layers[0].units[0].off.pixels
        found.save("atlas")

    Of each layer the `units` that seem to change samples most are switched off, and doubled, one by one, in `samples`
    samples of `seed` (Bau et al. 2019, arXiv:1811.10597). `layers`: names of modules, or `all`; default: the last of
    each size. `extractor`: what tells the classes of samples, as `gantool.evaluate` takes it; default: `digits` for
    those. On one that classifies nothing a linear classifier is fitted to the run's data, which then needs labels.
    `step`, `which`, `runs`: as in `gantool.export`.

    GantoolError for a generator of data, of points, or without such modules; ArgumentError for what can't be.
    """
    if not 1 <= units <= MAX_UNITS or not 1 <= samples <= MAX_SAMPLES:
        raise ArgumentError(f"{units} units and {samples} samples can't be.", f"1 to {MAX_UNITS}, 1 to {MAX_SAMPLES}.")
    folder = rundir.find_or_newest(Path(runs), None if run is None else name_of(run))
    source = source_of(folder, note, None if step is None else str(step), which)
    chosen = search.layers_of(source, [layers] if isinstance(layers, str) else layers)
    if source.output.kind == "point":
        raise GantoolError(
            f"{folder.path} makes points, and a page of units shows images, sounds or volumes.",
            "Points and what the discriminator sees of them: gantool watch",
        )
    require_fit(source.about)
    judge = _judge(source, extractor, folder)
    with terminal.bars(progress) as bars:
        found = search.dissect(
            source,
            chosen,
            units=units,
            samples=samples,
            seed=seed,
            extractor=judge,
            advance=bars("units off and up", search.work(chosen, units, samples)),
        )
    training = source.about.training
    name, place = judge.name if judge else "", folder.path / "dissect" / which
    return Dissection(folder.name, int(training["step"]), seed, samples, name, found, source, place)


def _judge(source: Source, name: str | None, folder: RunDir) -> Extractor | None:
    """What tells the classes of samples; None where nothing is known to."""
    info = folder.read()
    if name is None and not (info.data.source == "digits" and source.output.is_image):
        return None
    made = load_extractor(name or "digits", source.output, torch.device("cpu"))
    if made.class_names:
        return made
    if info.data.classes < 2:
        raise ArgumentError(
            f"The extractor {made.name} tells no classes, and the data has no labels.",
            "Leave --extractor out, or use one that tells them, such as digits.",
        )
    data = load(*info.request()).centred()
    rows = np.random.default_rng(0).permutation(len(data))[:REALS]
    assert data.labels is not None
    features, labels = gather(made, data.images[rows]).features, torch.from_numpy(data.labels[rows])
    names = [data.class_names[k] if k < len(data.class_names) else str(k) for k in range(info.data.classes)]
    linear = Linear(made, features, labels, names)
    note(f"a linear classifier on {made.name} tells the class of {linear.right:.0%} of the data's samples")
    return linear


def _short(value: float) -> float:
    return float(f"{value:.5g}")
