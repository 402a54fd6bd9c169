"""What app kits hold that others made: ONNX Runtime for the web. The build puts it into this package."""

from __future__ import annotations

from pathlib import Path

from gantool.errors import GantoolError

ASSETS = Path(__file__).parent / "assets"
ORT_WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "LICENSE")


def ort_web() -> Path:
    """The folder with the files ORT_WEB; GantoolError where they were not installed."""
    missing = [name for name in ORT_WEB if not (ASSETS / name).is_file()]
    if missing:
        raise GantoolError(
            f"The files of ONNX Runtime for the web are not installed: {ASSETS} has no {missing[0]}.",
            "In a checkout: make assets; otherwise reinstall with the network: "
            "pip install --force-reinstall --no-deps gantool",
        )
    return ASSETS
