"""playground.html in a browser: opened from disk as a person does, its canvases read."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.artifact.manifest import Manifest
from gantool.exporting.app import playground
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

Open = Callable[..., Any]
PIXELS = """canvas => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return [canvas.width, canvas.height, btoa(text)];
}"""
JUDGED = "#verdict:is([data-state=exact], [data-state=near], [data-state=bad])"


@dataclasses.dataclass
class Model:
    path: Path
    manifest: Manifest
    run: RunDir | None = None

    def page(self, folder: Path, **changes: Any) -> Path:
        """playground.html with some of the manifest's fields changed."""
        provenance = changes.pop("provenance", True)
        described = dataclasses.replace(self.manifest, **changes)
        page = folder / "playground.html"
        page.write_text(playground.build(self.path, described, self.run, provenance), encoding="utf-8")
        return page

    def images(self, *arguments: Any, **named: Any) -> np.ndarray:
        return Generator(self.path).sample(*arguments, **named)

    def results(self, picture: np.ndarray, **named: Any) -> np.ndarray:
        """Of a generator that takes a picture."""
        return Generator(self.path).translate(picture, **named)


@contextmanager
def opening(browser: Any) -> Iterator[Open]:
    """open(path, hash="", script="", **context) → a page; no request may leave the machine, no error be unexpected."""
    contexts, outside, errors = [], [], []

    def route(request: Any) -> None:
        if request.request.url.startswith(("file:", "blob:", "data:")):
            request.continue_()
        else:
            outside.append(request.request.url)
            request.abort()

    def open_page(path: Path, fragment: str = "", script: str = "", wait: str = JUDGED, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", route)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        if script:
            page.add_init_script(script)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector(wait, timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert outside == []
    assert errors == []


def shown(canvas: Any, channels: int = 1) -> np.ndarray:
    """The pixels of a canvas: uint8 (H, W, channels)."""
    width, height, data = canvas.evaluate(PIXELS)
    rgba = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
    assert (rgba[..., 3] == 255).all()
    if channels == 1:
        assert (rgba[..., :1] == rgba[..., 1:3]).all()
    return rgba[..., :channels]


def settle(page: Any) -> None:
    """Every image that was asked for is there."""
    page.wait_for_selector("body:not(:has([aria-busy]))", state="attached")


def assert_alike(made: np.ndarray, wanted: np.ndarray) -> None:
    """As another build of ONNX Runtime may round: at most 1 level, on at most 0.02 % of the values."""
    assert made.shape == wanted.shape
    difference = np.abs(made.astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).sum() <= max(1, 0.0002 * difference.size)


def saved(page: Any, button: str) -> Image.Image:
    with page.expect_download() as download:
        page.click(button)
    image = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    image.load()
    return image
