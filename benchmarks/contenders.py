"""The processes that benchmarks/throughput.py times: one way each to make images, a line of JSON in, {"answer": …} out.

    {"batch", "seconds"}            → images a second, as numpy on the host; {"clock": "processor"}: of processor time
    {"batch", "seconds", "stay"}    → the same, but that images stay on the device
    {"check", "first"}              → images first … first+check-1 of seed 0, as nested lists

A request to start one, JSON on the command line: `way` and what that way needs; see `start`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantool.benching.timing import rate  # nothing else comes with it
from gantool.system.machine import usable_cores
from gantool.system.subprocesses import JsonProcess, json_input, json_output

GENERATORS = {"mlp 28": ("mlp", (1, 28, 28)), "dcgan 32": ("dcgan", (3, 32, 32)), "dcgan 64": ("dcgan", (3, 64, 64))}
CHUNK = 64
HANG = 1800  # seconds of one answer; only a hang takes as long
STREAM_CHUNKS = (16, 64)  # images a request of OpenVINO's streams: the quicker at each batch counts


@dataclass(frozen=True)
class Contender:
    """`sample(n)`: n new images on the host. `stay(n)`: left on the device. `of_seed(first, n)`: those of seed 0."""

    sample: Callable[[int], object]
    of_seed: Callable[[int, int], np.ndarray]
    stay: Callable[[int], object] | None = None


class Worker(JsonProcess):
    """The other side's handle of one process; `kill` ends it."""

    def __init__(self, **request: object) -> None:
        super().__init__([sys.executable, __file__, json.dumps(request)])

    def ask(self, **command: object) -> Any:
        """The answer; RuntimeError when the process has ended or hangs."""
        self.send(command)
        try:
            message = self.receive(HANG)
        except TimeoutError:
            raise RuntimeError(f"a contender's process was silent for {HANG} s.{self.stderr_tail()}") from None
        if message is None:
            raise RuntimeError(f"a contender's process {self.ending()}.{self.stderr_tail()}")
        return message["answer"]


def export(name: str, folder: Path, variants: tuple[str, ...] = ("int8",)) -> None:
    """The generator with weights of seed 0, as every kind of file, and its state dict; in a process of its own."""
    request = {"export": name, "folder": str(folder), "variants": variants}
    subprocess.run([sys.executable, __file__, json.dumps(request)], check=True)


def start(way: str, **request: Any) -> Contender:
    """`way`: runtime (`file`, `settings`, `bound`, `graph`), torch (`kind`, `precision`) or openvino (`streams`, with
    the `chunks` to try).

    All: `name`, `folder`, `threads`, `device` (cpu or cuda).
    """
    folder = Path(request["folder"])
    if way == "runtime":
        return _runtime(folder / request["file"], request)
    if way == "openvino":
        chunks = request.get("chunks", STREAM_CHUNKS)
        return _openvino(folder / "generator.onnx", request["threads"], request["streams"], chunks)
    return _torch(folder, tuple(json.loads((folder / "work.json").read_text())["latent"]), request)


def _runtime(path: Path, request: dict[str, Any]) -> Contender:
    from gantool.runtime import Generator
    from gantool.runtime.session import Bound

    device = request["device"]
    generator = Generator(path, device, request["threads"], request.get("settings") or None)
    if request.get("bound"):
        generator.session = Bound(generator.session, device)
    # without a copy: always bound
    session = generator.session if isinstance(generator.session, Bound) else Bound(generator.session, device)
    made = 0

    def sample(n: int) -> None:
        nonlocal made
        made += n
        generator.sample(n, seed=1, first=made)

    def stay(n: int) -> None:
        nonlocal made
        made += n
        seed, index = np.array([1], np.int64), np.arange(made, made + n, dtype=np.int64)
        session.compute({"seed": seed, "index": index} if generator.seeded else {"z": generator.latents(n, 1, made)})

    return Contender(sample, lambda first, n: generator.sample(n, 0, first), stay)


def tutorial(module: Any, latent: int) -> Any:
    """A `dcgan` generator in the layout of PyTorch's DCGAN tutorial, of the same weights: the first layer a transposed
    convolution of a 1×1 map, which is the same product.
    """
    from torch import nn

    channels, side, _ = module.first
    first = nn.ConvTranspose2d(latent, channels, side, 1, 0, bias=False)
    first.weight.data = module.project.weight.data.view(channels, side, side, latent).permute(3, 0, 1, 2).contiguous()
    return nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), first, *module.layers).eval()


def _torch(folder: Path, latent: tuple[int, ...], request: dict[str, Any]) -> Contender:
    """`kind`: eager, tutorial, channels_last, chunks, compile, compile-autotune, frozen. `precision`: fp32, tf32,
    fp16."""
    import torch

    from gantool.artifact import latents

    kind, precision = request["kind"], request.get("precision", "fp32")
    device = torch.device(request["device"])
    torch.set_num_threads(request["threads"] or usable_cores())
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    if kind == "frozen":
        from gantool.exporting.torch_files import torchscript

        module = torchscript.load(folder / "generator.torchscript.pt", str(device))
    else:
        module = game(request["name"]).generator.eval()
        module.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
        if kind == "tutorial":
            module = tutorial(module, *latent)
    dtype = torch.float16 if precision == "fp16" else torch.float32
    module = module.to(device=device, dtype=dtype)
    if kind == "channels_last" or (precision == "fp16" and kind != "tutorial"):
        module = module.to(memory_format=torch.channels_last)

    def forward(z: Any) -> Any:
        levels = module(z).float().mul(127.5).add(128).clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous()

    if kind == "compile":
        forward = torch.compile(forward, dynamic=False)  # for each batch of its own
    elif kind == "compile-autotune":
        forward = torch.compile(forward, dynamic=False, mode="max-autotune")

    @torch.inference_mode()
    def stay(n: int) -> Any:
        images = forward(torch.randn(n, *latent, device=device, dtype=dtype))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return images

    @torch.inference_mode()
    def whole(n: int) -> np.ndarray:
        array: np.ndarray = forward(torch.randn(n, *latent, device=device, dtype=dtype)).cpu().numpy()
        return array

    def chunked(n: int) -> np.ndarray:
        return np.concatenate([whole(min(CHUNK, n - begin)) for begin in range(0, n, CHUNK)])

    @torch.inference_mode()
    def of_seed(first: int, n: int) -> np.ndarray:
        z = latents.draw({"z": latent}, 0, np.arange(first, first + n, dtype=np.int64))["z"]
        array: np.ndarray = forward(torch.from_numpy(z).to(device, dtype)).cpu().numpy()
        return array

    return Contender(chunked if kind == "chunks" else whole, of_seed, stay)


def _openvino(path: Path, threads: int, streams: bool, chunks: Sequence[int]) -> Contender:
    """OpenVINO on the plain file, in float32, whole numbers made inside its graph: at once, or in chunks over its
    streams, of which the quickest at each batch counts. Classes are taken in turn, values as they are by default.
    """
    import openvino
    from openvino import opset13

    from gantool.artifact import latents, onnxfile

    core, about = openvino.Core(), onnxfile.read_manifest(path)
    model = core.read_model(path)
    values = model.get_results()[0].input_value(0)
    if about.output.levels == "int16":
        levels = opset13.round(opset13.multiply(opset13.clamp(values, -1.0, 1.0), np.float32(32767)), "half_to_even")
        whole = opset13.convert(levels, "i16")
    else:
        levels = opset13.add(opset13.multiply(values, np.float32(127.5)), np.float32(128))
        whole = opset13.convert(opset13.clamp(levels, 0.0, 255.0), "u8")
    rows = opset13.transpose(whole, np.array([0, *range(2, 1 + len(about.output.shape)), 1]))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    if streams:
        settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads}
    compiled = core.compile_model(openvino.Model([rows], model.get_parameters(), "levels"), "CPU", settings)
    random = np.random.default_rng(1)
    queue = openvino.AsyncInferQueue(compiled, threads) if streams else None
    chunk_of: dict[int, int] = {}

    def over_streams(inputs: dict[str, np.ndarray], n: int, chunk: int) -> np.ndarray:
        images = np.empty((n, *about.output.channels_last), about.output.levels)
        assert queue is not None

        def take(request: Any, begin: int) -> None:
            made = request.get_output_tensor().data
            images[begin : begin + len(made)] = made

        queue.set_callback(take)
        for begin in range(0, n, chunk):
            queue.start_async({name: array[begin : begin + chunk] for name, array in inputs.items()}, begin)
        queue.wait_all()
        return images

    def images(drawn: dict[str, np.ndarray], n: int) -> np.ndarray:
        label = {i.name: np.arange(n) % i.classes for i in about.inputs if i.distribution == "label"}
        inputs = {**drawn, **label, **{i.name: np.full(n, i.default, np.float32) for i in about.values}}
        if queue is None:
            made: np.ndarray = compiled(inputs)[0]
            return made
        if n not in chunk_of:
            tried = {}
            for chunk in {min(c, -(-n // threads)) for c in chunks}:
                over_streams(inputs, n, chunk)
                begin = time.perf_counter()
                over_streams(inputs, n, chunk)
                tried[chunk] = time.perf_counter() - begin
            chunk_of[n] = min(tried, key=lambda chunk: tried[chunk])
        return over_streams(inputs, n, chunk_of[n])

    shapes = {item.name: item.shape for item in about.latents}

    def fresh(n: int) -> np.ndarray:
        return images({k: random.standard_normal((n, *shape), np.float32) for k, shape in shapes.items()}, n)

    def of_seed(first: int, n: int) -> np.ndarray:
        return images(latents.draw(shapes, 0, np.arange(first, first + n, dtype=np.int64)), n)

    return Contender(fresh, of_seed)


def reading(size: int, seconds: float) -> float:
    """Bytes a second at which all threads of torch read the same `size` bytes again and again, as a layer its weights.

    The best run counts: the buffer is then where the caches have room for it.
    """
    import torch

    values = torch.ones(size // 4)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        run = time.perf_counter()
        values.sum()
        best = min(best, time.perf_counter() - run)
    return 4 * len(values) / best


def game(name: str) -> Any:
    from gantool.plugin import registry
    from gantool.plugin.architecture import Recipe, SampleSpec
    from gantool.training.state import build_game

    architecture, shape = GENERATORS[name]
    found = registry.find(architecture).architecture
    assert found is not None
    return build_game(found, found.config(), SampleSpec(shape), Recipe(), seed=0)


def _export(name: str, folder: Path, variants: list[str]) -> None:
    import roofline  # beside this file
    import torch

    from gantool.benching.roofline import count
    from gantool.exporting import Options, from_game, write

    about: dict[str, object] = {"name": GENERATORS[name][0], "plugin": "gantool", "plugin_version": "", "config": {}}
    source = from_game(game(name), architecture=about, training={}, data={})
    write(source, ["onnx", "onnx-seeded", "torchscript"], folder)
    if variants:
        write(source, ["onnx-seeded"], folder, Options(tuple(variants), force=True))
    torch.save(source.generator.state_dict(), folder / "weights.pt")
    latent = source.normals[0].shape
    with torch.no_grad():  # in inference mode a linear layer is one operator that the counter does not know
        flops = roofline.count(lambda: source.generator.eval()(torch.zeros(1, *latent))).flops
    weights = sum(p.nbytes for p in source.generator.parameters())
    touched = count(folder / "generator.onnx")
    values = touched.activation_bytes if touched else None
    about = {"latent": latent, "flops": flops, "weight_bytes": weights, "activation_bytes": values}
    (folder / "work.json").write_text(json.dumps(about | {"shape": source.output.shape}))


def versions() -> dict[str, str]:
    from importlib.metadata import version

    import onnxruntime

    from gantool import __version__

    own = {"gantool": __version__, "python": sys.version.split()[0], "onnxruntime": onnxruntime.__version__}
    others = [name for name in ("torch", "numpy", "openvino") if importlib.util.find_spec(name) is not None]
    return own | {name: version(name) for name in others}


def serve(request: dict[str, Any]) -> None:
    """Answer until the input ends."""
    if "export" in request:
        _export(request["export"], Path(request["folder"]), request["variants"])
        return
    send = json_output()
    way = request.pop("way")
    if way == "machine":
        answer = _machine(request)
    else:
        contender = start(way, **request)

        def answer(command: dict[str, Any]) -> Any:
            if "check" in command:
                return contender.of_seed(command.get("first", 0), command["check"]).tolist()
            make = contender.stay if command.get("stay") else contender.sample
            clock = time.process_time if command.get("clock") == "processor" else time.perf_counter
            return rate(make, command["batch"], command["seconds"], clock) if make else None

    for command in json_input():
        send({"answer": answer(command)})


def _machine(request: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """What the machine can do: {"gemm": seconds} → FLOP/s of a matrix product, {"read": bytes} → bytes/s."""
    import roofline
    import torch

    torch.set_num_threads(request["threads"])

    def answer(command: dict[str, Any]) -> float:
        if "read" in command:
            return reading(command["read"], command["seconds"])
        return roofline.measure(torch.device("cpu")).flops

    return answer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
