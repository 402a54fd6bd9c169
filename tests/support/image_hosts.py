"""One generator in all its hosts: each makes images and times itself, in a process (or a page) of its own.

A host that is not here skips, with the reason: `benchmarks/hosts.py` prints it, a test reports it. The programs that
run in the hosts are in benchmarks/hosts/.
"""

from __future__ import annotations

import base64
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from gantool.artifact import inspection, manifest
from support import hosts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = hosts.ROOT / "benchmarks" / "hosts"
PAGE_COUNTS = (64, 36, 25, 16, 9, 4, 1)  # of those that the playground offers
PATIENCE = 120_000  # milliseconds; only a hang takes as long


@dataclass(frozen=True)
class Files:
    """An app kit, into which its hosts may write, and what a kit does not hold: None where it is not there."""

    kit: Path
    plain: Path | None = None  # generator.onnx, of the kit's precision
    pt2: Path | None = None

    @property
    def seeded(self) -> Path:
        return self.kit / manifest.FILES["onnx-seeded"]

    @property
    def torchscript(self) -> Path:
        return self.kit / "cpp" / manifest.FILES["torchscript-seeded"]

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C)"""
        return inspection.inspect(self.seeded).manifest.output.shape


class Host(Protocol):
    """A generator that runs. `start_ms`: until its first image, from the start of its process or page."""

    start_ms: float

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        """Images first … first+count-1 of `seed`: uint8 (count, H, W, C)."""

    def time(self, batch: int, runs: int) -> list[float]:
        """Milliseconds of each of `runs` calls that make `batch` images."""


@dataclass(frozen=True)
class Difference:
    """How far images are from others: values that differ, of how many, and by at most how many levels."""

    different: int
    values: int
    worst: int

    @property
    def share(self) -> float:
        return self.different / self.values


def difference(made: np.ndarray, wanted: np.ndarray) -> Difference:
    assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
    off = np.abs(made.astype(np.int16) - wanted)
    return Difference(int(np.count_nonzero(off)), off.size, int(off.max(initial=0)))


class Hosts:
    """Opens hosts by their names in NAMES. What several of them need is made once, when it is first asked for.

    `folder`: for an environment, a build and images. `threads`: of each host that takes a number; 0: as it comes.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder, self.threads = folder, threads
        self._stack = ExitStack()

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, name: str, files: Files) -> AbstractContextManager[Host]:
        return NAMES[name](self, files)

    @cached_property
    def python(self) -> Path:
        """A Python with numpy and onnxruntime alone."""
        return hosts.bare_python(self.folder / "bare")

    @cached_property
    def chromium(self) -> Browser:
        return self._stack.enter_context(hosts.browser())

    def program(self, *command: object, files: Files) -> Program:
        return Program(list(map(str, command)), self.folder, files.shape)

    def cpp(self, files: Files) -> Path:
        """benchmarks/hosts/program.cpp, built as the kit's own program is; once, for it is the same for all kits."""
        source, build = self.folder / "cpp", self.folder / "cpp-build"
        if not (build / "generate").is_file():
            import torch

            missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
            if missing:
                pytest.skip(f"{missing[0]} is not installed: make hosts")
            if torch.version.cuda is not None and shutil.which("nvcc") is None:
                pytest.skip("the CMake files of this torch want the CUDA toolkit")
            shutil.copytree(files.kit / "cpp", source, dirs_exist_ok=True)
            shutil.copyfile(PROGRAMS / "program.cpp", source / "main.cpp")
            prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
            hosts.run("cmake", "-S", source, "-B", build, prefix, cwd=self.folder)
            hosts.run("cmake", "--build", build, cwd=self.folder)
        return build / "generate"


class Program:
    """A program of benchmarks/hosts/ in a process of its own: a line in, a line out."""

    def __init__(self, command: list[str], folder: Path, shape: tuple[int, ...]) -> None:
        self.shape, self.path = shape, folder / "images.bin"
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.make(1, 7, 0)
        self.start_ms = 1000 * (time.perf_counter() - began)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        assert self._ask(f"make {count} {seed} {first} {self.path}") == "done"
        return np.fromfile(self.path, np.uint8).reshape(count, *self.shape)

    def time(self, batch: int, runs: int) -> list[float]:
        return [float(ms) for ms in self._ask(f"time {batch} {runs}").split()]

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"{self.process.args!r} ended with {self.process.wait()}; its error is above"
        return answer.strip()


class KitPage:
    """benchmarks/hosts/page.html in a kit's web/."""

    def __init__(self, page: Page, shape: tuple[int, ...]) -> None:
        self.page, self.shape = page, shape
        page.wait_for_function("globalThis.started", timeout=PATIENCE)
        self.start_ms = float(page.evaluate("started"))

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        data = self.page.evaluate("asked => make(asked)", [count, str(seed), str(first)])
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(count, *self.shape)

    def time(self, batch: int, runs: int) -> list[float]:
        spent: list[float] = self.page.evaluate("asked => time(asked)", [batch, runs])
        return spent


SHOWN = """([count, seed, first]) => {
  const grid = document.getElementById("grid");
  const tiles = grid.getElementsByClassName("tile");
  return document.getElementById("seed").value === seed && tiles.length === count &&
    tiles[0].dataset.index === first && !grid.hasAttribute("aria-busy");
}"""
# as a person who types an address; milliseconds until the last image is painted
SHOW = f"""async (asked) => {{
  const shown = () => ({SHOWN})(asked);
  const [count, seed, first] = asked;
  const began = performance.now();
  location.hash = `seed=${{seed}}&first=${{first}}&count=${{count}}`;
  if (!shown()) await new Promise((resolve) => {{
    const watch = new MutationObserver(() => shown() && (watch.disconnect(), resolve()));
    watch.observe(document.body, {{ attributes: true, childList: true, subtree: true }});
  }});
  return performance.now() - began;
}}"""
CANVASES = """() => {
  let text = "";
  for (const canvas of document.querySelectorAll("#grid canvas")) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (const byte of data) text += String.fromCharCode(byte);
  }
  return btoa(text);
}"""
# of the first image of the page: its tile waits for it
FIRST = """() => {
  const tile = document.querySelector("#grid .tile");
  return tile && !tile.classList.contains("waiting") && performance.now();
}"""
JUDGED = "#verdict:is([data-state=exact], [data-state=near], [data-state=bad])"
IDLE = 0.4  # seconds in which the page's other pictures, asked for with the grid, are done


class Playground:
    """playground.html as a person uses it: what is compared is what its canvases show."""

    def __init__(self, page: Page, shape: tuple[int, ...]) -> None:
        self.page, self.shape = page, shape
        self.start_ms = float(page.wait_for_function(FIRST, timeout=PATIENCE).json_value())
        page.wait_for_selector(JUDGED, timeout=PATIENCE)

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        height, width, channels = self.shape
        parts, done = [], 0
        while done < count:
            n = next(n for n in PAGE_COUNTS if n <= count - done)
            self.page.evaluate(SHOW, [n, str(seed), str(first + done)])
            data = base64.b64decode(self.page.evaluate(CANVASES))
            rgba = np.frombuffer(data, np.uint8).reshape(n, height, width, 4)
            assert (rgba[..., 3] == 255).all()
            assert (rgba[..., :3] == rgba[..., :channels]).all()
            parts.append(rgba[..., :channels])
            done += n
        return np.concatenate(parts)

    def time(self, batch: int, runs: int) -> list[float]:
        spent = []
        for run in range(runs):
            # another seed each time: an address that is there already is drawn by nobody
            self.page.evaluate(SHOW, [batch, str(2**32 + run), "0"])
            time.sleep(IDLE)
            spent.append(float(self.page.evaluate(SHOW, [batch, str(run + 1), "0"])))
            time.sleep(IDLE)
        return spent


def _python(name: str, of: Callable[[Files], Path | None], package: str = "onnxruntime") -> Callable[..., Any]:
    """A host of benchmarks/hosts/program.py, in this environment."""

    def opened(here: Hosts, files: Files) -> Program:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        file = of(files)
        if file is None or not file.is_file():
            pytest.skip("its file was not exported")
        return here.program(sys.executable, PROGRAMS / "program.py", name, file, here.threads, files=files)

    return opened


def _kit(here: Hosts, files: Files) -> Program:
    command = (here.python, "-I", PROGRAMS / "program.py", "kit", files.seeded)
    return here.program(*command, here.threads, files=files)


def _node(here: Hosts, files: Files) -> Program:
    node, modules = hosts.node(), hosts.node_modules("onnxruntime-node")
    link = files.kit / "node" / "node_modules"
    if not link.exists():
        link.symlink_to(modules)
    return here.program(node, PROGRAMS / "program.mjs", files.kit, here.threads, files=files)


def _cpp(here: Hosts, files: Files) -> Program:
    if not files.torchscript.is_file():
        pytest.skip("its file was not exported")
    return here.program(here.cpp(files), files.torchscript, here.threads, files=files)


@contextmanager
def _web(here: Hosts, files: Files) -> Iterator[Host]:
    shutil.copyfile(PROGRAMS / "page.html", files.kit / "web" / "page.html")
    with hosts.served(files.kit) as address, hosts.page(here.chromium, address) as page:
        page.goto(f"{address}web/page.html")
        yield KitPage(page, files.shape)


@contextmanager
def _playground(here: Hosts, files: Files) -> Iterator[Host]:
    if not (files.kit / "playground.html").is_file():
        pytest.skip("the kit has no playground.html")
    address = (files.kit / "playground.html").resolve().as_uri()
    with hosts.page(here.chromium, address) as page:
        page.goto(address)
        yield Playground(page, files.shape)


NAMES: dict[str, Callable[[Hosts, Files], AbstractContextManager[Host]]] = {
    "runtime": _python("runtime", lambda files: files.seeded),
    "kit": _kit,
    "node": _node,
    "web": _web,
    "playground": _playground,
    "cpp": _cpp,
    "torchscript": _python("torchscript", lambda files: files.torchscript, "torch"),
    "pt2": _python("pt2", lambda files: files.pt2, "torch"),
    "reference": _python("reference", lambda files: files.seeded, "onnx"),
    "openvino": _python("openvino", lambda files: files.plain, "openvino"),
    "openvino-default": _python("openvino_default", lambda files: files.plain, "openvino"),
    "openvino-seeded": _python("openvino_seeded", lambda files: files.seeded, "openvino"),
}
