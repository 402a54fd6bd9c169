"""Commands that are killed before each system call that renames, links, unlinks or makes a folder.

`python killpoints.py CASE FOLDER FLAGS MOST`, with killpoints.c preloaded (see `run`): prints a JSON object a line for
each of at most MOST points, evenly spread. A try is a fork of this process, which has loaded torch.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gzip
import hashlib
import json
import math
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np

NO_EXCHANGE, NO_LINKS = 1, 2
FLAGS = {"exchange": 0, "rename": NO_EXCHANGE, "no links": NO_EXCHANGE | NO_LINKS}
HANG = 120  # seconds; then a try shows where it is, and ends
Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """Digests of the files below `folder` by name, without those in hidden folders and lock files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(content(path)).hexdigest()[:16]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def content(path: Path) -> bytes:
    """The bytes of a file; of TorchScript, whose bytes are others at each export, those of the manifest in it."""
    if not path.name.endswith("torchscript.pt"):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (name,) = (name for name in archive.namelist() if name.endswith("gantool.manifest"))
        return archive.read(name)


def litter(folder: Path) -> list[str]:
    """What is hidden below `folder`, but locks; and unfinished packs and downloads."""
    found = [path.relative_to(folder) for path in folder.rglob("*")]
    return sorted(
        str(path)
        for path in found
        if (path.name.startswith(".") and not path.name.endswith(".lock") and path.name != ".gitignore")
        or path.name.endswith(".partial")
        or "downloads" in path.parts[:-1]
    )


@dataclass(frozen=True)
class Case:
    """`command` changes the files of the folder it is called in; killed, and then followed by `again`, it ends alike.

    `after(folder, old, new)`: what is wrong right after a kill; trees are those before and after a whole command.
    `prepare` makes what the command finds.
    """

    prepare: Callable[[Path], object]
    command: Callable[[], object]
    again: Callable[[], object]
    after: Callable[[Tree, Tree, Tree], str]
    same: Callable[[Tree], Any] = lambda found: found  # what of a tree does not depend on time or kills


def main(case: Case, root: Path, flags: int, most: int) -> None:
    pristine, work = root / "pristine", root / "work"
    counter = mmap.mmap(os.open(os.environ["KILL_POINTS"], os.O_RDWR), 16)

    def attempt(task: Callable[[], object], left: int, limits: int) -> tuple[int, int]:
        """Run `task` in a child, killed before call number `left`: its exit status, and the calls that it made."""
        output = (root / "output").open("w")
        counter[:] = struct.pack("qq", left, limits)
        pid = os.fork()
        if not pid:
            os.setsid()
            faulthandler.dump_traceback_later(HANG, exit=True)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(work)
            try:
                task()
            except BaseException:  # noqa: BLE001  # a fork must not go on as its parent
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        made = left - struct.unpack("qq", counter[:])[0]
        counter[:] = struct.pack("qq", 0, 0)
        return status, made

    def fresh() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(pristine, work, symlinks=True)

    work.mkdir(parents=True)
    prepared, _ = attempt(lambda: case.prepare(work), 0, 0)
    assert not prepared, (root / "output").read_text()
    shutil.rmtree(pristine, ignore_errors=True)
    work.rename(pristine)
    old = tree(pristine)
    fresh()
    status, calls = attempt(case.command, 1_000_000, flags)
    assert not status, (root / "output").read_text()
    new = tree(work)
    print(json.dumps({"calls": calls, "changed": case.same(old) != case.same(new), "litter": litter(work)}), flush=True)
    for point in range(1, calls + 1, math.ceil(calls / most)):
        fresh()
        status, _ = attempt(case.command, point, flags)
        killed = status == -signal.SIGKILL
        wrong = case.after(tree(work), old, new)
        status, _ = attempt(case.again, 0, 0)
        if status:
            wrong += (root / "output").read_text()
        found = tree(work)
        if case.same(found) != case.same(new):
            wrong += f" in the end: {sorted(set(found.items()) ^ set(new.items()))}"
        print(json.dumps({"point": point, "killed": killed, "wrong": wrong, "litter": litter(work)}), flush=True)


def run(case: str, folder: Path, way: str, most: int = 10_000) -> tuple[int, list[dict[str, Any]]]:
    """The calls that a whole `case` makes, and what was found after a kill at `most` of them. For tests."""
    from support.commands import environment

    shim, counter = folder / "killpoints.so", folder / "counter"
    source = Path(__file__).with_suffix(".c")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"], check=True)
    counter.write_bytes(bytes(16))
    here = environment(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, __file__, case, str(folder / "root"), str(FLAGS[way]), str(most)],
        env={**here, "LD_PRELOAD": str(shim), "KILL_POINTS": str(counter), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    whole, *points = map(json.loads, done.stdout.splitlines())
    assert whole["changed"], "the command did nothing"
    assert whole["litter"] == []
    return whole["calls"], points


def cli(*arguments: object) -> Callable[[], None]:
    """A call of the command line. Exit code 0 is demanded."""

    def call() -> None:
        from gantool.cli import main as entry

        sys.argv = ["gantool", *map(str, arguments)]
        try:
            entry()
        except SystemExit as leaving:
            code = leaving.code
        else:
            code = 0
        assert not code, code

    return call


def old_or_new(found: Tree, old: Tree, new: Tree) -> str:
    return "" if found in (old, new) else f"a mixture: {found}"


def each_old_or_new(found: Tree, old: Tree, new: Tree) -> str:
    """Each file is whole; where files have no second names, one may be missing until the next command."""
    mixed = {name for name, digest in found.items() if digest not in (old.get(name), new.get(name))}
    lost = {name for name in old if name in new and name not in found}
    allowed = 1 if int(sys.argv[3]) & NO_LINKS else 0
    return f"damaged {mixed}, lost {lost}" if mixed or len(lost) > allowed else ""


def old_new_or_recoverable(found: Tree, old: Tree, new: Tree) -> str:
    """Where nothing can be exchanged, a folder may be missing until the next command."""
    lacks = {name: digest for name, digest in new.items() if name in found}
    return "" if found in (old, new) or found == lacks else f"a mixture: {found}"


# what is killed


def primitive(write: Callable[[str], object]) -> Case:
    """A function of `gantool.system.files`. `write(text)` replaces all in the folder `place`, which may be moved."""
    from gantool.system import files

    def again() -> None:
        files.recover(Path())
        files.recover(Path("place"))
        assert not [path for path in Path().rglob("*") if path.name.startswith(".gantool-")]
        found = [path.read_text()[:3] for path in Path("place").rglob("*") if path.is_file()]
        assert found in (["old"] * len(found), ["new"] * len(found)), found
        write("new")

    def prepare(folder: Path) -> None:
        os.chdir(folder)
        Path("place").mkdir()
        write("old")

    return Case(prepare, lambda: write("new"), again, old_new_or_recoverable)


def one_file(text: str) -> None:
    from gantool.system import files

    files.write_bytes(Path("place/a"), text.encode())


def several_files(text: str) -> None:
    from gantool.system import files

    with files.replacing_files(Path("place")) as new:
        for name in "abc":
            (new / name).write_text(text + name)


def folder(text: str) -> None:
    from gantool.system import files

    with files.replacing_folder(Path("place")) as new:
        (new / "sub").mkdir()
        for name in ("a", "sub/b"):
            (new / name).write_text(text + name)


def removal(text: str) -> None:
    from gantool.system import files

    if text == "old":
        folder(text)
    elif Path("place").exists():
        files.remove_folder(Path("place"))


def runs(folder: Path, count: int = 2, steps: int = 2) -> None:
    from support.trainings import run_until, start

    for seed in range(count):
        run_until(start("mlp", folder, steps=steps, tick=1, seed=seed, widths=(8,), latent_dim=4, size=8))


def export(*options: object) -> Case:
    command = cli("export", 2, *options)

    def prepare(folder: Path) -> None:
        runs(folder)
        os.chdir(folder)
        cli("export", 1, *options)()

    return Case(prepare, command, command, each_old_or_new if "-o" in options else old_new_or_recoverable)


def pictures(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(6):
        path = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def pack() -> Case:
    def again() -> None:
        with contextlib.suppress(AssertionError) if Path("pack").exists() else contextlib.nullcontext():
            command()  # it refuses when the pack is there
        cli("data", "info", "pack")()

    command = cli("data", "pack", "pictures", "-o", "pack", "--workers", 1)

    def after(found: Tree, old: Tree, new: Tree) -> str:
        return old_or_new({name: digest for name, digest in found.items() if ".partial" not in name}, old, new)

    return Case(pictures, command, again, after)


def shards() -> Case:
    def prepare(folder: Path) -> None:
        runs(folder, 1)
        os.chdir(folder)
        cli("export", 1, "-o", "out", "--seeded")()

    command = cli(
        "generate", "out/generator.seeded.onnx", "--count", 6, "--shard-size", 2, "--workers", 1, "--out", "s"
    )

    def after(found: Tree, old: Tree, new: Tree) -> str:
        return each_old_or_new({name: d for name, d in found.items() if name != "s/index.json"}, old, new)

    return Case(prepare, command, command, after)


@contextlib.contextmanager
def fetched() -> Iterator[Case]:
    """A tiny mnist on a mirror here."""
    from gantool.data import catalog
    from support.mirrors import serving

    def idx(array: np.ndarray) -> bytes:
        header = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
        return gzip.compress(header + array.tobytes(), mtime=0)

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (9, 8, 8), np.uint8), np.arange(9, dtype=np.uint8)
    files = {catalog.IMAGES: idx(images), catalog.LABELS: idx(labels)}
    with serving(files) as mirror:
        remote = tuple(
            catalog.RemoteFile(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in files.items()
        )
        wanted = replace(catalog.FETCHABLE["mnist"], count=9, shape=(1, 8, 8), files=remote, mirrors=(mirror.url,))
        catalog.FETCHABLE["mnist"] = wanted

        def prepare(folder: Path) -> None:
            """An old pack of other images."""
            from gantool.data import Dataset
            from gantool.data.pack.build import save

            save(Dataset("mnist", "mnist", {"images": 255 - images[:, None]}), folder / "cache" / "data" / "mnist")

        def again() -> None:
            cli("data", "fetch", "mnist", "--cache", "cache")()
            cli("data", "info", "cache/data/mnist")()
            cli("data", "fetch", "mnist", "--force", "--cache", "cache")()

        def after(found: Tree, old: Tree, new: Tree) -> str:
            there = {name: digest for name, digest in found.items() if not name.startswith("cache/downloads")}
            return old_new_or_recoverable(there, old, new)

        yield Case(prepare, cli("data", "fetch", "mnist", "--force", "--cache", "cache"), again, after)


def train(damaged: bool = False) -> Case:
    """A run that is resumed; its newest checkpoint may be damaged."""
    from gantool.errors import GantoolError
    from gantool.run import checkpoint, rundir
    from gantool.training import session
    from support.trainings import run_until

    def prepare(folder: Path) -> None:
        runs(folder, 1, steps=3)
        if damaged:
            (run,) = rundir.list_runs(folder / "runs")
            run.checkpoint(3).write_bytes(b"damaged")

    def command() -> None:
        (run,) = rundir.list_runs(Path("runs"))
        run_until(session.resume(run, steps=6, keep_best="loss.generator.adversarial", keep=2))

    def after(found: Tree, old: Tree, new: Tree) -> str:
        """run.json can be read, and every checkpoint but the damaged one is whole."""
        (run,) = rundir.list_runs(Path(sys.argv[2], "work", "runs"))
        try:
            assert run.read().step <= 6
            checkpoints = [path for path in run.checkpoints() if not (damaged and path.stat().st_size == 7)]
            assert checkpoints, "no checkpoint is left"
            for path in checkpoints:
                checkpoint.load(path)
        except (GantoolError, AssertionError) as error:
            return str(error)
        return ""

    def same(found: Tree) -> list[str]:
        """Names: a checkpoint holds the seconds of its training. Its weights are compared by `test_kill`."""
        return sorted(found)

    return Case(prepare, command, command, after, same)


def delete() -> Case:
    def again() -> None:
        from gantool.run import rundir

        if any(run.name.startswith("0001") for run in rundir.list_runs(Path("runs"))):
            cli("runs", "delete", 1, "--yes")()
        cli("runs")()

    return Case(lambda folder: runs(folder, 2), cli("runs", "delete", 1, "--yes"), again, old_or_new)


def generate(name: str) -> Case:
    def prepare(folder: Path) -> None:
        runs(folder, 1)
        os.chdir(folder)
        cli("export", 1, "-o", "out", "--seeded")()
        cli("generate", "out/generator.seeded.onnx", "-n", 2, "-o", name)()

    command = cli("generate", "out/generator.seeded.onnx", "-n", 2, "--seed", 1, "-o", name)
    return Case(prepare, command, command, old_or_new)


def scaffold() -> Case:
    def again() -> None:
        with contextlib.suppress(AssertionError) if Path("gantool-mine").exists() else contextlib.nullcontext():
            command()  # it refuses when the plugin is there

    command = cli("plugins", "new", "mine")
    return Case(lambda folder: None, command, again, old_or_new)


def import_all() -> None:
    """What the commands import when they need it, so that no fork has to."""
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    import torch
    from torch.onnx._internal import exporter  # noqa: F401

    from gantool.exporting import app, source, triton  # noqa: F401
    from gantool.shards import generating, processes  # noqa: F401

    torch.set_num_threads(1)

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Stopped:
            return cls(2026, 1, 1, tzinfo=tz)

    source.datetime = Stopped  # type: ignore[misc]  # manifests say when they were made


PRIMITIVES: dict[str, Callable[[], Case]] = {
    "file": lambda: primitive(one_file),
    "files": lambda: replace(primitive(several_files), after=each_old_or_new),
    "folder": lambda: primitive(folder),
    "removal": lambda: primitive(removal),
}
COMMANDS: dict[str, Callable[[], Any]] = {
    "kit": lambda: export("--app", "kit"),
    "export": lambda: export("-o", "out"),
    "triton": lambda: export("--triton", "repository"),
    "pack": pack,
    "shards": shards,
    "fetch": fetched,
    "train": train,
    "damaged": lambda: train(damaged=True),
    "delete": delete,
    "grid": lambda: generate("grid.png"),
    "array": lambda: generate("array.npz"),
    "scaffold": scaffold,
}

if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        made = (PRIMITIVES | COMMANDS)[sys.argv[1]]()
        chosen = made if isinstance(made, Case) else stack.enter_context(made)
        if sys.argv[1] in COMMANDS:
            import_all()
        main(chosen, Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
