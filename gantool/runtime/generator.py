"""`Generator`: images from an exported file."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, DTypeLike

from gantool.artifact import cards, latents, onnxfile
from gantool.artifact.manifest import InputInfo
from gantool.errors import ArgumentError, GantoolError, excerpt, printable, renamed
from gantool.runtime import scheduling
from gantool.runtime.inputs import (
    Labels,
    Values,
    check_digest,
    check_request,
    check_signature,
    graph_input,
    parse_labels,
    parse_values,
    shape_text,
    whole,
    worst_pixel,
)
from gantool.runtime.pictures import padded, parse_pictures, tiled
from gantool.runtime.session import ORT_ERRORS, Bound, failed, open_session, run, run_into
from gantool.system import nvml
from gantool.system.machine import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 64  # images a call where nothing is known of the device
LANES = 2  # calls at once on a GPU, each on a stream of its own: one computes while the other is copied
PART_BYTES = 2**26  # of images at a time in a stream
MAX_PART = 8192
MAX_CARDS = 2**28  # bytes of test cards at once: a damaged manifest must not take all memory
# How much a host may differ, because its kernels round sums in another order.
MAX_LEVELS = 1
MAX_SHARE = 0.001
# of 16 bits a level is 256 times as fine, so that sums rounded otherwise cross one more often
MAX_SHARES = {"uint8": MAX_SHARE, "int16": 0.05}

Index = range | np.ndarray  # the numbers of the images of a request
Call = Callable[[int, int, ort.InferenceSession, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class SelfTest:
    """`exact`: the bytes are those of the exporting machine. `worst`: by how many levels a golden pixel differs.

    `worst` is at most the manifest's `tolerance`: 1 where everything is computed in float32.
    """

    exact: bool
    images: int
    worst: int


# how other libraries call the arguments of `sample` and `stream`
_OTHER_NAMES = {
    **dict.fromkeys(("start", "offset"), "first"),
    **dict.fromkeys(("count", "num", "batch_size"), "n"),
    **dict.fromkeys(("label", "class_labels"), "labels"),
    **dict.fromkeys(("indices", "indexes"), "index"),
}


class Generator:
    """An exported generator, from `generator.onnx`, `generator.seeded.onnx` or `.portable.onnx`: equal images.

    Image `i` of seed `s` depends on (s, i) alone, whatever the batch it is made in.

        generator = Generator("generator.seeded.onnx")
        images = generator.sample(16, seed=7)              # uint8 (16, H, W, C)
        images = generator.sample(index=[3, 141, 59])      # any images of seed 0

    `provider`: cpu, cuda, tensorrt or openvino; one that can't run the whole graph is an error, never a silent
    fallback. `threads`: how many cores to use (default: those that the process may use). `settings`: options of the
    provider, as onnxruntime names them, e.g. {"use_tf32": "0"}.

    On the cpu a small request is one call, each operator on several threads. A large request is split into calls that
    fit the cache, one thread each, on all cores; they use a second session, opened at the first such request, that the
    threads share. Any number of threads may call one generator.

    On a GPU a call has a power of two images (the surplus is cut off), since each new number is slow at first. A large
    request is split into calls sized by the memory of the device; two run at once, so that copying overlaps computing.
    {"enable_cuda_graph": "1"} records the kernels once and replays them: less latency, one call at a time.

    GantoolError for a file that is damaged, was changed since its export or refers to other files. These checks do not
    prove who made a file: open only files that you trust, as with any model.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        provider: str = "cpu",
        threads: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        try:
            self.path = Path(path)
        except TypeError as error:
            raise ArgumentError(f"{path!r:.100} is no path.", "Give the path of an exported .onnx file.") from error
        self.provider = provider
        data = onnxfile.read_bytes(self.path)
        file = onnxfile.parse(data, self.path)
        self.manifest = onnxfile.manifest_of(file, self.path)
        check_digest(file, self.path, self.manifest)
        if self.manifest.kind == "onnx-seeded" and self.manifest.latents and provider == "openvino":
            raise GantoolError(
                f"{self.path} draws its latents with 64-bit integers; OpenVINO narrows them: wrong samples.",
                "Use generator.portable.onnx with this provider: gantool export --portable",
            )
        self._cores, self._image_seconds = 1, 0.0
        if provider == "cpu" and (threads is None or threads > 0):
            self._cores = threads or usable_cores()
            convolutional = any("Conv" in name for name in file.operators)
            self._image_seconds = scheduling.image_seconds(len(data), convolutional)
            threads = threads or scheduling.latency_threads(self._image_seconds, self._cores)
        self._memory = scheduling.memory_limit(
            len(data),
            self._image_seconds,
            self._cores,
            self.manifest.batch,
            math.prod(self.manifest.output.shape) * 4,
            any_size=None in self.manifest.output_axes,
        )
        session = open_session(data, self.path, provider, threads, settings, self._memory)
        check_signature(session, self.path, self.manifest)
        own = dict(settings or {})  # that of the session may leave it out
        graph = provider == "cuda" and own.get("enable_cuda_graph") in ("1", "True", "true")
        self.session: ort.InferenceSession | Bound = session
        if graph:
            self.session = Bound(session, graph=True, number=int(own.get("device_id", "0")))
        self._lanes = LANES if provider == "cuda" and not graph else 1
        self._gpu = provider in ("cuda", "tensorrt")
        self._rows = self.manifest.batch or (self._device_rows() if self._gpu else CHUNK)
        self._workers = scheduling.Workers(max(self._cores, self._lanes))
        # bytes until the second session is opened: the file may have changed by then
        self._bulk: ort.InferenceSession | bytes | None = data if self._cores > 1 else None
        self._bulk_settings = settings
        self._bulk_lock = threading.Lock()
        # looked up once, because after a run little of Python is left in the processor's cache
        output = self.manifest.output
        self._batch, self._row, self._names = self.manifest.batch, output.shape, [output.name]
        self._picture = self.manifest.picture
        self._noun = output.noun
        self._seeded, self._label = self.manifest.seeded, self.manifest.input("label")
        self._has_values = bool(self.manifest.values)
        self._dtype = np.dtype(output.levels or np.float32)  # of what `sample` returns
        self._at_once = self.plan(1).rows if self._cores == 1 else scheduling.at_once(self._image_seconds, self._batch)
        self._seeds = {i.name for i in self.manifest.inputs if i.distribution == "seed"}
        self._portable = self.manifest.kind == "onnx-portable"
        self._latest_seed = (0, self._numbers(np.array((0,), np.int64)))
        self._shapes: dict[str, tuple[int, ...]] | None = None

    def __repr__(self) -> str:
        name, shape = self.manifest.architecture.get("name"), "×".join(map(str, self.manifest.output.shape))
        return f"<Generator {str(self.path)!r}: {printable(str(name))}, {shape}>"

    @property
    def seeded(self) -> bool:
        """Whether the file draws its own latents."""
        return self.manifest.seeded

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as `sample` returns it: (H, W, C); of audio (T, C), of a volume (D, H, W, C)."""
        output = self.manifest.output
        return output.channels_last if output.levels else output.shape

    @renamed(**_OTHER_NAMES)
    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        *,
        index: ArrayLike | None = None,
        values: Values | None = None,
    ) -> np.ndarray:
        """Images `first … first+n-1` of `seed`, or those that `index` lists: uint8 (n, H, W, C).

        `index`: the numbers of the images in any order, integers (n,), in place of `n` and `first`.
        `labels`: of a conditional generator, one for all images or one each, by number or by the name that the manifest
        has; without them image i has class i mod classes.
        `values`: name → number, one for all images or one each: the generator's values (`manifest.values`), such as
        {"truncation": 0.7}; those not given have their defaults.
        Audio comes as int16 (n, T, C), ±32767 for ±1, and volumes as uint8 (n, D, H, W, C), filled from 128 on. Files
        whose layout is "C…", of earlier versions, have float32 (n, C, …) of both.
        """
        return self._sample(n, seed, first, labels, index, values)

    @renamed(**_OTHER_NAMES)
    def stream(
        self,
        n: int,
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        part: int | None = None,
        *,
        values: Values | None = None,
    ) -> Iterator[np.ndarray]:
        """The images of `sample`, in order, `part` at a time (default: 64 MB of them): each part (part, H, W, C).

        The next part is made while the caller uses this one, so two are in memory, whatever `n`. GantoolError at once
        for what `sample` refuses. To stop early, `close()` the iterator or drop it.
        """
        n, seed, first = check_request(n, seed, first, self._noun)
        self._drawn_inputs()
        checked = parse_labels(labels, n, self.manifest, self.path)
        checked_values = parse_values(values, n, self.manifest, self.path)
        if part is None:
            part = max(1, min(MAX_PART, PART_BYTES // (math.prod(self.shape) * self._dtype.itemsize)))
        elif (part := whole("part", part)) < 1:
            raise ArgumentError(f"Parts of {part} {self._noun}s were asked for.", "Give 1 or more.")
        return self._stream(n, seed, first, checked, part, checked_values)

    def _stream(
        self,
        n: int,
        seed: int,
        first: int,
        labels: int | np.ndarray | None,
        part: int,
        values: Mapping[str, float | np.ndarray],
    ) -> Iterator[np.ndarray]:
        stop = threading.Event()

        def make(start: int) -> np.ndarray:
            count = min(part, n - start)
            rows = slice(start, start + count)
            own, own_values = _part(labels, rows), _parts(values, rows)
            return self._sample(count, seed, first + start, own, values=own_values, stop=stop)

        if isinstance(self.session, Bound):  # CUDA graphs are kept by thread: another thread would record them anew
            for start in range(0, n, part):
                yield make(start)
            return
        with ThreadPoolExecutor(1, "gantool-stream") as ahead:
            try:
                following = ahead.submit(make, 0) if n else None
                for start in range(part, n + part, part):
                    assert following is not None
                    images = following.result()
                    following = ahead.submit(make, start) if start < n else None
                    yield images
                    del images  # otherwise a third part would stay in memory while the next is waited for
            finally:
                stop.set()  # an interrupt or close() does not wait for the rest of the part

    @overload
    def translate(
        self,
        pictures: np.ndarray | Image,
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        values: Values | None = None,
        tile: int | None = None,
    ) -> np.ndarray: ...

    @overload
    def translate(
        self,
        pictures: Sequence[np.ndarray | Image],
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        values: Values | None = None,
        tile: int | None = None,
    ) -> np.ndarray | list[np.ndarray]: ...

    def translate(
        self,
        pictures: np.ndarray | Image | Sequence[np.ndarray | Image],
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        values: Values | None = None,
        tile: int | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """What the generator makes of pictures: uint8 (n, H', W', C'), or a list of them for pictures of several sizes.

            result = generator.translate(Image.open("sketch.png"))[0]

        `pictures`: uint8 (n, H, W, C) or (H, W, C), a picture of Pillow, or a list. Grey becomes RGB or the reverse, as
        the generator wants; Pillow's are turned as their EXIF data say, and transparency becomes white. Unless the
        generator takes one size only, the sides may be any: a picture is padded on the right and below by its last
        column and row to multiples of `manifest.picture.multiple`, and the result cropped in proportion.

        The noise of picture k is that of image `first` + k of `seed`. `labels` and `values`: as in `sample`.

        `tile`: a picture with a longer side is made in square tiles of that side, which overlap and fade into each
        other; None: as large as memory should allow, where the picture is larger. Norms over a whole picture, such as
        InstanceNorm, are then those of a tile.
        """
        item = self.require_picture()
        parsed = parse_pictures(pictures, item)
        n, seed, first = check_request(len(parsed), seed, first, self._noun)
        tile = None if tile is None else whole("tile", tile)
        if tile is not None and tile < 1:
            raise ArgumentError(f"Tiles of {tile} pixels were asked for.", "Give 1 or more.")
        self._shapes = self._drawn_inputs()
        checked = parse_labels(labels, n, self.manifest, self.path)
        numbers = parse_values(values, n, self.manifest, self.path)

        def alike(which: int | list[int], same: np.ndarray) -> np.ndarray:
            """Of pictures of one size; which=k: tiles of picture k."""
            rows = np.broadcast_to(np.array(which), len(same))
            return self._alike(same, seed, first + rows, _part(checked, rows), _parts(numbers, rows))

        results: list[np.ndarray] = [np.empty(0)] * n
        of_shape: dict[tuple[int, ...], list[int]] = {}
        whole_units = [padded(picture, item.multiple) for picture in parsed]
        for k, picture in enumerate(whole_units):
            of_shape.setdefault(picture.shape, []).append(k)
        for (height, width, _), which in of_shape.items():
            side = self._tile_side(tile, height, width)
            if side is None:
                made: Iterable[np.ndarray] = alike(which, np.stack([whole_units[k] for k in which]))
            else:
                made = (
                    tiled(whole_units[k], side, item.multiple, self._result(height, width), partial(alike, k))
                    for k in which
                )
            for k, result in zip(which, made, strict=True):
                rows, columns, _ = self._result(*parsed[k].shape[:2])
                results[k] = result[:rows, :columns]
        sizes = {result.shape for result in results}
        return np.stack(results) if len(sizes) == 1 else results if results else np.empty((0, *self.shape), np.uint8)

    def reference_images(self, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """Images that can be compared between machines: uint8 (n, H, W, C).

        Those of `sample`; of a generator that takes a picture, what `translate` makes of the test cards
        `first … first+n-1` (`gantool.artifact.cards`).
        """
        item = self._picture
        if item is None:
            return self.sample(n, seed, first)
        n, seed, first = check_request(n, seed, first, self._noun)
        if n * math.prod(item.shape) > MAX_CARDS:
            raise GantoolError(f"{n} test cards of {shape_text(item.shape)} do not fit into memory.", "Ask for fewer.")
        return self.translate(cards.cards(first, n, *item.sides, item.channels), seed, first)

    def latents(self, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """The latents of images `first … first+n-1` of `seed`: float32 (n, latent_dim)."""
        drawn = self.drawn(n, seed, first)
        if len(drawn) != 1:
            raise GantoolError(f"{self.path} has {len(drawn)} latents: {excerpt(', '.join(drawn), 300) or 'none'}.")
        return next(iter(drawn.values()))

    def drawn(self, n: int, seed: int = 0, first: int = 0) -> dict[str, np.ndarray]:
        """All normal inputs of images `first … first+n-1` of `seed`, by name, float32 (n, …), as `run` takes them."""
        n, seed, first = check_request(n, seed, first, self._noun)
        return latents.draw(self._latent_shapes(), seed, np.arange(first, first + n, dtype=np.int64))

    @renamed(**_OTHER_NAMES)
    def floats(
        self, n: int, seed: int = 0, first: int = 0, labels: Labels = None, *, values: Values | None = None
    ) -> np.ndarray:
        """The samples of `sample` before they are rounded: float32 (n, C, …) in [-1, 1]; `generator.onnx` only."""
        self._refuse_seeded("rounds its samples itself", "have them unrounded")
        drawn = self.drawn(n, seed, first)
        return self.run({**drawn, **self._chosen(np.arange(first, first + n, dtype=np.int64), labels, values)})

    def from_latents(self, z: np.ndarray, labels: Labels = None, values: Values | None = None) -> np.ndarray:
        """Your own latents (n, latent_dim) → float32 (n, C, H, W) in [-1, 1]; `generator.onnx` only."""
        self._refuse_seeded("draws its latents itself", "give your own")
        if len(self.manifest.latents) != 1:
            raise GantoolError(f"{self.path} takes {self._input_names()}, not one latent.", "Use .run(inputs).")
        item = self.manifest.latents[0]
        array = graph_input(item, z)
        return self.run({item.name: array, **self._chosen(np.arange(len(array)), labels, values)})

    def _refuse_seeded(self, why: str, to: str) -> None:
        if self.seeded:
            raise GantoolError(f"{self.path} {why}.", f"Open generator.onnx to {to}: gantool export --onnx")

    def _chosen(self, index: np.ndarray, labels: Labels, values: Values | None) -> dict[str, np.ndarray]:
        """The labels and values of the samples `index`, as the graph takes them."""
        checked = parse_labels(labels, len(index), self.manifest, self.path)
        numbers = parse_values(values, len(index), self.manifest, self.path)
        filled = {name: np.full(len(index), value, np.float32) for name, value in numbers.items()}
        return {**self._labels_of(index, checked), **filled}

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the graph itself: every input by name, any n → its output (n, …).

        GantoolError for inputs of another shape or dtype, and for labels, indices or seeds that `sample` refuses.
        """
        if not isinstance(inputs, Mapping) or set(inputs) != {i.name for i in self.manifest.inputs}:
            given = ", ".join(sorted(map(str, inputs))) if isinstance(inputs, Mapping) else repr(inputs)
            given = given or "none"
            raise ArgumentError(f"{self.path} takes {self._input_names()}; given were {excerpt(given, 300)}.")
        arrays = {i.name: graph_input(i, inputs[i.name]) for i in self.manifest.inputs}
        counts = {name: len(array) for name, array in arrays.items() if name not in self._seeds}
        count = max(counts.values(), default=0)
        if set(counts.values()) != {count}:
            lengths = ", ".join(f"{k} {v}" for k, v in counts.items()) or "there are none"
            raise ArgumentError(f"The inputs have different lengths: {excerpt(lengths, 300)}.")

        def call(start: int, stop: int, session: ort.InferenceSession, into: np.ndarray | None) -> np.ndarray:
            feeds = {k: a if k in self._seeds else a[start:stop] for k, a in arrays.items()}
            return self._run(feeds, stop - start, session, into)

        return self._split(call, count, self._row_in(arrays), np.dtype(self.manifest.output.dtype))

    def plan(self, n: int) -> scheduling.Plan:
        """How a request of `n` images runs: threads that call the graph at once, and images a call at most."""
        if self.provider != "cpu":
            return scheduling.Plan(self._lanes if n > self._rows else 1, self._rows)
        return scheduling.plan(n, self._image_seconds, self._cores, self.manifest.batch)

    def self_test(self) -> SelfTest:
        """Make the manifest's golden images and compare; GantoolError when this host makes others."""
        exact, worst, made = True, 0, 0
        for golden in self.manifest.golden:
            images = self.reference_images(golden.count, golden.seed, golden.first)
            made += len(images)
            exact &= hashlib.sha256(images.tobytes()).hexdigest() == golden.sha256
            worst = max(worst, worst_pixel(golden, images, self.path))
        if not made:
            raise GantoolError(f"{self.path} has no golden {self._noun}s: it takes more than a seed.")
        if worst > self.manifest.tolerance:
            raise GantoolError(
                f"{self.path} makes other {self._noun}s here than where it was exported (by up to {worst} levels).",
                "Its provider or this build of onnxruntime computes something wrong: try --provider cpu.",
            )
        return SelfTest(exact, made, worst)

    def _sample(
        self,
        n: int | None,
        seed: int,
        first: int,
        labels: Labels,
        index: ArrayLike | None = None,
        values: Values | None = None,
        stop: threading.Event | None = None,
    ) -> np.ndarray:
        """`sample`; calls that have not begun when `stop` is set are left out, and their images are undefined."""
        if index is None:
            n, seed, first = check_request(n, seed, first, self._noun)
            rows: Index = range(first, first + n)
        elif n is None and first == 0:
            rows = latents.check_index(index)
            n, seed, _ = check_request(len(rows), seed, 0, self._noun)
        else:
            raise ArgumentError("`index` was given together with `n` or `first`.", "Give one or the other.")
        if self._picture is not None:
            raise ArgumentError(
                f"{self.path} makes images of pictures: it takes {self._input_names()}.", "Use .translate(pictures)."
            )
        if self._shapes is None:
            self._shapes = self._drawn_inputs()
        checked = None if labels is None else parse_labels(labels, n, self.manifest, self.path)
        numbers = parse_values(values, n, self.manifest, self.path) if self._has_values or values is not None else {}

        def call(start: int, end: int, session: ort.InferenceSession, into: np.ndarray | None) -> np.ndarray:
            part = slice(start, end)
            own, own_values = _part(checked, part), _parts(numbers, part)
            return self._images(seed, rows[start:end], own, own_values, session, into)

        if 0 < n <= self._at_once:
            return call(0, n, self.session, None)
        return self._split(call, n, self.shape, self._dtype, stop)

    def _images(
        self,
        seed: int,
        rows: Index,
        labels: int | np.ndarray | None,
        values: Mapping[str, float | np.ndarray],
        session: ort.InferenceSession,
        into: np.ndarray | None,
        pictures: np.ndarray | None = None,
    ) -> np.ndarray:
        """One call: the images `rows` of `seed`, their labels, values and pictures checked."""
        index = np.arange(rows.start, rows.stop, dtype=np.int64) if isinstance(rows, range) else rows
        feeds: dict[str, Any] = {}
        if self._shapes:
            feeds = latents.draw(self._shapes, seed, index)
        elif self._seeds:
            latest = self._latest_seed  # of all threads: one of them reads and writes the pair at once
            if latest[0] != seed:
                latest = self._latest_seed = (seed, self._numbers(np.array((seed,), np.int64)))
            feeds = {"seed": latest[1], "index": self._numbers(index)}
        if self._label is not None:
            feeds |= self._labels_of(index, labels)
        for name, value in values.items():
            feeds[name] = value if isinstance(value, np.ndarray) else np.full(len(index), value, np.float32)
        if self._picture is not None and pictures is not None:
            feeds[self._picture.name] = pictures if self._seeded else latents.floats(pictures)
        output = self._run(feeds, len(index), session, into)
        if self._portable:  # whole numbers already
            return output.astype(self._dtype)
        return output if output.dtype == self._dtype else latents.levels(output)

    def _alike(
        self,
        pictures: np.ndarray,
        seed: int,
        index: np.ndarray,
        labels: int | np.ndarray | None,
        values: Mapping[str, float | np.ndarray],
    ) -> np.ndarray:
        """The results of padded pictures of one size, uint8 (n, H, W, C), with the noise of the images `index`."""

        def call(start: int, end: int, session: ort.InferenceSession, into: np.ndarray | None) -> np.ndarray:
            part = slice(start, end)
            own, own_values = _part(labels, part), _parts(values, part)
            return self._images(seed, index[part], own, own_values, session, into, pictures[part])

        return self._split(call, len(pictures), self._result(*pictures.shape[1:3]), np.uint8)

    def _split(
        self,
        call: Call,
        count: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        stop: threading.Event | None = None,
    ) -> np.ndarray:
        """All rows by `call(start, end, session, into)`, split as `plan` says → (count, *shape).

        A call returns `into`, or an array that is copied there.
        """
        plan = self.plan(count) if self._picture is None else self._picture_plan(count, shape)
        if 0 < count <= plan.rows:
            return call(0, count, self.session, None)
        try:
            images = np.empty((count, *shape), dtype)
        except (MemoryError, ValueError) as error:  # the latter where even its size is no number of C
            raise GantoolError(
                f"{count} samples of {shape_text(shape)} do not fit into memory.", "Ask for fewer, or use .stream()."
            ) from error
        session = self.session if plan.threads == 1 else self._bulk_session()

        def write(start: int) -> None:
            into = images[start : min(start + plan.rows, count)]
            made = call(start, start + len(into), session, into)
            if made is not into:
                into[...] = made

        self._workers.each(write, range(0, count, plan.rows), plan.threads, stop)
        return images

    def _bulk_session(self) -> ort.InferenceSession:
        """The session with one thread an operator, which many threads may call; other providers have only one."""
        if isinstance(self._bulk, bytes):
            with self._bulk_lock:
                if isinstance(self._bulk, bytes):
                    self._bulk = open_session(
                        self._bulk, self.path, self.provider, 1, self._bulk_settings, self._memory
                    )
        return self.session if self._bulk is None else self._bulk

    def _run(
        self, feeds: dict[str, Any], count: int, session: ort.InferenceSession, into: np.ndarray | None
    ) -> np.ndarray:
        """The output of `count` rows, written to `into` where that is possible.

        A fixed batch, and on a GPU a power of two, is filled by repeating the last row; the surplus is cut off.
        """
        batch = self._batch or (scheduling.power_of_two(count) if self._gpu else count)
        if count < batch:
            surplus = batch - count
            feeds = {
                k: a if k in self._seeds else np.concatenate([a, np.repeat(a[-1:], surplus, axis=0)])
                for k, a in feeds.items()
            }
        elif (
            into is not None and into.dtype == self.manifest.output.dtype and isinstance(session, ort.InferenceSession)
        ):
            try:
                run_into(session, feeds, self._names[0], into)
            except ORT_ERRORS as error:
                raise failed(self.path, error) from error
            return into
        output: np.ndarray = run(session, feeds, self.path, self._names)
        row = self._row_in(feeds)
        if output.shape != (batch, *row):
            raise GantoolError(
                f"{self.path} made an output of {output.shape}; its manifest says {(batch, *row)}.",
                "The file was changed since its export: export it again.",
            )
        return output if count == batch else output[:count]

    def require_picture(self) -> InputInfo:
        """The picture that the generator takes; ArgumentError when it takes none, or other data too."""
        if self._picture is None:
            raise ArgumentError(
                f"{self.path} makes {self._noun}s of no picture: it takes {self._input_names()}.",
                "Use .run(inputs)." if self.manifest.input("data") else "Use .sample(n, seed).",
            )
        return self._picture

    def _result(self, height: int, width: int) -> tuple[int, int, int]:
        """The shape of the result (H', W', C') of a picture of these sides."""
        return (*self.manifest.result_sides(height, width), self.shape[2])

    def _row_in(self, feeds: Mapping[str, np.ndarray]) -> tuple[int, ...]:
        """The shape of one row of the graph's output for these inputs."""
        if self._picture is None:
            return self._row
        shape = feeds[self._picture.name].shape
        height, width, channels = self._result(*(shape[1:3] if self._seeded else shape[2:]))
        return (height, width, channels) if self._seeded else (channels, height, width)

    def _picture_plan(self, n: int, shape: tuple[int, ...]) -> scheduling.Plan:
        """As `plan`, for results of `shape`: fewer at once of larger ones."""
        times = math.prod(shape) / math.prod(self.shape)
        if self.provider == "cpu":
            plan = scheduling.plan(n, self._image_seconds * times, self._cores, self._batch)
        else:
            rows = self._batch or scheduling.power_of_two(max(1, int(self._rows / times)) + 1) // 2
            plan = scheduling.Plan(self._lanes if n > rows else 1, rows)
        return plan if self._batch else scheduling.within_memory(plan, shape)

    def _tile_side(self, tile: int | None, height: int, width: int) -> int | None:
        """The side of the tiles of a padded picture; None: it is made as a whole."""
        assert self._picture is not None
        multiple, most = self._picture.multiple, scheduling.tile_side(self.shape, math.prod(self._picture.sides))
        if not multiple or (tile is None and height * width <= most**2):
            return None
        side = max(2, (most // multiple if tile is None else -(-tile // multiple))) * multiple
        return side if max(height, width) > side else None

    def _latent_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = {i.name: i.shape for i in self.manifest.latents}
        if not shapes:
            raise GantoolError(f"{self.path} takes no latents: its inputs are {self._input_names()}.")
        if self.manifest.rng not in (None, latents.RNG_NAME):
            rng = excerpt(self.manifest.rng)
            raise GantoolError(
                f"The seeds of {self.path} are for {rng}; this gantool draws by {latents.RNG_NAME}.",
                "Upgrade: pip install -U gantool",
            )
        return shapes

    def _drawn_inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the latents to draw, {} for a seeded file; GantoolError when a seed does not give all inputs."""
        shapes = {} if self.seeded or (self._picture and not self.manifest.latents) else self._latent_shapes()
        given = ("seed", "index", "normal", "value", *(["data"] if self._picture else []))
        missing = [i.name for i in self.manifest.inputs if i.distribution not in given and i is not self._label]
        if missing:
            raise GantoolError(
                f"{self.path} takes {self._input_names()}: no seed gives {excerpt(', '.join(missing), 300)}.",
                "Use .run(inputs).",
            )
        return shapes

    def _labels_of(self, index: np.ndarray, labels: int | np.ndarray | None) -> dict[str, np.ndarray]:
        """The checked labels of the images `index`, under the input's name; for None, the classes in turn."""
        if self._label is None:
            return {}
        values = labels
        if not isinstance(values, np.ndarray):
            values = index % self._label.classes if labels is None else np.full(len(index), labels, np.int64)
        return {self._label.name: values.astype(self._label.dtype, copy=False)}

    def _numbers(self, numbers: np.ndarray) -> np.ndarray:
        """Seeds or indices, int64 (n,), as the graph takes them."""
        return latents.limbs(numbers) if self._portable else numbers

    def _input_names(self) -> str:
        return excerpt(", ".join(i.name for i in self.manifest.inputs), 300)

    def _device_rows(self) -> int:
        device = nvml.open_device()
        memory = device.total_mb() if device else None
        return scheduling.device_rows(memory and memory * nvml.MEGABYTE, 4 * math.prod(self.manifest.output.shape))


def _part(rows: int | np.ndarray | None, which: slice | np.ndarray) -> int | np.ndarray | None:
    """Of labels for each image, those of some; one label is for all."""
    return rows[which] if isinstance(rows, np.ndarray) else rows


def _parts(values: Mapping[str, float | np.ndarray], which: slice | np.ndarray) -> Mapping[str, float | np.ndarray]:
    """As `_part`, of several values."""
    return {name: value[which] if isinstance(value, np.ndarray) else value for name, value in values.items()}
