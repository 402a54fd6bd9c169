"""A shard that was made on a machine with a disk of its own comes here in pieces, and is put in place whole."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from gantool.errors import GantoolError
from gantool.shards.maker import Made, unwritten
from gantool.shards.plan import Shard
from gantool.system import files

PIECE = 8 * 2**20  # bytes: what a machine sends at a time, and Ray's object store holds of it
AT_ONCE = 8  # shards that are on their way; more than that wait on their machines' disks


class Gathering:
    """Writes the pieces of one shard aside in the folder `out`, and renames it when its SHA-256 is that of `made`."""

    def __init__(self, shard: Shard, made: Made, out: Path) -> None:
        """GantoolError: the file can't be written, of which every method tells."""
        self.shard, self.made, self.path = shard, made, out / shard.name
        self.taken = 0
        self._digest = hashlib.sha256()
        self._replacing = files.replacing(self.path)
        try:
            self._file = self._replacing.__enter__().open("wb")
        except OSError as error:
            raise unwritten(self.path, error) from error

    def take(self, piece: bytes) -> None:
        try:
            self._file.write(piece)
        except OSError as error:
            self.abandon()
            raise unwritten(self.path, error) from error
        self._digest.update(piece)
        self.taken += len(piece)

    @property
    def whole(self) -> bool:
        return self.taken >= self.made.bytes

    def finish(self) -> bool:
        """Put it in place; False, and nothing there, when it is not what was sent."""
        if self.taken != self.made.bytes or self._digest.hexdigest() != self.made.sha256:
            self.abandon()
            return False
        try:
            self._file.close()
            self._replacing.__exit__(None, None, None)
        except OSError as error:
            raise unwritten(self.path, error) from error
        return True

    def abandon(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._file.close()
        given_up = GantoolError("given up")  # what is written aside goes when an error ends it
        with suppress(OSError, GantoolError):
            self._replacing.__exit__(GantoolError, given_up, None)
