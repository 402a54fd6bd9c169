"""Zip archives that anybody may have written: what they claim is checked against the bytes that are there."""

from __future__ import annotations

import zipfile
from pathlib import Path

# bytes that one byte of an entry can become, by method: other methods are refused
EXPANSION = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}


def open_zip(path: Path, stored: bool = False) -> zipfile.ZipFile:
    """The zip archive `path`, open for reading; with `stored` no entry may be compressed.

    BadZipFile when two entries have one name, when an entry claims more bytes than it can hold, or all of them together
    more than the file has (entries that share their bytes). OSError, and what zipfile raises for damaged archives.
    """
    archive = zipfile.ZipFile(path)
    try:
        _check(archive.infolist(), path.stat().st_size, stored)
    except BaseException:
        archive.close()
        raise
    return archive


def _check(entries: list[zipfile.ZipInfo], size: int, stored: bool) -> None:
    names = set()
    for entry in entries:
        if entry.filename in names:
            raise zipfile.BadZipFile(f"it holds {entry.filename!r} twice")
        names.add(entry.filename)
        if stored and entry.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"{entry.filename!r} is compressed")
        if entry.file_size > EXPANSION.get(entry.compress_type, 0) * entry.compress_size:
            raise zipfile.BadZipFile(
                f"{entry.filename!r} declares {entry.file_size:,} bytes, more than its {entry.compress_size:,} can hold"
            )
    if sum(entry.compress_size for entry in entries) > size:
        raise zipfile.BadZipFile("its entries declare more bytes than it has")
