"""Emoji from npm packages of Iconify (https://iconify.design): vector drawings, made to pixels at the size asked for.

A package is a tar.gz with `icons.json` (name → the inside of an SVG) and `metadata.json` (group → names).
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gantool.data.dataset import Dataset
from gantool.errors import GantoolError

GROUPS = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
)  # fmt: skip
_MAX_JSON = 64 * 2**20  # bytes; the largest of the four has 25 MB
_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_SVG = f'<svg {_NAMESPACES} viewBox="{{}} {{}} {{}} {{}}">{{}}</svg>'


def load_emoji(paths: list[Path], size: int) -> Dataset:
    """The drawings of all packages: uint8 (N, 3, size, size) on white, labels by `GROUPS`, packages in their order.

    GantoolError for a damaged package, or without the extra `emoji`.
    """
    images, labels = [], []
    for path in paths:
        for group, drawing in _drawings(path):
            images.append(draw(drawing, size))
            labels.append(group)
    arrays = {"images": np.stack(images), "labels": np.array(labels, np.int64)}
    return Dataset("emoji", ", ".join(map(str, paths)), arrays, GROUPS)


def draw(svg: str, size: int) -> np.ndarray:
    """The SVG as uint8 (3, size, size), on white."""
    try:
        import resvg_py
    except ImportError:
        raise GantoolError(
            "Emoji are vector drawings; to draw them takes the package resvg-py, which is not installed.",
            'Install it: pip install "gantool[emoji]"',
        ) from None
    from PIL import Image

    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).transpose(2, 0, 1)


def _drawings(path: Path) -> Iterator[tuple[int, str]]:
    """(number of the group, SVG) of each emoji. Only the groups that all packages have are read."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            icons, groups = _read(archive, "icons.json"), _read(archive, "metadata.json")["categories"]
        for name, members in groups.items():
            group = name if name in GROUPS else name.replace(" ", " & ", 1)  # one package drops the "&"
            if group not in GROUPS:
                continue
            for member in members:
                icon = icons["icons"][member]
                width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
                side = max(width, height)
                box = (width - side) / 2, (height - side) / 2, side, side  # a square around the drawing
                yield GROUPS.index(group), _SVG.format(*box, icon["body"])
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise GantoolError(
            f"{path} is damaged, or no package of emoji: {type(error).__name__}: {error}.", "Download it again."
        ) from error


def _read(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    content = archive.extractfile(f"package/{name}")
    text = content.read(_MAX_JSON + 1) if content else b""
    if len(text) > _MAX_JSON:
        raise ValueError(f"{name} has more than {_MAX_JSON:,} bytes")
    found: dict[str, Any] = json.loads(text)
    return found
