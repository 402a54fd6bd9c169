"""What an engine tells while it works, and how often it tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gantool.errors import GantoolError
from gantool.shards.maker import Made
from gantool.shards.plan import Shard

MAX_AGAIN = 2  # how often a shard is begun again after its worker was lost


@dataclass(frozen=True)
class Part:
    """`done` images of shard `number` are made."""

    number: int
    done: int


@dataclass(frozen=True)
class Again:
    """The worker of shard `number` was lost; the shard is begun again."""

    number: int
    why: str


Event = Made | Part | Again
Report = Callable[[Event], None]


class Attempts:
    """Counts the workers lost with each shard."""

    def __init__(self) -> None:
        self._lost: Counter[int] = Counter()

    def lost(self, shard: Shard, why: str) -> str:
        """`why`, when the shard may be begun again; else GantoolError."""
        self._lost[shard.number] += 1
        if self._lost[shard.number] > MAX_AGAIN:
            raise GantoolError(
                f"{shard.name} (images {shard.first} … {shard.first + shard.count - 1}) was begun "
                f"{MAX_AGAIN + 1} times, and each time its worker was lost: the last {why}.",
                "If memory ran out, take fewer --workers. The same command goes on; finished shards are kept.",
            )
        return why
