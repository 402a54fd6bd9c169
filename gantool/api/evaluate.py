"""`gantool.evaluate`: how good are the images of a run, of an exported file, or the data itself?"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gantool.api import Named, name_of
from gantool.api.export import note
from gantool.artifact.manifest import SUFFIXES
from gantool.data import Dataset, Request, load
from gantool.data.catalog import names
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting import Source, source_of
from gantool.metrics import evaluation
from gantool.metrics.distances import require_torchmetrics
from gantool.metrics.evaluation import Draw
from gantool.metrics.pairs import Rows, Translated
from gantool.metrics.samples import BATCH, as_samples, halves, uniform
from gantool.plugin.architecture import Input, SampleSpec
from gantool.run import rundir
from gantool.run.exports import find_artifact, run_of
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system import terminal
from gantool.system.files import reading
from gantool.training.sampler import labels_of
from gantool.training.state import pick_device
from gantool.training.threads import available, computing_on

if TYPE_CHECKING:
    from gantool.artifact.manifest import Manifest


def evaluate(
    run: Named | None = None,
    *,
    step: int | str | None = None,
    which: str = "",
    data: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] = "",
    pairs: str = "",
    size: int | None = None,
    extractor: str | None = None,
    inception_weights: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch: int = BATCH,
    device: str = "auto",
    threads: int | None = None,
    floor: bool = False,
    ceiling: bool = False,
    output: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
    say: Callable[[str], None] = note,
) -> dict[str, Any]:
    """Compare what a generator makes with the data; the report, as in evaluation.json.

        report = gantool.evaluate(run)
        report["figures"]["frechet_distance"]["value"]

    `run`: a run, or an exported .onnx file; default: the newest run. `step`: of another checkpoint than the newest, or
    `best`. `which`: the name of the generator, where a run has several; default: the first. `data`, `target`, `pairs`,
    `size`: what to compare with; default: what it was trained on. `extractor`: digits, inception (with
    `inception_weights`), pixels, or a TorchScript file: opening one runs code in it. `samples`: fakes, and at most as
    many reals; default: as many as the data has, 10,000 at most. `floor` evaluates one half of the data against the
    other, `ceiling` noise: of the newest run's data unless `data` is given, of the digits without a run. `output`: a
    folder for evaluation.json and neighbours.png, or a .png; default: evaluation/ in the run, NAME.evaluation/ beside a
    file. `threads`: of the CPU; default: those that this process may use. `say`: is told of what a person should know.

    A generator that takes pictures is given those of the data, and compared with their targets, too, if there are any.

    GantoolError when something is missing or does not fit; ArgumentError for an argument that is wrong.
    """
    if floor and ceiling:
        raise ArgumentError("--floor and --ceiling are two evaluations.", "Ask for one at a time.")
    if (floor or ceiling) and (run is not None or step is not None):
        raise ArgumentError(
            f"{'--floor' if floor else '--ceiling'} judges the data itself, not "
            f"{name_of(run) if run is not None else f'step {step}'}.",
            "Leave one of them out.",
        )
    require_torchmetrics()  # before anything that takes long
    asked = (None if data is None else os.fspath(data), size, os.fspath(target), pairs)
    place = pick_device(device)
    notes: tuple[str, ...] = ()
    if floor or ceiling:
        dataset = _origin_of_newest(Path(runs)).load(*asked)[0]
        judged = _floor(dataset, seed) if floor else _ceiling(dataset, seed)
    else:
        given = None if run is None else name_of(run)
        at = None if step is None else str(step)
        judged, origin = _find(given, Path(runs), at, which, seed, place, threads, say)
        dataset, notes = origin.load(*asked)
    translated = Translated.of(judged.takes, judged.reals, dataset, judged.path, seed) if judged.takes else None
    if translated:
        dataset = translated.reals
    if not (floor or ceiling):
        _check_shape(judged, dataset)
    with computing_on(threads or available()), terminal.bars(progress) as watch:
        found = evaluation.evaluate(
            judged.draw(dataset.class_counts or judged.class_counts, translated.source if translated else None),
            dataset,
            samples=_most(samples, judged.available or (len(translated.order) if translated else None)),
            pairs=translated.pairs if translated else None,
            extractor=extractor,
            inception_weights=None if inception_weights is None else Path(inception_weights),
            device=place,
            against=translated.against if translated else judged.against,
            seed=seed,
            batch=batch,
            subject={
                "kind": judged.kind,
                "path": judged.path and str(judged.path),
                "step": judged.step,
                **({"which": judged.which} if judged.which else {}),
            },
            notes=(*judged.notes, *notes),
            watch=watch,
        )
    folder = judged.folder if output is None else Path(output)
    files = found.save(folder) if folder else {}
    for text in found.notes:
        say(text)
    return found.to_json() | {"files": files}


def _most(asked: int | None, available: int | None) -> int | None:
    """The smaller of two numbers of samples; None: no limit."""
    known = [count for count in (asked, available) if count]
    return min(known, default=None)


def draw_from(
    source: Source, seed: int, device: torch.device, class_counts: Sequence[int] = (), pictures: Rows | None = None
) -> Draw:
    """The samples of `source` by number: (start, count) → (count, *shape).

    Latents are those of `gantool generate`; each class comes as often as in data with these `class_counts`. `pictures`:
    what it is to translate; None: the first rows of the data that it was trained on.
    """
    generator = source.generator.to(device)

    @torch.inference_mode()
    def draw(start: int, count: int) -> torch.Tensor:
        index = np.arange(start, start + count, dtype=np.int64)
        given = None if pictures is None else lambda first, n: as_samples(pictures(first, n))
        drawn = source.drawn(seed, index, class_counts, given)
        made: torch.Tensor = generator(*(tensor.to(device) for tensor in drawn.values()))
        return made.cpu()

    return draw


@dataclass(frozen=True)
class _Origin:
    """The data that `path` was trained on; `request` is None when only its name is known."""

    path: Path | None
    name: str
    request: Request | None
    fingerprint: str | None

    def load(self, given: str | None, size: int | None, target: str, pairs: str) -> tuple[Dataset, tuple[str, ...]]:
        """Load the data to compare with, `given` or this, and notes. GantoolError: it is not there or has changed."""
        asked = self.request or Request(given or "")
        asked = asked._replace(source=given or asked.source, size=size or asked.size)
        if target or pairs:  # another way to pair what it was trained on, or other data
            asked = asked._replace(target=target, pairs=pairs)
            given = asked.source
        source = asked.source
        if not source:
            raise GantoolError(
                f"{self.path} was trained on {self.name!r}, but does not say where that is.",
                "Name it: --data FOLDER or FILE.",
            )
        try:
            data = load(*asked).centred()
        except GantoolError as error:
            if given:
                raise
            raise GantoolError(error.message, "Say where the data is now: --data FOLDER or FILE.") from error
        if self.fingerprint in (None, data.fingerprint):
            return data, ()
        if given:
            return data, (f"{source} is not what it was trained on: memorisation can't be measured.",)
        raise GantoolError(
            f"The data {source!r} is not what {self.path} was trained on "
            f"(fingerprint {data.fingerprint[:12]}…, then {self.fingerprint[:12]}…).",
            f"Restore the old data, or compare with this anyway: --data {source}",
        )


@dataclass(frozen=True)
class _Subject:
    """What is evaluated. `draw(class_counts, pictures)(start, n)`: its samples start … start+n-1 of the seed, whose
    classes come as often as in data with these counts, or which are made of these pictures: (n, *shape).
    `class_counts`: those of the data that it was trained on. `takes`: the picture that it takes; `reals`: what its
    samples are compared with.

    `folder`: where the results go by default; None: nowhere. `available`: how many samples there are; None: any number.
    `against`: the rows of the data to compare with; None: all.
    """

    kind: Literal["run", "file", "floor", "ceiling"]
    spec: SampleSpec
    draw: Callable[[Sequence[int], Rows | None], Draw]
    takes: Input | None = None
    reals: Input | None = None
    class_counts: tuple[int, ...] = ()
    path: Path | None = None
    step: int | None = None
    which: str = ""  # of several generators
    folder: Path | None = None
    available: int | None = None
    against: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def _check_shape(judged: _Subject, data: Dataset) -> None:
    if data.spec.shape != judged.spec.shape:
        raise GantoolError(
            f"{judged.path} makes samples of {judged.spec}; those of {data.source!r} are {data.spec}.",
            "Give data of that shape: --data FOLDER or FILE, or --size PIXELS.",
        )


def _origin_of_newest(runs: Path) -> _Origin:
    """The data of the newest run; the built-in digits when there is no run."""
    try:
        run = rundir.newest(runs)
    except GantoolError:
        return _Origin(None, "digits", Request("digits"), None)
    return _origin_of_run(run)


def _origin_of_run(run: RunDir) -> _Origin:
    info = run.read()
    return _Origin(run.path, info.data.name, info.request(), info.data.fingerprint)


def _find(
    given: str | None,
    runs: Path,
    step: str | None,
    which: str,
    seed: int,
    device: torch.device,
    threads: int | None,
    on_note: Callable[[str], None],
) -> tuple[_Subject, _Origin]:
    """The run or file that `given` names; None: the newest run."""
    with reading(Path(given) if given else runs):
        is_file = given is not None and (Path(given).is_file() or Path(given).suffix in SUFFIXES)
    if is_file:
        if step is not None:
            raise ArgumentError(f"--step {step} is for a run; {given} is a file.", "Leave it out, or name the run.")
        if which:
            raise ArgumentError(f"--which {which} is for a run; {given} is a file.", "Leave it out, or name the run.")
        return _file(find_artifact(given, runs), seed, threads)
    run = rundir.find(runs, given) if given else rundir.newest(runs)
    return _run(run, step, which, seed, device, on_note)


def _floor(data: Dataset, seed: int) -> _Subject:
    """One half of the data against the other: the best that this number of samples can show."""
    fakes, reals = halves(len(data), seed)
    return _Subject(
        kind="floor",
        spec=data.spec,
        draw=lambda counts, pictures: lambda start, count: data.images[fakes[start : start + count]],
        available=len(fakes),
        against=reals,
    )


def _ceiling(data: Dataset, seed: int) -> _Subject:
    """Uniform noise: any generator is better."""
    return _Subject("ceiling", data.spec, lambda counts, pictures: uniform(data.spec.shape, seed))


def _run(
    run: RunDir, step: str | None, which: str, seed: int, device: torch.device, on_note: Callable[[str], None]
) -> tuple[_Subject, _Origin]:
    source = source_of(run, on_note, step, which)
    reached = int(source.about.training["step"])
    takes = next((item for item in source.inputs if item.is_picture), None)
    others = ", ".join(i.name for i in source.inputs if i.distribution == "data" and i is not takes)
    notes = (f"The generator takes data ({others}): the fakes are made of its first rows.",) if others else ()
    data = run.read().data
    subject = _Subject(
        kind="run",
        spec=source.output,
        draw=partial(draw_from, source, seed, device),
        takes=takes,
        reals=source.reals,
        class_counts=data.class_counts,
        path=run.path,
        step=reached,
        which=source.about.which,
        folder=run.path / "evaluation" / (f"step-{reached:08d}" + (f".{which}" if which else "")),
        notes=notes,
    )
    return subject, _origin_of_run(run)


def _file(path: Path, seed: int, threads: int | None) -> tuple[_Subject, _Origin]:
    generator = Generator(path, threads=threads)
    if generator.manifest.picture is not None:
        raise ArgumentError(
            f"{path} makes pictures of pictures, and does not say which of the data it takes.",
            "Evaluate the run that it is of: gantool evaluate RUN",
        )
    output = generator.manifest.output
    spec = SampleSpec((generator.shape[-1], *generator.shape[:-1]) if output.levels else output.shape, rate=output.rate)

    def draw(counts: Sequence[int], pictures: Rows | None) -> Draw:
        def drawn(start: int, count: int) -> np.ndarray:
            classes = generator.manifest.classes
            labels = labels_of(np.arange(start, start + count), classes, counts) if classes else None
            samples = generator.sample(count, seed, start, labels)
            return np.ascontiguousarray(np.moveaxis(samples, -1, 1)) if output.levels else samples

        return drawn

    subject = _Subject(
        kind="file",
        spec=spec,
        draw=draw,
        path=path,
        step=generator.manifest.training.get("step"),
        which=generator.manifest.which,
        folder=path.with_suffix(".evaluation"),
    )
    return subject, _origin(path, generator.manifest, spec)


def _origin(path: Path, manifest: Manifest, spec: SampleSpec) -> _Origin:
    """Of an exported file: by the record of the run that it is in, or by its manifest."""
    name, fingerprint = manifest.data.get("name", "data"), manifest.data.get("fingerprint")
    run = run_of(path, manifest)
    if run is not None:
        return replace(_origin_of_run(run), path=path)
    side = spec.sides[0] if len(set(spec.sides)) == 1 else None
    asked = Request(name if name in names() else "", side, rate=spec.rate or None)
    return _Origin(path, name, asked, fingerprint)
