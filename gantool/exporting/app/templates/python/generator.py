"""Images, sounds or volumes from generator.seeded.onnx: numpy and onnxruntime, nothing else.

generator = Generator()
images = generator.sample(16, seed=7)  # uint8 (16, height, width, channels)
sounds = generator.sample(16, seed=7)  # of a generator of sounds: int16 (16, samples, channels)
volumes = generator.sample(16, seed=7)  # of a generator of volumes: uint8 (16, depth, height, width, 1)
result = generator.translate(read_picture("picture.png"))  # of a generator that takes a picture

As a program: python generator.py --seed 7, which writes a PNG, WAV or binvox file
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import operator
import struct
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

Label = int | str | None
Labels = Label | Sequence[int | str]
Values = Mapping[str, float | Sequence[float]]

MODEL = "generator.seeded.onnx"
CHUNK = 64  # images a call: larger batches leave the cache
MAX_INDEX = 2**47
KINDS = {"HWC": "image", "TC": "audio", "DHWC": "volume"}  # of the axes of a sample
FILES = {"image": "grid.png", "audio": "sounds.wav", "volume": "volume.binvox"}
NOUNS = {"image": "image", "audio": "sound", "volume": "volume"}
COUNTS = {"image": 16, "audio": 1, "volume": 1}  # in a file
MOST = {"image": 10_000, "audio": 1000, "volume": 1}
ASSUMED_RATE = 16_000  # samples a second of sounds whose rate nobody knows
XMP = "%%{xmp}"  # what its files say of where they come from; empty: nothing


class SelfTest(NamedTuple):
    """`exact`: byte for byte what the exporting machine made; `worst`: levels off the values that it recorded."""

    exact: bool
    images: int
    worst: int


def find_model() -> Path:
    """The model beside this file, else the one in the folder above; FileNotFoundError where neither has it."""
    here = Path(__file__).resolve().parent
    for folder in (here, here.parent):
        if (folder / MODEL).is_file():
            return folder / MODEL
    raise FileNotFoundError(f"there is no {MODEL} in {here} nor in {here.parent}: put it there, or give its path")


class Generator:
    """An exported generator. Sample `i` of seed `s` is the same on every machine, in whatever batch it is made.

    `path`: of the model; default: beside this file, or one folder up. `providers`: as onnxruntime names them.
    FileNotFoundError where there is no model, ValueError for a file that is none.
    """

    def __init__(
        self, path: str | PathLike[str] | None = None, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> None:
        path = find_model() if path is None else Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            self.session = ort.InferenceSession(str(path), providers=list(providers))
        except Exception as error:  # onnxruntime's own have no base in common
            raise ValueError(f"{path} can't be loaded: {error}") from error
        text = self.session.get_modelmeta().custom_metadata_map.get("gantool.manifest")
        self.manifest: dict[str, Any] = json.loads(text) if text else {}
        if self.manifest.get("kind") != "onnx-seeded":
            raise ValueError(f"{path} is no generator.seeded.onnx of an app kit")
        output = self.manifest["output"]
        self.kind = KINDS.get(output["layout"], "image")  # what it makes: image, audio or volume
        self.shape: tuple[int, ...] = tuple(output["shape"])  # (H, W, C), (samples, channels) or (D, H, W, C)
        self.rate = (output.get("rate") or ASSUMED_RATE) if self.kind == "audio" else 0  # samples a second
        self._label = next((i for i in self.manifest["inputs"] if i["distribution"] == "label"), None)
        self.classes: int = self._label["classes"] if self._label else 0
        self.values = {i["name"]: i for i in self.manifest["inputs"] if i["distribution"] == "value"}
        # the picture that the generator makes another of; None: it makes images of seeds alone
        self.source = next((i for i in self.manifest["inputs"] if i["distribution"] == "data"), None)
        self.seeded = any(i["distribution"] == "seed" for i in self.manifest["inputs"])  # whether it takes noise
        names = self.manifest["data"].get("class_names")
        sound = isinstance(names, list) and len(names) == self.classes
        self.class_names = [str(name) for name in (names if sound else range(self.classes))]

    def sample(
        self, n: int, seed: int = 0, first: int = 0, labels: Labels = None, values: Values | None = None
    ) -> np.ndarray:
        """Samples `first … first+n-1` of `seed`: uint8 (n, height, width, channels) of images.

        Sounds are int16 (n, samples, channels), ±32767 for ±1; volumes are uint8 (n, depth, height, width, 1), filled
        from 128 on, depth from front to back and height from top to bottom. `labels`: of a conditional generator, one
        for all or one each, by number or name; without them, sample i has class i mod classes. `values`: name → number,
        one for all or one each; `self.values` has their names and bounds. ValueError for a seed, a sample, a label or a
        value that does not exist.
        """
        if self.source:
            raise ValueError("this generator takes a picture: call translate(picture)")
        feeds = self._feeds(n, seed, first, labels, values)
        images = np.empty((n, *self.shape), "<i2" if self.kind == "audio" else np.uint8)
        for start in range(0, n, CHUNK):
            chunk = {name: rows if name == "seed" else rows[start : start + CHUNK] for name, rows in feeds.items()}
            images[start : start + CHUNK] = self.session.run(None, chunk)[0]
        return images

    def translate(
        self, picture: np.ndarray, seed: int = 0, index: int = 0, labels: Label = None, values: Values | None = None
    ) -> np.ndarray:
        """What the generator makes of `picture`, uint8 (height, width, channels): one such, of the same size or scale.

        Sides that the network can't take are filled up by the last row and column, and the result is cut. `seed` and
        `index`: of the noise, where the generator has any. The others as in `sample`. ValueError for a picture that
        does not fit.
        """
        if not self.source:
            raise ValueError("this generator takes no picture: call sample(n, seed)")
        (height, width, channels), multiple = self.source["shape"], self.source["multiple"]
        picture = np.asarray(picture)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != channels or not picture.size:
            raise ValueError(f"the picture is {picture.dtype} {picture.shape}: give uint8 (height, width, {channels})")
        high, wide, _ = picture.shape
        if not multiple and (high, wide) != (height, width):
            raise ValueError(f"the picture has {wide} × {high} pixels: this generator takes {width} × {height}")
        multiple = multiple or 1
        feeds = self._feeds(1, seed, index, labels, values)
        filled = np.pad(picture, [(0, -high % multiple), (0, -wide % multiple), (0, 0)], "edge")
        result: np.ndarray = self.session.run(None, {**feeds, self.source["name"]: filled[None]})[0][0]
        return result[: -(-high * self.shape[0] // height), : -(-wide * self.shape[1] // width)]

    def _feeds(
        self, n: int, seed: int, first: int, labels: Labels | Label, values: Values | None
    ) -> dict[str, np.ndarray]:
        """What the model takes for images first … first+n-1, but for a picture."""
        n, seed, first = operator.index(n), operator.index(seed), operator.index(first)
        if not -(2**63) <= seed < 2**63:
            raise ValueError(f"seed {seed} does not fit 64 bits: take one from -2**63 to 2**63 - 1")
        if n < 0 or not 0 <= first <= MAX_INDEX - n:
            raise ValueError(f"there are no samples {first} to {first + n - 1}: they run from 0 to 2**47 - 1")
        index = np.arange(first, first + n, dtype=np.int64)
        feeds = {"seed": np.array([seed], np.int64), "index": index} if self.seeded else {}
        if self._label:
            feeds[self._label["name"]] = self._classes_of(index, labels)
        elif labels is not None:
            raise ValueError("this generator takes no labels")
        return feeds | self._numbers(n, values or {})

    def about(
        self, count: int, seed: int, first: int = 0, label: int | None = None, values: Values | None = None
    ) -> str:
        """Where such images come from, as JSON: the model, and what makes them again."""
        architecture, training, data = (self.manifest[name] for name in ("architecture", "training", "data"))
        known = {"name": data.get("name"), "fingerprint": data.get("fingerprint"), "licence": self.manifest["licence"]}
        said = {
            "software": f"gantool {self.manifest['gantool']}",
            "architecture": architecture.get("name"),
            "run": training.get("run"),
            "step": training.get("step"),
            "seed": seed if self.seeded else None,
            "first": first if self.seeded else None,
            "count": count,
            "label": label,
            "values": dict(values or {}),
            "data": {name: text for name, text in known.items() if text},
        }
        return json.dumps({name: value for name, value in said.items() if value not in ("", None, {})})

    def self_test(self) -> SelfTest:
        """Make the samples whose values the exporting machine recorded; RuntimeError when this one makes others."""
        exact, made, worst = True, 0, 0
        for golden in self.manifest["golden"]:
            images = self._golden(golden["count"], golden["seed"], golden["first"])
            made += len(images)
            exact &= hashlib.sha256(images.tobytes()).hexdigest() == golden["sha256"]
            for *place, values in golden["pixels"]:
                worst = max(worst, int(np.abs(images[tuple(place)].astype(int) - values).max()))
        tolerance = self.manifest.get("tolerance", 1)
        if not made or worst > tolerance:
            raise RuntimeError(f"samples differ by up to {worst} levels in {made} tested; allowed: {tolerance}")
        return SelfTest(exact, made, worst)

    def _golden(self, count: int, seed: int, first: int) -> np.ndarray:
        if not self.source:
            return self.sample(count, seed, first)
        cards = ((i, card(i, *self.source["shape"])) for i in range(first, first + count))
        return np.stack([self.translate(picture, seed, i) for i, picture in cards])

    def class_number(self, label: int | str) -> int:
        """The number of a class given by its name, or by its number; ValueError when there is none."""
        if label in self.class_names:
            return self.class_names.index(label)
        if not self.classes or not str(label).isdecimal() or int(label) >= self.classes:
            known = ", ".join(self.class_names[:20]) + (", …" if self.classes > 20 else "")
            no_class = f"there is no class {label!r}: they are {known}"
            raise ValueError(no_class if self.classes else "this generator takes no labels")
        return int(label)

    def _numbers(self, n: int, values: Values) -> dict[str, np.ndarray]:
        unknown = [name for name in values if name not in self.values]
        if unknown:
            raise ValueError(f"this generator takes no value {unknown[0]!r}: it has {', '.join(self.values) or 'none'}")
        numbers = {}
        for name, item in self.values.items():
            given = np.asarray(values.get(name, item["default"]), np.float32)
            if given.shape not in ((), (n,)):
                raise ValueError(f"{name} has shape {given.shape}: give one number, or {n}")
            if not np.all((given >= np.float32(item["low"])) & (given <= np.float32(item["high"]))):
                raise ValueError(f"{name} goes from {item['low']:g} to {item['high']:g}")
            numbers[name] = np.broadcast_to(given, (n,)).copy()
        return numbers

    def _classes_of(self, index: np.ndarray, labels: Labels) -> np.ndarray:
        if labels is None:
            return index % self.classes
        if isinstance(labels, list | tuple):
            labels = [self.class_number(label) if isinstance(label, str) else label for label in labels]
        values = np.asarray(self.class_number(labels) if isinstance(labels, str) else labels)
        if values.shape not in ((), index.shape) or (values.size and values.dtype.kind not in "iu"):
            raise ValueError(f"labels are {values.dtype} {values.shape}: give one whole number, or {len(index)}")
        if values.size and not 0 <= values.min() <= values.max() < self.classes:
            wrong = values[(values < 0) | (values >= self.classes)].flat[0]
            raise ValueError(f"there is no class {wrong}: they are 0 to {self.classes - 1}")
        return np.broadcast_to(values, index.shape).astype(np.int64)


def card(number: int, height: int, width: int, channels: int) -> np.ndarray:
    """The test card of this number, which golden images are made of: uint8 (height, width, channels)."""
    y, x, c = np.ogrid[:height, :width, :channels]
    levels = (x * 7 + y * 5 + c * 53 + number * 101) ^ ((x >> 3) * 37 + (y >> 3) * 91)
    made: np.ndarray = (levels & 255).astype(np.uint8)
    return made


def read_picture(path: str | PathLike[str], channels: int = 3) -> np.ndarray:
    """A picture file as uint8 (height, width, channels), 1: grey, 3: RGB; upright, and white where it is transparent.

    It needs Pillow; RuntimeError without, OSError where the file is no picture.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise RuntimeError("reading a picture takes Pillow: pip install pillow") from error
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def grid(images: np.ndarray) -> np.ndarray:
    """Images uint8 (n, height, width, channels) side by side, as square as it goes: uint8 (H, W, channels)."""
    n, height, width, channels = images.shape
    columns = max(1, math.ceil(math.sqrt(n)))
    rows = max(1, math.ceil(n / columns))
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:n] = images
    sheet = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, channels)


def write_png(path: str | PathLike[str], picture: np.ndarray, about: str = "") -> None:
    """Write uint8 (height, width, 1 or 3) as a PNG file that says where it comes from: XMP, and `about`, a JSON text.

    It says nothing in a kit that was made without provenance.
    """
    height, width, channels = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row starts with its filter: none
    rows[:, 1:] = picture.reshape(height, -1)
    texts = {b"XML:com.adobe.xmp": XMP, b"gantool": about} if XMP else {}
    said = [(b"iTXt", keyword + bytes(5) + text.encode()) for keyword, text in texts.items() if text]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in [(b"IHDR", header), *said, (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    Path(path).write_bytes(data)


def write_wav(path: str | PathLike[str], sound: np.ndarray, rate: int, about: str = "") -> None:
    """Write int16 (samples, channels) as a WAV file that says where it comes from: XMP, and `about`, a JSON text.

    It says nothing in a kit that was made without provenance.
    """
    channels = sound.shape[1]
    format_of_samples = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    texts = [(name, text.encode()) for name, text in ((b"_PMX", XMP), (b"gant", about)) if XMP and text]
    data = b"WAVE"
    for name, body in [(b"fmt ", format_of_samples), *texts, (b"data", sound.astype("<i2").tobytes())]:
        data += name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    Path(path).write_bytes(b"RIFF" + struct.pack("<I", len(data)) + data)


def write_binvox(path: str | PathLike[str], filled: np.ndarray) -> None:
    """Write bool (depth, height, width) as a binvox file, https://www.patrickmin.com/binvox/binvox.html.

    x to the right, y up, z to the front.
    """
    depth, height, width = filled.shape
    flat = np.ascontiguousarray(filled[::-1, ::-1].transpose(2, 0, 1)).reshape(-1)  # x, z, y
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    runs = bytearray()
    for start, length in zip(starts, np.diff(np.append(starts, flat.size)), strict=True):
        value, (whole, rest) = int(flat[start]), divmod(int(length), 255)
        runs += bytes((value, 255)) * whole + (bytes((value, rest)) if rest else b"")
    header = f"#binvox 1\ndim {width} {depth} {height}\ntranslate 0 0 0\nscale 1\ndata\n"
    Path(path).write_bytes(header.encode() + runs)


def write(generator: Generator, path: str, samples: np.ndarray, about: str) -> None:
    """Write samples as the file of their kind."""
    if generator.kind == "audio":
        write_wav(path, samples.reshape(-1, samples.shape[-1]), generator.rate, about)
    elif generator.kind == "volume":
        write_binvox(path, samples[0, ..., 0] >= 128)
    else:
        write_png(path, grid(samples), about)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write generated images, or what becomes of a picture, as PNG; sounds as WAV; a volume as binvox."
    )
    parser.add_argument(
        "--input", metavar="PICTURE", help="what the image is made of, if the generator takes a picture"
    )
    parser.add_argument("--seed", type=int, default=0, help="which family of samples (default: %(default)s)")
    parser.add_argument("-n", "--count", type=int, help="how many (default: 16 images; otherwise 1)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default: %(default)s)")
    parser.add_argument("--label", help="class of all, by number or name, for a conditional generator")
    parser.add_argument(
        "--value", action="append", default=[], metavar="NAME=NUMBER", help="a value of the generator; may be repeated"
    )
    parser.add_argument("-o", "--output", help=f"the file to write (default: {', '.join(FILES.values())})")
    parser.add_argument("--model", help=f"default: {MODEL} beside this file, or one folder up")
    parser.add_argument("--self-test", action="store_true", help="compare with the exporting machine's samples")
    given = parser.parse_args()
    count = 1
    try:
        generator = Generator(given.model)
        kind, name = generator.kind, NOUNS[generator.kind]
        count = given.count if given.count is not None else 1 if given.input else COUNTS[kind]
        output = given.output or FILES[kind]
        if not 1 <= count <= MOST[kind]:
            parser.error(f"a file holds 1 to {MOST[kind]} {name}s, not {count}")
        if given.self_test:
            print(generator.self_test())
            return
        label = None if given.label is None else generator.class_number(given.label)
        values = {name: float(number) for name, _, number in (text.rpartition("=") for text in given.value)}
        if given.input:
            picture = read_picture(given.input, generator.source["shape"][2] if generator.source else 3)
            indices = range(given.first, given.first + count)
            images = np.stack([generator.translate(picture, given.seed, i, label, values) for i in indices])
        elif generator.source:
            raise ValueError("this generator takes a picture: --input picture.png")
        else:
            images = generator.sample(count, given.seed, given.first, label, values)
        about = generator.about(count, given.seed, given.first, label, values)
        write(generator, output, images, about)
    except MemoryError:
        parser.exit(1, f"{parser.prog}: error: not enough memory for {count} samples: take fewer\n")
    except (OSError, ValueError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: error: {(str(error) or type(error).__name__).splitlines()[0]}\n")
    made = f"{count} {name}{'s' * (count > 1)} of seed {given.seed}"
    print(f"{output}: made of {given.input}" if given.input else f"{output}: {made}")


if __name__ == "__main__":
    main()
