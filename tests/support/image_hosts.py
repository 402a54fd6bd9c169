"""One generator in all its hosts: each makes images and times itself, in a process (or a page) of its own.

A host that is not here skips, with the reason: `benchmarks/hosts.py` prints it, a test reports it. The programs that
run in the hosts are in benchmarks/hosts/. `ROWS` has the hosts, with what a program that embeds one ships.
"""

from __future__ import annotations

import base64
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from gantool.artifact import inspection, manifest
from gantool.errors import GantoolError
from support import hosts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from gantool.exporting import Artifact, Options, Source
    from gantool.run.rundir import RunDir

PROGRAMS = hosts.ROOT / "benchmarks" / "hosts"
PAGE_COUNTS = (64, 36, 25, 16, 9, 4, 1)  # of those that the playground offers
KINDS = manifest.KINDS
FEW = 0.0002  # share of the values that may differ by one level where sums are added up in another order
PATIENCE = 120_000  # milliseconds; only a hang takes as long


@dataclass(frozen=True)
class Files:
    """An app kit, into which its hosts may write, and what a kit does not hold: `refused` says why one is not there."""

    kit: Path
    folder: Path | None = None  # of exported files, by their usual names
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeded(self) -> Path:
        return self.kit / manifest.FILES["onnx-seeded"]

    @cached_property
    def about(self) -> manifest.Manifest:
        return inspection.inspect(self.seeded).manifest

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C); of sounds (T, C), of volumes (D, H, W, C)"""
        return self.about.output.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.about.output.levels)

    def of(self, kind: str, precision: str = "") -> Path:
        """The file of a kind, or of a name; `precision`: of an ONNX file, "": that of the kit. Skips without."""
        precision = precision or self.about.precision
        if kind == "onnx-seeded" and precision == self.about.precision:
            return self.seeded
        if kind == "torchscript-seeded":
            return self._there(self.kit / "cpp" / manifest.FILES[kind], manifest.FILES[kind])
        name = manifest.file_name(kind, precision if kind in manifest.ONNX else "float32") if kind in KINDS else kind
        return self._there(self.folder / name if self.folder else None, name)

    def _there(self, path: Path | None, name: str) -> Path:
        if path is None or not path.exists():
            pytest.skip(self.refused.get(name, "its file was not exported"))
        return path


class Host(Protocol):
    """A generator that runs. `start_ms`: until its first image, from the start of its process or page."""

    start_ms: float

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        """Samples first … first+count-1 of `seed`: uint8 (count, H, W, C), or as `Generator.sample` gives others."""

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
    off = np.abs(made.astype(np.int32) - wanted)
    return Difference(int(np.count_nonzero(off)), off.size, int(off.max(initial=0)))


class Hosts:
    """Opens hosts by their names in ROWS. What several of them need is made once, when it is first asked for.

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
        return ROWS[name].open(self, files)

    @cached_property
    def python(self) -> Path:
        """A Python with numpy and onnxruntime alone."""
        return hosts.bare_python(self.folder / "bare")

    @cached_property
    def chromium(self) -> Browser:
        return self._stack.enter_context(hosts.browser())

    def program(self, *command: object, files: Files) -> Program:
        return Program(list(map(str, command)), self.folder, files)

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

    def __init__(self, command: list[str], folder: Path, files: Files) -> None:
        self.files, self.path = files, folder / "images.bin"
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
        return np.fromfile(self.path, self.files.dtype).reshape(count, *self.files.shape)

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

    def __init__(self, page: Page, files: Files) -> None:
        self.page, self.files = page, files
        page.wait_for_function("globalThis.started", timeout=PATIENCE)
        self.start_ms = float(page.evaluate("started"))

    def make(self, count: int, seed: int, first: int) -> np.ndarray:
        data = self.page.evaluate("asked => make(asked)", [count, str(seed), str(first)])
        return np.frombuffer(base64.b64decode(data), self.files.dtype).reshape(count, *self.files.shape)

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


@dataclass(frozen=True)
class Row:
    """A host on one of the exported files. `model` and `library`: what a program that embeds it ships; None: in one.

    `precision`: of the file; "": that of the kit.
    """

    title: str
    open: Callable[[Hosts, Files], AbstractContextManager[Host]]
    model: Callable[[Files], Path]
    library: Callable[[Hosts, Files], int] | None
    precision: str = ""


def _python(title: str, kind: str, host: str, package: str = "onnxruntime", precision: str = "") -> Row:
    """A host of benchmarks/hosts/program.py, in this environment, that needs a package."""

    def opened(here: Hosts, files: Files) -> Program:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
        command = (sys.executable, PROGRAMS / "program.py", host, files.of(kind, precision), here.threads)
        return here.program(*command, files=files)

    return Row(title, opened, lambda files: files.of(kind, precision), lambda *_: _installed(package), precision)


def _installed(package: str) -> int:
    """Bytes of a distribution as it is installed, without what Python compiled."""
    names = [package, f"{package}-gpu"]
    name = next(name for name in names if hosts.has(name))
    return _bytes(str(path.locate()) for path in distribution(name).files or [] if path.suffix != ".pyc")


def _bytes(paths: Any) -> int:
    return sum(path.stat().st_size for path in map(Path, paths) if path.is_file())


def size(path: Path) -> int:
    """Bytes of a file, or of those of a folder."""
    return _bytes(path.iterdir() if path.is_dir() else [path])


def _kit(here: Hosts, files: Files) -> Program:
    command = (here.python, "-I", PROGRAMS / "program.py", "kit", files.seeded)
    return here.program(*command, here.threads, files=files)


def _node(here: Hosts, files: Files) -> Program:
    node, modules = hosts.node(), hosts.node_modules("onnxruntime-node")
    link = files.kit / "node" / "node_modules"
    if not link.exists():
        link.symlink_to(modules)
    return here.program(node, PROGRAMS / "program.mjs", files.kit, here.threads, files=files)


def _node_library(here: Hosts, files: Files) -> int:
    """Its binaries of this platform."""
    processor = {"x86_64": "x64", "AMD64": "x64"}.get(platform.machine(), "arm64")
    modules = hosts.node_modules("onnxruntime-node") / "onnxruntime-node"
    return _bytes(modules.glob(f"bin/*/{sys.platform}/{processor}/*"))


def _cpp(here: Hosts, files: Files) -> Program:
    file = files.of("torchscript-seeded")
    return here.program(here.cpp(files), file, here.threads, files=files)


def _cpp_library(here: Hosts, files: Files) -> int:
    """The program and the shared libraries of torch that it loads."""
    program = here.cpp(files)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return _bytes([program, *(path for path in re.findall(r"=> (\S+)", listed) if "torch" in path)])


def _c(here: Hosts, files: Files) -> Program:
    file = files.of("c") / "generator.bin"
    built = file.parent / "program"
    if not built.is_file():
        if shutil.which("cc") is None:
            pytest.skip("cc is not installed: apt-get install gcc")
        shutil.copyfile(PROGRAMS / "program.c", file.parent / "program.c")
        flags = ("-O3", "-march=native", "-std=c99", "-ffp-contract=fast")
        hosts.run("cc", *flags, "-c", "generator.c", cwd=file.parent)
        hosts.run("cc", *flags, "-o", built, "program.c", "generator.o", "-lm", cwd=file.parent)
    return here.program(built, file, files=files)


@contextmanager
def _web(here: Hosts, files: Files) -> Iterator[Host]:
    shutil.copyfile(PROGRAMS / "page.html", files.kit / "web" / "page.html")
    with hosts.served(files.kit) as address, hosts.page(here.chromium, address) as page:
        page.goto(f"{address}web/page.html")
        yield KitPage(page, files)


def _playground_file(files: Files) -> Path:
    if files.about.output.kind != "image":
        pytest.skip("its canvases show no numbers")
    path = files.kit / "playground.html"
    return path if path.is_file() else pytest.skip("the kit has no playground.html")


@contextmanager
def _playground(here: Hosts, files: Files) -> Iterator[Host]:
    address = _playground_file(files).resolve().as_uri()
    with hosts.page(here.chromium, address) as page:
        page.goto(address)
        yield Playground(page, files.shape)


def _seeded(files: Files) -> Path:
    return files.seeded


ROWS: dict[str, Row] = {
    "runtime": _python("Python, gantool.runtime", "onnx-seeded", "runtime"),
    "runtime-float32": _python("Python, gantool.runtime", "onnx-seeded", "runtime", precision="float32"),
    "runtime-int8": _python("Python, gantool.runtime", "onnx-seeded", "runtime", precision="int8"),
    "runtime-portable": _python("Python, gantool.runtime, portable file", "onnx-portable", "runtime"),
    "kit": Row("Python, the kit alone", _kit, _seeded, lambda *_: _installed("onnxruntime")),
    "c": Row(
        "C", _c, lambda files: files.of("c") / "generator.bin", lambda _, files: size(files.of("c") / "generator.o")
    ),
    "node": Row("Node", _node, _seeded, _node_library),
    "web": Row("Chromium, web/ over HTTP", _web, _seeded, lambda _, files: size(files.kit / "web" / "ort")),
    "playground": Row("Chromium, playground.html from disk", _playground, _playground_file, None),
    "cpp": Row("C++, LibTorch", _cpp, lambda files: files.of("torchscript-seeded"), _cpp_library),
    "torchscript": _python("Python, seeded TorchScript", "torchscript-seeded", "torchscript", "torch"),
    "pt2": _python("Python, .pt2, numpy's latents", "pt2", "pt2", "torch"),
    "float64": _python("Python, PyTorch in float64, numpy's latents", "pt2", "float64", "torch"),
    "tract": _python("tract, portable file", "onnx-portable", "tract", "tract"),
    "ncnn": _python("ncnn, numpy's latents", "ncnn", "ncnn", "ncnn", "float32"),
    "openvino-portable": _python("OpenVINO, portable file", "onnx-portable", "openvino_portable", "openvino"),
    "openvino": _python("OpenVINO, numpy's latents", "onnx", "openvino", "openvino"),
    "openvino-float32": _python("OpenVINO, numpy's latents", "onnx", "openvino", "openvino", "float32"),
    "openvino-int8": _python("OpenVINO, numpy's latents", "onnx", "openvino", "openvino", "int8"),
    "openvino-default": _python("OpenVINO as it comes, numpy's latents", "onnx", "openvino_default", "openvino"),
    "openvino-seeded": _python(
        "OpenVINO, seeded file (gantool refuses it)", "onnx-seeded", "openvino_seeded", "openvino"
    ),
    "reference": _python("ONNX reference evaluator", "onnx-seeded", "reference", "onnx"),
}


def export(source: Source, folder: Path, run: RunDir | None = None, *, complete: bool = True) -> Files:
    """An app kit in `folder`/kit and, `complete`, the files of all rows beside it."""
    from gantool.exporting import Options
    from gantool.exporting.app import write_app
    from gantool.exporting.c.write import write_c

    refused: dict[str, str] = {}
    own = "half-weights" if source.output.is_image else "float32"  # as in kits
    kinds = ["onnx", "onnx-seeded", "onnx-portable", *(["torchscript-seeded", "pt2"] if complete else [])]
    made = _write(source, kinds, folder, Options((own,)), refused)
    seeded = made[manifest.file_name("onnx-seeded", own)]
    write_app(seeded, made.get(manifest.file_name("torchscript-seeded")), run, folder / "kit", playground=complete)
    if complete:
        _write(source, ["onnx", "onnx-seeded"], folder, Options(("float32", "int8")), refused)
        try:
            write_c(folder / manifest.file_name("onnx", own), folder / "c")
        except GantoolError as error:
            refused["c"] = error.message
        if _write(source, ["onnx"], folder / "batch-1", Options(batch=1, hosts=("ncnn",)), refused, "ncnn"):
            _by_pnnx(folder / "batch-1" / "generator.onnx", folder / "ncnn", refused)
    return Files(folder / "kit", folder, refused)


def _write(
    source: Source, kinds: Sequence[str], folder: Path, options: Options, refused: dict[str, str], name: str = ""
) -> dict[str, Artifact]:
    """What could be exported, by file names; what could not goes to `refused`, by the same or as `name`."""
    from gantool.exporting import PartialExport, write

    names = [manifest.file_name(kind, precision) for kind in kinds for precision in options.precisions]
    try:
        made = write(source, kinds, folder, options)
    except PartialExport as error:
        made = error.artifacts
        why = " ".join(failed.message for failed in error.failed.values())
        left_out = {*names} - {item.path.name for item in made}  # a seeded file fails with its plain one
        refused.update({file: error.failed[file].message if file in error.failed else why for file in left_out})
    except GantoolError as error:
        made = []
        refused.update(dict.fromkeys([name] if name else names, error.message))
    return {item.path.name: item for item in made}


def _by_pnnx(plain: Path, folder: Path, refused: dict[str, str]) -> None:
    """`folder` with generator.ncnn.param, generator.ncnn.bin and the manifest."""
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        refused["ncnn"] = "pnnx is not installed: pip install ncnn pnnx"
        return
    shapes = ",".join(
        str([1, *item.shape]).replace(" ", "") + "f32" for item in inspection.inspect(plain).manifest.latents
    )
    command = [Path(found.origin).with_name("pnnx"), plain.name, f"inputshape={shapes}", "fp16=0"]
    done = subprocess.run(list(map(str, command)), cwd=plain.parent, capture_output=True, timeout=hosts.TIMEOUT)
    if done.returncode:
        refused["ncnn"] = f"pnnx can't convert it: exit status {done.returncode}"
        return
    folder.mkdir()
    for name in ("generator.ncnn.param", "generator.ncnn.bin"):
        shutil.move(plain.with_name(name), folder)
    shutil.copyfile(manifest.beside(plain), folder / "manifest.json")
