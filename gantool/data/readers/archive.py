"""Image files in a zip archive, read without unpacking: `pictures.zip/cat/1.png` names a file in it.

The archives of StyleGAN's dataset tool are such.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

from gantool.errors import GantoolError, cause, excerpt
from gantool.system.archives import open_zip

SUFFIX = ".zip"


def is_archive(path: Path) -> bool:
    """Whether `path` is a file that is called a zip archive."""
    return path.suffix.lower() == SUFFIX and os.path.isfile(path)  # noqa: PTH113 — never raises, as Path's does


def file_names(path: Path) -> list[str]:
    """The names of the files in the archive `path`, with `/` between folders.

    GantoolError when it is damaged, or holds a name that leads out of it.
    """
    names = [entry.filename for entry in _open(path).infolist() if not entry.is_dir()]
    for name in names:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0]:
            raise GantoolError(
                f"{path} holds a file that is named {excerpt(name)!r}, which leads out of the archive.",
                "Pack it anew with relative names.",
            )
    return names


def divided(path: Path) -> tuple[Path, str] | None:
    """The archive in which the file `path` is, and its name there; None for a file of the disk."""
    if SUFFIX not in str(path).lower():
        return None
    archive = next((parent for parent in path.parents if is_archive(parent)), None)
    return (archive, path.relative_to(archive).as_posix()) if archive else None


def read_entry(archive: Path, name: str, most: int) -> bytes:
    """The bytes of a file in `archive`, of at most `most`. ValueError when it is damaged, and FileNotFoundError."""
    opened = _open(archive)
    try:
        entry = opened.getinfo(name)
    except KeyError as error:
        raise FileNotFoundError(2, "it is not in the archive", f"{archive}/{name}") from error
    if entry.file_size > most:
        raise ValueError(f"it has {entry.file_size:,} bytes; the most is {most:,}")
    try:
        return opened.read(entry)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, NotImplementedError) as error:
        raise ValueError(cause(error)) from error  # RuntimeError: it is encrypted


def checksum(archive: Path, name: str) -> str:
    """Of a file in `archive`, as the archive states it."""
    try:
        entry = _open(archive).getinfo(name)
    except KeyError:
        return "gone"
    return f"{entry.file_size} {entry.CRC}"


def _open(path: Path) -> zipfile.ZipFile:
    try:
        status = path.stat()
        return _opened(path, status.st_mtime_ns, status.st_size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise GantoolError(
            f"{path} is damaged or no zip archive: {cause(error)}.", "Pack it anew, or get it again."
        ) from error


@lru_cache(maxsize=4)  # to read its list for each file would take too long
def _opened(path: Path, changed: int, size: int) -> zipfile.ZipFile:
    return open_zip(path)
