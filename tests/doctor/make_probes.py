"""Make the graphs that `gantool doctor` runs, and their expected outputs: `make probes`.

They are part of the package, because a machine that only runs models has no `onnx` to make them with. All numbers are
latents of fixed seeds, which are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from gantool.artifact import latents
from gantool.exporting.onnx_files import seeds

FOLDER = Path(__file__).parents[2] / "gantool" / "doctor" / "graphs"
WINDOW = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
SEED, SIZE = 7, 16  # of the latents probe
TABLE = "latents/table"

Arrays = dict[str, np.ndarray]


def main(folder: Path = FOLDER) -> None:
    """Write NAME.onnx of every probe and arrays.npz, whose keys are NAME/INPUT and NAME/expected."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    for name, (model, feeds, expected) in probes().items():
        onnx.checker.check_model(model, full_check=True)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        arrays |= {f"{name}/{key}": array for key, array in {**feeds, "expected": expected}.items()}
    np.savez(folder / "arrays.npz", **arrays)


def probes() -> dict[str, tuple[onnx.ModelProto, Arrays, np.ndarray]]:
    """The model, the inputs and the expected output of every probe."""
    f = torch.nn.functional
    return {
        "Conv": layer("Conv", (2, 3, 16, 16), (8, 3, 3, 3), 8, lambda x, w, b: f.conv2d(x, w, b, 2, 1), **WINDOW),
        "ConvTranspose": layer(
            "ConvTranspose", (2, 8, 4, 4), (8, 4, 4, 4), 4, lambda x, w, b: f.conv_transpose2d(x, w, b, 2, 1), **WINDOW
        ),
        "Gemm": layer("Gemm", (4, 64), (64, 32), 32, lambda x, w, b: x @ w + b),
        "latents": seeded(),
    }


def layer(
    operator: str,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    outputs: int,
    reference: Callable[..., torch.Tensor],
    **attributes: Any,
) -> tuple[onnx.ModelProto, Arrays, np.ndarray]:
    """One operator with weights and a bias. The expected output is summed in float64."""
    x, w, b = (normals(i, shape) for i, shape in enumerate((input_shape, weight_shape, (outputs,))))
    expected = reference(*(torch.from_numpy(array).double() for array in (x, w, b))).float().numpy()
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w", "b"], ["y"], name=operator, **attributes)],
        operator,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, expected.shape)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    opset = helper.make_opsetid("", seeds.OPSET)
    model = helper.make_model(graph, producer_name="gantool", opset_imports=[opset], ir_version=seeds.IR_VERSION)
    return model, {"x": x}, expected


def normals(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return latents.normals(seed, np.arange(1), math.prod(shape)).reshape(shape)


def seeded() -> tuple[onnx.ModelProto, Arrays, np.ndarray]:
    """The latents of a seeded export. The table of normals is an input here, so that the file stays small."""
    model = seeds.latents_graph([("z", (SIZE,))])
    (table,) = (constant for constant in model.graph.initializer if constant.name == TABLE)
    model.graph.input.append(helper.make_tensor_value_info(TABLE, TensorProto.FLOAT, list(table.dims)))
    model.graph.initializer.remove(table)
    index = np.array([0, 1, 12_345, latents.MAX_INDEX - 1])
    return model, {"seed": np.array([SEED]), "index": index}, latents.normals(SEED, index, SIZE)


if __name__ == "__main__":
    main()
