"""`Generator`: images from an exported file."""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike

from gantool import latents, onnxfile
from gantool.errors import GantoolError, excerpt
from gantool.manifest import Golden, InputInfo, Manifest
from gantool.onnxfile import OnnxFile
from gantool.runtime import workers
from gantool.runtime.session import Value, open_session, run, signature

CHUNK = 64  # images a call on providers other than cpu, which plans by itself: see gantool.runtime.workers
PART_BYTES = 2**26  # of images at a time in a stream
MAX_PART = 8192
MAX_GOLDEN = 4096  # images of a self-test: a damaged count must not become hours of work
MAX_SIDES = 8
MAX_ELEMENTS = 2**31  # of one row of an input, or of one sample
MAX_CLASSES = 2**31
# What a host may differ by: its kernels round sums in another order.
MAX_LEVELS = 1
MAX_SHARE = 0.001

Labels = int | Sequence[int] | np.ndarray | None


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
        file, self.manifest = _described(data, self.path)
        if self.seeded and provider == "openvino":
            raise GantoolError(
                f"{self.path} draws its latents with 64-bit integers; OpenVINO narrows them: wrong images.",
                "Use generator.onnx with this provider: gantool export --onnx",
            )
        self._cores, self._image_seconds = 1, 0.0
        if provider == "cpu" and (threads is None or threads > 0):
            self._cores = threads or workers.cores()
            convolutional = any(b"Conv" in name for name in file.operators)
            self._image_seconds = workers.image_seconds(len(data), convolutional)
            threads = threads or workers.latency_threads(self._image_seconds, self._cores)
        self.session = open_session(data, self.path, provider, threads, settings)
        self._check_signature()
        self._workers = workers.Workers(self._cores)
        # the bytes until the second session is opened: the file may have changed by then
        self._bulk: ort.InferenceSession | bytes | None = data if self._cores > 1 else None
        self._bulk_settings = settings
        self._bulk_lock = threading.Lock()
        # what each call needs, looked up once: after a run, little of Python is left in the processor's cache
        self._batch, self._row = self.manifest.batch, self.manifest.output.shape
        self._seeded, self._label = self.manifest.seeded, self.manifest.input("label")
        self._at_once = self.plan(1).rows if self._cores == 1 else workers.at_once(self._image_seconds, self._batch)
        self._seeds = {i.name for i in self.manifest.inputs if i.distribution == "seed"}
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

        `labels`: of a conditional generator, one for all or one each; without them, image i has class i mod classes.
        Samples that are no images (audio, volumes) come as float32 (n, C, …).
        """
        n, seed, first = _asked(n, seed, first)
        if self._shapes is None:
            self._shapes = self._drawn()
        checked = None if labels is None else self._checked(labels, n)
        if 0 < n <= self._at_once:
            return self._images(seed, first, checked, 0, n, self.session)
        image = self.manifest.output.layout in ("HWC", "CHW")
        return self._spread(
            lambda start, stop, session: self._images(seed, first, checked, start, stop, session),
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
        n, seed, first = _asked(n, seed, first)
        self._drawn()
        checked = self._checked(labels, n)
        if part is None:
            size = math.prod(self.shape) * (1 if self.manifest.output.layout in ("HWC", "CHW") else 4)
            part = max(1, min(MAX_PART, PART_BYTES // size))
        elif (part := _whole("part", part)) < 1:
            raise GantoolError(f"Parts of {part} images were asked for.", "Give 1 or more.")
        return self._stream(n, seed, first, checked, part)

    def _stream(
        self, n: int, seed: int, first: int, labels: int | np.ndarray | None, part: int
    ) -> Iterator[np.ndarray]:
        def make(start: int) -> np.ndarray:
            count = min(part, n - start)
            own = labels[start : start + count] if isinstance(labels, np.ndarray) else labels
            return self.sample(count, seed, first + start, own)

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
        drawn = self._latents(*_asked(n, seed, first))
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
        arrays = {i.name: _input(i, inputs[i.name]) for i in self.manifest.inputs}
        counts = {name: len(array) for name, array in arrays.items() if name not in self._seeds}
        count = max(counts.values(), default=0)
        if set(counts.values()) != {count}:
            lengths = ", ".join(f"{k} {v}" for k, v in counts.items()) or "there are none"
            raise GantoolError(f"The inputs have different lengths: {excerpt(lengths, 300)}.")

        def make(start: int, stop: int, session: ort.InferenceSession) -> np.ndarray:
            feeds = {k: a if k in self._seeds else a[start:stop] for k, a in arrays.items()}
            return self._run(feeds, stop - start, session)

        return self._spread(make, count, self.manifest.output.shape, np.dtype(self.manifest.output.dtype))

    def plan(self, n: int) -> workers.Plan:
        """How a request of `n` images runs: threads that call the graph at once, and images a call at most."""
        if self.provider != "cpu":
            return workers.Plan(1, self.manifest.batch or CHUNK)
        return workers.plan(n, self._image_seconds, self._cores, self.manifest.batch)

    def self_test(self) -> SelfTest:
        """Make the manifest's golden images and compare; GantoolError when this host makes others."""
        exact, worst, made = True, 0, 0
        if (count := sum(golden.count for golden in self.manifest.golden)) > MAX_GOLDEN:
            raise GantoolError(f"{self.path} has {count:,} golden images: no export of ours does.", "Export it again.")
        for golden in self.manifest.golden:
            images = self.sample(golden.count, golden.seed, golden.first)
            made += len(images)
            exact &= hashlib.sha256(images.tobytes()).hexdigest() == golden.sha256
            worst = max(worst, self._worst(golden, images))
        if not made:
            raise GantoolError(f"{self.path} has no golden images: it takes more than a seed.")
        if worst > self.manifest.tolerance:
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
    ) -> np.ndarray:
        """One call: images `start` to `stop` of a request that begins with image `first`, its labels checked."""
        index = np.arange(first + start, first + stop, dtype=np.int64)
        if self._shapes:
            feeds: dict[str, Any] = latents.draw(self._shapes, seed, index)
        else:
            feeds = {"seed": np.array((seed,), np.int64), "index": index}
        if self._label is not None:
            feeds |= self._conditions(index, labels[start:stop] if isinstance(labels, np.ndarray) else labels)
        output = self._run(feeds, stop - start, session)
        return output if self._seeded or output.ndim != 4 else latents.pixels(output)

    def _spread(
        self,
        make: Callable[[int, int, ort.InferenceSession], np.ndarray],
        count: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> np.ndarray:
        """`make(start, stop, session)` of all rows, in the calls and threads that `plan` says → (count, *shape)."""
        plan = self.plan(count)
        if 0 < count <= plan.rows:
            return make(0, count, self.session)
        try:
            images = np.empty((count, *shape), dtype)
        except (MemoryError, ValueError) as error:  # the latter where even its size is no number of C
            raise GantoolError(
                f"{count} samples of {_shown(shape)} do not fit into memory.", "Ask for fewer, or use .stream()."
            ) from error
        session = self.session if plan.threads == 1 else self._bulk_session()

        def write(start: int) -> None:
            stop = min(start + plan.rows, count)
            images[start:stop] = make(start, stop, session)

        self._workers.each(write, range(0, count, plan.rows), plan.threads)
        return images

    def _bulk_session(self) -> ort.InferenceSession:
        """The session of one thread, which many may call at once."""
        if isinstance(self._bulk, bytes):
            with self._bulk_lock:
                if isinstance(self._bulk, bytes):
                    self._bulk = open_session(self._bulk, self.path, self.provider, 1, self._bulk_settings)
        assert self._bulk is not None
        return self._bulk

    def _run(self, feeds: dict[str, Any], count: int, session: ort.InferenceSession) -> np.ndarray:
        """The output of `count` rows. A fixed batch is filled by repeating the last row; the surplus is cut off."""
        batch = self._batch or count
        if count < batch:
            feeds = {k: a if k in self._seeds else _padded(a, batch) for k, a in feeds.items()}
        output: np.ndarray = run(session, feeds, self.path)
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
            raise GantoolError(f"{self.path} takes no labels: its inputs are {self._input_names()}.")
        values = np.asarray(labels)
        if values.shape not in ((), (count,)) or (values.size and values.dtype.kind not in "iu"):
            raise GantoolError(f"The labels are {values.dtype} {values.shape}; wanted: one whole number, or {count}.")
        if values.size and not 0 <= values.min() <= values.max() < self._label.classes:
            raise GantoolError(
                f"The labels run from {values.min()} to {values.max()}; there are {self._label.classes} classes."
            )
        return values.astype(np.int64) if values.shape else int(values)

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

    def _check_signature(self) -> None:
        """The graph's inputs and output are those of the manifest: names, dtypes and sides."""
        inputs, outputs = signature(self.session, self.path)
        batch = self.manifest.batch
        said_inputs = [
            Value(i.name, i.dtype, (1 if i.distribution == "seed" else batch, *i.shape)) for i in self.manifest.inputs
        ]
        output = self.manifest.output
        said_outputs = [Value(output.name, output.dtype, (batch, *output.shape))]
        for what, found, said in (("inputs", inputs, said_inputs), ("outputs", outputs, said_outputs)):
            pairs = [{(value.name, value.dtype) for value in values} for values in (found, said)]
            if pairs[0] != pairs[1] or len(found) != len(said):
                has, says = (", ".join(f"{name} {dtype}" for name, dtype in sorted(pair)) for pair in pairs)
                raise self._changed(f"has the {what} {excerpt(has, 300)}; its manifest says {excerpt(says, 300)}")
            sides = {value.name: value.shape for value in said}
            for value in found:
                if not _fits(value.shape, sides[value.name]):
                    has, says = (_shown(shape) for shape in (value.shape, sides[value.name]))
                    raise self._changed(f"has {excerpt(value.name)} of {has}; its manifest says {says}")
        rows = [i.shape for i in self.manifest.inputs + self.manifest.latents] + [output.shape]
        if any(len(shape) > MAX_SIDES or math.prod(shape) > MAX_ELEMENTS for shape in rows):
            raise self._changed("has inputs or an output too large for any memory")
        for item in self.manifest.inputs:
            if item.distribution == "label" and not 1 <= item.classes <= MAX_CLASSES:
                raise self._changed(f"has a label of {excerpt(str(item.classes))} classes")

    def _changed(self, what: str) -> GantoolError:
        return GantoolError(f"{self.path} {what}.", "The file was changed since its export: export it again.")


def _described(data: bytes, path: Path) -> tuple[OnnxFile, Manifest]:
    """What was seen in the file, and its manifest, when the graph beside it is the one that it speaks of."""
    file, described = onnxfile.described(data, path)
    if described.graph_sha256 not in (None, file.graph_sha256):  # None: of schema 1
        raise GantoolError(
            f"{path} holds other weights or nodes than its manifest says: "
            f"sha256 {file.graph_sha256} instead of {excerpt(str(described.graph_sha256))}.",
            "It was changed since its export: export it again.",
        )
    return file, described


def _fits(found: tuple[int | None, ...], said: tuple[int | None, ...]) -> bool:
    """Whether a graph's shape may be what a manifest says; a graph need not tell a side, nor any."""
    return not found or (
        len(found) == len(said) and all(side in (None, wanted) for side, wanted in zip(found, said, strict=True))
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return excerpt("(" + ", ".join("n" if side is None else str(side) for side in shape) + ")", 120)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], count - len(array), axis=0)])


def _asked(n: Any, seed: Any, first: Any) -> tuple[int, int, int]:
    """The three as int, NumPy's integers too; GantoolError unless there are images first … first+n-1 of `seed`."""
    n, seed, first = _whole("n", n), _whole("seed", seed), _whole("first", first)
    if n < 0:
        raise GantoolError(f"{n} images were asked for.", "Give 0 or more.")
    if not 0 <= first <= latents.MAX_INDEX - n:
        raise GantoolError(
            f"There is no image {first + n - 1 if first >= 0 else first}.", "They run from 0 to 2**47 - 1."
        )
    if not -(2**63) <= seed < 2**63:
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
