"""The hosts that exported files run in: a bare Python, Node, a browser. Tests skip where one is missing.

npm's packages lie in `.hosts/node_modules` of the checkout (`make hosts`), or in the folder that GANTOOL_HOSTS names.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 120  # seconds; only a hang takes as long
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def node() -> str:
    """The path of Node; skips without."""
    return shutil.which("node") or pytest.skip("there is no node on the path")


def node_modules(*packages: str) -> Path:
    """A node_modules folder that has `packages`; skips without."""
    folder = Path(os.environ.get("GANTOOL_HOSTS") or ROOT / ".hosts") / "node_modules"
    for package in packages:
        if not (folder / package / "package.json").is_file():
            pytest.skip(f"{folder} has no {package}: make hosts")
    return folder


def run(*command: object, cwd: Path) -> str:
    """What a command prints; an assertion when it fails. Nothing of this checkout is on its path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NODE_"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=kept, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium that can reach nothing but loopback; skips without."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no chromium on the path: make hosts")
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_OPTIONS, nowhere])
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def page(opened: Browser, address: str, width: int = 1000, dark: bool = False) -> Iterator[Page]:
    """A page that may load from `address` alone; an assertion when a request fails, or an error is logged or thrown."""
    context = opened.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    wrong: list[str] = []
    own = (address, "data:", "blob:")
    context.route(lambda url: not url.startswith(own), lambda route: route.abort())
    context.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(f"asked for {asked.url}"))
    context.on("requestfailed", lambda asked: wrong.append(f"failed: {asked.url}"))
    context.on("weberror", lambda error: wrong.append(f"threw: {error.error}"))
    context.on("console", lambda said: wrong.append(f"logged: {said.text}") if said.type == "error" else None)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not wrong, wrong


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`folder` over HTTP on loopback, as `python -m http.server` does it; gives the address, a slash at its end."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def bare_python(folder: Path, *wanted: str) -> Path:
    """The Python of a new environment in `folder` with numpy, onnxruntime, the distributions `wanted` and what those
    need: no gantool, no torch."""
    venv.create(folder, with_pip=False, symlinks=sys.platform != "win32")
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = folder / scripts / Path(sys.executable).name
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # links to the copies that are here: an installation without the network, or minutes of unpacking
    for name in _runtime_packages(wanted):
        here = Path(str(distribution(name).locate_file("")))
        for path in _top_level(name):
            (site / path).symlink_to(here / path)
    return python


def _runtime_packages(wanted: Sequence[str]) -> set[str]:
    """numpy, onnxruntime, `wanted`, and everything that they require in turn."""
    onnxruntime = next(
        n for n in ("onnxruntime-gpu", "onnxruntime") if importlib.util.find_spec("onnxruntime") and has(n)
    )
    found, waiting = set(), ["numpy", onnxruntime, *wanted]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needed = [Requirement(text) for text in distribution(name).requires or []]
            waiting += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def has(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _top_level(name: str) -> set[str]:
    """The files and folders of a distribution, directly under site-packages."""
    files = distribution(name).files or []
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}
