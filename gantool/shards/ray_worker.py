"""What runs on the machines of a Ray cluster. It does not import Ray."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from gantool.errors import GantoolError
from gantool.shards.gathering import PIECE
from gantool.shards.maker import Made, Maker
from gantool.shards.plan import Plan, Shard


class Worker:
    """What runs in an actor. Its methods return a GantoolError: raised, it would come wrapped in one of Ray's."""

    def __init__(self, plan: Plan, name: str, artifact: bytes, out: Path, token: str) -> None:
        self.out, self.token = out, token
        self._folder = tempfile.TemporaryDirectory(prefix="gantool-")
        self._own = Path(self._folder.name)
        self._made = self._own / "made"  # apart from the artifact, whatever that is called
        path = self._own / name
        path.write_bytes(artifact)
        self._maker = Maker(plan, path, out)

    def look(self, gather: bool | None) -> bool | GantoolError:
        """Whether its shards have to be gathered: `out` is here not the folder that it is where the command was typed.

        `gather`: whether they shall be; None: when they have to.
        """
        shared = (self.out / self.token).is_file()
        if gather is False and not shared:
            return GantoolError(
                f"{self.out} on {socket.gethostname()} is not the folder that it is on the machine that began.",
                "Leave --no-gather out, or put --out on a file system that all machines share, under the same path.",
            )
        if gather or not shared:
            self._maker.out = self._made
            return True
        return False

    def make(self, shard: Shard) -> Made | GantoolError:
        for left in self._made.glob("shard-*"):  # fetched, or given up
            left.unlink(missing_ok=True)
        try:
            return self._maker.make(shard)
        except GantoolError as error:
            return error

    def read(self, shard: Shard, start: int) -> bytes | GantoolError:
        """PIECE bytes of a shard that was made here, from `start` on."""
        path = self._made / shard.name
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(PIECE)
        except OSError as error:
            return GantoolError(f"{path} on {socket.gethostname()} can't be read: {error.strerror or error}.")

    def close(self) -> None:
        self._folder.cleanup()
