"""A run on disk: its numbered folder and what is where in it; finding, locking and deleting one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

from gantool.data import Request
from gantool.errors import GantoolError
from gantool.plugin.options import reason
from gantool.plugin.train_options import RunOptions
from gantool.system import locking
from gantool.system.files import read_json, reading, recover, remove_folder, write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

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
    arrays: dict[str, tuple[int, ...]] = {}  # the shapes of a row of the others
    rate: int = 0  # of audio, in samples a second
    count: int
    fingerprint: str
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    licence: str = ""
    target: str = ""
    pairs: str = ""


class RunInfo(RunOptions):
    """`run.json`: everything that decides the run's weights, and how far it has come."""

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
    extractor: str = ""  # the feature extractor of `frechet`
    processes: int = 1  # that trained it last
    threads_used: int = 0  # of torch, as `auto` was decided; 0: not yet

    def request(self) -> Request:
        """What the run asks of its data."""
        data = self.data
        return Request(data.source, data.size, self.skip_broken, data.target, data.pairs, self.jitter, self.rate)


class RunDir:
    """One run's folder."""

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
        """The lock file; see `hold`."""
        return self.path / ".lock"

    def sample(self, step: int) -> Path:
        return self.path / "samples" / f"step-{step:08d}.png"

    def sound(self, step: int) -> Path:
        """Beside a grid of sounds: the first of them, to listen to."""
        return self.sample(step).with_suffix(".wav")

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:08d}.pt"

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first; a half-written one has another name."""
        folder = self.path / "checkpoints"
        with reading(folder):
            if not folder.is_dir():
                return []
            return sorted(p for p in folder.iterdir() if CHECKPOINT.fullmatch(p.name) and p.is_file())

    @property
    def trained(self) -> int:
        """When its newest checkpoint was saved, in nanoseconds; 0: it has none."""
        kept = self.checkpoints()
        return kept[-1].stat().st_mtime_ns if kept else 0

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
            info.model_dump(mode="json")  # fails for a config that nests too deeply
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise GantoolError(f"{path} is not a run's description: {where}: {reason(error)}.") from error
        except (ValueError, RecursionError) as error:
            raise GantoolError(f"{path} is not a run's description: {error}.") from error
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
        """Remove the temporary files of a killed process. Call it only with the lock held."""
        for folder in (self.path, self.checkpoint(0).parent, self.sample(0).parent):
            recover(folder)

    def hold(self, wait: float = 0.0) -> BaseFileLock:
        """Lock the run for this process, which trains it; wait up to `wait` seconds. Exporting needs no lock.

        Again in the same process: the same object. The lock is free when its process has ended, or when nothing refers
        to the object any more. GantoolError when another process trains the run (the message says which), or when the
        folder can't be written.
        """
        try:
            return locking.acquire(self.lock, wait, reentrant=True)
        except locking.Busy as busy:
            raise GantoolError(
                f"The run {self.path} is being trained by another process ({busy.holder}).",
                "Wait until it ends, or stop it with Ctrl-C where it runs; then resume again.",
            ) from None
        except OSError as error:
            raise GantoolError(
                f"The run {self.path} can't be written: its lock can't be taken: {error}.",
                "Make the folder writable, or copy it to a disk that is and resume it there.",
            ) from error

    def holder(self) -> str:
        """Which process trains the run now; "" when none does, or it can't be found out."""
        return locking.holder(self.lock)

    def check_deletable(self) -> None:
        """GantoolError when the run must not be deleted: it is a link, or is being trained."""
        if self.path.is_symlink():
            raise GantoolError(
                f"The run {self.path} is a link to {self.path.resolve()}: it is not followed.",
                "Remove the link yourself, or name the folder that it points to.",
            )
        if who := self.holder():
            raise GantoolError(
                f"The run {self.path} is being trained ({who}): it is not deleted.",
                "Stop the training with Ctrl-C where it runs, then delete again.",
            )

    def size(self) -> int:
        """Bytes that deleting the run frees; a file with two names in it counts once."""
        seen: dict[tuple[int, int], int] = {}
        with reading(self.path):
            for folder, _, names in os.walk(self.path):
                for name in names:
                    status = Path(folder, name).lstat()
                    seen[status.st_dev, status.st_ino] = status.st_size
        return sum(seen.values())

    def delete(self) -> int:
        """Delete the run; returns the bytes freed. Links in it are removed, not followed.

        A kill or an error leaves the run whole, or no run: no command finds half of one. GantoolError as of
        `check_deletable`, and when a file can't be removed.
        """
        self.check_deletable()
        held = self.hold()
        freed, path = self.size(), self.path.resolve()
        try:
            if os.name == "nt":
                held.release()  # Windows renames no folder with an open file in it
            remove_folder(path)
        except OSError as error:
            hint = "Mend the folder's rights. " + (
                "Then delete again." if path.exists() else "The next `gantool runs` removes the rest."
            )
            raise GantoolError(f"The run {self.path} can't be deleted: {error}.", hint) from error
        finally:
            held.release(force=True)
        return freed


def label(*parts: str) -> str:
    """A folder label of any names: `mlp`, `My pictures!` → mlp-My-pictures."""
    kept = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-._") for part in parts]
    return "-".join(part for part in kept if part)[:80] or "run"


def create(runs: Path, label: str) -> RunDir:
    """Make the next numbered folder, such as runs/0007-mlp-digits; safe when several processes do it at once."""
    if not _NAME.fullmatch(label):
        raise GantoolError(
            f"{label!r} can't be part of a folder's name.",
            "Use letters, digits, '.', '_' and '-', 100 at most.",
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
        recover(runs)
        lock = runs / ".lock"
        with locking.hold(lock, wait=None):  # no two processes may take one number
            number = max(map(_number, _folders(runs)), default=0) + 1
            path = runs / f"{number:04d}-{label}"
            path.mkdir()
            with suppress(OSError):  # Windows removes no open file
                lock.unlink()
        return RunDir(path)
    except OSError as error:
        raise GantoolError(
            f"The runs folder {runs} can't be written: {error.strerror}.", "Name another with --runs DIR."
        ) from error


def list_runs(runs: Path) -> list[RunDir]:
    """Runs in order of their numbers."""
    recover(runs)  # a killed `gantool runs delete`
    with reading(runs):
        return [RunDir(path) for path in _folders(runs)]


def newest(runs: Path) -> RunDir:
    """The run that was trained last, by the time of its checkpoint: the newest, or an older one that was resumed."""
    found = max(list_runs(runs), key=lambda run: (run.trained, run.number), default=None)
    if found and found.trained:
        return found
    raise GantoolError(f"There is no trained run in {runs}.", "Train one first: gantool train mlp")


def latest(runs: Path) -> RunDir:
    """The run that began or was trained last, by the time of its run.json, which every tick writes."""
    known = [(path.stat().st_mtime_ns, run) for run in list_runs(runs) if (path := run.path / "run.json").is_file()]
    if not known:
        raise GantoolError(f"There is no run in {runs}.", "Train one: gantool train mlp")
    return max(known, key=lambda each: each[0])[1]


def find_or_newest(runs: Path, name: str | None) -> RunDir:
    """`find`; without a name `newest`."""
    return newest(runs) if name is None else find(runs, name)


def find(runs: Path, name: str) -> RunDir:
    """A run by path, by folder name, or by number (`7` or `0007`) inside `runs`."""
    for candidate in (Path(name), runs / name):
        with reading(candidate):
            if (candidate / "run.json").is_file():
                return RunDir(candidate)
    known, name = list_runs(runs), name.rstrip("/")  # as shells complete folder names
    # by folder name once more: without a run.json it is a run, too, and reading it says what is wrong
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
