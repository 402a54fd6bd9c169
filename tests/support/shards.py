"""Generators whose shards are made in tests, and what to compare them with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gantool import exporting
from support.exports import Tiny, source


def plain(folder: Path, side: int = 8, channels: int = 1) -> Path:
    """A seeded file of `side`×`side` images without classes."""
    shape = (channels, side, side)
    (made,) = exporting.write(source(Tiny(shape), shape=shape), ["onnx-seeded"], folder)
    return made.path


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by name of every file in the folder but its lock: index.json too, which tells of no moment."""
    paths = sorted(path for path in folder.iterdir() if path.name != ".lock")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def index(folder: Path) -> dict[str, Any]:
    value = json.loads((folder / "index.json").read_text())
    assert isinstance(value, dict)
    return value
