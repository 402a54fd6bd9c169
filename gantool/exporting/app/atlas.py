"""The atlas of a generator's units: a page that shows what each does, and switches it off, or up, as it is clicked."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.artifact import pictures
from gantool.artifact.manifest import NOUNS
from gantool.exporting import artifacts, verify
from gantool.exporting.app import playground
from gantool.exporting.app.history import encode
from gantool.exporting.edits import Scaled
from gantool.exporting.onnx_files import graph, optimize
from gantool.exporting.onnx_files.seeds import seeded_model
from gantool.exporting.source import Options, Source
from gantool.plugin.architecture import Input

SHEET_BYTES = 1_500_000
SIDE = 64  # pixels of a sample on the sheet, at most
SCRIPTS = [*playground.FIRST, "VIEW", "atlas.js", *playground.LAST]
VIEWS = {"image": "images.js", "audio": "sounds.js", "volume": "volumes.js"}

Layers = Mapping[str, tuple[int, ...]]


def factors(layers: Layers) -> tuple[Input, ...]:
    """The inputs of a generator whose units can be changed: a factor (N, C) for each of `layers`."""
    return tuple(Input(f"units_{number}", (shape[0],), "normal") for number, shape in enumerate(layers.values()))


def changeable(source: Source, layers: Layers) -> Source:
    """The generator with the inputs `factors` after its own."""
    return replace(source, generator=Scaled(source.generator, layers).eval(), inputs=(*source.inputs, *factors(layers)))


def build(source: Source, layers: Layers, atlas: Mapping[str, Any], samples: Mapping[int, np.ndarray]) -> str:
    """The text of the page. `atlas`: what is known of the units; `samples` (C, …): those that excite them.

    Its generator is the file that `gantool export` writes, with a factor for each unit: with all at 1 it makes the same
    samples, which the page checks. GantoolError for a generator that no page can show, or where an export fails.
    """
    playground.require_fit(source.about)
    playground.ort_web()
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        (plain,) = artifacts.write(source, ["onnx-seeded"], Path(temporary), Options(), lambda note: None)
        size = plain.path.stat().st_size
    changed = changeable(source, layers)
    inputs = verify.reference_inputs(changed.inputs, source.verified, source.rows)
    model, _ = optimize.optimize(graph.to_onnx(changed.generator, changed.inputs, source.output), inputs)
    normals = [(item.name, item.shape) for item in source.normals]
    drawing, making = playground.split(seeded_model(model, normals), [name for name, _ in normals])
    kind = source.output.kind
    page = {
        "manifest": playground.embedded_manifest(plain.manifest),
        "bytes": size,
        "file": plain.path.name,
        "strip": [],
        "curves": [],
        "run": "",
        "provenance": None,
        "layers": [{"name": item.name, "size": item.shape[0]} for item in factors(layers)],
        "atlas": {**atlas, "sheet": _sheet(samples, source.output.rate)},
    }
    payloads = {
        "latents": drawing.SerializeToString(deterministic=True),
        "generator": making.SerializeToString(deterministic=True),
    }
    scripts = [VIEWS[kind] if name == "VIEW" else name for name in SCRIPTS]
    content = playground.filled(playground.template("atlas.html"), {"noun": NOUNS[kind]})
    style = playground.template("atlas.css")
    return playground.assembled(plain.manifest, page, payloads, scripts, content, style, "units")


def embedded_map(values: np.ndarray) -> dict[str, Any]:
    """A map (H, W) for the page: whole numbers, 255 where it is furthest from 0."""
    size = np.abs(values)
    levels = np.rint(size * (255 / max(float(size.max(initial=0)), 1e-12))).astype(np.uint8)
    return {"height": len(values), "width": values.shape[1], "data": base64.b64encode(levels.tobytes()).decode()}


def _sheet(samples: Mapping[int, np.ndarray], rate: int) -> dict[str, Any]:
    """Small pictures of samples, in one."""
    shown = pictures.to_pictures(np.stack(list(samples.values())), rate)
    height, width = shown.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    if scale < 1:
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        resized = [Image.fromarray(one.squeeze()).resize((width, height)) for one in shown]
        shown = np.stack([np.asarray(one).reshape(height, width, -1) for one in resized])
    columns = max(1, round(len(shown) ** 0.5))
    kind, data, (wide, high) = encode(pictures.grid(shown, columns, gap=0, scale=1), SHEET_BYTES)
    rows = -(-len(shown) // columns)
    return {
        "uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
        "columns": columns,
        "width": wide / columns,
        "height": high / rows,
        "places": {sample: place for place, sample in enumerate(samples)},
    }
