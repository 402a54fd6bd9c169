"""An ONNX Runtime session that runs where it was asked to, or says why it can't."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states

from gantool.errors import GantoolError, excerpt

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# OpenVINO would compute in 16 bits by itself on processors that can; the settings of the caller go before these
OWN_SETTINGS: dict[str, dict[str, str]] = {"openvino": {"precision": "FP32"}}
# Its threads look for more work in a loop for a while before they sleep: 13 to 25 ms of a core after each call, if let.
# This keeps what they gain at batch 1 (they still wake the next operator's threads at once), at 1 ms a call.
SPIN_MICROSECONDS = "300"
# what ONNX Runtime raises; none has a common base of its own
ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    error
    for name in (
        "Fail", "InvalidArgument", "NoSuchFile", "NoModel", "EngineError", "RuntimeException", "InvalidProtobuf",
        "ModelLoaded", "NotImplemented", "InvalidGraph", "EPFail", "ModelLoadCanceled", "ModelRequiresCompilation",
        "NotFound",
    )
    if isinstance(error := getattr(states, name, None), type)
)  # fmt: skip
# TensorRT without its libraries raises a plain RuntimeError; a damaged name in a message, a UnicodeDecodeError
ORT_ERRORS += (RuntimeError, UnicodeDecodeError)
MAX_CAUSE = 1000  # characters: where a library is missing, its name comes after long paths
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}


def open_session(
    data: bytes,
    path: Path,
    provider: str = "cpu",
    threads: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """A session whose provider took the whole graph of `data`, the bytes of `path`; GantoolError otherwise.

    `threads`: of one operator. `settings`: the provider's own options, as ONNX Runtime names them.
    The bytes, and not the path, so that what was looked at is what runs, whoever writes to the file meanwhile. On the
    CPU that costs 0.3 ms a megabyte, and while it opens 1.7 times the file in memory.
    """
    if provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    wanted = PROVIDERS[provider]
    if wanted not in ort.get_available_providers():
        have = ", ".join(name for name, full in PROVIDERS.items() if full in ort.get_available_providers())
        raise GantoolError(
            f"The provider {provider!r} is not in the installed onnxruntime {ort.__version__}.",
            f"It has: {have}. For OpenVINO: pip install onnxruntime-openvino in an environment of its own."
            if provider == "openvino"
            else f"It has: {have}.",
        )
    if threads is not None and threads < 1:
        raise GantoolError(f"{threads} threads were asked for.", "Give 1 or more.")
    options = ort.SessionOptions()
    # else bytes that look like ORT's own format, which nobody has looked into, would be taken for it
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # for `placement`
    options.log_severity_level = 4  # its failures come back as exceptions; the rest is for its developers
    if threads is not None:
        options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    if provider != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        preload = getattr(ort, "preload_dlls", None)
        if preload is not None and provider in ("cuda", "tensorrt"):
            with contextlib.redirect_stdout(sys.stderr):  # where it prints what it does not find
                preload()  # CUDA and cuDNN from their wheels, so that no torch has to be there
    if provider != "cpu":
        ort.set_default_logger_severity(4)  # a provider that can't load its libraries logs before the session exists
    try:
        # else it goes on with another provider, at the start or in the middle, with no more than a print
        own = OWN_SETTINGS.get(provider, {}) | dict(settings or {})
        session = ort.InferenceSession(
            data, options, providers=[wanted], provider_options=[own] if own else None, enable_fallback=0
        )
    except ORT_ERRORS as error:
        raise GantoolError(
            f"The provider {provider!r} can't run {path}: {_first_line(error)}",
            "What is missing, and the line that mends it: gantool doctor. Or: --provider cpu."
            if provider != "cpu"
            else "Is it an ONNX file, and whole? Export it again.",
        ) from error
    finally:
        ort.set_default_logger_severity(2)  # onnxruntime's own default: the log is the program's, not ours
    session._model_bytes = None  # it keeps them to fall back on other providers, which it must not
    if session.get_providers()[0] != wanted:
        raise GantoolError(
            f"The provider {provider!r} did not start; onnxruntime would have used {session.get_providers()[0]}.",
            "Its libraries are missing or of another version. Which, and the line that mends it: gantool doctor.",
        )
    return session


def run(session: ort.InferenceSession, feeds: dict[str, Any], path: Path, names: list[str] | None = None) -> Any:
    """The first output (of `names`: onnxruntime would look them up each time); a failure names the file."""
    try:
        return session.run(names, feeds)[0]
    except ORT_ERRORS as error:
        raise failed(path, error) from error


def failed(path: Path, error: Exception) -> GantoolError:
    """What onnxruntime raised while it ran a file."""
    return GantoolError(f"{path} failed to run: {_first_line(error)}")


def placement(session: ort.InferenceSession) -> dict[str, list[str]]:
    """ONNX Runtime's name of a provider → the nodes that it holds, as "OPERATOR NAME"; empty where it can't tell."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    held: dict[str, list[str]] = {}
    for part in ask() if ask is not None else []:  # from ONNX Runtime 1.24 on
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
        raise GantoolError(f"A name in {path} is damaged: {_first_line(error)}", "Export it again.") from error
    return inputs, outputs


def _axes(shape: list[Any]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def _first_line(error: Exception) -> str:
    return excerpt(str(error).strip().partition("\n")[0], MAX_CAUSE)
