"""A generator as `.pt2`: torch.export's archive, TorchScript's successor, with its manifest inside.

The file is a zip of raw weights and JSON. Left out are what no loader needs: the example inputs, its only pickle, the
guards, its only Python expressions, and the stack traces, which name the paths of this machine. torch.export.load runs
code that others may have put there: pickles, which `load` refuses, but also texts in the JSON. So only files that the
user trusts are to be loaded.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantool.artifact.manifest import KEY
from gantool.errors import GantoolError, cause, excerpt
from gantool.exporting.libraries import any_size, example, quiet, refusing
from gantool.plugin.architecture import Input
from gantool.system.archives import open_zip
from gantool.system.files import parse_json

_ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "fwd_nn_module_stack")
_EXAMPLES = "/data/sample_inputs/"  # an empty record stands for none
_RECORD = re.compile(r"(weight|tensor)_[0-9]+")
# all that `save` writes, below the folder that is named after the file
_ENTRY = re.compile(
    r"data/(weights|constants)/(weight|tensor)_[0-9]+|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|models/model\.json|data/sample_inputs/model\.pt|extra/[a-z.]+|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)


def to_program(generator: nn.Module, inputs: Sequence[Input]) -> torch.export.ExportedProgram:
    """The generator in eval mode, its inputs in order, any batch and size; GantoolError if torch.export can't."""
    arguments = example(inputs)
    hint = "`gantool.testing.check_architecture` shows what in the plugin's forward is at fault."
    with refusing("torch.export can't take this generator", hint), quiet("torch"):
        shapes = any_size(generator, inputs, arguments)
        program = torch.export.export(generator.eval(), arguments, dynamic_shapes=shapes)
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
            kept.writestr(entry, _stripped(entry.filename, archive.read(entry)))
    stripped.replace(path)


def _stripped(name: str, data: bytes) -> bytes:
    if _EXAMPLES in name:
        return b""
    if name.endswith("/models/model.json"):
        return json.dumps(json.loads(data) | {"guards_code": []}).encode()
    return data


def load(path: Path) -> Any:
    """The generator of a file that this program wrote: its inputs in order → its output, float32.

    GantoolError for one that holds what `save` never writes: pickles, compiled libraries, Python expressions.
    """
    try:
        with open_zip(path, stored=True) as archive:
            for entry in archive.infolist():
                _check_entry(entry.filename.partition("/")[2], archive.read(entry))
    except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise GantoolError(
            f"{path} is no .pt2 file of gantool: {cause(error)}.", "Export it again: gantool export --pt2"
        ) from error
    with quiet("torch"):
        return torch.export.load(path).module()


def _check_entry(name: str, data: bytes) -> None:
    """ValueError when an export of ours has no entry `name` with such content."""
    if not _ENTRY.fullmatch(name):
        raise ValueError(f"it holds {excerpt(name)!r}, which no export of ours does")
    if name.startswith(_EXAMPLES[1:]) and data:
        raise ValueError("it holds example inputs, which are a pickle")
    if not name.endswith(".json"):
        return
    value = parse_json(data, name)
    for weight in value.get("config", {}).values():
        if weight["use_pickle"] or not _RECORD.fullmatch(weight["path_name"]):
            raise ValueError("a weight in it is a pickle")
    if value.get("guards_code"):
        raise ValueError("it holds Python expressions")
