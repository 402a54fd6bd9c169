"""Evaluate a run, an exported file, or the data itself: how good are the images?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gantool.artifact import latents, pictures
from gantool.data import Dataset, load
from gantool.data.catalog import names
from gantool.errors import GantoolError
from gantool.exporting import Source, source_of
from gantool.metrics import evaluation, library, report
from gantool.metrics.evaluation import Evaluation, Watch
from gantool.metrics.extractors import Extractor, default_extractor, load_extractor
from gantool.metrics.memory import neighbours_picture
from gantool.metrics.samples import halves, uniform
from gantool.plugin.architecture import SampleSpec
from gantool.run import rundir
from gantool.run.exports import find_artifact
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system.files import reading, write_json, writing
from gantool.training.state import pick_device

if TYPE_CHECKING:
    from gantool.artifact.manifest import Manifest

SAMPLES = 10_000
MAX_SEED = 2**63 - 1
Draw = Callable[[int, int], "np.ndarray | torch.Tensor"]


@dataclass(frozen=True)
class Result:
    """An evaluation with all that decided it. `json`: the same as plain values, as in evaluation.json."""

    title: str
    evaluation: Evaluation
    data: Dataset
    extractor: Extractor
    notes: tuple[str, ...]
    files: dict[str, str]
    json: dict[str, Any]


def evaluate(
    subject: str | None = None,
    *,
    step: str | None = None,
    data: str | None = None,
    size: int | None = None,
    extractor: str | None = None,
    inception_weights: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch: int = 256,
    device: str = "auto",
    floor: bool = False,
    ceiling: bool = False,
    output: Path | None = None,
    runs: Path = Path("runs"),
    on_note: Callable[[str], None] = lambda note: None,
    watch: Watch = lambda what, total: lambda done: None,
) -> Result:
    """Compare a generator's samples with the data it was trained on, and write evaluation.json and neighbours.png.

    `subject`: a run or an exported ONNX file; None: the newest run. `floor` and `ceiling` evaluate one half of the data
    and uniform noise instead, and write nothing unless `output` is given. The other arguments are the options of
    `gantool evaluate`. `on_note` is told of damaged checkpoints that are passed over; `watch(what, total)` is called
    for each part of the work, and gives a function to call with what is done of it. GantoolError: no such subject, the
    data is not there or does not fit, too few samples, or torchmetrics is missing.
    """
    if floor and ceiling:
        raise GantoolError("--floor and --ceiling are two evaluations.", "Ask for one at a time.")
    if (floor or ceiling) and (subject is not None or step is not None):
        raise GantoolError(
            f"{'--floor' if floor else '--ceiling'} judges the data itself, not "
            f"{subject if subject is not None else f'step {step}'}.",
            "Leave one of them out.",
        )
    library.require()  # before anything that takes long
    target = pick_device(device)
    notes: tuple[str, ...] = ()
    if floor or ceiling:
        dataset = load(data or "digits", size)
        judged = _floor(dataset, seed) if floor else _ceiling(dataset, seed)
    else:
        judged, origin = _find(subject, runs, step, seed, target, on_note)
        dataset, notes = origin.load(data, size, judged)
    measure = load_extractor(extractor or default_extractor(dataset), dataset.spec, target, inception_weights)
    found = evaluation.evaluate(
        judged.draw,
        min(samples or min(SAMPLES, len(dataset)), judged.available or MAX_SEED),
        dataset,
        measure,
        against=judged.against,
        seed=seed,
        batch=batch,
        watch=watch,
    )
    about = {"kind": judged.kind, "path": judged.path and str(judged.path), "step": judged.step}
    notes = (*dataset.notes, *judged.notes, *notes, *found.notes)
    described = report.as_json(found, about, dataset, measure, notes)
    if folder := output or judged.folder:
        described["files"] = _write(described, found, dataset, folder)
    return Result(judged.title, found, dataset, measure, notes, described["files"], described)


def _write(described: dict[str, Any], found: Evaluation, data: Dataset, output: Path) -> dict[str, str]:
    """evaluation.json and neighbours.png in the folder `output`, or `output` itself, a .png, with a .json beside it."""
    picture = output if output.suffix.lower() == ".png" else output / "neighbours.png"
    listing = output.with_suffix(".json") if picture == output else output / "evaluation.json"
    files = {"evaluation": str(listing), "neighbours": str(picture)}
    with writing(output, "Name another with -o."):
        pictures.save_png(neighbours_picture(found.memorisation, data.images), picture)
        write_json(listing, {**described, "files": files})
    return files


def draw_from(source: Source, seed: int, device: torch.device) -> Draw:
    """The samples of `source` by number, as `gantool generate` numbers them: (start, count) → (count, *shape)."""
    generator = source.generator.to(device)
    normal = {item.name: item.shape for item in source.normals}

    @torch.inference_mode()
    def draw(start: int, count: int) -> torch.Tensor:
        index = np.arange(start, start + count, dtype=np.int64)
        drawn: dict[str, Any] = dict(latents.draw(normal, seed, index))
        for item in source.inputs:
            if item.distribution == "label":
                drawn[item.name] = index % item.classes
            elif item.distribution == "data":
                drawn[item.name] = source.rows(item, start + count)[start:]
        made: torch.Tensor = generator(*(torch.from_numpy(drawn[item.name]).to(device) for item in source.inputs))
        return made.cpu()

    return draw


@dataclass(frozen=True)
class _Origin:
    """The data that a generator was trained on; `source` is None when only its name is known."""

    name: str
    source: str | None
    size: int | None
    fingerprint: str | None

    def load(self, given: str | None, size: int | None, judged: _Subject) -> tuple[Dataset, tuple[str, ...]]:
        """Load the data to compare with, `given` or this, and notes. GantoolError: it is not there or does not fit."""
        source = given or self.source
        if source is None:
            raise GantoolError(
                f"{judged.path} was trained on {self.name!r}, but does not say where that is.",
                "Name it: --data FOLDER or FILE.",
            )
        try:
            data = load(source, size or self.size)
        except GantoolError as error:
            if given:
                raise
            raise GantoolError(error.message, "Say where the data is now: --data FOLDER or FILE.") from error
        if data.spec.shape != judged.spec.shape:
            raise GantoolError(
                f"{judged.path} makes samples of {judged.spec}; those of {source!r} are {data.spec}.",
                "Give data of that shape: --data FOLDER or FILE, or --size PIXELS.",
            )
        if self.fingerprint in (None, data.fingerprint):
            return data, ()
        if given:
            return data, (f"{source} is not what it was trained on: memorisation can't be measured.",)
        raise GantoolError(
            f"The data {source!r} is not what {judged.path} was trained on "
            f"(fingerprint {data.fingerprint[:12]}…, then {self.fingerprint[:12]}…).",
            f"Restore the old data, or compare with this anyway: --data {source}",
        )


@dataclass(frozen=True)
class _Subject:
    """What is evaluated. `draw(start, n)`: its samples start … start+n-1 of the seed, (n, *shape).

    `folder`: where the results go by default; None: nowhere. `available`: how many samples there are; None: any number.
    `against`: the rows of the data to compare with; None: all.
    """

    kind: Literal["run", "file", "floor", "ceiling"]
    title: str
    spec: SampleSpec
    draw: Draw
    path: Path | None = None
    step: int | None = None
    folder: Path | None = None
    available: int | None = None
    against: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def _find(
    given: str | None, runs: Path, step: str | None, seed: int, device: torch.device, on_note: Callable[[str], None]
) -> tuple[_Subject, _Origin]:
    """The run or file that `given` names; None: the newest run."""
    with reading(Path(given) if given else runs):
        is_file = given is not None and (Path(given).is_file() or Path(given).suffix in (".onnx", ".pt"))
    if is_file:
        if step is not None:
            raise GantoolError(f"--step {step} is for a run; {given} is a file.", "Leave it out, or name the run.")
        return _file(find_artifact(given, runs), seed)
    run = rundir.find(runs, given) if given else rundir.newest(runs)
    return _run(run, step, seed, device, on_note)


def _floor(data: Dataset, seed: int) -> _Subject:
    """One half of the data against the other: the best that this number of samples can show."""
    fakes, reals = halves(len(data), seed)
    return _Subject(
        kind="floor",
        title="one half of the data against the other",
        spec=data.spec,
        draw=lambda start, count: data.images[fakes[start : start + count]],
        available=len(fakes),
        against=reals,
    )


def _ceiling(data: Dataset, seed: int) -> _Subject:
    """Uniform noise: any generator is better."""
    return _Subject("ceiling", "uniform noise", data.spec, uniform(data.spec.shape, seed))


def _run(
    run: RunDir, step: str | None, seed: int, device: torch.device, on_note: Callable[[str], None]
) -> tuple[_Subject, _Origin]:
    source = source_of(run, on_note, step)
    reached = int(source.about.training["step"])
    takes = ", ".join(item.name for item in source.inputs if item.distribution == "data")
    notes = (f"The generator takes data ({takes}): the fakes are made of its first rows.",) if takes else ()
    data = run.read().data
    subject = _Subject(
        kind="run",
        title=f"{run.path}, step {reached:,}",
        spec=source.output,
        draw=draw_from(source, seed, device),
        path=run.path,
        step=reached,
        folder=run.path / "evaluation" / f"step-{reached:08d}",
        notes=notes,
    )
    return subject, _Origin(data.name, data.source, data.size, data.fingerprint)


def _file(path: Path, seed: int) -> tuple[_Subject, _Origin]:
    generator = Generator(path)
    output = generator.manifest.output
    image = output.layout in ("CHW", "HWC")
    height, width, channels = generator.shape if image else (0, 0, 0)
    spec = SampleSpec((channels, height, width) if image else output.shape)

    def draw(start: int, count: int) -> np.ndarray:
        samples = generator.sample(count, seed, start)
        return np.ascontiguousarray(np.moveaxis(samples, 3, 1)) if image else samples

    subject = _Subject(
        kind="file",
        title=str(path),
        spec=spec,
        draw=draw,
        path=path,
        step=generator.manifest.training.get("step"),
        folder=path.with_suffix(".evaluation"),
    )
    return subject, _origin(path, generator.manifest, height if height == width else None)


def _origin(path: Path, described: Manifest, side: int | None) -> _Origin:
    """Of an exported file: by the record of the run that it is in, or by its manifest."""
    name, fingerprint = described.data.get("name", "data"), described.data.get("fingerprint")
    run = RunDir(path.resolve().parent.parent)
    if run.export == path.resolve().parent and (run.path / "run.json").is_file():
        data = run.read().data
        if data.fingerprint == fingerprint:
            return _Origin(data.name, data.source, data.size, data.fingerprint)
    return _Origin(name, name if name in names() else None, side or None, fingerprint)
