"""Damaged and forged files of every kind, in the loaders that read them: `python -m support.fuzz TARGET COUNT [SEED]`.

A loader gives a result or a GantoolError, within SECONDS and with MEMORY more bytes than before; anything else is a
fault. Faults are listed at the end, one for each place that raised, with the number of an input that shows it; the
input itself is kept in the folder `--keep`. A crash or a hang ends the process; TARGET.last in that folder names the
input.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import gzip
import io
import json
import random
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.errors import GantoolError
from support.mutants import KINDS, replace_a_value

SECONDS = 30
MEMORY = 2**30
MAX_MESSAGE = 5000
SLOW = 20  # one of so many inputs is also shown by the command line

Files = dict[str, bytes]  # by name, in the folder that is tried


@dataclass
class Target:
    """`originals`: folders of sound files. `door`: reads such a folder, told the name of the mutant in it."""

    originals: Callable[[], list[Files]]
    door: Callable[[Path, str], object]
    fixed: tuple[str, ...] = ()  # files that are never changed
    change: Callable[[random.Random, list[Files], bytes, str], bytes] | None = None  # in place of `mutate`


# --- mutations


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


def _zero(draw: random.Random, data: bytearray) -> None:
    start, end = _range(draw, len(data))
    data[start:end] = bytes([draw.choice([0, 255, 32])]) * (end - start)


def _remove(draw: random.Random, data: bytearray) -> None:
    start, end = _range(draw, len(data))
    del data[start:end]


def _repeat(draw: random.Random, data: bytearray) -> None:
    start, end = _range(draw, len(data))
    data[end:end] = data[start:end] * draw.choice([1, 2, 50])


def _number(draw: random.Random, data: bytearray) -> None:
    """An extreme number, as bytes."""
    size = draw.choice([1, 2, 4, 8])
    value = draw.choice([0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1, 2 ** (4 * size)])
    start = draw.randrange(len(data))
    data[start : start + size] = value.to_bytes(size, draw.choice(["little", "big"]))


def _digits(draw: random.Random, data: bytearray) -> None:
    """Another number in a text."""
    places = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte < 58]
    if places:
        start = draw.choice(places)
        data[start : start + 1] = draw.choice([b"9" * 30, b"9" * 5000, b"-1", b"1e999", b"0.5", b"NaN", b"1" * 19])


def _text(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data))
    data[start:start] = draw.choice(
        [b"\x1b[2J", b"\x00", b"\n", b'"', b",", b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\xe2\x80\xae", b"=" * 99]
    )


CHANGES = (_flip, _flip, _cut, _zero, _remove, _repeat, _number, _number, _digits, _text)


def _range(draw: random.Random, size: int) -> tuple[int, int]:
    start = draw.randrange(size)
    return start, min(size, start + int(2 ** draw.uniform(0, 10)))


def mutate(draw: random.Random, data: bytes, name: str) -> bytes:
    """A JSON file mostly stays one: its values are replaced; the bytes of others are changed one to three times."""
    if name.endswith((".json", ".jsonl")) and draw.random() < 0.7:
        lines = data.splitlines() if name.endswith(".jsonl") else [data]
        number = draw.randrange(len(lines))
        value = json.loads(lines[number])
        for _ in range(draw.randint(1, 3)):
            replace_a_value(draw, value)
        lines[number] = json.dumps(value).encode()
        return b"\n".join(lines)
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 3])):
        if changed:
            draw.choice(CHANGES)(draw, changed)
    return bytes(changed)


# --- what is mutated, and what reads it


def _run_files() -> list[Files]:
    from gantool.run.rundir import DataInfo, RunInfo

    data = DataInfo(
        source="digits", name="digits", size=None, shape=(1, 28, 28), classes=2, count=10, fingerprint="0" * 64,
        class_names=("a", "b"), class_counts=(5, 5),
    )  # fmt: skip
    info = RunInfo(
        created="2026-11-29T06:00:00+00:00", status="running", step=4, architecture="mlp", plugin="gantool",
        plugin_version="1", config={"latent_dim": 4, "widths": [8]}, recipe={"steps": 4, "g_lr": 1e-3}, data=data,
        steps=4, versions={"torch": "2"}, keep_best="diversity",
    )  # fmt: skip
    records: list[dict[str, Any]] = [
        {"step": step, "epoch": 1, "images": 4 * step, "seconds": 0.5, "images_per_second": 33.3, "diversity": 0.5,
         "loss.generator.adversarial": 0.7, "change": None} for step in (2, 4)
    ]  # fmt: skip
    records.append({"step": 4, "event": "alarm", "kind": "collapse", "text": "It collapsed."})
    described = info.model_dump_json().encode()
    return [
        {
            "run.json": described,
            "metrics.jsonl": "\n".join(map(json.dumps, records)).encode(),
            "checkpoints/step-00000004.pt": b"",
        }
    ]


def _read_run(folder: Path, name: str) -> None:
    from typer.testing import CliRunner

    from gantool.cli import app
    from gantool.run import best, compare, metrics_log
    from gantool.run.rundir import RunDir

    runs = folder.parent
    whole = RunDir(runs / "0002-whole")
    if not whole.path.exists():
        whole.write(RunDir(folder).read())
    summaries = compare.summaries(runs)
    for one in summaries:
        if one.age is not None:
            assert one.age >= 0
    infos = [one.info for one in summaries if one.info]
    compare.differences(infos)
    compare.figures(summaries)
    metrics_log.read_events(RunDir(folder))
    if infos and infos[0].keep_best:
        with contextlib.suppress(GantoolError):
            best.best(RunDir(folder), infos[0])
    if zlib.crc32((folder / name).read_bytes()) % SLOW:
        return
    for command in (["runs", "--sort", "speed"], ["runs", "--json"], ["runs", "compare", "1", "2"]):
        done = CliRunner().invoke(app, [*command, "--runs", str(runs)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if command[1:2] != ["compare"]:
            assert "0002-whole" in done.output, "one bad run hides the others"
        require_printable(done.output)


def require_printable(text: str) -> None:
    wrong = {char for char in text if not (char.isprintable() or char == "\n")}
    assert not wrong, f"control characters are printed: {wrong}"


def _checkpoints() -> list[Files]:
    import torch

    from gantool.run import checkpoint
    from support.trainings import tiny_state

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pt")
        checkpoint.save(path, tiny_state().state_dict())
        whole = path.read_bytes()
        checkpoint.save(
            path, {"x": torch.ones(3, dtype=torch.bfloat16), "y": [1, (2.5, None, True, "a")], "z": {1: {}}}
        )
        return [{"checkpoints/step-00000002.pt": data} for data in (whole, path.read_bytes())]


def _load_checkpoint(folder: Path, name: str) -> None:
    from gantool.run import checkpoint

    checkpoint.load(folder / name)


def _arrays() -> list[Files]:
    made = []
    for array in (
        np.arange(4 * 25, dtype=np.uint8).reshape(4, 5, 5),
        np.arange(4 * 75, dtype=np.uint8).reshape(4, 3, 5, 5),
        np.asfortranarray(np.zeros((4, 5, 5, 3), np.uint8)),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        made.append({"a.npy": stream.getvalue()})
    return made


def _load_npy(folder: Path, name: str) -> None:
    from gantool.data.pack.sources import Options, open_source
    from gantool.data.readers.npy import open_npy

    with contextlib.suppress(GantoolError):
        open_npy(folder / name).sum()
    source = open_source(str(folder / name), Options(size=8))
    for batch in source.batches(0):
        assert batch.rows


def _archives() -> list[Files]:
    arrays = {
        "images": np.arange(4 * 75, dtype=np.uint8).reshape(4, 5, 5, 3),
        "labels": np.arange(4),
        "other": np.ones((4, 2)),
    }
    made: list[Files] = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, **arrays)
        made.append({"a.npz": stream.getvalue()})
    return made


def _load(folder: Path, name: str) -> None:
    from gantool.data import load

    _use(load(str(folder / name)))


def _use(data: Any) -> None:
    assert len(data) == len(data.images) > 0
    assert data.spec.shape
    assert len(data.fingerprint) == 64
    data.images.sum()
    for note in data.notes:
        assert len(note) < MAX_MESSAGE


def _idx() -> list[Files]:
    images = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (4, 5, 5)) + bytes(range(100))
    labels = b"\x00\x00\x08\x01" + (4).to_bytes(4, "big") + bytes(range(4))
    return [
        {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels},
        {"train-images-idx3-ubyte.gz": gzip.compress(images), "train-labels-idx1-ubyte.gz": gzip.compress(labels)},
    ]


def _load_idx(folder: Path, name: str) -> None:
    _load(folder, name.replace("labels", "images").replace("idx1", "idx3"))


def _cifar() -> list[Files]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for number in range(1, 6):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/data_batch_{number}.bin")
            member.size = 2 * 3073
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
    packed = stream.getvalue()
    return [{"cifar.tar.gz": packed}, {"cifar.tar": gzip.decompress(packed)}]


def _load_cifar(folder: Path, name: str) -> None:
    from gantool.data.readers.cifar import load_cifar10

    path = folder / name
    if path.suffix == ".tar":  # what the tar itself says, behind a sound gzip stream
        path = path.with_suffix(".gz")
        path.write_bytes(gzip.compress((folder / name).read_bytes(), 1))
    _use(load_cifar10(path))


def _picture(kind: str, mode: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    Image.fromarray(pixels).convert("RGB").convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def _labels() -> list[Files]:
    names = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(3)]
    png = _picture("PNG", "L")
    table = "file,label,more\r\n" + "".join(f'"{name}",{name[:3]},é\r\n' for name in names)
    listed = json.dumps({"labels": [[name, number % 3] for number, name in enumerate(names)]})
    pictures = dict.fromkeys(names, png)
    return [{"labels.csv": table.encode(), **pictures}, {"dataset.json": listed.encode(), **pictures}]


def _load_labels(folder: Path, name: str) -> None:
    from gantool.data.readers.folder import find_files
    from gantool.data.readers.labels import find_labels

    _, names, _ = find_files(folder)
    found = find_labels(folder, names, str(folder / name) if name.endswith("csv") else None)
    assert found.labels is None or (len(found.labels) == len(names) and found.labels.max() < len(found.class_names))


def _pictures() -> list[Files]:
    made = [
        ("png", _picture("PNG", mode, **options))
        for mode, options in (
            ("1", {}), ("L", {}), ("LA", {}), ("P", {"transparency": 3}), ("RGB", {"transparency": (1, 2, 3)}),
            ("RGBA", {}), ("I;16", {}),
        )
    ]  # fmt: skip
    made += [("jpg", _picture("JPEG", mode)) for mode in ("L", "RGB", "CMYK")]
    made += [("gif", _picture("GIF", "P")), ("webp", _picture("WEBP", "RGBA")), ("tga", _picture("TGA", "RGBA"))]
    made += [("bmp", _picture("BMP", mode)) for mode in ("1", "P", "RGB", "RGBA")]
    made += [("ppm", _picture("PPM", "RGB")), ("pgm", _picture("PPM", "L")), ("dib", _picture("DIB", "RGB"))]
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made.append(("tif", _picture("TIFF", "RGB", compression=compression)))
    frames = [Image.new("P", (9, 9), number) for number in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    made.append(("gif", stream.getvalue()))
    for suffix, kind in (("jp2", "JPEG2000"), ("avif", "AVIF")):
        with contextlib.suppress(KeyError, OSError):  # this Pillow can't write it
            made.append((suffix, _picture(kind, "RGB")))
    return [{f"a.{suffix}": data} for suffix, data in made]


def _decode(folder: Path, name: str) -> None:
    from gantool.data.image_files import Preparation, decode, examine, is_grey, strict_decoding
    from gantool.data.source_files import read

    path = folder / name
    with strict_decoding():
        grey = is_grey(path)
        pixels = decode(path, Preparation(8, channels=1 if grey else 3))
        assert pixels.shape == (1 if grey else 3, 8, 8)
        examine(path, io.BytesIO(read(path)))


def _sounds() -> list[Files]:
    import soundfile

    made: list[Files] = []
    for suffix, form in (("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG"), ("mp3", "MP3"), ("aiff", "AIFF")):
        stream = io.BytesIO()
        soundfile.write(stream, np.random.default_rng(0).uniform(-0.5, 0.5, (800, 2)), 8000, format=form)
        made.append({f"a.{suffix}": stream.getvalue()})
    return made


def _volumes() -> list[Files]:
    import trimesh

    from gantool.artifact.volumes import binvox

    box = trimesh.creation.box((1, 2, 3))
    made: list[Files] = [{"a.binvox": binvox(np.random.default_rng(0).random((6, 6, 6)) < 0.5)}]
    for suffix in ("obj", "stl", "ply", "glb"):
        content = box.export(file_type=suffix)
        made.append({f"a.{suffix}": content.encode() if isinstance(content, str) else content})
    return made


def _decode_sample(folder: Path, name: str) -> None:
    from gantool.data.image_files import Preparation
    from gantool.data.kinds import KINDS, kind_of

    kind = KINDS[kind_of(Path(name).suffix)]
    how = kind.settle([kind.peek(folder / name, Preparation(16))], Preparation(16))
    assert kind.decode(folder / name, how).shape == kind.shape(how.channels or 1, 16)
    kind.examine(folder / name, Preparation())


def _packs() -> list[Files]:
    from gantool.data.dataset import Dataset
    from gantool.data.pack.build import save

    with tempfile.TemporaryDirectory() as folder:
        arrays = {"images": np.arange(4 * 75, dtype=np.uint8).reshape(4, 3, 5, 5), "labels": np.arange(4)}
        save(Dataset("a", "a", arrays, ("a", "b", "c", "d")), Path(folder, "pack"))
        return [{path.name: path.read_bytes() for path in Path(folder, "pack").iterdir()}]


def _load_pack(folder: Path, name: str) -> None:
    from gantool.data.pack.format import load_pack, verify

    _use(load_pack(folder))
    _use(load_pack(folder, 8))
    verify(folder)


@functools.cache
def _exports() -> dict[str, bytes]:
    """The files of an exported generator of a few weights."""
    from gantool import exporting
    from gantool.plugin.architecture import Input
    from support.exports import Conditional, Z, source

    with tempfile.TemporaryDirectory() as folder:
        kinds = ["onnx", "onnx-seeded", "torchscript", "pt2"]
        exporting.write(source(Conditional(), Z, Input("label", (), "label", classes=3)), kinds, Path(folder, "made"))
        return {path.name: path.read_bytes() for path in Path(folder, "made").iterdir()}


def _ending(*suffixes: str) -> Callable[[], list[Files]]:
    return lambda: [{name: data} for name, data in _exports().items() if name.endswith(suffixes)]


def _inspect(folder: Path, name: str) -> None:
    from typer.testing import CliRunner

    from gantool.artifact.inspection import inspect
    from gantool.cli import app

    inspect(folder / name)
    if zlib.crc32((folder / name).read_bytes()) % SLOW:
        return
    done = CliRunner().invoke(app, ["inspect", str(folder / name)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    require_printable(done.output)


def _onnx_mutant(draw: random.Random, originals: list[Files], data: bytes, name: str) -> bytes:
    files = [data for each in originals for data in each.values()]
    return draw.choice(list(KINDS.values()))(draw, files)


def _open_onnx(folder: Path, name: str) -> None:
    from support.mutants import attempt

    if attempt(folder / name) == "refused":
        raise GantoolError("refused")


def _baselines() -> list[Files]:
    return [{"report.json": json.dumps(_report()).encode()}]


def _report() -> dict[str, Any]:
    rows = [{"batch": batch, "images_per_second": 100.0 * batch, "windows": [99.0, 100.0, 101.0]} for batch in (1, 8)]
    file = {"path": "a.onnx", "name": "a.onnx", "sha256": "0" * 64, "weights_sha256": "1", "graph_sha256": "2"}
    cell = {"file": file, "provider": "cpu", "threads": 2, "options": {}, "settings": {}, "status": "measured"}
    return {"schema_version": 3, "machine": {"cpu": "x"}, "batches_asked": [1, 8], "cells": [cell | {"batches": rows}]}


def _compare_baseline(folder: Path, name: str) -> None:
    from gantool.benching import answer, tables
    from gantool.system.files import read_json

    compared = answer.compare(_report(), read_json(folder / name))
    json.dumps(compared, allow_nan=False)
    tables.baseline(compared)


def _plan() -> Any:
    from gantool.shards.plan import Plan

    return Plan("0" * 64, 0, 0, 20, 8, "npy", (4, 4, 1), (), "cpu", False, {"numpy": "1"})


def _shards() -> list[Files]:
    from gantool.shards.folder import opened
    from gantool.shards.plan import Made

    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder), _plan(), {"name": "a"}) as shards:
            for shard in _plan().shards():
                Path(folder, shard.name).write_bytes(b"abc")
                shards.add(Made(shard.number, 3, "0" * 64, 1))
        return [{path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name[0] != "."}]


def _resume_shards(folder: Path, name: str) -> None:
    from gantool.shards.folder import opened

    with opened(folder, _plan(), {"name": "a"}, verify=True) as shards:
        shards.unfinished()


def _options() -> list[Files]:
    text = """
steps = 100
learning_rate = 2e-4
data = "digits"
widths = [8, 16]
flip = true
keep_best = "diversity"
seed = 7
"""
    return [{"options.toml": text.encode()}]


def _read_options(folder: Path, name: str) -> None:
    from gantool.cli.train import _read_toml
    from gantool.plugin import registry
    from gantool.plugin.options import all_options

    architecture = registry.find("mlp").architecture
    assert architecture is not None
    _read_toml(folder / name, all_options(architecture))


TARGETS = {
    "run": Target(_run_files, _read_run, ("checkpoints/step-00000004.pt",)),
    "checkpoint": Target(_checkpoints, _load_checkpoint),
    "npy": Target(_arrays, _load_npy),
    "npz": Target(_archives, _load),
    "idx": Target(_idx, _load_idx),
    "cifar": Target(_cifar, _load_cifar),
    "labels": Target(_labels, _load_labels),
    "picture": Target(_pictures, _decode),
    "sound": Target(_sounds, _decode_sample),
    "volume": Target(_volumes, _decode_sample),
    "pack": Target(_packs, _load_pack),
    "manifest": Target(_ending(".json"), _inspect),
    "torch": Target(_ending(".pt", ".pt2"), _inspect),
    "onnx": Target(_ending(".onnx"), _open_onnx, change=_onnx_mutant),
    "baseline": Target(_baselines, _compare_baseline),
    "shards": Target(_shards, _resume_shards),
    "options": Target(_options, _read_options),
}


# --- the campaign


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """At most MEMORY more bytes of addresses than there are now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _write(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def campaign(name: str, count: int, seed: int = 0, keep: Path | None = None, first: int = 0) -> dict[str, Any]:
    """Try mutants `first … first+count-1`: the target, seconds, outcomes, and faults: place → [count, number, text]."""
    target, outcomes, faults = TARGETS[name], {"read": 0, "refused": 0}, dict[str, list[Any]]()
    originals = target.originals()
    scratch = tempfile.TemporaryDirectory()
    with scratch as place:
        folder = Path(place, "runs", "0001-a")
        for files in originals:  # each is sound; and what is imported late is in memory before it is limited
            for each in files:
                _write(folder, files)
                if each not in target.fixed:
                    target.door(folder, each)
        began = time.monotonic()
        for number in range(first, first + count):
            draw = random.Random(f"{name}/{seed}/{number}")
            files = dict(draw.choice(originals))
            changed = draw.choice([each for each in files if each not in target.fixed])
            if target.change:
                files[changed] = target.change(draw, originals, files[changed], changed)
            else:
                files[changed] = mutate(draw, files[changed], changed)
            _write(folder, files)
            if keep:
                (keep / f"{name}.last").write_text(f"{number} {changed}")
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                with _limited():
                    target.door(folder, changed)
                outcomes["read"] += 1
            except GantoolError as error:
                outcomes["refused"] += 1
                if len(str(error)) > MAX_MESSAGE:
                    _note(faults, number, AssertionError(f"a message of {len(str(error))} characters"))
                if error.message.endswith((": .", ": ", ":")):
                    _note(faults, number, AssertionError(f"a message without its reason: {error.message}"))
            except Exception as error:  # noqa: BLE001 — a fault, whatever it is
                _note(faults, number, error)
                if keep:
                    shutil.copytree(folder, keep / f"{name}-{number}", dirs_exist_ok=True)
            faulthandler.cancel_dump_traceback_later()
        seconds = round(time.monotonic() - began, 1)
    return {"target": name, "inputs": count, "seconds": seconds, **outcomes, "faults": faults}


def _note(faults: dict[str, list[Any]], number: int, error: Exception) -> None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/gantool/" in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    found = faults.setdefault(f"{type(error).__name__} {where}", [0, number, f"{str(error)[:200]!r}"])
    found[0] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that show a fault")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    for name in TARGETS if given.target == "all" else [given.target]:
        print(json.dumps(campaign(name, given.count, given.seed, given.keep, given.first)), flush=True)


if __name__ == "__main__":
    faulthandler.enable()
    sys.setrecursionlimit(1000)
    main()
