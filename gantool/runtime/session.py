"""An ONNX Runtime session that runs where it was asked to, or says why it can't."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as states

from gantool.errors import GantoolError
from gantool.files import MAX_MODEL_BYTES

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
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
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}


def open_session(path: Path, provider: str = "cpu", threads: int | None = None) -> ort.InferenceSession:
    """A session whose provider took the whole graph; GantoolError otherwise. `threads`: of one operator."""
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
    options.log_severity_level = 4  # its failures come back as exceptions; the rest is for its developers
    if threads is not None:
        options.intra_op_num_threads = threads
    if provider != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        preload = getattr(ort, "preload_dlls", None)
        if preload is not None and provider in ("cuda", "tensorrt"):
            with contextlib.redirect_stdout(sys.stderr):  # where it prints what it does not find
                preload()  # CUDA and cuDNN from their wheels, so that no torch has to be there
    _check_readable(path)
    if provider != "cpu":
        ort.set_default_logger_severity(4)  # a provider that can't load its libraries logs before the session exists
    try:
        # else it goes on with another provider, at the start or in the middle, with no more than a print
        session = ort.InferenceSession(str(path), options, providers=[wanted], enable_fallback=0)
    except ORT_ERRORS as error:
        raise GantoolError(
            f"The provider {provider!r} can't run {path}: {_first_line(error)}",
            "Is there a device for it, with a driver and libraries that fit (nvidia-smi tells)? Or: --provider cpu."
            if provider != "cpu"
            else "Is it an ONNX file, and whole? Export it again.",
        ) from error
    finally:
        ort.set_default_logger_severity(2)  # onnxruntime's own default: the log is the program's, not ours
    if session.get_providers()[0] != wanted:
        raise GantoolError(
            f"The provider {provider!r} did not start; onnxruntime would have used {session.get_providers()[0]}.",
            "Its libraries are missing or of another version: see onnxruntime's page on that provider.",
        )
    return session


def run(session: ort.InferenceSession, feeds: dict[str, Any], path: Path) -> Any:
    """The first output; a failure names the file."""
    try:
        return session.run(None, feeds)[0]
    except ORT_ERRORS as error:
        raise GantoolError(f"{path} failed to run: {_first_line(error)}") from error


def metadata(session: ort.InferenceSession, path: Path) -> dict[str, str]:
    """The file's own key-value pairs."""
    try:
        pairs: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except ORT_ERRORS as error:
        raise GantoolError(f"The metadata of {path} is damaged: {_first_line(error)}", "Export it again.") from error
    return pairs


def signature(session: ort.InferenceSession, path: Path) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Names and dtypes of the inputs, and of the outputs."""
    try:
        inputs, outputs = (
            {(value.name, _DTYPES.get(value.type, value.type)) for value in values}
            for values in (session.get_inputs(), session.get_outputs())
        )
    except ORT_ERRORS as error:
        raise GantoolError(f"A name in {path} is damaged: {_first_line(error)}", "Export it again.") from error
    return inputs, outputs


def _check_readable(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise GantoolError(f"{path} can't be read: {error.strerror}.", "Export a file: gantool export") from error
    if path.is_dir():
        raise GantoolError(f"{path} is a folder, not an ONNX file.")
    if not 0 < size < MAX_MODEL_BYTES:
        raise GantoolError(f"{path} has {size} bytes: not a model.", "Export it again.")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
