"""Images of an exported generator over HTTP. The same address always gives the same picture, so clients may cache it.

pip install 'gantool[cpu]' 'fastapi[standard]'
GENERATOR=generator.seeded.onnx fastapi run fastapi_service.py
curl http://localhost:8000/images/7/0.png -o image.png
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel

from gantool import ArgumentError
from gantool.artifact import provenance
from gantool.artifact.pictures import png_info
from gantool.runtime import Generator

app = FastAPI(title="Generated images")
generator = Generator(os.environ.get("GENERATOR", "generator.seeded.onnx"))
generator.self_test()  # a host that makes other images than the exporting machine does not start


class About(BaseModel):
    """`shape`: of an image, (height, width, channels). `classes`: 0 for a generator without."""

    architecture: str
    shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    licence: str


@app.exception_handler(ArgumentError)
def wrong_argument(request: Request, error: ArgumentError) -> JSONResponse:
    """Values that gantool refuses are the client's fault."""
    return JSONResponse({"detail": error.message, "hint": error.hint}, status_code=400)


@app.get("/about")
def about() -> About:
    """What the generator makes."""
    manifest = generator.manifest
    return About(
        architecture=str(manifest.architecture["name"]),
        shape=generator.shape,
        classes=manifest.classes,
        class_names=tuple(manifest.class_names),
        licence=manifest.licence,
    )


@app.get("/images/{seed}/{index}.png", response_class=Response)
def image(
    seed: int, index: int, label: str | None = None, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Image `index` of `seed` as PNG. `label`: the class, by number or name, of a conditional generator."""
    request = f"{generator.manifest.weights_sha256}/{seed}/{index}/{label}"
    tag = f'"{hashlib.sha256(request.encode()).hexdigest()[:32]}"'
    sent = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable"}
    if if_none_match == tag:
        return Response(status_code=304, headers=sent)
    (pixels,) = generator.sample(1, seed=seed, first=index, labels=label)
    file = io.BytesIO()
    about_it = png_info(provenance.of(generator.manifest, seed, index))
    Image.fromarray(pixels.squeeze()).save(file, "PNG", pnginfo=about_it)
    return Response(file.getvalue(), media_type="image/png", headers=sent)
