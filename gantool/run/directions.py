"""Directions of a run's latents, `directions.json` in its folder: those found last, and those with a name."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.plugin.options import closest, reason
from gantool.run.rundir import RunDir
from gantool.system.files import read_json, write_json

FILE = "directions.json"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # it becomes the name of an input
MAX_NAMED = 32  # sliders of a file
TAKEN = ("seed", "index", "image", "sample", "truncation", "self")  # by files, their pages, and TorchScript

Method = Literal["sefa", "pca", "labels", "measures", "examples"]


class Direction(BaseModel, frozen=True, extra="forbid"):
    """A vector along which samples change in one way.

    It is added, times a strength, to the latent `input`, or to what the generator's module `place` makes of it.
    Strength 1 is one standard deviation. `low` and `high`: the strengths within which samples stay like the data.
    `method`: how it was found; `about`: what it is, such as `slant`; `step`: of the checkpoint; `which`: the generator,
    of a game that has several.
    """

    vector: tuple[float, ...] = Field(min_length=1, max_length=2**18)
    input: str
    method: Method
    about: str
    step: int = Field(ge=0)
    place: str = ""
    which: str = ""
    name: str = ""
    low: float = Field(-3.0, ge=-1000, lt=0)
    high: float = Field(3.0, gt=0, le=1000)


class Directions(BaseModel, frozen=True, extra="forbid"):
    """`found`: by the last search, numbered from 1. `named`: those that exports have as inputs."""

    schema_version: Literal[1] = 1
    found: tuple[Direction, ...] = ()
    named: tuple[Direction, ...] = Field((), max_length=MAX_NAMED)

    def number(self, number: int) -> Direction:
        """A direction of the last search."""
        if not 1 <= number <= len(self.found):
            known = f"They run from 1 to {len(self.found)}." if self.found else "Find some: gantool directions"
            raise ArgumentError(f"There is no direction {number}.", known)
        return self.found[number - 1]

    def with_name(self, direction: Direction) -> Directions:
        """The same with a named direction more."""
        if not NAME.fullmatch(direction.name):
            raise ArgumentError(
                f"{excerpt(direction.name)!r} can't be the name of an input.",
                "Use a-z, 0-9 and '_', at most 40, a letter first.",
            )
        if keyword.iskeyword(direction.name) or direction.name in TAKEN:
            raise ArgumentError(f"{direction.name!r} means something else in files.", "Use another name.")
        if direction.name in {known.name for known in self.named}:
            raise ArgumentError(
                f"There is a direction {direction.name!r} already.",
                f"Use another name, or take it away first: gantool directions remove {direction.name}",
            )
        if len(self.named) == MAX_NAMED:
            raise ArgumentError(f"A run has at most {MAX_NAMED} named directions.", "Remove one first.")
        return self.model_copy(update={"named": (*self.named, direction)})

    def without(self, name: str) -> Directions:
        """The same without the named direction `name`."""
        names = [known.name for known in self.named]
        if name not in names:
            raise ArgumentError(f"There is no direction {excerpt(name)!r}.", closest(name, names) or "None has a name.")
        return self.model_copy(update={"named": tuple(known for known in self.named if known.name != name)})


def read(run: RunDir) -> Directions:
    """The directions of `run`; none where none were found yet. GantoolError for a damaged file."""
    path = run.path / FILE
    if not path.is_file():
        return Directions()
    try:
        return Directions.model_validate(read_json(path))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise GantoolError(
            f"{path} holds no directions: {where}: {reason(error)}.", "Delete it, and find them again."
        ) from error


def write(run: RunDir, directions: Directions) -> None:
    with run.writing():
        write_json(run.path / FILE, directions.model_dump(mode="json"))


def named(run: RunDir, which: str = "") -> Sequence[Direction]:
    """The named directions of one of its generators."""
    return [direction for direction in read(run).named if direction.which == which]
