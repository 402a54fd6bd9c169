"""Trace and freeze a generator as TorchScript, and save it with its manifest inside.

torch.jit is deprecated (and not supported from Python 3.14 on), without a removal date: it is what LibTorch programs
load today. Its deprecation warnings are quieted here and nowhere else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantool.artifact.manifest import KEY
from gantool.exporting.libraries import quiet, refusing

_UNTRACEABLE = (
    "torch.jit can't trace this generator",
    "Write that part of the plugin's forward in another way: docs/plugins.md, “What exports”.",
)


def to_torchscript(generator: nn.Module, example: Sequence[Tensor]) -> torch.jit.ScriptModule:
    """Trace the generator in eval mode with a batch of two, and freeze it. GantoolError when it can't be traced."""
    return freeze(trace(generator, example))


def trace(module: nn.Module, example: Sequence[Tensor]) -> torch.jit.ScriptModule:
    """What `module` does with `example`; GantoolError when it can't be traced."""
    with refusing(*_UNTRACEABLE), quiet():
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, tuple(example), check_trace=False
        )
    return traced


def script(module: nn.Module, *methods: str) -> torch.jit.ScriptModule:
    """The compiled module, with further `methods` given as TorchScript source."""
    with quiet():
        scripted: torch.jit.ScriptModule = torch.jit.script(module)
        for source in methods:
            scripted.define(source)
    return scripted


def freeze(module: torch.jit.ScriptModule, keep: Sequence[str] = ()) -> torch.jit.ScriptModule:
    """Weights as constants, everything inlined but the methods `keep`, and no device baked in."""
    with refusing(*_UNTRACEABLE), quiet():
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module.eval(), preserved_attrs=list(keep))
    _free_devices(frozen.graph)
    return frozen


def _free_devices(graph: Any) -> None:
    """Replace every device that tracing baked in by the device of the first input.

    Loading a file to a device moves its constants, but no device that is named in the graph.
    """
    first = list(graph.inputs())[1]  # after self
    for constant in graph.findAllNodes("prim::Constant"):
        if isinstance(constant.output().type(), torch._C.DeviceObjType):
            device = graph.create("prim::device", [first], 1)
            device.output().setType(torch._C.DeviceObjType.get())
            device.insertBefore(constant)
            constant.output().replaceAllUsesWith(device.output())
            constant.destroy()


def save(module: torch.jit.ScriptModule, path: Path, manifest: str) -> None:
    with quiet():
        torch.jit.save(module, str(path), _extra_files={KEY: manifest})
    _strip(path)


def _strip(path: Path) -> None:
    """Leave out the source ranges: stack traces with the paths of this machine, which no loader needs."""
    stripped = path.with_name(path.name + ".stripped")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stripped, "w") as kept:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, archive.read(entry))
    stripped.replace(path)


def load(path: Path, device: str = "cpu") -> torch.jit.ScriptModule:
    """The module on `device`: its weights are constants, which `.to` does not move after loading."""
    with quiet():
        loaded: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location=device
        )
    return loaded
