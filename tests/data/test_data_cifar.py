"""CIFAR-10 from its binary archive: the layout, and archives that are not what they seem."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from support.mirrors import serving

from gantool.data import load
from gantool.data.catalog import CIFAR_ARCHIVE, FETCHABLE, RemoteFile
from gantool.data.fetch import fetch
from gantool.data.readers.cifar import load_cifar10
from gantool.errors import GantoolError

ROWS = 3
FOLDER = "cifar-10-batches-bin"
Member = tuple[str | tarfile.TarInfo, bytes]


def batch(number: int, rows: int = ROWS) -> bytes:
    """Records of one colour each: red is the batch's number, green the row, blue 200; the label is the row."""
    planes = [bytes([row]) + bytes([number]) * 1024 + bytes([row]) * 1024 + bytes([200]) * 1024 for row in range(rows)]
    return b"".join(planes)


BATCHES: list[Member] = [(f"{FOLDER}/data_batch_{number}.bin", batch(number)) for number in range(1, 6)]
OTHERS: list[Member] = [
    (f"{FOLDER}/batches.meta.txt", b"airplane\n"),
    (f"{FOLDER}/readme.html", b"<html>"),
    (f"{FOLDER}/test_batch.bin", batch(9)),
]


def tar(members: Iterable[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, body in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return gzip.compress(buffer.getvalue(), mtime=0)


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def written(tmp_path: Path, body: bytes) -> Path:
    path = tmp_path / CIFAR_ARCHIVE
    path.write_bytes(body)
    return path


def test_the_layout(tmp_path: Path) -> None:
    """In the order of the batches' numbers, not of the archive; what else lies there is passed over."""
    data = load_cifar10(written(tmp_path, tar([*reversed(BATCHES), *OTHERS])))
    assert data.images.shape == (5 * ROWS, 3, 32, 32)
    assert data.images.dtype == np.uint8
    assert data.images[:, 0, 5, 7].tolist() == [n for n in range(1, 6) for _ in range(ROWS)]
    assert data.images[:, 1, 31, 0].tolist() == list(range(ROWS)) * 5
    assert (data.images[:, 2] == 200).all()
    assert data.labels is not None
    assert data.labels.tolist() == list(range(ROWS)) * 5
    assert data.labels.dtype == np.int64


def test_rows_before_columns(tmp_path: Path) -> None:
    ramp = bytes([0]) + bytes(i % 32 for i in range(1024)) + bytes(i // 32 for i in range(1024)) + bytes(1024)
    data = load_cifar10(written(tmp_path, tar([(name, ramp) for name, _ in BATCHES])))
    assert data.images[0, 0, 3].tolist() == list(range(32))
    assert data.images[0, 1, :, 3].tolist() == list(range(32))


def test_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = tar([*BATCHES, *OTHERS])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    with serving({CIFAR_ARCHIVE: body}) as mirror:
        file = RemoteFile(CIFAR_ARCHIVE, len(body), hashlib.sha256(body).hexdigest())
        monkeypatch.setitem(FETCHABLE, "cifar10", replace(FETCHABLE["cifar10"], files=(file,), mirrors=(mirror.url,)))
        fetch("cifar10", Mock())
    data = load("cifar10")
    assert data.spec.shape == (3, 32, 32)
    assert data.class_names[3] == "cat"
    assert "no licence is stated" in data.licence
    assert data.images[-1, 0, 0, 0] == 5


BAD: dict[str, tuple[list[Member], str]] = {
    "a batch is missing": (BATCHES[:4], "has no data_batch_5.bin"),
    "the python version": ([("cifar-10-batches-py/data_batch_1", b"\x80\x02}")], "Give the *binary* version"),
    "a batch under another folder": ([("../" + n, b) for n, b in BATCHES if isinstance(n, str)], "has no data_batch_1"),
    "a batch twice": ([*BATCHES, BATCHES[0]], "data_batch_1.bin' has 9,219 bytes: not one batch"),
    "half a record": ([*BATCHES[:4], (BATCHES[4][0], batch(5)[:-1])], "has 9,218 bytes: not one batch of records"),
    "too long a batch": ([*BATCHES[:4], (BATCHES[4][0], bytes(10_001 * 3073))], "has 30,733,073 bytes: not one batch"),
    "a batch that is a link": (
        [*BATCHES[:4], (link(f"{FOLDER}/data_batch_5.bin", "/etc/passwd"), b"")],
        "has no data_batch_5.bin",
    ),
    "members without end": ([(f"{n}", b"") for n in range(100)], "'64' is more than CIFAR-10 holds"),
    "a huge member": ([("zeros", bytes(62_000_000))], "'zeros' is more than CIFAR-10 holds"),
    "a label that is none": ([*BATCHES[:4], (BATCHES[4][0], b"\x0a" + bytes(3072))], "has a label of 10"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_it(tmp_path: Path, what: str) -> None:
    members, message = BAD[what]
    with pytest.raises(GantoolError) as caught:
        load_cifar10(written(tmp_path, tar(members)))
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [CIFAR_ARCHIVE], "nothing is unpacked"
