"""Choose sample grids of a run and thin out its curves, for the playground's page."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.data.source_files import DECODING_ERRORS
from gantool.errors import GantoolError
from gantool.run import metrics_log
from gantool.run.curves import PANELS
from gantool.run.rundir import RunDir
from gantool.system.files import read_bounded, reading

MAX_SAMPLES = 12
MAX_POINTS = 400
MAX_LINES = 16  # of one panel: more can't be told apart
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
            kind, data, (wide, high) = _encode(picture, STRIP_BYTES // len(chosen) * 3 // 4 - 64)
            uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
            shown.append({"step": int(path.stem[5:]), "uri": uri, "width": wide, "height": high})
    return shown


def curves(run: RunDir) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl by panel: [{name, lines: [{name, steps, values}]}], each line ≤ 400 points."""
    records = metrics_log.read_metrics(run)
    known = dict.fromkeys(name for record in records for name in record)
    panels = []
    for panel in PANELS:
        lines = []
        for name in (name for name in known if name == panel or name.startswith(f"{panel}.")):
            points = [(record["step"], record[name]) for record in records if _finite(record.get(name))]
            if points:
                thin = downsample(points, MAX_POINTS)
                steps, values = [step for step, _ in thin], [float(f"{value:.6g}") for _, value in thin]
                lines.append({"name": name.removeprefix(f"{panel}."), "steps": steps, "values": values})
        if lines:
            panels.append({"name": panel, "lines": lines[:MAX_LINES]})
    return panels


def downsample(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most `limit` (≥ 4) of the points, in order: the first, the last, and of each span its lowest and highest.

    A mean would hide the spikes, which are what one looks for in a GAN's losses.
    """
    if len(points) <= limit:
        return list(points)
    kept = {0, len(points) - 1}
    for part in np.array_split(np.arange(1, len(points) - 1), limit // 2 - 1):
        kept.add(int(min(part, key=lambda i: points[i][1])))
        kept.add(int(max(part, key=lambda i: points[i][1])))
    return [points[i] for i in sorted(kept)]


def spread(items: Sequence[Path], limit: int) -> list[Path]:
    """At most `limit` (≥ 2) items, evenly from the first to the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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


def _encode(picture: Image.Image, limit: int) -> tuple[str, bytes, tuple[int, int]]:
    """(`png` or `jpeg`, bytes, size): lossless when that fits `limit` bytes, else smaller until it does."""
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
