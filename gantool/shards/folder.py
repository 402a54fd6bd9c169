"""The folder of the shards: its lock, its index.json, and the removal of unfinished files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError, excerpt
from gantool.shards.maker import write_error
from gantool.shards.plan import FORMATS, Made, Plan, Shard
from gantool.system import locking
from gantool.system.files import read_json, reading, recover, sha256_of, write_json

SCHEMA = 1
INDEX = "index.json"
LOCK = ".lock"
TOKEN = ".shard-token-"  # begins the name of a file by which machines know that they share the folder
WRITE_SHARE = 1 / 20  # of the run time at most is spent writing the index


class Folder:
    """The shards of `plan` in `path`, and which are finished according to index.json. See `opened`."""

    def __init__(self, path: Path, plan: Plan, about: dict[str, Any]) -> None:
        self.path, self.plan, self.about = path, plan, about
        self.finished: dict[int, dict[str, Any]] = {}  # by number: bytes, sha256
        self.damaged: list[str] = []  # names of shards in the index whose files are gone or changed
        self._next_write = 0.0

    def unfinished(self) -> list[Shard]:
        return [shard for shard in self.plan.shards() if shard.number not in self.finished]

    def add(self, made: Made) -> None:
        """Note a finished shard. index.json is written now or with a later shard; after a kill, shards that it does
        not name are made again."""
        self.finished[made.number] = {"bytes": made.bytes, "sha256": made.sha256}
        if time.monotonic() >= self._next_write:
            self.write()

    def write(self) -> None:
        """Write index.json. GantoolError: the disk is full or not writable."""
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
            raise write_error(self.path / INDEX, error) from error
        now = time.monotonic()
        self._next_write = now + (now - start) / WRITE_SHARE

    def tidy(self) -> None:
        """Remove files that were unfinished when a run or a worker was killed, and write index.json."""
        try:
            recover(self.path)
            for token in self.path.glob(f"{TOKEN}*"):
                token.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        self.write()

    def read(self, verify: bool) -> None:
        """Take over the shards of index.json whose files have the right size and, with `verify`, the right SHA-256.

        GantoolError: index.json is damaged or of another plan, or there are shards without it.
        """
        index = self.path / INDEX
        with reading(self.path):
            shard = next((path for end in FORMATS.values() for path in self.path.glob(f"shard-*.{end}")), None)
            exists = index.exists()
        if not exists:
            if shard is not None:
                raise GantoolError(
                    f"{shard} is there without an {INDEX}: it is unknown what made it.",
                    "Name another folder with --out.",
                )
            return
        value = read_json(index)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("plan"), dict):
            raise GantoolError(f"{index} is not an index of shards.", "Name another folder with --out.")
        if shard is None and not value.get("shards"):
            return  # no shard was finished: any plan may use the folder
        self._compare(value["plan"])
        for entry in value["shards"] if isinstance(value.get("shards"), list) else ():
            self._take(entry, verify)

    def _compare(self, there: dict[str, Any]) -> None:
        here = self.plan.to_dict()
        differing = [
            f"{excerpt(name)} {excerpt(str(there.get(name)))} there, {excerpt(str(here.get(name)))} now"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if differing:
            raise GantoolError(
                f"{self.path} holds other shards: {'; '.join(differing)}.",
                "Ask for what is there, or name another folder with --out.",
            )

    def _take(self, entry: Any, verify: bool) -> None:
        try:
            digest, size = str(entry["sha256"]), int(entry["bytes"])
            number, rest = divmod(entry["first"] - self.plan.first, self.plan.shard_size)
            if rest or not 0 <= number < len(self.plan):
                raise ValueError("no shard of the plan begins there")
        except (TypeError, KeyError, ValueError) as error:
            raise GantoolError(
                f"{self.path / INDEX} is damaged: {excerpt(repr(entry))}.", "Name another folder with --out."
            ) from error
        path = self.path / self.plan.shard(number).name
        with reading(path):
            whole = path.is_file() and path.stat().st_size == size
        if whole and (not verify or sha256_of(path) == digest):
            self.finished[number] = {"bytes": size, "sha256": digest}
        else:
            self.damaged.append(path.name)


@contextmanager
def opened(path: Path, plan: Plan, about: dict[str, Any], verify: bool = False) -> Iterator[Folder]:
    """The folder, created if needed and locked, without temporary files and with an index.json.

    `about`: facts about the artifact, for index.json. GantoolError: the folder is not writable, another process writes
    to it, or it holds the shards of another plan.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = locking.acquire(path / LOCK)
    except locking.Busy as busy:
        raise GantoolError(
            f"Another process writes shards to {path}: {busy.holder}.",
            "Wait until it ends, or name another folder with --out.",
        ) from None
    except OSError as error:
        raise GantoolError(f"{path} can't be written: {error}.", "Name another folder with --out.") from error
    try:
        folder = Folder(path, plan, about)
        folder.read(verify)
        folder.tidy()
        try:
            yield folder
        except BaseException:
            with suppress(GantoolError):  # a full disk must not hide the first error
                folder.tidy()
            raise
        folder.tidy()
    finally:
        lock.release()
