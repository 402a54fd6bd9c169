"""The folder of the shards: its lock, its index.json, and what a killed run left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gantool.errors import GantoolError, excerpt
from gantool.shards.maker import Made, unwritten
from gantool.shards.plan import FORMATS, Plan, Shard
from gantool.system.files import read_json, reading, sha256_of, write_json

SCHEMA = 1
INDEX = "index.json"
LOCK = ".lock"
SHARE = 20  # the index is written for at most one part in so many of the time


def finished(path: Path) -> int | None:
    """How many shards the index of a folder has; None: it has no index that can be read."""
    try:
        shards = read_json(path / INDEX)["shards"]
    except (GantoolError, KeyError, TypeError):
        return None
    return len(shards) if isinstance(shards, list) else None


class Folder:
    """The shards of `plan` in `path`: which are finished, as index.json has them. See `opened`."""

    def __init__(self, path: Path, plan: Plan, about: dict[str, Any]) -> None:
        self.path, self.plan, self.about = path, plan, about
        self.finished: dict[int, dict[str, Any]] = {}  # by number: bytes, sha256
        self.damaged: list[str] = []  # names of shards that were finished once and are not as they were
        self._next = 0.0

    def todo(self) -> list[Shard]:
        return [shard for shard in self.plan.shards() if shard.number not in self.finished]

    def add(self, made: Made) -> None:
        """Note a finished shard. The index is written now, or with one of the next: a killed run forgets the last few,
        which are made again."""
        self.finished[made.number] = {"bytes": made.bytes, "sha256": made.sha256}
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write index.json. GantoolError: the disk is full, or can't be written."""
        start = time.monotonic()
        shards = []
        for number in sorted(self.finished):
            shard = asdict(self.plan.shard(number))
            shards.append({name: shard[name] for name in ("name", "first", "count")} | self.finished[number])
        complete = len(shards) == len(self.plan)
        index = {"schema": SCHEMA, "complete": complete, "plan": self.plan.to_dict(), "about": self.about}
        try:
            write_json(self.path / INDEX, index | {"shards": shards})
        except OSError as error:
            raise unwritten(self.path / INDEX, error) from error
        now = time.monotonic()
        self._next = now + SHARE * (now - start)

    def sweep(self) -> None:
        """Remove what was being written when a run or a worker was killed. GantoolError: it can't be."""
        try:
            for pattern in (".shard-*.tmp", f".{INDEX}.*.tmp"):
                for path in self.path.glob(pattern):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritten(self.path, error) from error

    def read(self, verify: bool) -> None:
        """Take over what index.json says is finished and has its size still; with `verify`, its SHA-256, too.

        GantoolError: index.json is damaged or of another plan, or there are shards without it.
        """
        index = self.path / INDEX
        with reading(self.path):
            stray = next((path for end in FORMATS.values() for path in self.path.glob(f"shard-*.{end}")), None)
            there = index.exists()
        if not there and stray is not None:
            raise GantoolError(
                f"{stray} is there without an {INDEX}: it can't be told what made it.",
                "Name another folder with --out.",
            )
        if not there:
            return
        value = read_json(index)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("plan"), dict):
            raise GantoolError(f"{index} is not an index of shards.", "Name another folder with --out.")
        if stray is None and not value.get("shards"):
            return  # nothing was made yet: whatever was asked for then
        self._compare(value["plan"])
        for entry in value["shards"] if isinstance(value.get("shards"), list) else ():
            self._take(entry, index, verify)

    def _compare(self, there: dict[str, Any]) -> None:
        here = _flat(self.plan.to_dict())
        there = _flat(there)
        differing = [
            f"{name} {excerpt(str(there.get(name)))} there, {excerpt(str(here.get(name)))} now"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if differing:
            raise GantoolError(
                f"{self.path} holds other shards: {'; '.join(differing)}.",
                "Ask for what is there, or name another folder with --out.",
            )

    def _take(self, entry: Any, index: Path, verify: bool) -> None:
        try:
            first, digest, size = entry["first"] - self.plan.first, str(entry["sha256"]), int(entry["bytes"])
            number, left = divmod(first, self.plan.shard_size)
        except (TypeError, KeyError, ValueError) as error:
            raise GantoolError(f"{index} is damaged: {excerpt(str(entry))}.", "Name another folder: --out.") from error
        if left or not 0 <= number < len(self.plan):
            raise GantoolError(f"{index} is damaged: {excerpt(str(entry))}.", "Name another folder: --out.")
        shard = self.plan.shard(number)
        path = self.path / shard.name
        with reading(path):
            whole = path.is_file() and path.stat().st_size == size
        if whole and (not verify or sha256_of(path) == digest):
            self.finished[number] = {"bytes": size, "sha256": digest}
        else:
            self.damaged.append(shard.name)


@contextmanager
def opened(path: Path, plan: Plan, about: dict[str, Any], verify: bool = False) -> Iterator[Folder]:
    """The folder, made when it is not there, held by this process alone, swept, and with an index.json.

    `about`: what index.json says besides, of the artifact. GantoolError: it can't be written, another process writes to
    it, or it holds the shards of another plan.
    """
    lock = FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise GantoolError(
            f"Another process writes shards to {path}.", "Wait until it ends, or name another folder with --out."
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise GantoolError(f"{path} can't be written: {error}.", "Name another folder with --out.") from error
    try:
        folder = Folder(path, plan, about)
        folder.read(verify)
        folder.sweep()
        folder.write()
        try:
            yield folder
        except BaseException:
            with suppress(GantoolError):  # of a full disk, which must not hide what happened
                folder.sweep()
                folder.write()
            raise
        folder.sweep()
        folder.write()
    finally:
        lock.release()


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with its versions one by one, so that a difference names one."""
    found = {name: value for name, value in plan.items() if name != "versions"}
    versions = plan.get("versions")
    return found | (versions if isinstance(versions, dict) else {})
