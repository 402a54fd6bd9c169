"""ONNX Runtime sessions: open one on a given provider or say why not, run it, and bind its inputs and outputs."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states

from gantool.errors import ArgumentError, GantoolError, cause

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# OpenVINO computes in 16 bits by default where the processor can; the caller's settings override these
OWN_SETTINGS: dict[str, dict[str, str]] = {"openvino": {"precision": "FP32"}}
# After a call, ONNX Runtime's threads spin before they sleep: by default 13 to 25 ms of a core. This costs 1 ms and
# keeps the gain at batch 1, where the next operator finds them awake.
SPIN_MICROSECONDS = "300"
# what ONNX Runtime raises: its exceptions have no common base class
ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    error
    for name in (
        "Fail", "InvalidArgument", "NoSuchFile", "NoModel", "EngineError", "RuntimeException", "InvalidProtobuf",
        "ModelLoaded", "NotImplemented", "InvalidGraph", "EPFail", "ModelLoadCanceled", "ModelRequiresCompilation",
        "NotFound",
    )
    if isinstance(error := getattr(states, name, None), type)
)  # fmt: skip
# TensorRT without its libraries raises a RuntimeError; a damaged name in a message a UnicodeDecodeError
ORT_ERRORS += (RuntimeError, UnicodeDecodeError)
MAX_CAUSE = 1000  # characters of an error: the name of a missing library comes after long paths
KEPT_TIMES = 10_000  # of the latest runs
_TOO_MUCH = re.compile(r"smaller than requested bytes of (\d+)")
_opening = threading.Lock()
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
}


def open_session(
    data: bytes,
    path: Path,
    provider: str = "cpu",
    threads: int | None = None,
    settings: Mapping[str, str] | None = None,
    memory: int | None = None,
) -> ort.InferenceSession:
    """A session whose provider runs the whole graph of `data`, the bytes of `path`; GantoolError otherwise.

    `threads`: of one operator. `settings`: the provider's own options, as ONNX Runtime names them. `memory`: bytes that
    the session may allocate on the cpu; a run that asks for more fails.
    It takes the bytes, not the path, so that the bytes that were checked are those that run, whoever writes to the file
    meanwhile. On the CPU that costs 0.3 ms a megabyte, and 1.7 times the file's size in memory while it opens.
    """
    if provider not in PROVIDERS:
        raise ArgumentError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        have = ", ".join(name for name, full in PROVIDERS.items() if full in ort.get_available_providers())
        raise GantoolError(
            f"The provider {provider!r} is not in the installed onnxruntime {ort.__version__}.",
            f"It has: {have}. For OpenVINO: pip install onnxruntime-openvino in an environment of its own."
            if provider == "openvino"
            else f"It has: {have}. What to install: gantool doctor --provider {provider}",
        )
    if threads is not None and threads < 1:
        raise ArgumentError(f"{threads} threads were asked for.", "Give 1 or more.")
    options = ort.SessionOptions()
    # otherwise unchecked bytes that look like ORT's own format would be opened as that
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for `placement`
    options.log_severity_level = 4  # failures come back as exceptions
    if threads is not None:
        options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    if provider != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        preload = getattr(ort, "preload_dlls", None)
        if preload is not None and provider in ("cuda", "tensorrt"):
            with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find
                preload()  # CUDA and cuDNN from their wheels, which works without torch
    if provider != "cpu":
        ort.set_default_logger_severity(4)  # a provider whose libraries are missing logs before the session exists
    if provider == "cpu" and memory is not None:
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        # without enable_fallback=0 it silently continues on another provider
        own = OWN_SETTINGS.get(provider, {}) | dict(settings or {})
        with _arena(memory):
            session = ort.InferenceSession(
                data, options, providers=[wanted], provider_options=[own] if own else None, enable_fallback=0
            )
    except ORT_ERRORS as error:
        raise GantoolError(
            f"The provider {provider!r} can't run {path}: {cause(error, MAX_CAUSE)}",
            "What is missing, and the line that mends it: gantool doctor. Or: --provider cpu."
            if provider != "cpu"
            else "Is it an ONNX file, and whole? Export it again.",
        ) from error
    finally:
        ort.set_default_logger_severity(2)  # onnxruntime's own default
    session._model_bytes = None  # kept for a fallback, which is off
    if session.get_providers()[0] != wanted:
        raise GantoolError(
            f"The provider {provider!r} did not start; onnxruntime would have used {session.get_providers()[0]}.",
            "Its libraries are missing or of another version. Which, and the line that mends it: gantool doctor.",
        )
    return session


@contextlib.contextmanager
def _arena(memory: int | None) -> Iterator[None]:
    """A session that is opened inside takes an arena of its own, of at most `memory` bytes, from the environment."""
    if memory is None:
        yield
        return
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with _opening:  # the environment is the process's: each session keeps the arena that was there when it was opened
        ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": memory}))
        yield


def run(session: ort.InferenceSession, feeds: dict[str, Any], path: Path, names: list[str] | None = None) -> Any:
    """The first output; a failure names the file. `names`: of the outputs, which saves onnxruntime looking them up."""
    try:
        return session.run(names, feeds)[0]
    except ORT_ERRORS as error:
        raise failed(path, error) from error


def failed(path: Path, error: Exception) -> GantoolError:
    """The error for what onnxruntime raised while it ran a file."""
    if found := _TOO_MUCH.search(str(error)):
        return GantoolError(
            f"{path} asks for {int(found[1]) / 1e9:,.1f} GB of memory at once, far more than its samples explain.",
            "Do not trust it. If you do, make fewer at a time.",
        )
    return GantoolError(f"{path} failed to run: {cause(error, MAX_CAUSE)}")


def placement(session: ort.InferenceSession) -> dict[str, list[str]]:
    """ONNX Runtime's name of each provider → its nodes, as "OPERATOR NAME"; empty for an ONNX Runtime below 1.24."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    held: dict[str, list[str]] = {}
    for part in ask() if ask is not None else []:
        held.setdefault(part.ep_name, []).extend(f"{node.op_type} {node.name}" for node in part.get_nodes())
    return held


@dataclass(frozen=True)
class Value:
    """An input or output of the graph. `shape` with its batch axis; an axis of any length is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def signature(session: ort.InferenceSession, path: Path) -> tuple[list[Value], list[Value]]:
    """The inputs, and the outputs."""
    try:
        inputs, outputs = (
            [Value(v.name, _DTYPES.get(v.type, v.type), _axes(v.shape)) for v in values]
            for values in (session.get_inputs(), session.get_outputs())
        )
    except ORT_ERRORS as error:
        raise GantoolError(f"A name in {path} is damaged: {cause(error, MAX_CAUSE)}", "Export it again.") from error
    return inputs, outputs


def _axes(shape: list[Any]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def run_into(session: ort.InferenceSession, feeds: dict[str, np.ndarray], name: str, output: np.ndarray) -> None:
    """Run, and write the output `name` into `output`, which is contiguous and has its dtype and shape.

    From a GPU that takes one copy, where `session.run` makes three. Inputs are contiguous. Thread-safe: each run has a
    binding of its own. Raises what ONNX Runtime raises, also for another shape.
    """
    binding = session.io_binding()
    for key, array in feeds.items():
        binding.bind_cpu_input(key, array)
    binding.bind_output(name, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)
    session.run_with_iobinding(binding)


@dataclass
class _Binding:
    """The buffers for one shape of the inputs. `run_options` select the CUDA graph."""

    binding: Any
    inputs: dict[str, Any]
    run_options: Any


class Bound:
    """A session with `run` through IO binding: inputs and outputs keep their buffers on the device.

    `spent`: seconds of the latest runs, as (copy in, compute, copy out). `device`: cuda or cpu. With `graph`, a CUDA
    graph is recorded at the second run of each shape, in each thread that calls (ONNX Runtime keeps graphs by thread);
    the session must have been opened for it. Thread-safe: calls run one at a time. Each shape keeps its buffers, so use
    few shapes.
    """

    def __init__(self, session: Any, device: str = "cuda", graph: bool = False, number: int = 0) -> None:
        """`number`: which device of that kind, the same as in the session's settings."""
        self.session, self.device, self.graph, self.number = session, device, graph, number
        self.spent: deque[tuple[float, float, float]] = deque(maxlen=KEPT_TIMES)
        self._plans: dict[tuple[tuple[str, tuple[int, ...]], ...], _Binding] = {}
        self._lock = threading.Lock()

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, copied to the host, for the next run reuses the buffers on the device."""
        with self._lock:
            binding, start, copied = self._compute(feeds)
            computed = time.perf_counter()
            outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
            self.spent.append((copied - start, computed - copied, time.perf_counter() - computed))
        return outputs

    def compute(self, feeds: dict[str, np.ndarray]) -> None:
        """As `run`, but without the copy to the host."""
        with self._lock:
            self._compute(feeds)

    def _compute(self, feeds: dict[str, np.ndarray]) -> tuple[Any, float, float]:
        """The binding with the outputs, and the times of the start and of the end of the copy in."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        bound = self._plans.get(shapes)
        if bound is None:
            bound = self._plans[shapes] = self._plan(feeds)
        start = time.perf_counter()
        for name, array in feeds.items():
            bound.inputs[name].update_inplace(np.ascontiguousarray(array))
        bound.binding.synchronize_inputs()
        copied = time.perf_counter()
        self.session.run_with_iobinding(bound.binding, bound.run_options)
        bound.binding.synchronize_outputs()
        return bound.binding, start, copied

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def _plan(self, feeds: dict[str, np.ndarray]) -> _Binding:
        """Allocate buffers for the shapes of `feeds`. A first run without a graph gives the shapes of the outputs."""
        binding = self.session.io_binding()
        inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, self.number)
            for name, array in feeds.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        outputs = [item.name for item in self.session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, self.device, self.number)
        self.session.run_with_iobinding(binding, self._options(-1))
        made = binding.get_outputs()
        binding.clear_binding_outputs()
        for name, value in zip(outputs, made, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Binding(binding, inputs, self._options(len(self._plans)))

    def _options(self, graph: int) -> Any:
        """Options of a run. `graph`: number of the CUDA graph, -1 for none."""
        options = ort.RunOptions()
        if self.graph:
            options.add_run_config_entry("gpu_graph_id", str(graph))
        return options
