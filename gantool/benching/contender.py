"""`python -m gantool.benching.contender REQUEST`: one way to run a generator, timed round by round as it is told.

REQUEST is JSON: `way` (gantool, torch, compile or torchscript), `path` of the plain ONNX file, `device` (cpu, cuda).
Lines of JSON come on stdin: {"batch", "seconds"} is answered {"rate", "runs"} (images a second), and {"images", "to"}
by {"written"}: that many images of FRESH_SEED as npy. What fails is {"error", "hint"}, or a traceback.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gantool.artifact import latents
from gantool.artifact.manifest import Manifest, file_name
from gantool.benching import machine
from gantool.benching.proof import FRESH_SEED
from gantool.benching.settle import rate
from gantool.errors import GantoolError
from gantool.run import rundir
from gantool.runtime import Generator
from gantool.system.files import reading

SEED = 0x726F756E  # of the timed images
Make = Callable[[int], np.ndarray]
From = Callable[[int, int, int], np.ndarray]


def contender(way: str, path: Path, device: str) -> tuple[Make, From]:
    """(count → new images), and (seed, first, count → those images): uint8 (N, H, W, C).

    GantoolError when this way is not to be had: no TorchScript beside, no run, inputs that no seed gives.
    """
    if way == "gantool":
        generator = Generator(path, device)
        place = [0]

        def make(count: int) -> np.ndarray:
            place[0] += count
            return generator.sample(count, SEED, place[0] - count)

        return make, lambda seed, first, count: generator.sample(count, seed, first)
    return _through_torch(way, path, device)


def _through_torch(way: str, path: Path, device: str) -> tuple[Make, From]:
    """As a careful user of torch would write it: inference mode, channels_last, pixels on the device."""
    import torch

    described = Generator(path).manifest
    if any(item.distribution == "data" for item in described.inputs):
        raise GantoolError(f"{path} takes data: no seed decides its images.", "Compare it without --compare.")
    image = described.output.layout in ("CHW", "HWC")
    torch.set_num_threads(int(machine.describe()["cores"] or 1))  # not what OMP_NUM_THREADS says of this process
    module, inputs = _module(way, path, device, described)
    if way == "compile":
        module = torch.compile(module)

    def images(drawn: dict[str, Any], index: np.ndarray) -> np.ndarray:
        feeds = []
        for item in inputs:
            label = item.distribution == "label"
            feeds.append((torch.from_numpy(index % item.classes) if label else drawn[item.name]).to(device))
        output = module(*feeds)
        if image:
            output = ((output.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        made: np.ndarray = output.cpu().numpy()
        return made

    def make(count: int) -> np.ndarray:
        with torch.inference_mode():
            drawn = {i.name: torch.randn(count, *i.shape, device=device) for i in described.latents}
            return images(drawn, np.arange(count, dtype=np.int64))

    def again(seed: int, first: int, count: int) -> np.ndarray:
        index = np.arange(first, first + count, dtype=np.int64)
        numbers = latents.draw({i.name: i.shape for i in described.latents}, seed, index)
        with torch.inference_mode():
            return images({name: torch.from_numpy(array) for name, array in numbers.items()}, index)

    return make, again


def _module(way: str, path: Path, device: str, described: Manifest) -> tuple[Any, Sequence[Any]]:
    """The module, and its inputs in their order: each has name, distribution and classes."""
    import torch

    from gantool.artifact import inspection
    from gantool.exporting.torch_files import archive, torchscript

    if way == "torchscript":
        scripted = path.with_name(file_name("torchscript"))
        if not scripted.is_file():
            raise GantoolError(f"There is no {scripted}.", "gantool export --torchscript")
        return torchscript.load(scripted, device), inspection.inspect(scripted).manifest.inputs
    program = path.with_name(file_name("pt2"))
    inputs: Sequence[Any]
    if program.is_file():
        module, inputs = archive.load(program), inspection.inspect(program).manifest.inputs
    else:
        module, inputs = _of_run(path, described)
    return module.to(device).to(memory_format=torch.channels_last), inputs


def _of_run(path: Path, described: Manifest) -> tuple[Any, Sequence[Any]]:
    """The generator of the checkpoint that the file was exported from."""
    from gantool.exporting import source_of

    run = rundir.RunDir(path.resolve().parent.parent)
    with reading(run.path):
        if not (run.path / "run.json").is_file():
            raise GantoolError(
                f"Beside {path} is no {file_name('pt2')}, and it is in no run: torch has nothing to load.",
                "gantool export --pt2",
            )
    step = described.training.get("step")
    source = source_of(run, step=None if step is None else str(step))
    return source.generator.eval(), source.inputs


def serve(request: dict[str, Any], lines: Any, out: TextIO) -> None:
    def answer(message: dict[str, Any]) -> None:
        out.write(json.dumps(message, allow_nan=False) + "\n")
        out.flush()

    try:
        make, again = contender(request["way"], Path(request["path"]), request["device"])
        answer({"ready": True})
        for line in lines:
            asked = json.loads(line)
            if "to" in asked:
                np.save(asked["to"], again(FRESH_SEED, 0, asked["images"]))
                answer({"written": asked["to"]})
            else:
                speed, runs = rate(make, asked["batch"], asked["seconds"], time.perf_counter)
                answer({"rate": speed, "runs": runs})
    except GantoolError as error:
        answer({"error": error.message, "hint": error.hint})


if __name__ == "__main__":
    # native libraries print to descriptor 1 as they like: it is made stderr, and the parent's pipe kept apart
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(json.loads(sys.argv[1]), sys.stdin, pipe)
