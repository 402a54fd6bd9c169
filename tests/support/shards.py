"""What shards are compared with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 by name of every file in the folder but its lock: index.json too, which tells of no moment.

    Hidden folders are left out: a killed process leaves one, and the next command removes it.
    """
    paths = sorted(path for path in folder.iterdir() if path.name != ".lock" and path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def index(folder: Path) -> dict[str, Any]:
    value = json.loads((folder / "index.json").read_text())
    assert isinstance(value, dict)
    return value
