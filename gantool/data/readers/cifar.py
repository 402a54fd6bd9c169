"""The binary version of CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html): records of fixed length in a tar.

The Python version is a pickle, which is a program; this one is bytes.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from gantool.data.dataset import Dataset, as_labels
from gantool.data.readers import read_exactly
from gantool.errors import GantoolError, cause

CLASSES = 10
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane, each row by row
BATCH_ROWS = 10_000
_BATCH = re.compile(r"cifar-10-batches-bin/data_batch_([1-5])\.bin")
_MAX_MEMBERS = 64  # the archive has 9
_MAX_MEMBER = 2 * BATCH_ROWS * RECORD


def load_cifar10(path: Path) -> Dataset:
    """The training batches in the tar.gz at `path`: uint8 (N, 3, 32, 32) and int64 labels (N,), in the batches' order.

    Nothing is unpacked to disk: members are read by name, whatever else lies in the archive is passed over.
    GantoolError when it is damaged, or does not hold the five batches.
    """
    try:
        batches = _read(path)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        raise GantoolError(f"{path} is damaged or cut short: {cause(error)}.", "Download it again.") from error
    missing = [f"data_batch_{number}.bin" for number in range(1, 6) if number not in batches]
    if missing:
        raise GantoolError(f"{path} has no {', '.join(missing)}.", "Give the *binary* version, cifar-10-binary.tar.gz.")
    records = np.concatenate([batches[number] for number in sorted(batches)])
    labels = as_labels(records[:, 0], len(records), f"{path}: its labels")
    if labels.max() >= CLASSES:
        raise GantoolError(f"{path} has a label of {labels.max()}; its labels run from 0 to 9.", "Download it again.")
    images = np.ascontiguousarray(records[:, 1:]).reshape(-1, *SHAPE)
    return Dataset("cifar10", str(path), {"images": images, "labels": labels})


def _read(path: Path) -> dict[int, np.ndarray]:
    """uint8 (rows, RECORD) of each batch, by its number. Bounded: the archive is passed once, and stops being read
    where it holds more than CIFAR-10 does."""
    batches: dict[int, np.ndarray] = {}
    # not tarfile's own "r|gz": cut short in the header of the gzip stream, it raises a TypeError
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS or member.size > _MAX_MEMBER:
                raise tarfile.TarError(f"{member.name!r} is more than CIFAR-10 holds")
            found = _BATCH.fullmatch(member.name)
            if not found or not member.isreg():
                continue
            rows, rest = divmod(member.size, RECORD)
            if rest or not 0 < rows <= BATCH_ROWS or int(found[1]) in batches:
                raise tarfile.TarError(f"{member.name!r} has {member.size:,} bytes: not one batch of records")
            content = cast(IO[bytes], archive.extractfile(member))
            batches[int(found[1])] = read_exactly(content, member.size).reshape(rows, RECORD)
    return batches
