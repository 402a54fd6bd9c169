"""Choose sample grids of a run, for the playground's page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.data.source_files import DECODING_ERRORS
from gantool.errors import GantoolError
from gantool.run.curves import spread
from gantool.run.rundir import RunDir
from gantool.system.files import read_bounded, reading

MAX_SAMPLES = 12
STRIP_BYTES = 1_500_000  # of all samples as base64
_SAMPLE = re.compile(r"step-(\d{8})\.png")
_MAX_PNG_BYTES = 64 * 2**20
_MAX_PNG_PIXELS = 64 * 2**20


def strip(run: RunDir, width: int) -> list[dict[str, Any]]:
    """Sample grids of a run, evenly chosen from first to last: at most 12 of {step, uri, width, height}, ≤ 1.5 MB.

    `width`: pixels that one image of the grid has. `gantool train` enlarges small ones by repeating pixels; that is
    undone, and the page enlarges them again. A file that is no picture is left out.
    """
    folder = run.sample(0).parent
    with reading(folder):
        found = sorted(path for path in folder.glob("step-*.png") if _SAMPLE.fullmatch(path.name) and path.is_file())
    chosen = spread(found, MAX_SAMPLES)
    shown = []
    for path in chosen:
        picture = _open(path, width)
        if picture is not None:
            kind, data, (wide, high) = encode(picture, STRIP_BYTES // len(chosen) * 3 // 4 - 64)
            uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
            shown.append({"step": int(path.stem[5:]), "uri": uri, "width": wide, "height": high})
    return shown


def _open(path: Path, width: int) -> Image.Image | None:
    try:
        data = read_bounded(path, _MAX_PNG_BYTES)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > _MAX_PNG_PIXELS:
                return None
            picture = image.convert("L" if image.mode in ("1", "L", "I", "I;16") else "RGB")
    except (GantoolError, Image.DecompressionBombError, *DECODING_ERRORS):
        return None
    factor = max(1, round(48 / width))  # as gantool.artifact.pictures.grid enlarges
    pixels = np.asarray(picture)
    small = pixels[::factor, ::factor]
    enlarged = small.repeat(factor, 0).repeat(factor, 1)
    return Image.fromarray(small) if np.array_equal(enlarged, pixels) else picture


def encode(picture: Image.Image, limit: int) -> tuple[str, bytes, tuple[int, int]]:
    """A picture for a page: `png` or `jpeg`, bytes, size. Lossless if that fits `limit`, else smaller until it fits."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    if buffer.tell() <= limit:
        return "png", buffer.getvalue(), picture.size
    while True:
        for quality in (88, 75):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= limit or min(picture.size) < 64:
                return "jpeg", buffer.getvalue(), picture.size
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
