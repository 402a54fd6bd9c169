"""Write a shard's file part by part. The same images give the same bytes: files hold no times or user names."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gantool.artifact import sounds, volumes
from gantool.artifact.pictures import png_info
from gantool.artifact.provenance import Provenance
from gantool.shards.plan import Plan, Shard

# (number of the first image, images uint8 (n, H, W, C), labels or None)
Parts = Iterator[tuple[int, np.ndarray, list[int] | None]]


def write(path: Path, plan: Plan, shard: Shard, parts: Parts, origin: Provenance | None, rate: int = 0) -> None:
    """Write the shard as a file of `plan.format`. `origin`: the provenance that each PNG, WAV or GLB gets, with its own
    number. `rate`: of sounds, samples a second.

    OSError: the disk is full or not writable.
    """
    if plan.format == "npy":
        _npy(path, plan, shard, parts)
    elif plan.format == "parquet":
        _parquet(path, plan, parts, origin)
    else:
        _tar(path, plan, parts, origin, rate)


def _npy(path: Path, plan: Plan, shard: Shard, parts: Parts) -> None:
    """One array, of images uint8 (n, H, W, C), for `numpy.load(mmap_mode="r")`."""
    header = {"descr": plan.dtype, "fortran_order": False, "shape": (shard.count, *plan.shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, images, _ in parts:
            file.write(np.ascontiguousarray(images, plan.dtype).data)


def _tar(path: Path, plan: Plan, parts: Parts, origin: Provenance | None, rate: int) -> None:
    """seed7-000000000000012.png (.wav, .glb) and, with classes, .cls: neighbours, as WebDataset needs them.

    Not written by TarFile, which keeps every member in memory.
    """
    kind = plan.format.partition("-")[0]
    with path.open("wb") as file:
        for first, samples, labels in parts:
            for i, sample in enumerate(samples):
                key = f"seed{plan.seed}-{first + i:015d}"
                label = None if labels is None else labels[i]
                about = None if origin is None else replace(origin, first=first + i, count=1, label=label)
                _add(file, f"{key}.{kind}", _encoded(kind, sample, about, rate))
                if label is not None:
                    _add(file, f"{key}.cls", str(label).encode())
        file.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of the archive; its last record is padded
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


def _add(file: io.BufferedWriter, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mode 644, user 0, modified 1970
    member.size = len(data)
    file.write(member.tobuf(tarfile.USTAR_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def _parquet(path: Path, plan: Plan, parts: Parts, origin: Provenance | None) -> None:
    """Columns index, seed, label (null without classes), all int64, and png (bytes); one row group for each part."""
    import pyarrow as arrow
    from pyarrow import parquet

    whole = arrow.int64()
    schema = arrow.schema([("index", whole), ("seed", whole), ("label", whole), ("png", arrow.binary())])
    settings: dict[str, Any] = {
        "compression": "none",  # PNG files are compressed already
        "use_dictionary": ["seed", "label"],
        "write_statistics": ["index", "label"],  # those of png would be whole images
    }
    with path.open("wb") as file, closing(parquet.ParquetWriter(file, schema, **settings)) as writer:
        for first, images, labels in parts:
            index = range(first, first + len(images))
            classes = [None] * len(images) if labels is None else labels
            about = [origin and replace(origin, first=i, count=1, label=k) for i, k in zip(index, classes, strict=True)]
            pngs = [_encoded("png", image, own) for image, own in zip(images, about, strict=True)]
            columns = [
                arrow.array(values, type=field.type)
                for values, field in zip((index, [plan.seed] * len(images), classes, pngs), schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _encoded(kind: str, sample: np.ndarray, about: Provenance | None, rate: int = 0) -> bytes:
    """A file of the sample (…, C): png, wav or glb."""
    if kind == "wav":
        return sounds.wav(sample, rate, about)
    if kind == "glb":
        return volumes.glb(sample[None, ..., 0], [about] if about else [])
    from PIL import Image

    picture = Image.fromarray(sample[:, :, 0] if sample.shape[2] == 1 else sample)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=None if about is None else png_info(about))
    return buffer.getvalue()
