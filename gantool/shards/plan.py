"""Which images go into which file, and what a worker reports of it.

Does not import NumPy: a worker sets its number of threads first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from gantool.errors import GantoolError

# with the suffix of their files
FORMATS = {"npy": "npy", "png-tar": "tar", "wav-tar": "tar", "glb-tar": "tar", "parquet": "parquet"}
# the axes and the channels that samples of a format have; a .npy takes all
_TAKES = {"png": (3, (1, 3)), "parquet": (3, (1, 3)), "wav": (2, (1, 2)), "glb": (4, (1,))}
_KINDS = {2: ("sound", "wav"), 3: ("image", "png"), 4: ("volume", "glb")}  # by their axes: one, and its files
MAX_SHARDS = 50_000  # index.json takes some 230 bytes for each, and must stay below files.MAX_JSON_BYTES
ON_GPU = ("cuda", "tensorrt")  # providers whose workers get a GPU each
MAX_LABELS = 65_536  # a file may claim any number of classes
MAX_RETRIES = 2  # of a shard whose worker was lost
PART_IMAGES = 1024
PART_BYTES = 32 * 2**20  # of images in the memory of a worker


@dataclass(frozen=True)
class Shard:
    """Images `first … first+count-1`, in the file `name`."""

    number: int
    first: int
    count: int
    name: str


@dataclass(frozen=True)
class Plan:
    """Everything that the bytes of the shards depend on: no path, no number of workers.

    `manifest_sha256`: of the artifact's manifest, which includes the digest of its graph. `shape`: of a sample,
    as `Generator.shape`. `labels`: image i has class `labels[i % len(labels)]`; empty for a generator without classes.
    `values`: those of the generator that were given, by name.
    """

    manifest_sha256: str
    seed: int
    first: int
    count: int
    shard_size: int
    format: str
    shape: tuple[int, ...]
    labels: tuple[int, ...]
    provider: str
    provenance: bool
    versions: dict[str, str]
    values: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """GantoolError for images that do not exist and formats that can't hold them."""
        from gantool.artifact.latents import MAX_INDEX, key_from_seed

        if self.format not in FORMATS:
            raise GantoolError(f"There is no format {self.format!r}.", f"Use one of {', '.join(FORMATS)}.")
        for name in ("count", "shard_size"):
            if getattr(self, name) < 1:
                raise GantoolError(f"{name} is {getattr(self, name)}.", "Give 1 or more.")
        key_from_seed(self.seed)
        if self.first < 0 or self.first + self.count > MAX_INDEX:
            last = self.first + self.count - 1 if self.first >= 0 else self.first
            raise GantoolError(f"There is no {self._noun} {last}.", "They run from 0 to 2**47 - 1.")
        if len(self) > MAX_SHARDS:
            fitting = math.ceil(self.count / MAX_SHARDS)
            raise GantoolError(
                f"{self.count:,} {self._noun}s are {len(self):,} shards of {self.shard_size:,}; at most {MAX_SHARDS:,} "
                "fit.",
                f"Make them larger: --shard-size {fitting} or more.",
            )
        axes, channels = len(self.shape), self.shape[-1]
        takes = _TAKES.get(self.format.partition("-")[0], (axes, (channels,)))
        if axes != takes[0] or channels not in takes[1]:
            own = _KINDS[axes][1]
            other = f" or {own}-tar" if channels in _TAKES[own][1] else ""
            raise GantoolError(
                f"Shards of {self._noun}s with {channels} channels can't be written as {self.format}.",
                f"Use --format npy{other}.",
            )

    @property
    def _noun(self) -> str:
        return _KINDS[len(self.shape)][0]

    @property
    def dtype(self) -> str:
        """Of the samples, as a .npy file names it: 16 bits of audio (T, C), 8 of others."""
        return "<i2" if len(self.shape) == 2 else "|u1"

    def __len__(self) -> int:
        """The number of shards."""
        return -(-self.count // self.shard_size)

    def shards(self) -> Iterator[Shard]:
        return (self.shard(number) for number in range(len(self)))

    def shard(self, number: int) -> Shard:
        """Shard `number`, from 0; the last one may be smaller."""
        before = number * self.shard_size
        name = f"shard-{number:06d}.{FORMATS[self.format]}"
        return Shard(number, self.first + before, min(self.shard_size, self.count - before), name)

    def parts(self, shard: Shard) -> Iterator[tuple[int, int]]:
        """(first, count) of each part that is made at once: the same batches on every worker."""
        fitting = min(PART_IMAGES, max(1, PART_BYTES // math.prod(self.shape)))
        size = fitting // 64 * 64 or fitting  # whole chunks of the runtime
        for start in range(0, shard.count, size):
            yield shard.first + start, min(size, shard.count - start)

    def labels_of(self, first: int, count: int) -> list[int] | None:
        """The classes of images `first … first+count-1`; None for a generator without classes."""
        if not self.labels:
            return None
        return [self.labels[i % len(self.labels)] for i in range(first, first + count)]

    def to_dict(self) -> dict[str, Any]:
        """As in index.json: plain JSON values."""
        return asdict(self) | {"shape": list(self.shape), "labels": list(self.labels)}


# what an engine reports


@dataclass(frozen=True)
class Made:
    """A finished shard: the size of its file and its SHA-256, and the process that made it."""

    number: int
    bytes: int
    sha256: str
    pid: int


@dataclass(frozen=True)
class Part:
    """`done` images of shard `number` are made."""

    number: int
    done: int


@dataclass(frozen=True)
class WorkerLost:
    """The worker of shard `number` was lost; the shard is made again."""

    number: int
    why: str


Event = Made | Part | WorkerLost
Report = Callable[[Event], None]


# what a plan is made from


def choose_labels(labels: Sequence[int] | None, classes: int) -> tuple[int, ...]:
    """The labels that the images cycle over: those given, or all `classes` (0: the generator has none)."""
    if not classes:
        if labels is not None:
            raise GantoolError("The generator takes no labels.", "Leave --label out.")
        return ()
    if labels is None:
        if classes > MAX_LABELS:
            raise GantoolError(f"The generator has {classes:,} classes.", "Name some of them: --label 0,1,2")
        return tuple(range(classes))
    if not 1 <= len(labels) <= MAX_LABELS:
        raise GantoolError(f"{len(labels):,} labels were given.", f"Give 1 to {MAX_LABELS:,}.")
    wrong = next((label for label in labels if not 0 <= label < classes), None)
    if wrong is not None:
        raise GantoolError(f"There is no class {wrong}: they run from 0 to {classes - 1}.")
    return tuple(labels)


def optional_library(name: str, extra: str) -> Any:
    """The module `name`; GantoolError with the line that installs it when it is missing or broken."""
    try:
        return import_module(name)
    except ImportError as error:
        raise GantoolError(f"{name} can't be imported: {error}.", f"pip install 'gantool[{extra}]'") from error
