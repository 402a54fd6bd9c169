"""A generator as `.pt2`: torch.export's archive, TorchScript's successor, with its manifest inside.

The file is a zip of raw weights and JSON. Left out are what no loader needs: the example inputs, its only pickle,
and the stack traces, which name the paths of this machine. What torch.export.load reads may still hold pickles that
others put there, so only files of one's own are to be loaded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantool.artifact.manifest import KEY
from gantool.errors import GantoolError
from gantool.exporting.libraries import example, first_line, quiet
from gantool.exporting.onnx_files.seeds import BATCH
from gantool.plugin.architecture import Input

_ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "fwd_nn_module_stack")
_EXAMPLES = "/data/sample_inputs/"  # an empty record stands for none


def to_program(generator: nn.Module, inputs: Sequence[Input]) -> torch.export.ExportedProgram:
    """The generator in eval mode, its inputs in order, any batch; GantoolError when torch.export can't take it so."""
    batch = torch.export.Dim(BATCH)
    try:
        with quiet("torch"):
            shapes = tuple({0: batch} for _ in inputs)
            program = torch.export.export(generator.eval(), example(inputs), dynamic_shapes=shapes)
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        raise GantoolError(
            f"torch.export can't take this generator: {first_line(error)}",
            "`gantool.testing.check_architecture` shows what in the plugin's forward is at fault.",
        ) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for origin in _ORIGINS:
                    node.meta.pop(origin, None)
    return program


def save(program: torch.export.ExportedProgram, path: Path, manifest_json: str) -> None:
    """Write `path`, named *.pt2, with the manifest as its extra file: `STEM/extra/gantool.manifest` in the zip."""
    with quiet("torch"):
        torch.export.save(program, path, extra_files={KEY: manifest_json})
    stripped = path.with_name(path.name + ".stripped")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stripped, "w") as kept:
        for entry in archive.infolist():
            kept.writestr(entry, b"" if _EXAMPLES in entry.filename else archive.read(entry))
    stripped.replace(path)


def load(path: Path) -> Any:
    """The generator of a file that this program wrote: its inputs in order → its output, float32."""
    with quiet("torch"):
        return torch.export.load(path).module()
