"""Files of a folder or zip archive of data: read whole, bounded; and the error of one that is broken."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gantool.data.readers.archive import divided, read_entry
from gantool.errors import GantoolError, cause

MAX_FILE_BYTES = 2**28  # of a sound or volume
# what decoders raise on broken files
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
BROKEN_HINT = (
    "Mend or replace it, or move it out of the folder; "
    "--skip-broken leaves such files out, of a training and of a pack."
)


class BrokenFile(GantoolError):
    """A file that can't be used; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str, hint: str = BROKEN_HINT) -> None:
        super().__init__(f"{path} {reason}", hint)
        self.path, self.reason, self.own_hint = path, reason, hint

    def __reduce__(self) -> tuple[type[BrokenFile], tuple[Path, str, str]]:
        return BrokenFile, (self.path, self.reason, self.own_hint)


def read(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of the file `path`, which may be in a zip archive; BrokenFile when it can't be read, or has more."""
    inside = divided(path)
    if inside:
        with as_broken_file(path):
            return read_entry(*inside, most)
    with as_broken_file(path):
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for who writes to it
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise ValueError(f"it has {size:,} bytes; the most is {most:,}")
            return file.read(size)


def read_beside(path: Path, name: str) -> bytes:
    """The bytes of the file `name` in the folder of `path`, or below. ValueError for another, or what opening raises.

    What a stranger's file refers to must not lead out of its folder, over a link neither.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ".." in parts or ":" in name:
        raise ValueError(f"it refers to {name[:80]!r}, which is no file beside it")
    other = path.parent / name
    if not divided(path) and not other.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(f"it refers to {name[:80]!r}, which leads out of its folder")
    return read(other)


@contextmanager
def as_broken_file(path: Path, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what decoders or the disk raise into a BrokenFile, except `but`."""
    try:
        yield
    except but:
        raise
    except BrokenFile as error:
        raise error if error.path == path else BrokenFile(path, f"can't be decoded: {error.message}") from error
    except (FileNotFoundError, PermissionError) as error:
        raise BrokenFile(path, f"can't be read: {error.strerror}.", "Mend it, or move it out of the folder.") from error
    except DECODING_ERRORS as error:
        raise BrokenFile(path, f"can't be decoded: {cause(error)}.") from error
