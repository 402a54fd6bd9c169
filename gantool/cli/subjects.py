"""What `gantool evaluate` can judge: a run's generator, or an exported file; both give the same numbered images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gantool.artifact import latents
from gantool.cli.artifacts import find_artifact
from gantool.data import Dataset, load
from gantool.data.catalog import names
from gantool.errors import GantoolError
from gantool.exporting import Source, source_of
from gantool.metrics.samples import halves, uniform
from gantool.plugin.architecture import SampleSpec
from gantool.run import rundir
from gantool.run.rundir import RunDir
from gantool.runtime import Generator
from gantool.system.files import reading

if TYPE_CHECKING:
    from gantool.artifact.manifest import Manifest

Draw = Callable[[int, int], "np.ndarray | torch.Tensor"]


@dataclass(frozen=True)
class Origin:
    """What a generator was trained on. `source` and `size` load it; `source` is None when only its name is known."""

    name: str
    source: str | None
    size: int | None
    fingerprint: str | None

    def load(self, given: str | None, size: int | None, judged: Subject) -> tuple[Dataset, tuple[str, ...]]:
        """The data to compare with (`given`, or this), and notes. GantoolError: it is not there, or does not fit."""
        source = given or self.source
        if source is None:
            raise GantoolError(
                f"{judged.path} was trained on {self.name!r}, and does not know where that lies.",
                "Name it: --data FOLDER or FILE.",
            )
        try:
            data = load(source, size or self.size)
        except GantoolError as error:
            if given:
                raise
            raise GantoolError(error.message, "Say where the data lies now: --data FOLDER or FILE.") from error
        if data.spec.shape != judged.spec.shape:
            raise GantoolError(
                f"{judged.path} makes samples of {judged.spec}; those of {source!r} are {data.spec}.",
                "Give data of that shape: --data FOLDER or FILE, or --size PIXELS.",
            )
        if self.fingerprint in (None, data.fingerprint):
            return data, ()
        if given:
            return data, (f"{source} is not what it was trained on: memorisation can't be seen.",)
        raise GantoolError(
            f"The data {source!r} is not what {judged.path} was trained on "
            f"(fingerprint {data.fingerprint[:12]}…, then {self.fingerprint[:12]}…).",
            f"Put the old data back, or compare with this all the same: --data {source}",
        )


@dataclass(frozen=True)
class Subject:
    """What is judged. `draw(start, n)`: its samples start … start+n-1 of the seed, (n, *shape).

    `folder`: where the results go unless told; None: nowhere. `most`: how many samples there are. `against`: the rows
    of the data that it is compared with and may have memorised; None: all.
    """

    kind: Literal["run", "file", "floor", "ceiling"]
    title: str
    spec: SampleSpec
    draw: Draw
    path: Path | None = None
    step: int | None = None
    folder: Path | None = None
    most: int | None = None
    against: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def find_subject(
    given: str | None, runs: Path, step: str | None, seed: int, device: torch.device, say: Callable[[str], None]
) -> tuple[Subject, Origin]:
    """The run or file that `given` names; None: the newest run. `say` is told of damaged checkpoints passed over."""
    with reading(Path(given) if given else runs):
        is_file = given is not None and (Path(given).is_file() or Path(given).suffix in (".onnx", ".pt"))
    if is_file:
        if step is not None:
            raise GantoolError(f"--step {step} is for a run; {given} is a file.", "Leave it out, or name the run.")
        return _file(find_artifact(given, runs), seed)
    run = rundir.find(runs, given) if given else rundir.newest(runs)
    return _run(run, step, seed, device, say)


def floor(data: Dataset, seed: int) -> Subject:
    """One half of the data, against the other: as good as it gets with so many samples."""
    fakes, reals = halves(len(data), seed)
    return Subject(
        kind="floor",
        title="one half of the data against the other",
        spec=data.spec,
        draw=lambda start, count: data.images[fakes[start : start + count]],
        most=len(fakes),
        against=reals,
    )


def ceiling(data: Dataset, seed: int) -> Subject:
    """Uniform noise: what any generator has to beat."""
    return Subject("ceiling", "uniform noise", data.spec, uniform(data.spec.shape, seed))


def _run(
    run: RunDir, step: str | None, seed: int, device: torch.device, say: Callable[[str], None]
) -> tuple[Subject, Origin]:
    source = source_of(run, say, step)
    reached = int(source.about.training["step"])
    takes = ", ".join(item.name for item in source.inputs if item.distribution == "data")
    notes = (f"The generator takes data ({takes}): the fakes are made of its first rows.",) if takes else ()
    data = run.read().data
    subject = Subject(
        kind="run",
        title=f"{run.path}, step {reached:,}",
        spec=source.output,
        draw=_drawer(source, seed, device),
        path=run.path,
        step=reached,
        folder=run.path / "evaluation" / f"step-{reached:08d}",
        notes=notes,
    )
    return subject, Origin(data.name, data.source, data.size, data.fingerprint)


def _drawer(source: Source, seed: int, device: torch.device) -> Draw:
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


def _file(path: Path, seed: int) -> tuple[Subject, Origin]:
    generator = Generator(path)
    output = generator.manifest.output
    image = output.layout in ("CHW", "HWC")
    height, width, channels = generator.shape if image else (0, 0, 0)
    spec = SampleSpec((channels, height, width) if image else output.shape)

    def draw(start: int, count: int) -> np.ndarray:
        samples = generator.sample(count, seed, start)
        return np.ascontiguousarray(np.moveaxis(samples, 3, 1)) if image else samples

    subject = Subject(
        kind="file",
        title=str(path),
        spec=spec,
        draw=draw,
        path=path,
        step=generator.manifest.training.get("step"),
        folder=path.with_suffix(".evaluation"),
    )
    return subject, _origin(path, generator.manifest, height if height == width else None)


def _origin(path: Path, described: Manifest, side: int | None) -> Origin:
    """Of an exported file: the record of the run that it lies in, or what its manifest says."""
    name, fingerprint = described.data.get("name", "data"), described.data.get("fingerprint")
    run = RunDir(path.resolve().parent.parent)
    if run.export == path.resolve().parent and (run.path / "run.json").is_file():
        data = run.read().data
        if data.fingerprint == fingerprint:
            return Origin(data.name, data.source, data.size, data.fingerprint)
    return Origin(name, name if name in names() else None, side or None, fingerprint)
