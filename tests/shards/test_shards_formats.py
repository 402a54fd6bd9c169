"""Shards read by other libraries: NumPy, tarfile and Pillow, pyarrow."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.shards import digests, index

from gantool import shards
from gantool.artifact.provenance import of
from gantool.artifact.sounds import wav
from gantool.artifact.volumes import glb
from gantool.errors import GantoolError
from gantool.runtime import Generator
from gantool.shards.maker import Maker, manifest_digest, versions
from gantool.shards.plan import Plan

FAR = 2**47 - 25


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        array = np.array(picture)
    return array[:, :, None] if array.ndim == 2 else array


def provenance(png: bytes) -> dict[str, object]:
    with Image.open(io.BytesIO(png)) as picture:
        assert "trainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        found = json.loads(picture.text["gantool"])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("count", "size", "sizes"), [(25, 10, [10, 10, 5]), (20, 10, [10, 10]), (3, 10, [3])])
def test_npy(file: Path, tmp_path: Path, count: int, size: int, sizes: list[int]) -> None:
    done = shards.generate(file, tmp_path, count=count, shard_size=size, seed=7, first=FAR, workers=1)
    arrays = [np.load(path, mmap_mode="r") for path in sorted(tmp_path.glob("shard-*.npy"))]
    assert [array.shape for array in arrays] == [(n, 8, 8, 1) for n in sizes]
    assert all(isinstance(array, np.memmap) and array.dtype == np.uint8 for array in arrays)
    np.testing.assert_array_equal(np.concatenate(arrays), Generator(file).sample(count, 7, FAR))
    assert (done.shards, done.made, done.images) == (len(sizes), len(sizes), count)
    assert done.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.npy"))


def test_a_shard_of_several_parts(file: Path, tmp_path: Path) -> None:
    images: list[int] = []
    done = shards.generate(file, tmp_path, count=2500, workers=1, on_progress=lambda p: images.append(p.images))
    assert images == [1024, 2048, 2500, 2500]
    assert done.shards == 1
    np.testing.assert_array_equal(np.load(tmp_path / "shard-000000.npy"), Generator(file).sample(2500))


def test_tar(file: Path, tmp_path: Path) -> None:
    shards.generate(file, tmp_path, count=25, shard_size=10, seed=-7, first=FAR, format="png-tar", workers=1)
    expected, number = Generator(file).sample(25, -7, FAR), 0
    for path in sorted(tmp_path.glob("shard-*.tar")):
        assert path.stat().st_size % tarfile.RECORDSIZE == 0
        with tarfile.open(path) as archive:
            for member in archive:
                assert member.name == f"seed-7-{FAR + number:015d}.png"
                assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
                opened = archive.extractfile(member)
                assert opened is not None
                png = opened.read()
                np.testing.assert_array_equal(pixels(png), expected[number])
                found = provenance(png)
                assert (found["seed"], found["first"], found["count"]) == (-7, FAR + number, 1)
                assert "label" not in found
                number += 1
    assert number == 25


def test_tar_with_classes(classes: Path, tmp_path: Path) -> None:
    shards.generate(classes, tmp_path, count=7, first=4, format="png-tar", labels=[2, 0], workers=1)
    expected = Generator(classes).sample(7, 0, 4, [2, 0, 2, 0, 2, 0, 2])
    with tarfile.open(tmp_path / "shard-000000.tar") as archive:
        keys = [f"seed0-{i:015d}" for i in range(4, 11)]
        # a sample's files are neighbours
        assert archive.getnames() == [f"{key}.{end}" for key in keys for end in ("png", "cls")]
        for i, key in enumerate(keys):
            png, label = (archive.extractfile(f"{key}.{end}") for end in ("png", "cls"))
            assert png is not None
            assert label is not None
            data = png.read()
            np.testing.assert_array_equal(pixels(data), expected[i])
            assert int(label.read()) == provenance(data)["label"] == (2, 0)[i % 2]


def test_parquet(file: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    shards.generate(file, tmp_path, count=25, shard_size=10, seed=7, first=FAR, format="parquet", workers=1)
    paths = sorted(tmp_path.glob("*.parquet"))
    rows = [row for path in paths for row in parquet.read_table(path).to_pylist()]
    assert [row["index"] for row in rows] == list(range(FAR, FAR + 25))
    assert {row["seed"] for row in rows} == {7}
    assert {row["label"] for row in rows} == {None}
    np.testing.assert_array_equal([pixels(row["png"]) for row in rows], Generator(file).sample(25, 7, FAR))
    assert provenance(rows[3]["png"])["first"] == FAR + 3


def test_parquet_with_classes(classes: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    shards.generate(classes, tmp_path, count=2000, format="parquet", workers=1)
    read = parquet.ParquetFile(tmp_path / "shard-000000.parquet")
    assert read.num_row_groups == 2
    assert [field.name for field in read.schema_arrow] == ["index", "seed", "label", "png"]
    rows = read.read().to_pylist()
    assert [row["label"] for row in rows] == [i % 3 for i in range(2000)]
    np.testing.assert_array_equal([pixels(row["png"]) for row in rows], Generator(classes).sample(2000))


def test_colours(tmp_path: Path, tiny_export: Callable[..., Path]) -> None:
    file = tiny_export(3, 8, 8) / "generator.seeded.onnx"
    shards.generate(file, tmp_path / "out", count=5, format="png-tar", workers=1)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        opened = [archive.extractfile(member) for member in archive]
        images = [pixels(one.read()) for one in opened if one is not None]
    np.testing.assert_array_equal(images, Generator(file).sample(5))


def test_tar_of_sounds(tmp_path: Path, tiny_export: Callable[..., Path]) -> None:
    file = tiny_export(2, 16) / "generator.seeded.onnx"
    shards.generate(file, tmp_path / "out", count=5, seed=7, first=3, format="wav-tar", workers=1)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        assert archive.getnames() == [f"seed7-{i:015d}.wav" for i in range(3, 8)]
        files = [one.read() for one in map(archive.extractfile, archive) if one is not None]
    for number, (content, sound) in enumerate(zip(files, Generator(file).sample(5, 7, 3), strict=True)):
        assert content == wav(sound, 0, of(Generator(file).manifest, 7, 3 + number))


def test_tar_of_volumes(tmp_path: Path, tiny_export: Callable[..., Path]) -> None:
    pytest.importorskip("skimage", reason="scikit-image makes surfaces; it comes with the extra volume")
    file = tiny_export(1, 8, 8, 8) / "generator.seeded.onnx"
    shards.generate(file, tmp_path / "out", count=3, format="glb-tar", provenance=False, workers=1)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        files = [one.read() for one in map(archive.extractfile, archive) if one is not None]
    assert files == [glb(volume[None, ..., 0]) for volume in Generator(file).sample(3)]


def test_other_channels_are_for_npy(tmp_path: Path, tiny_export: Callable[..., Path]) -> None:
    file = tiny_export(2, 8, 8) / "generator.seeded.onnx"
    with pytest.raises(GantoolError, match="2 channels"):
        shards.generate(file, tmp_path / "out", count=5, format="png-tar")
    assert not (tmp_path / "out").exists()
    shards.generate(file, tmp_path / "out", count=5, workers=1)
    assert np.load(tmp_path / "out" / "shard-000000.npy").shape == (5, 8, 8, 2)


def test_without_provenance_files_do_not_name_the_model(file: Path, tmp_path: Path) -> None:
    shards.generate(file, tmp_path, count=3, format="png-tar", provenance=False, workers=1)
    assert "provenance" not in index(tmp_path)["about"]
    with tarfile.open(tmp_path / "shard-000000.tar") as archive:
        for member in archive:
            with Image.open(archive.extractfile(member)) as picture:  # type: ignore[arg-type]
                assert not picture.info
    assert index(tmp_path)["plan"]["provenance"] is False


@pytest.mark.parametrize("format", ["npy", "png-tar", "parquet"])
def test_the_same_bytes_at_another_time_by_other_workers(classes: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    options = {"count": 331, "shard_size": 50, "seed": 3, "first": 11, "format": format}
    shards.generate(classes, tmp_path / "one", workers=1, **options)
    shards.generate(classes, tmp_path / "three", workers=3, **options)
    assert digests(tmp_path / "one") == digests(tmp_path / "three")
    assert len(digests(tmp_path / "one")) == 8
    assert index(tmp_path / "one")["complete"] is True


def test_tf32_is_off_on_cuda(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TF32, golden images may be more than one level off, which the self-test refuses."""
    seen: list[tuple[str, object]] = []

    def opened(path: Path, provider: str, threads: int, settings: object) -> Generator:
        seen.append((provider, settings))
        return Generator(path, threads=threads)

    manifest = Generator(file).manifest
    monkeypatch.setattr("gantool.runtime.Generator", opened)
    plan = Plan(manifest_digest(manifest), 7, 0, 9, 9, "npy", (8, 8, 1), (), "cuda", False, versions("npy"))
    Maker(plan, file, tmp_path).make(plan.shard(0))
    assert seen == [("cuda", {"use_tf32": "0"})]


@pytest.mark.gpu
def test_on_gpus(file: Path, tmp_path: Path) -> None:
    shards.generate(file, tmp_path, count=300, shard_size=70, seed=7, provider="cuda")
    made = np.concatenate([np.load(path) for path in sorted(tmp_path.glob("*.npy"))])
    assert np.abs(made.astype(int) - Generator(file).sample(300, 7)).max() <= 1
    assert shards.generate(file, tmp_path, count=300, shard_size=70, seed=7, provider="cuda", verify=True).made == 0
