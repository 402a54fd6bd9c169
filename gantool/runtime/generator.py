"""`Generator`: images from an exported file."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, DTypeLike

from gantool.artifact import latents, onnxfile
from gantool.errors import ArgumentError, GantoolError, excerpt, renamed
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
from gantool.runtime.session import ORT_ERRORS, Bound, failed, open_session, run, run_into
from gantool.system import nvml
from gantool.system.machine import usable_cores

CHUNK = 64  # images a call where nothing is known of the device
LANES = 2  # calls at once on a GPU, each on a stream of its own: one computes while the other is copied
PART_BYTES = 2**26  # of images at a time in a stream
MAX_PART = 8192
# How much a host may differ, because its kernels round sums in another order.
MAX_LEVELS = 1
MAX_SHARE = 0.001

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
    """An exported generator, from `generator.onnx` or `generator.seeded.onnx`: equal images from either.

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
        if self.seeded and provider == "openvino":
            raise GantoolError(
                f"{self.path} draws its latents with 64-bit integers; OpenVINO narrows them: wrong images.",
                "Use generator.onnx with this provider: gantool export --onnx",
            )
        self._cores, self._image_seconds = 1, 0.0
        if provider == "cpu" and (threads is None or threads > 0):
            self._cores = threads or usable_cores()
            convolutional = any("Conv" in name for name in file.operators)
            self._image_seconds = scheduling.image_seconds(len(data), convolutional)
            threads = threads or scheduling.latency_threads(self._image_seconds, self._cores)
        self._memory = scheduling.memory_limit(
            len(data), self._image_seconds, self._cores, self.manifest.batch, math.prod(self.manifest.output.shape) * 4
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
        self._seeded, self._label = self.manifest.seeded, self.manifest.input("label")
        self._has_values = bool(self.manifest.values)
        self._image = output.layout in ("HWC", "CHW")
        self._at_once = self.plan(1).rows if self._cores == 1 else scheduling.at_once(self._image_seconds, self._batch)
        self._seeds = {i.name for i in self.manifest.inputs if i.distribution == "seed"}
        self._latest_seed = (0, np.array((0,), np.int64))
        self._shapes: dict[str, tuple[int, ...]] | None = None

    @property
    def seeded(self) -> bool:
        """Whether the file draws its own latents."""
        return self.manifest.seeded

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image as `sample` returns it: (H, W, C)."""
        shape = self.manifest.output.shape
        return (*shape[1:], shape[0]) if self.manifest.output.layout == "CHW" else shape

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
        Samples that are no images (audio, volumes) come as float32 (n, C, …).
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
        n, seed, first = check_request(n, seed, first)
        self._drawn_inputs()
        checked = parse_labels(labels, n, self.manifest, self.path)
        checked_values = parse_values(values, n, self.manifest, self.path)
        if part is None:
            part = max(1, min(MAX_PART, PART_BYTES // (math.prod(self.shape) * (1 if self._image else 4))))
        elif (part := whole("part", part)) < 1:
            raise ArgumentError(f"Parts of {part} images were asked for.", "Give 1 or more.")
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
            own, own_values = _part(labels, start, start + count), _parts(values, start, start + count)
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

    def latents(self, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """The latents of images `first … first+n-1` of `seed`: float32 (n, latent_dim)."""
        n, seed, first = check_request(n, seed, first)
        drawn = latents.draw(self._latent_shapes(), seed, np.arange(first, first + n, dtype=np.int64))
        if len(drawn) != 1:
            raise GantoolError(f"{self.path} has {len(drawn)} latents: {excerpt(', '.join(drawn), 300) or 'none'}.")
        return next(iter(drawn.values()))

    def from_latents(self, z: np.ndarray, labels: Labels = None, values: Values | None = None) -> np.ndarray:
        """Your own latents (n, latent_dim) → float32 (n, C, H, W) in [-1, 1]; `generator.onnx` only."""
        if self.seeded:
            raise GantoolError(
                f"{self.path} draws its latents itself.",
                "Open generator.onnx to give your own: gantool export --onnx",
            )
        if len(self.manifest.latents) != 1:
            raise GantoolError(f"{self.path} takes {self._input_names()}, not one latent.", "Use .run(inputs).")
        item = self.manifest.latents[0]
        array = graph_input(item, z)
        checked = parse_labels(labels, len(array), self.manifest, self.path)
        checked_values = parse_values(values, len(array), self.manifest, self.path)
        filled = {name: np.full(len(array), value, np.float32) for name, value in checked_values.items()}
        return self.run({item.name: array, **self._labels_of(np.arange(len(array)), checked), **filled})

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run the graph itself: every input by name, any n → its output (n, …).

        GantoolError for inputs of another shape or dtype, and for labels, indices or seeds that `sample` refuses.
        """
        if set(inputs) != {i.name for i in self.manifest.inputs}:
            given = ", ".join(sorted(map(str, inputs)))
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

        return self._split(call, count, self.manifest.output.shape, np.dtype(self.manifest.output.dtype))

    def plan(self, n: int) -> scheduling.Plan:
        """How a request of `n` images runs: threads that call the graph at once, and images a call at most."""
        if self.provider != "cpu":
            return scheduling.Plan(self._lanes if n > self._rows else 1, self._rows)
        return scheduling.plan(n, self._image_seconds, self._cores, self.manifest.batch)

    def self_test(self) -> SelfTest:
        """Make the manifest's golden images and compare; GantoolError when this host makes others."""
        exact, worst, made = True, 0, 0
        for golden in self.manifest.golden:
            images = self.sample(golden.count, golden.seed, golden.first)
            made += len(images)
            exact &= hashlib.sha256(images.tobytes()).hexdigest() == golden.sha256
            worst = max(worst, worst_pixel(golden, images, self.path))
        if not made:
            raise GantoolError(f"{self.path} has no golden images: it takes more than a seed.")
        if worst > self.manifest.tolerance:
            raise GantoolError(
                f"{self.path} makes other images here than where it was exported (by up to {worst} levels).",
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
            n, seed, first = check_request(n, seed, first)
            rows: Index = range(first, first + n)
        elif n is None and first == 0:
            rows = latents.check_index(index)
            n, seed, _ = check_request(len(rows), seed, 0)
        else:
            raise ArgumentError("`index` was given together with `n` or `first`.", "Give one or the other.")
        if self._shapes is None:
            self._shapes = self._drawn_inputs()
        checked = None if labels is None else parse_labels(labels, n, self.manifest, self.path)
        numbers = parse_values(values, n, self.manifest, self.path) if self._has_values or values is not None else {}

        def call(start: int, end: int, session: ort.InferenceSession, into: np.ndarray | None) -> np.ndarray:
            own, own_values = _part(checked, start, end), _parts(numbers, start, end)
            return self._images(seed, rows[start:end], own, own_values, session, into)

        if 0 < n <= self._at_once:
            return call(0, n, self.session, None)
        return self._split(call, n, self.shape, np.uint8 if self._image else np.float32, stop)

    def _images(
        self,
        seed: int,
        rows: Index,
        labels: int | np.ndarray | None,
        values: Mapping[str, float | np.ndarray],
        session: ort.InferenceSession,
        into: np.ndarray | None,
    ) -> np.ndarray:
        """One call: the images `rows` of `seed`, their labels and values checked."""
        index = np.arange(rows.start, rows.stop, dtype=np.int64) if isinstance(rows, range) else rows
        if self._shapes:
            feeds: dict[str, Any] = latents.draw(self._shapes, seed, index)
        else:
            latest = self._latest_seed  # of all threads: one of them reads and writes the pair at once
            if latest[0] != seed:
                latest = self._latest_seed = (seed, np.array((seed,), np.int64))
            feeds = {"seed": latest[1], "index": index}
        if self._label is not None:
            feeds |= self._labels_of(index, labels)
        for name, value in values.items():
            feeds[name] = value if isinstance(value, np.ndarray) else np.full(len(index), value, np.float32)
        output = self._run(feeds, len(index), session, into)
        return output if self._seeded or output.ndim != 4 else latents.pixels(output)

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
        plan = self.plan(count)
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
        if output.shape != (batch, *self._row):
            raise GantoolError(
                f"{self.path} made an output of {output.shape}; its manifest says {(batch, *self._row)}.",
                "The file was changed since its export: export it again.",
            )
        return output if count == batch else output[:count]

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
        shapes = {} if self.seeded else self._latent_shapes()
        given = ("seed", "index", "normal", "value")
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
        if isinstance(labels, np.ndarray):
            return {self._label.name: labels}
        values = index % self._label.classes if labels is None else np.full(len(index), labels, np.int64)
        return {self._label.name: values}

    def _input_names(self) -> str:
        return excerpt(", ".join(i.name for i in self.manifest.inputs), 300)

    def _device_rows(self) -> int:
        device = nvml.open_device()
        memory = device.total_mb() if device else None
        return scheduling.device_rows(memory and memory * nvml.MEGABYTE, 4 * math.prod(self.manifest.output.shape))


def _part(rows: int | np.ndarray | None, start: int, end: int) -> int | np.ndarray | None:
    """Of labels for each image, those of some; one label is for all."""
    return rows[start:end] if isinstance(rows, np.ndarray) else rows


def _parts(values: Mapping[str, float | np.ndarray], start: int, end: int) -> Mapping[str, float | np.ndarray]:
    """As `_part`, of several values."""
    return {name: value[start:end] if isinstance(value, np.ndarray) else value for name, value in values.items()}
