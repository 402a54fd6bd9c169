"""Find ONNX Runtime for the web, which app kits contain and the build puts into this package."""

from __future__ import annotations

from pathlib import Path

from gantool.errors import GantoolError
from gantool.system.files import read_json, sha256_of

ASSETS = Path(__file__).parent / "assets"
ORT_WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "LICENSE")
RECORD = "onnxruntime-web.json"  # what the build installed: the version, and the SHA-256 of each file
_HINT = (
    "In a checkout: make assets; otherwise reinstall with the network: pip install --force-reinstall --no-deps gantool"
)


def ort_web() -> Path:
    """The folder with the files ORT_WEB, as they were installed; GantoolError where one is missing or was changed."""
    for name in (*ORT_WEB, RECORD):
        if not (ASSETS / name).is_file():
            raise GantoolError(f"ONNX Runtime for the web is not installed: {ASSETS} has no {name}.", _HINT)
    record = read_json(ASSETS / RECORD)
    digests = record.get("files") if isinstance(record, dict) else None
    for name in ORT_WEB:
        if not isinstance(digests, dict) or digests.get(name) != sha256_of(ASSETS / name):
            raise GantoolError(
                f"ONNX Runtime for the web is damaged: {ASSETS / name} is not the file that was installed.", _HINT
            )
    return ASSETS
