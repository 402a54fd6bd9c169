"""A CUDA device that computes nothing, made of torch's fake tensors: training code for "cuda" runs on any machine.

Every operator checks devices and types. Reading a value raises, as do inside a capture copies between devices, mixes of
devices, and random generators that no capture knows.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TORCH = Path(find_spec("torch").submodule_search_locations[0])  # type: ignore[union-attr,index]


def build(folder: Path) -> Path:
    """Compile fakegpu.cpp; the library, which `device` loads."""
    made = folder / "libfakegpu.so"
    libraries = TORCH / "lib"
    command = ["g++", "-std=c++20", "-O0", "-w", "-shared", "-fPIC", f"-I{TORCH / 'include'}", "-o", made]
    command += [HERE / "fakegpu.cpp", f"-L{libraries}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{libraries}"]
    subprocess.run(list(map(str, command)), check=True, timeout=300)
    return made


@dataclass
class Seen:
    """What happened: copies between devices outside of captures, how many captures and replays."""

    copies: list[str] = field(default_factory=list)
    captures: int = 0
    replays: int = 0
    capturing: bool = False
    reading: bool = False  # values may be read, as when a training is built, and for samples


class FaultError(Exception):
    """What a CUDA graph can't hold."""


@contextlib.contextmanager
def device(library: Path) -> Iterator[Seen]:
    """A context in which torch has the device; once a process, before torch is imported."""
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(TORCH / "lib" / name), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    import torch
    from torch import nn
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    seen, kept = Seen(), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is torch.ops.aten._local_scalar_dense.default and seen.reading:
                return 1  # an optimizer looks whether its rate is positive
            for each in tree_leaves((args, kwargs)) if "copy" in str(func) else ():
                if isinstance(each, FakeTensor):
                    each.constant = None  # a value that torch knows: it would be copied in earnest
            result = func(*args, **kwargs)
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
            devices = {each.device.type for each in tensors} - {"meta"}
            if len(devices) > 1:
                what = f"{func} of {[tuple(each.shape) for each in tensors]} on {sorted(devices)}"
                if seen.capturing:
                    raise FaultError(f"devices are mixed in a capture: {what}")
                if "copy" in str(func):
                    seen.copies.append(what)
            if seen.capturing and kwargs.get("generator") is not None:
                raise FaultError(f"a generator that the capture does not know: {func}")
            return result

    class Stream:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def wait_stream(self, other: Any) -> None:
            pass

        def synchronize(self) -> None:
            if seen.capturing:
                raise FaultError("a wait in a capture")

    class Event(Stream):
        def record(self, *_: Any) -> None:
            pass

        def query(self) -> bool:
            return True

    class Graph:
        def replay(self) -> None:
            seen.replays += 1

    @contextlib.contextmanager
    def graph(*_: Any, **__: Any) -> Iterator[None]:
        seen.captures += 1
        seen.capturing = True
        try:
            yield
        finally:
            seen.capturing = False

    def apply(
        module: nn.Module, move: Callable[..., Any], recurse: bool = True, memo: dict[int, Any] | None = None
    ) -> nn.Module:
        """As nn.Module._apply, which sets `.data` and so can't make fake parameters of real ones."""
        memo = {} if memo is None else memo
        for child in module.children():
            apply(child, move, memo=memo)
        for key, real in module._parameters.items():
            if real is None:
                continue
            if id(real) not in memo:
                kept.append(real)  # its number must stay its own
                with torch.no_grad():
                    memo[id(real)] = nn.Parameter(move(real.detach()), real.requires_grad)
            module._parameters[key] = memo[id(real)]
        for key, real in module._buffers.items():
            if real is not None:
                kept.append(real)
                module._buffers[key] = move(real)
        return module

    build_tensor = torch.tensor

    def tensor(values: Any, device: Any = None, **given: Any) -> torch.Tensor:
        made = build_tensor(values, **given)
        if device is None or torch.device(device).type == "cpu":
            return made
        if seen.capturing:
            raise FaultError("devices are mixed in a capture: torch.tensor")
        return torch.empty(made.shape, dtype=made.dtype, device=device)

    def fused(*lists: Any, **_: Any) -> None:
        """In place of an optimizer's kernel, which has no form that computes nothing."""
        devices = {each.device.type for each in tree_leaves(lists) if isinstance(each, torch.Tensor)}
        if devices != {"cuda"}:
            raise FaultError(f"an optimizer's tensors are on {sorted(devices)}")

    def nothing(*_: Any, **__: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    state = torch.zeros(16, dtype=torch.uint8)
    patches: list[tuple[Any, str, Any]] = [
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (torch.cuda, "mem_get_info", lambda *_: (140 * 2**30, 141 * 2**30)),
        (torch.cuda, "get_rng_state", lambda *_: state.clone()),
        (torch.cuda, "set_rng_state", lambda *_: None),
        (torch.cuda, "current_stream", lambda *_: Stream()),
        (torch.cuda, "synchronize", lambda *_: None),
        (torch.cuda, "Stream", Stream),
        (torch.cuda, "Event", Event),
        (torch.cuda, "CUDAGraph", Graph),
        (torch.cuda, "graph", graph),
        (torch.cuda, "stream", nothing),
        (torch.cuda, "device", nothing),
        (nn.Module, "_apply", apply),
        (torch, "_fused_adam_", fused),
        (torch, "tensor", tensor),  # which copies to the device past all modes
        # its kernel for meta tensors writes where it must not (torch 2.13)
        (torch, "_foreach_copy_", lambda to, of, **_: [a.copy_(b) for a, b in zip(to, of, strict=True)]),
    ]
    with contextlib.ExitStack() as undo:
        for where, name, value in patches:
            undo.callback(setattr, where, name, getattr(where, name))
            setattr(where, name, value)
        undo.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        undo.enter_context(Watch())
        yield seen


STEPS, AFTER = 6, 5  # iterations before a checkpoint is made and loaded again, and after it
FAULTS = ("read", "copy", "mix", "generator")


def train(library: Path, name: str, engine: str, precision: str, options: dict[str, Any], fault: str) -> dict[str, Any]:
    """Train the architecture `name` for some iterations; what was seen. `fault`: one is planted in each step."""
    with device(library) as seen:
        import torch

        from gantool.plugin import registry
        from gantool.plugin.options import resolve
        from gantool.training.state import State
        from gantool.training.step import Meter, iterate
        from support.trainings import SMALL, dataset

        architecture = registry.find(name).architecture
        own = {key: options.pop(key) for key in ("flip", "diffaugment", "ada") if key in options}
        config, recipe = resolve(architecture, {"batch_size": 8, **SMALL.get(name, {}), **options})
        example = next((each for each in architecture.examples if not each.arrays), None)
        shape = example.shape if example and not example.is_image else (3, 32, 32)
        data = dataset(50, shape, 2, sources=name == "pix2pix")
        add = Meter.add

        def planted(meter: Meter, player: str, loss: Any) -> None:
            add(meter, player, loss)
            term = next(iter(loss.terms.values()))
            if fault == "read":
                term.item()
            elif fault == "copy":
                torch.zeros(2).to("cuda")
            elif fault == "mix":
                term + torch.zeros(3)
            elif fault == "generator":
                torch.rand(2, device="cuda", generator=torch.Generator())

        if fault:
            Meter.add = planted  # type: ignore[method-assign]
        seen.reading = True
        state = State(
            architecture,
            config,
            recipe,
            data,
            seed=0,
            device=torch.device("cuda"),
            precision=precision,
            engine=engine,
            **own,
        )
        seen.reading = False
        seen.copies.clear()
        for _ in range(STEPS):
            iterate(state)
        copies = list(seen.copies)
        seen.reading = True
        saved = state.state_dict()
        elsewhere = {
            key
            for optimizer in saved["optimizers"].values()
            for values in optimizer["state"].values()
            for key, value in values.items()
            if isinstance(value, torch.Tensor) and value.device.type != "cuda"
        }
        state.load_state_dict(saved)
        seen.reading = False
        seen.copies.clear()
        for _ in range(AFTER):
            iterate(state)
        copies += seen.copies
        seen.reading = True
        made = state.sampling_generator()(*state.fixed_inputs(4))
        return {
            "copies": copies,
            "optimizers_elsewhere": sorted(elsewhere),
            "captures": seen.captures,
            "replays": seen.replays,
            "samples": [list(made.shape), str(made.dtype), made.device.type],
        }


def main() -> None:
    import json

    library, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    print(json.dumps(train(library, **asked)), flush=True)
    os._exit(0)  # torch takes its device apart at an exit, and this one is none


if __name__ == "__main__":
    main()
