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
from numpy.typing import DTypeLike

from gantool.artifact import classnames, latents, onnxfile
from gantool.errors import GantoolError, excerpt
from gantool.runtime import workers
from gantool.runtime.asked import Labels, asked, classes, graph_input, padded, whole
from gantool.runtime.binding import Bound, run_into
from gantool.runtime.described import check_signature, described, shown, worst_pixel
from gantool.runtime.session import ORT_ERRORS, failed, open_session, run
from gantool.system import nvml
from gantool.system.cores import usable_cores

CHUNK = 64  # images a call where nothing is known of the device
LANES = 2  # calls at once on a GPU: each has a stream of its own, so that one computes while the other one is copied
PART_BYTES = 2**26  # of images at a time in a stream
MAX_PART = 8192
# What a host may differ by: its kernels round sums in another order.
MAX_LEVELS = 1
MAX_SHARE = 0.001


@dataclass(frozen=True)
class SelfTest:
    """`exact`: the bytes are those of the exporting machine; else `worst` is by how many levels a known pixel differs.

    No more than the manifest's `tolerance`: 1 where everything is computed in float32.
    """

    exact: bool
    images: int
    worst: int


class Generator:
    """An exported generator, from `generator.onnx` or `generator.seeded.onnx`: equal images from either.

    Image `i` of seed `s` depends on (s, i) alone, whatever the batch it is made in.

        generator = Generator("generator.seeded.onnx")
        images = generator.sample(16, seed=7)              # uint8 (16, H, W, C)

    `provider`: cpu, cuda, tensorrt or openvino; one that does not take the whole graph is an error, never a silent
    fallback. `threads`: how many cores to use (default: those that the process may use). `settings`: options of the
    provider, as onnxruntime names them, e.g. {"use_tf32": "0"}.

    On a GPU, calls have a power of two images (the rest is cut off), since each new number is slow at first. A large
    request runs in calls sized by the memory of the device, two at once, so that copying hides behind computing. With
    {"enable_cuda_graph": "1"} kernels are recorded once and replayed: less latency, one call at a time.

    On the cpu, a small request runs at once, each operator on several threads. A large one runs in calls that fit the
    cache, on one thread each and all cores, through a second session that is opened when the first such request comes:
    the threads share its weights. Any number of threads may call one generator.

    GantoolError for a file that is damaged, was changed since its export or refers to other files. That its parts fit
    each other does not prove who made it: open what you trust, as any model.
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
            raise GantoolError(f"{path!r:.100} is no path.", "Give the path of an exported .onnx file.") from error
        self.provider = provider
        data = onnxfile.read_bytes(self.path)
        file, self.manifest = described(data, self.path)
        if self.seeded and provider == "openvino":
            raise GantoolError(
                f"{self.path} draws its latents with 64-bit integers; OpenVINO narrows them: wrong images.",
                "Use generator.onnx with this provider: gantool export --onnx",
            )
        self._cores, self._image_seconds = 1, 0.0
        if provider == "cpu" and (threads is None or threads > 0):
            self._cores = threads or usable_cores()
            convolutional = any(b"Conv" in name for name in file.operators)
            self._image_seconds = workers.image_seconds(len(data), convolutional)
            threads = threads or workers.latency_threads(self._image_seconds, self._cores)
        session = open_session(data, self.path, provider, threads, settings)
        check_signature(session, self.path, self.manifest)
        own = dict(settings or {})  # that of the session may leave it out
        graph = provider == "cuda" and own.get("enable_cuda_graph") in ("1", "True", "true")
        self.session: ort.InferenceSession | Bound = session
        if graph:
            self.session = Bound(session, graph=True, number=int(own.get("device_id", "0")))
        self._lanes = LANES if provider == "cuda" and not graph else 1
        self._gpu = provider in ("cuda", "tensorrt")
        self._rows = self.manifest.batch or (self._device_rows() if self._gpu else CHUNK)
        self._workers = workers.Workers(max(self._cores, self._lanes))
        # the bytes until the second session is opened: the file may have changed by then
        self._bulk: ort.InferenceSession | bytes | None = data if self._cores > 1 else None
        self._bulk_settings = settings
        self._bulk_lock = threading.Lock()
        # what each call needs, looked up once: after a run, little of Python is left in the processor's cache
        self._batch, self._row = self.manifest.batch, self.manifest.output.shape
        self._seeded, self._label = self.manifest.seeded, self.manifest.input("label")
        self._at_once = self.plan(1).rows if self._cores == 1 else workers.at_once(self._image_seconds, self._batch)
        self._seeds = {i.name for i in self.manifest.inputs if i.distribution == "seed"}
        self._names = [self.manifest.output.name]
        self._latest_seed = (0, _seed_input(0))
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

    def sample(self, n: int, seed: int = 0, first: int = 0, labels: Labels = None) -> np.ndarray:
        """Images `first … first+n-1` of `seed`: uint8 (n, H, W, C).

        `labels`: of a conditional generator, one for all or one each, by number or by the name that the manifest has;
        without them, image i has class i mod classes.
        Samples that are no images (audio, volumes) come as float32 (n, C, …).
        """
        n, seed, first = asked(n, seed, first)
        if self._shapes is None:
            self._shapes = self._drawn()
        checked = None if labels is None else self._checked(labels, n)
        if 0 < n <= self._at_once:
            return self._images(seed, first, checked, 0, n, self.session)
        image = self.manifest.output.layout in ("HWC", "CHW")
        return self._spread(
            lambda start, stop, session, into: self._images(seed, first, checked, start, stop, session, into),
            n, self.shape, np.uint8 if image else np.float32,
        )  # fmt: skip

    def stream(
        self,
        n: int,
        seed: int = 0,
        first: int = 0,
        labels: Labels = None,
        part: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The images of `sample`, in order, `part` at a time (default: 64 MB of them): each part (part, H, W, C).

        The next part is made while the caller works on this one, so that two are in memory, whatever `n`. GantoolError
        at once for what `sample` refuses. To stop early, leave the iterator to the garbage collector, or `close()` it.
        """
        n, seed, first = asked(n, seed, first)
        self._drawn()
        checked = self._checked(labels, n)
        if part is None:
            size = math.prod(self.shape) * (1 if self.manifest.output.layout in ("HWC", "CHW") else 4)
            part = max(1, min(MAX_PART, PART_BYTES // size))
        elif (part := whole("part", part)) < 1:
            raise GantoolError(f"Parts of {part} images were asked for.", "Give 1 or more.")
        return self._stream(n, seed, first, checked, part)

    def _stream(
        self, n: int, seed: int, first: int, labels: int | np.ndarray | None, part: int
    ) -> Iterator[np.ndarray]:
        def make(start: int) -> np.ndarray:
            count = min(part, n - start)
            own = labels[start : start + count] if isinstance(labels, np.ndarray) else labels
            return self.sample(count, seed, first + start, own)

        if isinstance(self.session, Bound):  # its graphs are kept by thread: a thread a stream would record them anew
            for start in range(0, n, part):
                yield make(start)
            return
        with ThreadPoolExecutor(1, "gantool-stream") as ahead:
            following = ahead.submit(make, 0) if n else None
            for start in range(part, n + part, part):
                assert following is not None
                images = following.result()
                following = ahead.submit(make, start) if start < n else None
                yield images
                del images  # else a third part would be kept while the next is waited for

    def latents(self, n: int, seed: int = 0, first: int = 0) -> np.ndarray:
        """The latents of images `first … first+n-1` of `seed`: float32 (n, latent_dim)."""
        drawn = self._latents(*asked(n, seed, first))
        if len(drawn) != 1:
            raise GantoolError(f"{self.path} has {len(drawn)} latents: {excerpt(', '.join(drawn), 300) or 'none'}.")
        return next(iter(drawn.values()))

    def from_latents(self, z: np.ndarray, labels: Labels = None) -> np.ndarray:
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
        checked = self._checked(labels, len(array))
        index = np.arange(len(array), dtype=np.int64)
        return self.run({item.name: array, **self._conditions(index, checked)})

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The graph itself: every input by name, any n → its output (n, …), in chunks."""
        names = {i.name for i in self.manifest.inputs}
        if set(inputs) != names:
            given = ", ".join(sorted(map(str, inputs)))
            raise GantoolError(f"{self.path} takes {self._input_names()}; given were {excerpt(given, 300)}.")
        arrays = {i.name: graph_input(i, inputs[i.name]) for i in self.manifest.inputs}
        counts = {name: len(array) for name, array in arrays.items() if name not in self._seeds}
        count = max(counts.values(), default=0)
        if set(counts.values()) != {count}:
            lengths = ", ".join(f"{k} {v}" for k, v in counts.items()) or "there are none"
            raise GantoolError(f"The inputs have different lengths: {excerpt(lengths, 300)}.")

        def make(start: int, stop: int, session: ort.InferenceSession, into: np.ndarray | None) -> np.ndarray:
            feeds = {k: a if k in self._seeds else a[start:stop] for k, a in arrays.items()}
            return self._run(feeds, stop - start, session, into)

        return self._spread(make, count, self.manifest.output.shape, np.dtype(self.manifest.output.dtype))

    def plan(self, n: int) -> workers.Plan:
        """How a request of `n` images runs: threads that call the graph at once, and images a call at most."""
        if self.provider != "cpu":
            return workers.Plan(self._lanes if n > self._rows else 1, self._rows)
        return workers.plan(n, self._image_seconds, self._cores, self.manifest.batch)

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

    def _latents(self, n: int, seed: int, first: int) -> dict[str, np.ndarray]:
        return latents.draw(self._latent_shapes(), seed, np.arange(first, first + n, dtype=np.int64))

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

    def _images(
        self,
        seed: int,
        first: int,
        labels: int | np.ndarray | None,
        start: int,
        stop: int,
        session: ort.InferenceSession,
        into: np.ndarray | None = None,
    ) -> np.ndarray:
        """One call: images `start` to `stop` of a request that begins with image `first`, its labels checked."""
        index = np.arange(first + start, first + stop, dtype=np.int64)
        if self._shapes:
            feeds: dict[str, Any] = latents.draw(self._shapes, seed, index)
        else:
            latest = self._latest_seed  # of all threads: one of them reads and writes the pair at once
            if latest[0] != seed:
                latest = self._latest_seed = (seed, _seed_input(seed))
            feeds = {"seed": latest[1], "index": index}
        if self._label is not None:
            feeds |= self._conditions(index, labels[start:stop] if isinstance(labels, np.ndarray) else labels)
        output = self._run(feeds, stop - start, session, into)
        return output if self._seeded or output.ndim != 4 else latents.pixels(output)

    def _spread(
        self,
        make: Callable[[int, int, ort.InferenceSession, np.ndarray | None], np.ndarray],
        count: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> np.ndarray:
        """`make(start, stop, session, into)` of all rows, in the calls and threads of `plan` → (count, *shape).

        What it returns is `into`, or is copied there.
        """
        plan = self.plan(count)
        if 0 < count <= plan.rows:
            return make(0, count, self.session, None)
        try:
            images = np.empty((count, *shape), dtype)
        except (MemoryError, ValueError) as error:  # the latter where even its size is no number of C
            raise GantoolError(
                f"{count} samples of {shown(shape)} do not fit into memory.", "Ask for fewer, or use .stream()."
            ) from error
        session = self.session if plan.threads == 1 else self._bulk_session()

        def write(start: int) -> None:
            into = images[start : min(start + plan.rows, count)]
            made = make(start, start + len(into), session, into)
            if made is not into:
                into[...] = made

        self._workers.each(write, range(0, count, plan.rows), plan.threads)
        return images

    def _bulk_session(self) -> ort.InferenceSession:
        """The session of one thread, which many may call at once; on other providers there is but one."""
        if isinstance(self._bulk, bytes):
            with self._bulk_lock:
                if isinstance(self._bulk, bytes):
                    self._bulk = open_session(self._bulk, self.path, self.provider, 1, self._bulk_settings)
        return self.session if self._bulk is None else self._bulk

    def _run(
        self, feeds: dict[str, Any], count: int, session: ort.InferenceSession, into: np.ndarray | None
    ) -> np.ndarray:
        """The output of `count` rows, in `into` where it has the place for it.

        A fixed batch, and on a GPU a power of two, is filled by repeating the last row; the surplus is cut off.
        """
        batch = self._batch or (workers.power_of_two(count) if self._gpu else count)
        if count < batch:
            feeds = {k: a if k in self._seeds else padded(a, batch) for k, a in feeds.items()}
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

    def _drawn(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the latents to draw, none for a seeded file; GantoolError unless a seed gives all inputs."""
        shapes = {} if self.seeded else self._latent_shapes()
        given = ("seed", "index", "normal")
        missing = [i.name for i in self.manifest.inputs if i.distribution not in given and i is not self._label]
        if missing:
            raise GantoolError(
                f"{self.path} takes {self._input_names()}: no seed gives {excerpt(', '.join(missing), 300)}.",
                "Use .run(inputs).",
            )
        return shapes

    def _checked(self, labels: Labels, count: int) -> int | np.ndarray | None:
        """The labels as one whole number, int64 (count,), or None; GantoolError for what the classes do not hold."""
        if labels is None:
            return None
        if self._label is None:
            raise classnames.unlabelled(self.manifest, self.path)
        return classes(labels, count, self.manifest)

    def _conditions(self, index: np.ndarray, labels: int | np.ndarray | None) -> dict[str, np.ndarray]:
        """The checked labels, one a row of `index`, by the input's name; of None, the classes in turn."""
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
        return workers.device_rows(memory and memory * nvml.MEGABYTE, 4 * math.prod(self.manifest.output.shape))


def _seed_input(seed: int) -> np.ndarray:
    return np.array((seed,), np.int64)
