"""A run on disk: the numbered folder, what is where in it, and how one is found again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from gantool.errors import GantoolError
from gantool.plugin.train_options import RunOptions
from gantool.system.files import read_json, reading, write_json

SCHEMA = 2
CHECKPOINT = re.compile(r"step-(\d{8})\.pt")
_FOLDER = re.compile(r"(\d{4,})-[^/]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Status = Literal["running", "interrupted", "failed", "finished"]


class NoSuchRun(GantoolError):
    """No run has the name asked for."""


class DataInfo(BaseModel, extra="forbid"):
    source: str
    name: str
    size: int | None
    shape: tuple[int, ...]
    classes: int
    count: int
    fingerprint: str
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    licence: str = ""


class RunInfo(RunOptions):
    """`run.json`: everything that decided the run, and where it stands."""

    schema_version: int = SCHEMA
    created: str
    status: Status
    step: int
    architecture: str
    plugin: str
    plugin_version: str
    config: dict[str, Any]
    recipe: dict[str, Any]
    data: DataInfo
    steps: int
    versions: dict[str, str]
    rollbacks: int = 0
    extractor: str = ""  # whose features `frechet` is the distance of
    processes: int = 1  # that trained it last


class RunDir:
    """Paths inside one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def number(self) -> int:
        return _number(self.path)

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def export(self) -> Path:
        return self.path / "export"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run; exporting needs none."""
        return self.path / ".lock"

    def sample(self, step: int) -> Path:
        return self.path / "samples" / f"step-{step:08d}.png"

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:08d}.pt"

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first (a half-written one has another name)."""
        folder = self.path / "checkpoints"
        with reading(folder):
            if not folder.is_dir():
                return []
            return sorted(p for p in folder.iterdir() if CHECKPOINT.fullmatch(p.name) and p.is_file())

    def step_of(self, checkpoint: Path) -> int:
        """The step in a checkpoint's name."""
        found = CHECKPOINT.fullmatch(checkpoint.name)
        assert found
        return int(found[1])

    def latest_checkpoint(self) -> Path:
        checkpoints = self.checkpoints()
        if not checkpoints:
            raise GantoolError(
                f"The run {self.path} has no checkpoint.", "It stopped before its first tick: train again."
            )
        return checkpoints[-1]

    def read(self) -> RunInfo:
        path = self.path / "run.json"
        value = read_json(path)
        if isinstance(value, dict) and isinstance(v := value.get("schema_version"), int) and v > SCHEMA:
            raise GantoolError(
                f"{path} has schema {v}; this gantool reads up to {SCHEMA}.",
                "Upgrade: pip install -U gantool",
            )
        if isinstance(value, dict) and value.get("schema_version") == 1:
            value.setdefault("engine", "eager")  # the only one then
        try:
            info = RunInfo.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise GantoolError(f"{path} is not a run's description: {where}: {first['msg']}.") from error
        info.schema_version = SCHEMA  # the defaults of its new fields are the migration
        return info

    def write(self, info: RunInfo) -> None:
        with self.writing():
            write_json(self.path / "run.json", info.model_dump(mode="json"))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """An OSError inside becomes a GantoolError that names the run and says what to do."""
        try:
            yield
        except OSError as error:
            raise GantoolError(
                f"The run {self.path} can't be written: {error}.",
                "Free space or mend the folder, then --resume the run.",
            ) from error

    def sweep(self) -> None:
        """Remove the temporary files of a killed process. Only for who holds the lock: no other is writing then."""
        for folder in (self.path, self.checkpoint(0).parent, self.sample(0).parent):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)


def label(*parts: str) -> str:
    """A folder label from names that may hold anything: `mlp`, `My pictures!` → mlp-My-pictures."""
    kept = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-._") for part in parts]
    return "-".join(part for part in kept if part)[:80] or "run"


def create(runs: Path, label: str) -> RunDir:
    """Make the next numbered folder, e.g. runs/0007-mlp-digits; safe when two start at once."""
    if not _NAME.fullmatch(label):
        raise GantoolError(
            f"{label!r} can't be part of a folder's name.",
            "Use letters, digits, '.', '_' and '-', 100 at most.",
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
        number = max(map(_number, _folders(runs)), default=0)
        while True:
            number += 1
            claim = runs / f".{number:04d}"  # labels differ, so only a folder of the number alone can be fought for
            try:
                claim.mkdir()
            except FileExistsError:
                continue
            try:
                if number not in map(_number, _folders(runs)):
                    path = runs / f"{number:04d}-{label}"
                    path.mkdir()
                    return RunDir(path)
            finally:
                claim.rmdir()
    except OSError as error:
        raise GantoolError(
            f"The runs folder {runs} can't be written: {error.strerror}.", "Name another with --runs DIR."
        ) from error


def list_runs(runs: Path) -> list[RunDir]:
    """Runs in order of their numbers."""
    with reading(runs):
        return [RunDir(path) for path in _folders(runs)]


def newest(runs: Path) -> RunDir:
    """The newest run that has a checkpoint."""
    for run in reversed(list_runs(runs)):
        if run.checkpoints():
            return run
    raise GantoolError(f"There is no trained run in {runs}.", "Train one first: gantool train mlp")


def find(runs: Path, name: str) -> RunDir:
    """A run by path, by folder name, or by number (`7` or `0007`) inside `runs`."""
    for candidate in (Path(name), runs / name):
        with reading(candidate):
            if (candidate / "run.json").is_file():
                return RunDir(candidate)
    known, name = list_runs(runs), name.rstrip("/")  # as shells complete folder names
    # by folder name once more: one without a run.json is a run, too, and its reader says what is wrong with it
    matches = [run for run in known if run.name == name or (name.isdecimal() and run.number == int(name))]
    if len(matches) == 1:
        return matches[0]
    last = ", ".join(run.name for run in known[-5:]) or "none"
    raise NoSuchRun(f"There is no run {name!r}.", f"Newest runs in {runs}: {last}.")


def _folders(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    folders = [path for path in runs.iterdir() if path.is_dir() and _FOLDER.fullmatch(path.name)]
    return sorted(folders, key=lambda path: (_number(path), path.name))


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[0])
