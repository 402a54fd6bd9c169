"""What folders, packs and surveys ask of a kind of samples."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gantool.data.image_files import Preparation
from gantool.data.kinds.formats import own_suffixes
from gantool.data.source_files import read
from gantool.plugin.architecture import Kind as KindName
from gantool.system.terminal import megabytes

MAX_GROUPS = 1000  # of duplicates, in a survey
MAX_SIZES = 10  # likewise
Table = tuple[list[str], list[list[str]]]  # titles and rows


@dataclass(frozen=True)
class Look:
    """What a survey notes of a sample: the format of its file, its mode (colour, rate …), and numbers.

    `content` stands for its values: equal samples have equal ones.
    """

    format: str
    mode: str
    numbers: tuple[float, ...]
    content: bytes


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum."""

    min: float
    median: float
    max: float

    @staticmethod
    def of(values: np.ndarray, digits: int = 0) -> Spread | None:
        """None of no values. Without `digits` they are whole numbers."""
        if not len(values):
            return None
        found = (float(each) for each in (values.min(), np.median(values), values.max()))
        return Spread(*(round(each, digits) if digits else int(each) for each in found))

    def __str__(self) -> str:
        return f"{self.min:g} to {self.max:g}, median {self.median:g}"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is in a source.

    `kind`: folder, zip, pack or arrays. `samples`: image, audio or volume. `count`: those that can be used.
    `duplicates`: samples with the values of an earlier one; `duplicate_groups`: their names, the earliest first.
    `broken`: file and reason. Bytes are of all samples as they are, or at `size`; each kind has those of packs, too.
    `pair`: of pairs, the shapes (C, H, W) of a source and a target.
    """

    name: str
    source: str
    kind: str
    samples: KindName
    count: int
    channels: int
    modes: dict[str, int]
    formats: dict[str, int]
    classes: list[tuple[str, int]]
    duplicates: int
    duplicate_groups: list[list[str]]
    broken: list[tuple[str, str]]
    size: int | None
    bytes_float32: int
    licence: str = ""
    fingerprint: str | None = None
    notes: list[str] = field(default_factory=list)
    pair: list[tuple[int, ...]] | None = None

    def facts(self) -> list[list[str]]:
        """Rows of a table that only this kind has."""
        return []

    def hints(self) -> list[str]:
        """Sentences below the table."""
        return []

    def packing(self) -> str:
        """Options of `gantool data pack` without which it can't be trained on; "" when none are needed."""
        return ""

    def stored(self) -> str:
        """The bytes in words."""
        return f"{megabytes(self.bytes_float32)} as float32"

    def tables(self) -> list[Table]:
        """Further tables."""
        return []


class Tally:
    """The numbers and the digest of each sample of a survey: about 60 bytes a row."""

    def __init__(self, count: int, width: int) -> None:
        self.count = 0
        self._rows = np.empty(count, np.int64)  # in the list of names
        self._numbers = np.empty((count, width), np.float64)
        self._digests = np.empty((count, 2), np.uint64)
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()

    def add(self, row: int, look: Look) -> None:
        self._rows[self.count], self._numbers[self.count] = row, look.numbers
        self._digests[self.count] = np.frombuffer(look.content, np.uint64)
        self.modes[look.mode] += 1
        if look.format:
            self.formats[look.format] += 1
        self.count += 1

    @property
    def rows(self) -> np.ndarray:
        return self._rows[: self.count]

    @property
    def numbers(self) -> np.ndarray:
        """(count, width)."""
        return self._numbers[: self.count]

    def duplicates(self, name: Callable[[int], str]) -> tuple[int, list[list[str]]]:
        """How many samples repeat an earlier one, and the names of equal samples, the earliest first."""
        digests = self._digests[: self.count]
        order = np.lexsort((np.arange(self.count), digests[:, 1], digests[:, 0]))
        same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
        starts = np.flatnonzero(np.concatenate([[True], ~same])) if self.count else np.empty(0, np.int64)
        lengths = np.diff(np.append(starts, self.count))
        groups = [self._rows[order[a : a + n]] for a, n in zip(starts, lengths, strict=True) if n > 1]
        groups.sort(key=lambda group: int(group[0]))
        return int(same.sum()), [[name(int(row)) for row in group] for group in groups[:MAX_GROUPS]]


class Kind(ABC):
    """A kind of samples. `plural`: what they are called. `dtype`: as packs store them. `width`: numbers of a `Look`.

    `unit`: of the size; `usual`: a size to suggest; `resizing`: what a size does.
    """

    name: ClassVar[KindName]
    plural: ClassVar[str]
    unit: ClassVar[str]
    usual: ClassVar[int]
    resizing: ClassVar[str]
    dtype: ClassVar[str]
    width: ClassVar[int]
    channels: ClassVar[tuple[int, ...]]
    examples: ClassVar[str]  # of files, for messages

    # files

    def decoding(self) -> AbstractContextManager[Any]:
        """In which files are decoded; of one thread."""
        return nullcontext()

    def suffixes(self) -> Iterable[str]:
        """Of its files, that gantool itself reads."""
        return own_suffixes(self.name)

    @abstractmethod
    def needs_peek(self, asked: Preparation) -> bool:
        """Whether `settle` needs what all files are."""

    @abstractmethod
    def peek(self, path: Path, asked: Preparation) -> Any:
        """What `settle` needs to know of a file. BrokenFile."""

    @abstractmethod
    def settle(self, peeked: Iterable[Any], asked: Preparation) -> Preparation:
        """How all files are prepared. `peeked`: of the files, None of broken ones; it may be left early."""

    @abstractmethod
    def decode(self, path: Path, how: Preparation, content: bytes | None = None) -> np.ndarray:
        """A sample (C, …) of `dtype`. `content`: the file's bytes, if they are known. BrokenFile."""

    def read(self, path: Path) -> bytes:
        """The bytes of a file. BrokenFile."""
        return read(path)

    def row(self, how: Preparation) -> tuple[int, ...] | None:
        """The shape of a sample, where `how` says it."""
        return None if how.size is None else self.shape(how.channels or 1, how.size)

    @abstractmethod
    def shape(self, channels: int, size: int) -> tuple[int, ...]: ...

    @abstractmethod
    def check_row(self, shape: tuple[int, ...], where: str) -> None:
        """GantoolError for a sample that is too small."""

    # arrays

    def check_samples(self, shape: tuple[int, ...], where: str) -> None:
        """GantoolError for samples (N, C, …) that can be trained on, but neither packed nor shown."""
        self.check_row(shape[1:], where)

    def paired(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> bool:
        """Whether `array` is refitted as the samples (N, …) of `shape` are."""
        return name == "images"

    @abstractmethod
    def refit(self, rows: np.ndarray, how: Preparation, rate: int, where: str) -> np.ndarray:
        """Samples (N, C, …) of a data set, of `rate`, as a pack stores them: of `dtype`, prepared."""

    def notes(self, samples: np.ndarray) -> tuple[str, ...]:
        """Of samples of `dtype`: what is odd of all of them."""
        return ()

    def versions(self) -> dict[str, str]:
        """Of the libraries that decode: other versions may decode other values."""
        return {}

    # surveys

    @abstractmethod
    def examine(self, path: Path, asked: Preparation) -> Look:
        """A file as it is. BrokenFile."""

    @abstractmethod
    def examine_row(self, sample: np.ndarray, rate: int) -> Look:
        """A sample (C, …) of an array."""

    @abstractmethod
    def survey(self, tally: Tally, size: int | None, **facts: Any) -> Survey: ...

    def common(self, tally: Tally, values: float, channels: int, size: int | None) -> dict[str, Any]:
        """Fields of a `Survey` that all kinds have; `values`: of all samples together."""
        item = np.dtype(self.dtype).itemsize
        return {
            "samples": self.name, "count": tally.count, "channels": channels, "size": size,
            "modes": dict(tally.modes.most_common()), "formats": dict(tally.formats.most_common()),
            f"bytes_{np.dtype(self.dtype).name}": int(values) * item, "bytes_float32": 4 * int(values),
        }  # fmt: skip

    # contact sheets

    @abstractmethod
    def tile(self, sample: np.ndarray, side: int, rate: int) -> np.ndarray:
        """uint8 (3, side, width) of a sample (C, …)."""

    def tile_side(self, size: int | None, usual: int) -> int:
        """Pixels of a tile's height."""
        return usual

    def tile_width(self, side: int) -> int:
        return side

    @abstractmethod
    def shown(self, path: Path, side: int, size: int | None) -> np.ndarray:
        """The tile of a file. BrokenFile."""


def digest(values: np.ndarray) -> bytes:
    """16 bytes that stand for shape and values."""
    made = hashlib.blake2b(str(values.shape).encode(), digest_size=16)
    made.update(np.ascontiguousarray(values).data)
    return made.digest()


def version(name: str) -> str:
    """Of an installed distribution; "" of one that is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def counted(values: Sequence[float] | np.ndarray) -> dict[str, int]:
    """How often each number occurs, the commonest first."""
    found = Counter(f"{value:g}" if value != int(value) else str(int(value)) for value in values)
    return dict(found.most_common())
