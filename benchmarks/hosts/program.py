"""A generator in a Python of some kind, told what to make through a pipe: `python program.py HOST FILE THREADS`.

Each line of its input is one of

    make COUNT SEED FIRST PATH    write images as raw uint8 (COUNT, H, W, C) to PATH; sounds as int16
    time BATCH RUNS               make BATCH images of seed 1, RUNS times

and each answer a line: `done`, or the milliseconds of every run. Only what a host needs is imported: `kit` runs where
there is no gantool, torch or onnx. THREADS is 0 for what the library takes by itself. program.mjs, program.cpp and
program.c are told the same way.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 64  # as gantool.runtime
Sample = Callable[[int, int, int], np.ndarray]


def runtime(file: Path, threads: int) -> Sample:
    """gantool.runtime on a seeded file, or on a plain one."""
    from gantool.runtime import Generator

    return Generator(file, threads=threads or None).sample


def kit(file: Path, threads: int) -> Sample:
    """The generator.py of the app kit that `file` is the model of."""
    sys.path.insert(0, str(file.parent / "python"))
    generator = importlib.import_module("generator")
    if threads:  # it takes no options of sessions
        options = generator.ort.SessionOptions()
        options.intra_op_num_threads = threads
        generator.ort.InferenceSession = functools.partial(generator.ort.InferenceSession, sess_options=options)
    sample: Sample = generator.Generator(file).sample
    return sample


def reference(file: Path, threads: int) -> Sample:
    """onnx's own evaluator of what the operators mean, in numpy."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(file))
    return _seeded(file, lambda feeds: evaluator.run(None, feeds)[0])


def openvino(file: Path, threads: int) -> Sample:
    """OpenVINO on generator.onnx in float32; its latents and pixels are those of numpy."""
    model = _openvino(file, threads, INFERENCE_PRECISION_HINT="f32")
    return _plain(file, lambda feeds: model(feeds)[0])


def openvino_default(file: Path, threads: int) -> Sample:
    """As `openvino`, in the precision that it chooses: 16 bits where the processor has them."""
    model = _openvino(file, threads)
    return _plain(file, lambda feeds: model(feeds)[0])


def openvino_seeded(file: Path, threads: int) -> Sample:
    """OpenVINO on the seeded file, which gantool.runtime refuses."""
    model = _openvino(file, threads, INFERENCE_PRECISION_HINT="f32")
    return _seeded(file, lambda feeds: model(feeds)[0])


def openvino_portable(file: Path, threads: int) -> Sample:
    """OpenVINO on the portable file, which takes seeds."""
    model = _openvino(file, threads, INFERENCE_PRECISION_HINT="f32")
    return _portable(file, lambda feeds: model(feeds)[0])


def tract(file: Path, threads: int) -> Sample:
    """tract on the portable file, on one thread."""
    import tract

    model = tract.onnx().load(str(file)).into_model().into_runnable()
    return _portable(file, lambda feeds: model.run(list(feeds.values()))[0].to_numpy())


def ncnn(folder: Path, threads: int) -> Sample:
    """ncnn on what pnnx made of generator.onnx, image by image; its latents and pixels are those of numpy."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads or net.opt.num_threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    assert net.load_param(str(folder / "generator.ncnn.param")) == 0
    assert net.load_model(str(folder / "generator.ncnn.bin")) == 0
    shape = _manifest(folder / "generator.ncnn.bin")["output"]["shape"]

    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        made = []
        for row in zip(*feeds.values(), strict=True):
            with net.create_extractor() as extractor:
                for i, value in enumerate(row):
                    extractor.input(f"in{i}", ncnn.Mat(value.copy()))
                made.append(np.array(extractor.extract("out0")[1]).reshape(shape))
        return np.stack(made)

    return _plain(folder / "generator.ncnn.bin", run)


def torchscript(file: Path, threads: int) -> Sample:
    """torch.jit on generator.seeded.torchscript.pt: the eager host of what LibTorch runs."""
    import torch

    _torch_threads(threads)
    module = torch.jit.load(file)
    classes = module.classes()

    def sample(count: int, seed: int, first: int) -> np.ndarray:
        parts = []
        for index in map(torch.from_numpy, _chunks(count, first)):
            with torch.inference_mode():
                parts.append(module(torch.tensor([seed]), index, *(index % n for n in classes)).numpy())
        return np.concatenate(parts)

    return sample


def pt2(file: Path, threads: int) -> Sample:
    """torch.export's program; its latents and pixels are those of numpy."""
    import torch

    _torch_threads(threads)
    module = torch.export.load(file).module()

    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            made: np.ndarray = module(*map(torch.from_numpy, feeds.values())).numpy()
        return made

    return _plain(file, run)


def float64(file: Path, threads: int) -> Sample:
    """What float32 rounds: the same network and numpy's latents in double precision."""
    import torch

    _torch_threads(threads)
    module = torch.export.load(file).module().double()

    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        given = [torch.from_numpy(array) for array in feeds.values()]
        with torch.inference_mode():
            made: np.ndarray = module(*(each.double() if each.is_floating_point() else each for each in given)).numpy()
        return made

    def levels(made: np.ndarray) -> np.ndarray:
        if made.ndim == 3:
            steps = np.clip(np.floor(made * 32767 + 0.5), -32767, 32767)
        else:
            steps = np.clip(np.floor(made * 127.5 + 128), 0, 255)
        return np.moveaxis(steps, 1, -1).astype(np.int16 if made.ndim == 3 else np.uint8)

    return _plain(file, run, levels)


def _openvino(file: Path, threads: int, **properties: object) -> Any:
    import openvino as ov

    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return ov.Core().compile_model(str(file), "CPU", properties)


def _torch_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def _chunks(count: int, first: int) -> Iterator[np.ndarray]:
    for start in range(first, first + count, CHUNK):
        yield np.arange(start, min(start + CHUNK, first + count), dtype=np.int64)


def _manifest(file: Path) -> dict[str, Any]:
    """Beside the file: that of an export, or of an app kit."""
    beside = file.with_name(file.name + ".json")
    described: dict[str, Any] = json.loads((beside if beside.is_file() else file.parent / "manifest.json").read_text())
    return described


def _seeded(file: Path, run: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Sample:
    return _of_seeds(file, lambda numbers: np.asarray(numbers, np.int64), np.int64, run)


def _portable(file: Path, run: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Sample:
    from gantool.artifact import latents

    dtype = np.int16 if _manifest(file)["output"]["layout"] == "TC" else np.uint8
    return _of_seeds(file, latents.limbs, np.int32, lambda feeds: run(feeds).astype(dtype))


def _of_seeds(file: Path, numbers: Any, label: Any, run: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Sample:
    labels = [item for item in _manifest(file)["inputs"] if item["distribution"] == "label"]

    def sample(count: int, seed: int, first: int) -> np.ndarray:
        parts = []
        for index in _chunks(count, first):
            feeds = {item["name"]: (index % item["classes"]).astype(label) for item in labels}
            parts.append(run({"seed": numbers([seed]), "index": numbers(index), **feeds}))
        return np.concatenate(parts)

    return sample


def _plain(
    file: Path,
    run: Callable[[dict[str, np.ndarray]], np.ndarray],
    levels: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Sample:
    from gantool.artifact import latents

    levels = levels or latents.levels

    inputs = _manifest(file)["inputs"]
    shapes = {item["name"]: tuple(item["shape"]) for item in inputs if item["distribution"] == "normal"}

    def sample(count: int, seed: int, first: int) -> np.ndarray:
        parts = []
        for index in _chunks(count, first):
            drawn = latents.draw(shapes, seed, index)
            feeds = {
                item["name"]: index % item["classes"] if item["distribution"] == "label" else drawn[item["name"]]
                for item in inputs
            }
            parts.append(levels(run(feeds)))
        return np.concatenate(parts)

    return sample


def _answer(sample: Sample, command: str, *given: str) -> str:
    if command == "make":
        count, seed, first = map(int, given[:3])
        images = sample(count, seed, first)
        assert images.dtype in (np.uint8, np.int16)
        Path(given[3]).write_bytes(images.tobytes())
        return "done"
    batch, runs = map(int, given)
    spent = []
    for run in range(runs):
        began = time.perf_counter()
        sample(batch, 1, run * batch)
        spent.append(1000 * (time.perf_counter() - began))
    return " ".join(f"{ms:.4f}" for ms in spent)


def main() -> None:
    host, file, threads = sys.argv[1:]
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    sample: Sample = globals()[host](Path(file), int(threads))
    for line in sys.stdin:
        pipe.write(_answer(sample, *line.rstrip("\n").split(" ", 4)) + "\n")
        pipe.flush()


if __name__ == "__main__":
    main()
