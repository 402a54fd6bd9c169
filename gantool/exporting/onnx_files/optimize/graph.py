"""Small things to ask of a graph, and to put into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class View:
    """A graph's constants, makers and uses by value name. It is not kept up to date."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._tensors = {t.name: t for t in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(output.name for output in model.graph.output)
        self.users = {name: node for node in model.graph.node for name in node.input}

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_user(self, name: str) -> Any:
        """The node that is the value's one use, or None."""
        return self.users.get(name) if self.uses[name] == 1 else None


class Emitter:
    """Nodes and constants under readable names; a constant of the same name is stored once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, *values: int) -> str:
        return self.constant("int64/" + ".".join(map(str, values)), np.array(values, np.int64))

    def __call__(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def reshape(self, value: str, *shape: int, output: str) -> str:
        return self("Reshape", [value, self.integers(*shape)], output)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Of every value whose rank is known; None for a side that isn't."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in [*inferred.value_info, *inferred.input, *inferred.output]:
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return found


def batch_of(model: onnx.ModelProto) -> int | None:
    """The batch that the inputs are fixed at; None where it is free."""
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    return first.dim_value if first.HasField("dim_value") else None


def with_nodes(model: onnx.ModelProto, emit: Emitter) -> onnx.ModelProto:
    """A copy with the emitted nodes in place of all; its constants, and of the old ones those still used."""
    graph = model.graph
    used = {name for node in emit.nodes for name in node.input} | {output.name for output in graph.output}
    old = [t for t in graph.initializer if t.name in used and t.name not in emit.constants]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(emit.nodes)
    made.graph.initializer.extend([*old, *emit.constants.values()])
    return made
