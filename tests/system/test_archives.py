"""Zip archives that claim more than their bytes can hold."""

from __future__ import annotations

import copy
import struct
import zipfile
from pathlib import Path

import pytest

from gantool.system.archives import open_zip


def _archive(path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", bytes(10_000))
        archive.writestr("b", b"b")
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_zipfile_writes_is_opened(method: int, tmp_path: Path) -> None:
    with open_zip(_archive(tmp_path / "a.zip", method)) as archive:
        assert archive.read("a") == bytes(10_000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_have_no_known_expansion(method: int, tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile, match="'a' declares 10,000 bytes, more than"):
        open_zip(_archive(tmp_path / "a.zip", method))


def test_nothing_is_compressed_where_nothing_has_to_be(tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile, match="'a' is compressed"):
        open_zip(_archive(tmp_path / "a.zip", zipfile.ZIP_DEFLATED), stored=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_claimed_size_that_the_bytes_can_not_hold(method: int, tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.zip", method)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 2**31)
    path.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="'a' declares 2,147,483,648 bytes"):
        open_zip(path)


@pytest.mark.parametrize(("renamed", "reason"), [(True, "more bytes than it has"), (False, "holds 'a' twice")])
def test_entries_that_share_their_bytes_or_their_names(renamed: bool, reason: str, tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.zip", zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        again = copy.copy(archive.infolist()[0])
        again.filename = "c" if renamed else "a"
        archive.filelist.append(again)
        archive.writestr("d", b"")  # so that the directory is written anew
    with pytest.raises(zipfile.BadZipFile, match=reason):
        open_zip(path)
