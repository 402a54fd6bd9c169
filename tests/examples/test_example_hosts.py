"""The examples for other hosts, each run where its host is installed."""

from __future__ import annotations

import asyncio
import io
import os
import py_compile
import re
import runpy
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import hosts

from gantool import exporting
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def kit(exported_run: RunDir, browser_runtime: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "kit"
    exporting.export_app(exported_run, folder)
    return folder


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_it_compiles(file: Path, tmp_path: Path) -> None:
    py_compile.compile(str(file), str(tmp_path / "compiled"), doraise=True)


def test_fastapi(exported_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    path = exported_run.export / "generator.seeded.onnx"
    monkeypatch.setenv("GENERATOR", str(path))
    app = runpy.run_path(str(EXAMPLES / "fastapi_service.py"))["app"]

    async def ask(address: str, **headers: str) -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(address, headers=headers)

    def get(address: str, **headers: str) -> Any:
        return asyncio.run(ask(address, **headers))

    found = get("/images/7/3.png")
    assert found.headers["content-type"] == "image/png"
    (wanted,) = Generator(path).sample(1, seed=7, first=3)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.content))), wanted.squeeze())
    tag = found.headers["etag"]
    assert get("/images/7/4.png").headers["etag"] != tag != get("/images/8/3.png").headers["etag"]
    again = get("/images/7/3.png", **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert get("/about").json()["shape"] == [8, 8, 1]
    for address, code in (
        ("/images/7/-1.png", 400),
        (f"/images/{2**64}/0.png", 400),
        ("/images/7/0.png?label=3", 400),
        ("/images/x/0.png", 422),
        ("/image", 404),
    ):
        assert get(address).status_code == code, address
    assert "label" in get("/images/7/0.png?label=3").json()["detail"]


@pytest.fixture
def express(kit: Path, exported_run: RunDir) -> Iterator[str]:
    """The address of the running server."""
    node, modules = hosts.node(), hosts.node_modules("express", "onnxruntime-node")
    shutil.copy(EXAMPLES / "express/server.mjs", kit / "node")
    if not (kit / "node/node_modules").exists():
        (kit / "node/node_modules").symlink_to(modules)
    environment = {**os.environ, "PORT": "0"}
    command = [node, "server.mjs"]
    with subprocess.Popen(command, cwd=kit / "node", env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
        finally:
            server.kill()


def test_express(express: str, exported_run: RunDir) -> None:
    def get(path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(express + path, headers=headers), timeout=60) as found:
                return found.status, dict(found.headers), found.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    status, headers, body = get("/images/7/3")
    wanted = Generator(exported_run.export / "generator.seeded.onnx").sample(1, seed=7, first=3)[0]
    assert (status, headers["X-Shape"]) == (200, "8x8x1")
    assert int(np.abs(np.frombuffer(body, np.uint8).astype(int) - wanted.ravel()).max()) <= 1
    assert get("/images/7/3", **{"If-None-Match": headers["ETag"]})[0] == 304
    assert get("/images/7/x")[0] == get("/images/7/-1")[0] == get("/images/7/0?label=1")[0] == 400
    assert get("/about")[0] == 200


def test_p5(kit: Path) -> None:
    modules = hosts.node_modules("p5")
    shutil.copy(EXAMPLES / "p5/index.html", kit / "web/sketch.html")
    shutil.copy(EXAMPLES / "p5/sketch.mjs", kit / "web")
    shutil.copy(modules / "p5/lib/p5.min.js", kit / "web")
    with hosts.browser() as browser, hosts.served(kit) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/sketch.html")
        page.wait_for_function("parseInt(document.title) >= 20", timeout=hosts.TIMEOUT * 1000)
        picture = np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("L"))
    assert picture[:64].std() > 1  # the first row of tiles is drawn
    assert len(np.unique(picture[:64, 1::64])) > 1


@pytest.mark.slow
def test_ray(exported_run: RunDir, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make hosts")
    file = exported_run.export / "generator.seeded.onnx"
    command = [sys.executable, EXAMPLES / "ray_batch.py", file, tmp_path / "out", "--count", "1500", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = [np.load(path)["images"] for path in sorted((tmp_path / "out").iterdir())]
    assert [len(part) for part in made] == [1000, 500]
    np.testing.assert_array_equal(np.concatenate(made), Generator(file).sample(1500, seed=5))


def test_what_blender_gets(exported_run: RunDir) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (EXAMPLES / "engines.md").read_text(), re.DOTALL | re.MULTILINE)
    made: dict[str, Any] = {}
    exec(compile(code, "engines.md", "exec"), made)
    file = exported_run.export / "generator.seeded.onnx"
    pixels = made["rgba"](str(file), 7, 3)
    (wanted,) = Generator(file).sample(1, seed=7, first=3)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 4), np.float32)
    np.testing.assert_allclose(pixels[::-1, :, 2] * 255, wanted[:, :, 0], atol=1e-4)
    assert (pixels[:, :, 3] == 1).all()
