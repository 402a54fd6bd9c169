"""Time the same generator through torch, in turns with ours, and compare the images.

`python -m gantool.benching.rivals` is one contender. It reads lines of JSON on stdin. The first is `way` (gantool,
torch, compile or torchscript), `path` of the ONNX file, `file` for torch (or null) and `device` (cpu, cuda), and is
answered {"ready"}. Then {"batch", "seconds"} is answered {"rate"} (images a second), and {"images", "to"}, which saves
that many images of FRESH_SEED as npy, {"written"}. A GantoolError is {"error", "hint"}; any other failure, a traceback.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from gantool.artifact import latents
from gantool.artifact.manifest import Manifest, file_name
from gantool.benching.proof import FRESH_SEED, difference, limits, maker, sources
from gantool.benching.timing import rate
from gantool.errors import GantoolError, excerpt
from gantool.run import rundir
from gantool.runtime import Generator
from gantool.system.files import reading
from gantool.system.machine import usable_cores
from gantool.system.subprocesses import JsonProcess, json_input, json_output

WAYS: Mapping[str, str] = {
    "torch": "eager torch, channels_last",
    "compile": "torch.compile, channels_last",
    "torchscript": "frozen TorchScript",
}
COMMAND = (sys.executable, "-P", "-m", "gantool.benching.rivals")
OURS = "gantool"
ROUNDS = 7
WARM_ROUNDS = 2  # the first compiles
PROOF_IMAGES = 64
SEED = 0x726F756E  # of the timed images

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]
Make = Callable[[int, int, int], np.ndarray]  # seed, number of the first, count → uint8 (count, H, W, C)


def parse(given: Sequence[str]) -> dict[str, Path | None]:
    """The file for torch of each way in `given`: `torch`, `compile`, or WAY=FILE. GantoolError for other texts.

    torch runs the code that such a file holds, so only files that were named are loaded, none that lies beside.
    """
    found: dict[str, Path | None] = {}
    for text in given:
        way, named, file = text.partition("=")
        if way not in WAYS:
            raise GantoolError(
                f"There is nothing to compare with that is called {excerpt(way)!r}.",
                "Use torch, compile or torchscript=FILE.",
            )
        if way == "torchscript" and not named:
            name = file_name("torchscript")
            raise GantoolError(
                "Loading TorchScript runs the code in it, so the file has to be named.",
                f"If you trust it: --compare torchscript={name} (gantool export --torchscript writes it).",
            )
        found[way] = Path(file) if named else None
    return found


def compare(
    path: Path,
    given: Sequence[str],
    batches: Sequence[int],
    seconds: float,
    timeout: float,
    listener: Callable[[str], None] = lambda stage: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time `path` and the ways `given` (see `parse`), each in a process of its own, in turns: ROUNDS a batch, `seconds`
    in all for each.

    Returns `file`, `device`, `rounds`, and `contenders`: of each `name`, and either `batches` (batch,
    images_per_second: the median of rounds; ratio: the median over rounds of ours by its) and `proof`, or `cause`.
    """
    files = parse(given)
    ways = list(files)
    generator, ours = Generator(path), np.empty(0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gantool-bench-")))
        processes = {way: stack.enter_context(JsonProcess(COMMAND)) for way in (OURS, *ways)}
        for way, process in processes.items():
            file = files.get(way)
            process.send({"way": way, "path": str(path), "file": file and str(file), "device": device})

        def ask(way: str, message: dict[str, Any]) -> dict[str, Any]:
            if message:
                processes[way].send(message)
            return _receive(processes[way], timeout)

        def prove(way: str) -> str:
            """Compare a rival's new images with ours, and ours, which come first, with the file's golden ones."""
            nonlocal ours
            file = folder / f"{way}.npy"
            ask(way, {"images": PROOF_IMAGES, "to": str(file)})
            images = np.load(file, allow_pickle=False)
            if way == OURS:
                ours = images
                return "the golden ones" if generator.manifest.golden and generator.self_test() else "ours"
            off = difference(images, ours)
            if off.worst > limits(generator.manifest, path).worst:
                raise GantoolError(f"Its samples are not ours: off by up to {off.worst:.3g} levels.")
            return "the same" if off.count == 0 else f"within {max(1, round(off.worst))} on {off.share:.2%}"

        return {
            "file": str(path),
            "device": device,
            "rounds": ROUNDS,
            "contenders": contest(ways, ask, sorted(set(batches)), seconds, prove, listener),
        }


def _receive(process: JsonProcess, timeout: float) -> dict[str, Any]:
    """GantoolError when the contender is silent, ends or refuses."""
    try:
        message = process.receive(timeout)
    except TimeoutError:
        process.kill()
        raise GantoolError(f"It was silent for {timeout:g} s and was stopped.{process.stderr_tail()}") from None
    if message is None:
        raise GantoolError(f"It {process.ending()}.{process.stderr_tail()}")
    if "error" in message:
        raise GantoolError(message["error"], message["hint"])
    return message


def contest(
    ways: Sequence[str],
    ask: Ask,
    batches: Sequence[int],
    seconds: float,
    prove: Callable[[str], str],
    listener: Callable[[str], None] = lambda stage: None,
) -> list[dict[str, Any]]:
    """The rounds. `ask(way, message)` returns a contender's answer; asked {} first, it waits until that is ready.

    A rival that fails becomes a row with its `cause`, and the others go on; ours may not fail.
    """
    failed: dict[str, str] = {}
    rates: dict[str, dict[int, list[float]]] = {way: {} for way in (OURS, *ways)}
    proofs: dict[str, str] = {}

    def attempt(way: str, step: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return step(way, *arguments)
        except GantoolError as error:
            if way == OURS:
                raise
            failed[way] = str(error)
            return None

    def remaining() -> list[str]:
        return [way for way in rates if way not in failed]

    for way in rates:
        listener(f"start of {way}")
        attempt(way, ask, {})
    for batch in batches:
        message = {"batch": batch, "seconds": seconds / ROUNDS}
        for number in range(-WARM_ROUNDS, ROUNDS):
            listener(f"batch {batch} in turns, round {max(0, number + 1)} of {ROUNDS}")
            order = remaining()
            for way in order if number % 2 else reversed(order):
                answer = attempt(way, ask, message)
                if answer is not None and number >= 0:
                    rates[way].setdefault(batch, []).append(float(answer["rate"]))
    for way in remaining():
        listener(f"proof of {way}")
        proofs[way] = attempt(way, prove)
    contenders = []
    for way in rates:
        found: dict[str, Any] = {"name": WAYS.get(way, way), "way": way}
        if way in failed:
            found["cause"] = failed[way]
        else:
            found["proof"] = proofs[way]
            found["batches"] = [_row(batch, rates[way][batch], rates[OURS][batch]) for batch in batches]
        contenders.append(found)
    return contenders


def _row(batch: int, theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    return {
        "batch": batch,
        "images_per_second": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "rates": list(theirs),
    }


# in a contender's process


def main() -> None:
    send = json_output()
    messages = json_input()
    request = next(messages)
    try:
        file = request["file"] and Path(request["file"])
        make = contender(request["way"], Path(request["path"]), file, request["device"])
        send({"ready": True})
        first = itertools.count()
        for message in messages:
            if "to" in message:
                np.save(message["to"], make(FRESH_SEED, 0, message["images"]))
                send({"written": message["to"]})
            else:
                batch = message["batch"]
                speed = rate(lambda n: make(SEED, n * next(first), n), batch, message["seconds"], time.perf_counter)
                send({"rate": speed})
    except GantoolError as error:
        send({"error": error.message, "hint": error.hint})


def contender(way: str, path: Path, file: Path | None, device: str) -> Make:
    """Makes the images of FRESH_SEED, or any new ones of another seed, as an app of its kind would.

    GantoolError when this way can't be had: no such file, no run, inputs that no seed gives.
    """
    if way != OURS:
        return _through_torch(way, path, file, device)
    generator = Generator(path, device)
    return lambda seed, first, count: maker(generator, seed, first, count)()


def _through_torch(way: str, path: Path, file: Path | None, device: str) -> Make:
    """As a careful user of torch would write it: inference mode, channels_last, latents and pixels on the device."""
    os.environ.pop("GOMP_SPINCOUNT", None)  # torch as it is without gantool: see `let_idle_threads_sleep`
    import torch

    manifest = Generator(path).manifest
    picture = manifest.picture
    if manifest.input("data") is not None and picture is None:
        raise GantoolError(f"{path} takes data: no seed decides its samples.", "Leave out --compare.")
    levels = manifest.output.levels
    torch.set_num_threads(usable_cores())  # not what OMP_NUM_THREADS says of this process
    module, inputs = _module(path, file, device, manifest)
    if way == "compile":
        module = torch.compile(module)
    shapes = {item.name: item.shape for item in manifest.latents}

    @torch.inference_mode()
    def make(seed: int, first: int, count: int) -> np.ndarray:
        index = np.arange(first, first + count, dtype=np.int64)
        if seed == FRESH_SEED:
            drawn = {name: torch.from_numpy(array) for name, array in latents.draw(shapes, seed, index).items()}
        else:
            drawn = {name: torch.randn(count, *shape, device=device) for name, shape in shapes.items()}
        drawn |= {i.name: torch.from_numpy(index % i.classes) for i in inputs if i.distribution == "label"}
        drawn |= {i.name: torch.full((count,), i.default) for i in inputs if i.distribution == "value"}
        if picture is not None:
            pictures = sources(picture, seed, first, count)
            drawn[picture.name] = torch.from_numpy(latents.floats(pictures))
        output = module(*(drawn[item.name].to(device) for item in inputs))
        if levels == "int16":
            output = (output.clamp(-1, 1) * 32767).round().to(torch.int16).movedim(1, -1).contiguous()
        elif levels:
            output = ((output.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).contiguous()
        made: np.ndarray = output.cpu().numpy()
        return made

    return make


def _module(path: Path, file: Path | None, device: str, manifest: Manifest) -> tuple[Any, Sequence[Any]]:
    """The module, and its inputs in their order: each has name, distribution and classes."""
    import torch

    from gantool.artifact import inspection
    from gantool.exporting import source_of
    from gantool.exporting.torch_files import archive, torchscript

    if file is not None:
        inputs: Sequence[Any] = inspection.inspect(file).manifest.inputs
        if file.suffix != ".pt2":
            return torchscript.load(file, device), inputs
        module = archive.load(file)
    else:  # the checkpoint that the file was exported from
        folder = path.resolve().parent
        run = rundir.RunDir(folder.parent.parent if manifest.which else folder.parent)
        with reading(run.path):
            if not (run.path / "run.json").is_file():
                raise GantoolError(
                    f"{path} is in no run: torch has no checkpoint to load.",
                    f"Name a file that you trust: --compare torch={file_name('pt2')} (gantool export --pt2 writes it).",
                )
        step = manifest.training.get("step")
        source = source_of(run, step=None if step is None else str(step), which=manifest.which)
        module, inputs = source.generator.eval(), source.inputs
    return module.to(device).to(memory_format=torch.channels_last), inputs


if __name__ == "__main__":
    main()
