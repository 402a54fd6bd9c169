"""A generator as `.pt2`: torch.export's archive, TorchScript's successor, with its manifest inside.

The file is a zip of raw weights and JSON. Left out are what no loader needs: the example inputs, its only pickle,
and the stack traces, which name the paths of this machine. What torch.export.load reads may still hold pickles that
others put there, so only files of one's own are to be loaded.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantool.artifact.manifest import KEY
from gantool.errors import GantoolError
from gantool.exporting.onnx_files.seeds import BATCH
from gantool.plugin.architecture import Input

_ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "fwd_nn_module_stack")
_EXAMPLES = "/data/sample_inputs/"  # an empty record stands for none


def to_program(generator: nn.Module, inputs: Sequence[Input]) -> torch.export.ExportedProgram:
    """The generator in eval mode, its inputs in order, any batch; GantoolError when torch.export can't take it so."""
    # not 0 or 1, which torch.export takes for special
    example: tuple[Tensor, ...] = tuple(
        torch.zeros(2, dtype=torch.int64) if i.dtype == "int64" else torch.randn(2, *i.shape) for i in inputs
    )
    batch = torch.export.Dim(BATCH)
    try:
        with _quiet():
            program = torch.export.export(generator.eval(), example, dynamic_shapes=tuple({0: batch} for _ in inputs))
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        first = str(error).strip().partition("\n")[0]
        raise GantoolError(
            f"torch.export can't take this generator: {first[:300]}",
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
    with _quiet():
        torch.export.save(program, path, extra_files={KEY: manifest_json})
    stripped = path.with_name(path.name + ".stripped")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stripped, "w") as kept:
        for entry in archive.infolist():
            kept.writestr(entry, b"" if _EXAMPLES in entry.filename else archive.read(entry))
    stripped.replace(path)


def load(path: Path) -> Any:
    """The generator of a file that this program wrote: its inputs in order → its output, float32."""
    with _quiet():
        return torch.export.load(path).module()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs and warns of its own workings; none of it is news to a user."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
