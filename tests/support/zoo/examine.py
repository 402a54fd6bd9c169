"""Train and export generators of the zoo, and compare each file with the trained generator: the child of `keeper`.

A request is {"name", "files"}; the answers are {"doing": ...} before each thing that may crash, then {"cells": {file:
[outcome, why]}}. Outcomes: `right`, `refused` (in words), `wrong`, `crashed` (with a traceback).
"""

from __future__ import annotations

import importlib.util
import math
import re
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx.reference import ReferenceEvaluator

from gantool import exporting
from gantool.artifact import latents
from gantool.artifact.manifest import FILES, PRECISIONS, Manifest, file_name
from gantool.errors import GantoolError
from gantool.exporting import PartialExport
from gantool.exporting.torch_files import archive, torchscript
from gantool.plugin import registry
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import TrainOptions
from gantool.system.subprocesses import json_input, json_output
from gantool.training import session
from gantool.training.state import State
from support.trainings import run_until
from support.zoo import gantool_architectures, gantool_datasets

COUNT, SEED = 5, 3
ONNX_KINDS = ("onnx", "onnx-seeded", "onnx-portable")
ALL = [file_name(kind, name) for kind in ONNX_KINDS for name in PRECISIONS] + [
    file_name(kind) for kind in FILES if kind not in ONNX_KINDS
]
# Levels of 0…255 off the trained generator. 8 bits are held to the mean alone, as exports are: one pixel says little.
LEVELS = {"float32": 1.0, "half-weights": 3.0, "half": 9.0, "int8": 64.0}

Cells = dict[str, tuple[str, str]]
Doing = Callable[[str], None]


def examine(name: str, folder: Path, doing: Doing, files: Sequence[str] = ALL) -> Cells:
    """What became of every one of `files` of a generator."""
    kinds = [kind for kind in FILES if any(file_name(kind, precision) in files for precision in PRECISIONS)]
    precisions = tuple(p for p in PRECISIONS if any(file_name(kind, p) in files for kind in ONNX_KINDS))
    cells: Cells = {}
    notes: list[str] = []
    doing("training")
    try:
        state, run = trained(name, folder)
        doing("exporting")
        options = exporting.Options(precisions or ("float32",))
        artifacts = exporting.export_run(run, kinds, folder / "export", notes.append, options=options)
    except PartialExport as error:
        artifacts = error.artifacts
        cells |= {file: ("refused", str(why)) for file, why in error.failed.items()}
    except GantoolError as error:
        return dict.fromkeys(files, ("refused", str(error)))
    except Exception:  # noqa: BLE001  what is looked for
        return dict.fromkeys(files, ("crashed", traceback.format_exc(limit=-3)))
    for artifact in artifacts:
        doing(artifact.path.name)
        try:
            cells[artifact.path.name] = compared(artifact.path, artifact.manifest, state, " ".join(notes))
        except Exception:  # noqa: BLE001
            cells[artifact.path.name] = ("crashed", "opening: " + traceback.format_exc(limit=-3))
    for file in files:  # a seeded or portable file goes with its plain one, and all with that of float32
        plain = cells.get(re.sub(r"\.(seeded|portable)", "", file), cells.get("generator.onnx"))
        if file not in cells and plain is not None:
            cells[file] = plain
    return cells


def trained(name: str, folder: Path) -> tuple[State, Any]:
    """A generator after a step, with its run."""
    plugin = registry.find(f"zoo-{name}")
    options = TrainOptions(data=plugin.name, device="cpu", runs=folder / "runs")
    opened = session.start(plugin, {}, options)
    run_until(opened)
    return opened.state, opened.run


def compared(path: Path, about: Manifest, state: State, notes: str) -> tuple[str, str]:
    """A file in each program that opens it, against the trained generator. `notes`: what the export said."""
    normal = {i.name: i.shape for i in state.game.inputs if i.distribution == "normal"}
    index = np.arange(COUNT, dtype=np.int64)
    feeds = latents.draw(normal, SEED, index)
    labels = {i.name: index % i.classes for i in state.game.inputs if i.distribution == "label"}
    order = [i.name for i in state.game.inputs]
    inputs = {name: (feeds | labels)[name] for name in order}
    with torch.no_grad():
        wanted = levels(state.sampling_generator()(*map(torch.from_numpy, inputs.values())).numpy())
    own = {"seed": np.array([SEED], np.int64), "index": index, **labels} if about.seeded else inputs
    portable = about.kind == "onnx-portable"
    if portable:
        own = {"seed": latents.limbs([SEED]), "index": latents.limbs(index)}
        own |= {name: label.astype(np.int32) for name, label in labels.items()}
    found = []
    for host, make in hosts(path, about).items():
        try:
            made = make(own)
        except Exception as error:
            if host not in ("reference", "openvino"):  # which say what they lack
                raise
            found.append(f"{host} can't: {type(error).__name__}: {str(error)[:100]}")
            continue
        if portable:
            made = made.astype(np.uint8)  # whole numbers, as float32
        if made.dtype == np.uint8 and made.ndim == 4:
            made = made.transpose(0, 3, 1, 2)
        off = float(np.abs(levels(made) - wanted).max()) if made.shape == wanted.shape else math.inf
        found.append(f"{host} {off:.2g}")
        if host == "openvino" and "OpenVINO" in notes:
            continue
        if not off <= LEVELS[about.precision]:
            return "wrong", ", ".join(found)
    return "right", ", ".join(found)


def levels(samples: np.ndarray) -> np.ndarray:
    made: np.ndarray = samples.astype(np.float64) if samples.dtype == np.uint8 else samples * 127.5 + 127.5
    return made


def hosts(path: Path, about: Manifest) -> dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """Programs that take the file."""
    if about.kind in ("torchscript", "torchscript-seeded"):
        module = torchscript.load(path)
        return {"torch": lambda feeds: module(*map(torch.from_numpy, feeds.values())).detach().numpy()}
    if about.kind == "pt2":
        program = archive.load(path)
        return {"torch": lambda feeds: program(*map(torch.from_numpy, feeds.values())).detach().numpy()}
    onnx.checker.check_model(str(path), full_check=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    made = {
        "onnxruntime": lambda feeds: session.run(None, feeds)[0],
        "reference": lambda feeds: ReferenceEvaluator(str(path)).run(None, feeds)[0],
    }
    if path.name == "generator.onnx" and importlib.util.find_spec("openvino"):
        made["openvino"] = lambda feeds: in_openvino(path, feeds)
    return made


def in_openvino(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made: np.ndarray = compiled(feeds)[compiled.output(0)]
    return made


def plugins() -> tuple[Plugin, ...]:
    made = (Plugin(item.name, "gantool-zoo", "1", item) for item in gantool_architectures())
    data = (Plugin(item.name, "gantool-zoo", "1", dataset=item) for item in gantool_datasets())
    return (*made, *data)


def main() -> None:
    send = json_output()
    registry.discover = plugins  # type: ignore[assignment]
    for request in json_input():
        with tempfile.TemporaryDirectory() as folder:
            cells = examine(request["name"], Path(folder), lambda what: send({"doing": what}), request["files"])
        send({"cells": cells})
