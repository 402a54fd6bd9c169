"""`Generator`: images from an exported file."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gantool import latents, manifest
from gantool.errors import GantoolError
from gantool.manifest import Golden, InputInfo, Manifest
from gantool.runtime.session import metadata, open_session, run, signature

CHUNK = 64  # images a call: larger batches were slower an image on CPUs, for they leave the cache
# What a host may differ by: its kernels round sums in another order.
MAX_LEVELS = 1
MAX_SHARE = 0.001


@dataclass(frozen=True)
class SelfTest:
    """`exact`: the bytes are those of the exporting machine; else at most 1 level on known pixels."""

    exact: bool
    images: int
    worst: int


class Generator:
    """An exported generator, from `generator.onnx` or `generator.seeded.onnx`: equal images from either.

    Image `i` of seed `s` depends on (s, i) alone, whatever the batch it is made in.

        generator = Generator("generator.seeded.onnx")
        images = generator.sample(16, seed=7)              # uint8 (16, H, W, C)

    `provider`: cpu, cuda, tensorrt or openvino; one that does not take the whole graph is an error, never a silent
    fallback. `threads`: of one operator (default: onnxruntime's, one a core).
    """

    def __init__(self, path: str | PathLike[str], provider: str = "cpu", threads: int | None = None) -> None:
        try:
            self.path = Path(path)
        except TypeError as error:
            raise GantoolError(f"{path!r:.100} is no path.", "Give the path of an exported .onnx file.") from error
        self.provider = provider
        self.session = open_session(self.path, provider, threads)
        text = metadata(self.session, self.path).get(manifest.KEY)
        if text is None:
            raise GantoolError(
                f"{self.path} has no gantool manifest.",
                "It was not made by `gantool export`, or was rewritten since.",
            )
        self.manifest: Manifest = manifest.from_json(text, self.path)
        self._check_names()
        if self.seeded and provider == "openvino":
            raise GantoolError(
                f"{self.path} draws its latents with 64-bit integers; OpenVINO narrows them: wrong images.",
                "Use generator.onnx with this provider: gantool export --onnx",
            )

    @property
    def seeded(self) -> bool:
        """Whether the file draws its own latents."""
        return self.manifest.kind == "onnx-seeded"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image as `sample` returns it: (H, W, C)."""
        shape = self.manifest.output.shape
        return (*shape[1:], shape[0]) if self.manifest.output.layout == "CHW" else shape

    def sample(self, n: int, seed: int = 0, first: int = 0, labels: int | Sequence[int] | None = None) -> np.ndarray:
        """Images `first … first+n-1` of `seed`: uint8 (n, H, W, C).

        `labels`: of a conditional generator, one for all or one each; without them, image i has class i mod classes.
        Samples that are no images (audio, volumes) come as float32 (n, C, …).
        """
        n, seed, first = _asked(n, seed, first)
        index = np.arange(first, first + n, dtype=np.int64)
        conditions = self._conditions(index, labels)
        parts = []
        for part in _chunks(n):
            feeds: dict[str, Any] = {name: values[part] for name, values in conditions.items()}
            if self.seeded:
                feeds |= {"seed": np.array([seed], np.int64), "index": index[part]}
                parts.append(self._run(feeds))
            else:
                feeds |= self._latents(len(index[part]), seed, first + part.start)
                output = self._run(feeds)
                parts.append(latents.pixels(output) if output.ndim == 4 else output)
        if not parts:
            image = self.manifest.output.layout in ("HWC", "CHW")
            return np.empty((0, *self.shape), np.uint8 if image else np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def latents(self, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """The latents of images `first … first+n-1` of `seed`: float32 (n, latent_dim)."""
        drawn = self._latents(*_asked(n, seed, first))
        if len(drawn) != 1:
            raise GantoolError(f"{self.path} has {len(drawn)} latents: {', '.join(drawn) or 'none'}.")
        return next(iter(drawn.values()))

    def from_latents(self, z: np.ndarray, labels: int | Sequence[int] | None = None) -> np.ndarray:
        """Your own latents (n, latent_dim) → float32 (n, C, H, W) in [-1, 1]; `generator.onnx` only."""
        if self.seeded:
            raise GantoolError(
                f"{self.path} draws its latents itself.",
                "Open generator.onnx to give your own: gantool export --onnx",
            )
        if len(self.manifest.latents) != 1:
            raise GantoolError(f"{self.path} takes {self._input_names()}, not one latent.", "Use .run(inputs).")
        item = self.manifest.latents[0]
        array = np.asarray(z)
        if array.ndim < 2 or array.shape[1:] != item.shape or array.dtype.kind != "f":
            wanted = ", ".join(map(str, ("n", *item.shape)))
            raise GantoolError(f"The latents are {array.dtype} {array.shape}; wanted: float32 ({wanted}).")
        index = np.arange(len(array), dtype=np.int64)
        return self.run({item.name: array, **self._conditions(index, labels)})

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The graph itself: every input by name, any n → its output (n, …), in chunks."""
        names = {i.name for i in self.manifest.inputs}
        if set(inputs) != names:
            raise GantoolError(f"{self.path} takes {self._input_names()}; given were {', '.join(sorted(inputs))}.")
        arrays = {i.name: _input(i, inputs[i.name]) for i in self.manifest.inputs}
        counts = {name: len(array) for name, array in arrays.items() if not self._is_seed(name)}
        count = max(counts.values())
        if set(counts.values()) != {count}:
            raise GantoolError(
                f"The inputs have different lengths: {', '.join(f'{k} {v}' for k, v in counts.items())}."
            )
        parts = [
            self._run({k: a if self._is_seed(k) else a[part] for k, a in arrays.items()}) for part in _chunks(count)
        ]
        if not parts:
            return np.empty((0, *self.manifest.output.shape), self.manifest.output.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def self_test(self) -> SelfTest:
        """Make the manifest's golden images and compare; GantoolError when this host makes others."""
        exact, worst, made = True, 0, 0
        for golden in self.manifest.golden:
            images = self.sample(golden.count, golden.seed, golden.first)
            made += len(images)
            exact &= hashlib.sha256(images.tobytes()).hexdigest() == golden.sha256
            worst = max(worst, self._worst(golden, images))
        if not made:
            raise GantoolError(f"{self.path} has no golden images: it takes more than a seed.")
        if worst > MAX_LEVELS:
            raise GantoolError(
                f"{self.path} makes other images here than where it was exported (by up to {worst} levels).",
                "Its provider or this build of onnxruntime computes something wrong: try --provider cpu.",
            )
        return SelfTest(exact, made, worst)

    def _worst(self, golden: Golden, images: np.ndarray) -> int:
        worst = 0
        for image, row, column, values in golden.pixels:
            place = (image, row, column, len(values) - 1)
            if images.ndim != 4 or any(i >= side for i, side in zip(place, images.shape, strict=True)):
                raise GantoolError(f"{self.path}: a golden pixel lies outside its images.", "Export it again.")
            pixel = images[image, row, column, : len(values)].astype(int)
            worst = max(worst, int(np.abs(pixel - np.array(values)).max()))
        return worst

    def _latents(self, n: int, seed: int, first: int) -> dict[str, np.ndarray]:
        shapes = {i.name: i.shape for i in self.manifest.latents}
        if not shapes:
            raise GantoolError(f"{self.path} takes no latents: its inputs are {self._input_names()}.")
        if self.manifest.rng not in (None, latents.RNG_NAME):
            raise GantoolError(
                f"The seeds of {self.path} are for {self.manifest.rng}; this gantool draws by {latents.RNG_NAME}.",
                "Upgrade: pip install -U gantool",
            )
        return latents.draw(shapes, seed, np.arange(first, first + n, dtype=np.int64))

    def _run(self, feeds: dict[str, Any]) -> np.ndarray:
        missing = [i.name for i in self.manifest.inputs if i.name not in feeds]
        if missing:
            raise GantoolError(
                f"{self.path} takes {self._input_names()}: no seed gives {', '.join(missing)}.", "Use .run(inputs)."
            )
        output: np.ndarray = run(self.session, feeds, self.path)
        return output

    def _conditions(self, index: np.ndarray, labels: int | Sequence[int] | None) -> dict[str, np.ndarray]:
        item = self.manifest.input("label")
        if item is None:
            if labels is not None:
                raise GantoolError(f"{self.path} takes no labels: its inputs are {self._input_names()}.")
            return {}
        if labels is None:
            return {item.name: index % item.classes}
        values = np.asarray(labels)
        if values.shape not in ((), index.shape) or (values.size and values.dtype.kind not in "iu"):
            raise GantoolError(
                f"The labels are {values.dtype} {values.shape}; wanted: one whole number, or {len(index)}."
            )
        values = np.broadcast_to(values, index.shape).astype(np.int64)
        if len(values) and not 0 <= values.min() <= values.max() < item.classes:
            raise GantoolError(
                f"The labels run from {values.min()} to {values.max()}; there are {item.classes} classes."
            )
        return {item.name: values}

    def _is_seed(self, name: str) -> bool:
        return any(i.name == name and i.distribution == "seed" for i in self.manifest.inputs)

    def _input_names(self) -> str:
        return ", ".join(i.name for i in self.manifest.inputs)

    def _check_names(self) -> None:
        inputs, outputs = signature(self.session, self.path)
        output = self.manifest.output
        for what, found, said in (
            ("inputs", inputs, {(i.name, i.dtype) for i in self.manifest.inputs}),
            ("outputs", outputs, {(output.name, output.dtype)}),
        ):
            if found != said:
                has, says = (", ".join(f"{name} {dtype}" for name, dtype in sorted(pairs)) for pairs in (found, said))
                raise GantoolError(
                    f"{self.path} has the {what} {has}; its manifest says {says}.",
                    "The file was changed since its export: export it again.",
                )


def _asked(n: Any, seed: Any, first: Any) -> tuple[int, int, int]:
    """The three as int, NumPy's integers too; GantoolError unless there are images first … first+n-1 of `seed`."""
    n, seed, first = _whole("n", n), _whole("seed", seed), _whole("first", first)
    if n < 0:
        raise GantoolError(f"{n} images were asked for.", "Give 0 or more.")
    if not 0 <= first <= latents.MAX_INDEX - n:
        raise GantoolError(
            f"There is no image {first + n - 1 if first >= 0 else first}.", "They run from 0 to 2**47 - 1."
        )
    latents.key_from_seed(seed)  # refuses what a graph would cut to 64 bits
    return n, seed, first


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise GantoolError(f"{name} is {value!r:.100}: not a whole number.") from error


def _input(item: InputInfo, given: Any) -> np.ndarray:
    """An input as the graph takes it; GantoolError for another shape, or for what are no numbers."""
    array = np.asarray(given)
    sound = array.dtype.kind in "biuf" and (item.dtype == "float32" or array.dtype.kind in "iu")
    if not sound or array.ndim != 1 + len(item.shape) or array.shape[1:] != item.shape:
        wanted = ", ".join(map(str, ("n" if item.distribution != "seed" else 1, *item.shape)))
        raise GantoolError(f"{item.name} is {array.dtype} {array.shape}; wanted: {item.dtype} ({wanted}).")
    return np.ascontiguousarray(array, item.dtype)


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))
