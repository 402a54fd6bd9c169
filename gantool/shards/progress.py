"""What an engine reports while it works, and how far the whole call is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

MAX_RETRIES = 2  # of a shard whose worker was lost


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


@dataclass
class Progress:
    """Of `total` images, `found` were there at the start; shards likewise. `event`: the latest."""

    total: int
    shards_total: int
    found: int
    shards_found: int
    made: int = 0
    shards_made: int = 0
    lost: int = 0
    event: Event | None = None
    _parts: dict[int, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images made by this call, including those of unfinished shards."""
        return self.made + sum(self._parts.values())

    def update(self, event: Event, count: int) -> None:
        """`count`: images in the shard that the event is about."""
        self.event = event
        if isinstance(event, Part):
            self._parts[event.number] = event.done
            return
        self._parts.pop(event.number, None)
        if isinstance(event, Made):
            self.made += count
            self.shards_made += 1
        else:
            self.lost += 1
