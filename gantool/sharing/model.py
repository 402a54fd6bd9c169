"""Gather what is known of exported files: their manifests and digests, their run, its evaluations. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from gantool.artifact.inspection import inspect
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError
from gantool.plugin.options import reason
from gantool.run.exports import ONNX_FILES, TORCH_FILES, find_artifact, run_of
from gantool.run.rundir import RunDir
from gantool.system.files import read_bounded, read_json, reading, recover, sha256_of

README, PICTURE = "README.md", "samples.png"
MARK = "made by gantool card"
MAX_BYTES = 4 * 2**20  # of a README


class Subject(BaseModel):
    step: int | None = None
    which: str = ""  # of several generators


class Figure(BaseModel):
    name: str
    value: float | None
    deviation: float | None = None
    better: str


class Data(BaseModel):
    name: str
    count: int
    fingerprint: str


class Extractor(BaseModel):
    name: str
    version: str


class Space(BaseModel):
    ratio: float | None
    among: int


class Memorisation(BaseModel):
    how_to_read: str
    fakes: int
    features: Space
    pixels: Space


class Classes(BaseModel):
    max_deviation: float
    missing: tuple[str, ...]


class Evaluation(BaseModel):
    """What a card says of an evaluation.json; `gantool.metrics.evaluation` writes it."""

    subject: Subject
    data: Data
    extractor: Extractor
    seed: int
    fakes: int
    reals: int
    figures: dict[str, Figure] = Field(max_length=100)
    floor: dict[str, float | None] = {}
    verdict: str
    classes: Classes | None = None
    memorisation: Memorisation
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class File:
    path: Path
    about: Manifest
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """A generator's exported files in one folder, the one that is used by default first.

    `others`: files there that are of another model. `run`: that they lie in, if any. `evaluations`: of the exported
    checkpoint; `evaluated`: steps of the run that have one.
    """

    files: tuple[File, ...]
    others: tuple[str, ...]
    run: RunDir | None
    evaluations: tuple[Evaluation, ...]
    evaluated: tuple[int, ...]

    @property
    def about(self) -> Manifest:
        return self.files[0].about

    @property
    def card(self) -> Path:
        """The folder of its card by default: its own where a card is there already, as in one from a hub."""
        if self.run is None:
            own = self.files[0].path.parent
            return own if (own / README).is_file() and is_card(own / README) else own / "card"
        return self.run.path / "card" / self.about.which


def is_card(path: Path) -> bool:
    """Whether a README is a card of this program."""
    return MARK.encode() in read_bounded(path, MAX_BYTES)


def find(given: str | None, runs: Path) -> Model:
    """The model that `given` names, as `find_artifact` does. GantoolError: a file has changed since its export."""
    chosen = find_artifact(given, runs)
    about = inspect(chosen).manifest
    run = run_of(chosen, about)
    files, others = [], []
    for name in dict.fromkeys((chosen.name, *ONNX_FILES, *TORCH_FILES)):
        path = chosen.parent / name
        if not path.is_file():
            continue
        found = inspect(path)
        if found.weights_match is False or found.graph_match is False:
            raise GantoolError(f"{path} has changed since its export.", "Do not share it. Export it again.")
        if (found.manifest.model, found.manifest.values) == (about.model, about.values):
            files.append(File(path, found.manifest, found.bytes, sha256_of(path)))
        else:
            others.append(name)
    step = about.training.get("step")
    known = [each for path in _evaluations(run, files) if (each := _read(path)).subject.which == about.which]
    return Model(
        tuple(files),
        tuple(others),
        run,
        tuple(each for each in known if each.subject.step == step),
        tuple(sorted({each.subject.step for each in known if each.subject.step is not None})),
    )


def _evaluations(run: RunDir | None, files: list[File]) -> list[Path]:
    """Those of the run, and those of its files."""
    folders = [file.path.with_suffix(".evaluation") for file in files]
    with reading(files[0].path.parent):
        if run is not None and (run.path / "evaluation").is_dir():
            recover(run.path / "evaluation")
            folders = [*sorted((run.path / "evaluation").iterdir()), *folders]
        return [found for folder in folders if (found := folder / "evaluation.json").is_file()]


def _read(path: Path) -> Evaluation:
    try:
        return Evaluation.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GantoolError(
            f"{path} is not an evaluation: {where}: {reason(error)}.", "Evaluate it again: gantool evaluate"
        ) from error
