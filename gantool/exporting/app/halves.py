"""A seeded graph cut at its latents: what draws them, and what makes images of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import TensorProto, helper

from gantool.errors import GantoolError
from gantool.exporting.onnx_files.seeds import BATCH, INDEX, SEED


def split(model: onnx.ModelProto, normals: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[onnx.ModelProto, ...]:
    """(`seed`, `index` → the latents, the latents and the other inputs → image): composed, they are `model`.

    `normals`: name and shape without batch of each latent, as `seeds.seeded_model` took them; its graph kept their
    names on the edges that are cut here. Every weight is in the half that uses it. Metadata is left out. Raises
    GantoolError when the graph has no such edges, or when its images depend on the seed in another way.
    """
    graph = model.graph
    inputs = {value.name: value for value in graph.input}
    made = {name for node in graph.node for name in node.output}
    names = [name for name, _ in normals]
    if not names or not {SEED, INDEX} <= inputs.keys() or not set(names) <= made:
        raise GantoolError(
            f"The graph has no latents {', '.join(names) or 'at all'} drawn from {SEED} and {INDEX}.",
            "Give the generator.seeded.onnx that `gantool export` wrote.",
        )
    batch = inputs[INDEX].type.tensor_type.shape.dim[0]
    size = batch.dim_value or batch.dim_param or BATCH
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, *shape]) for name, shape in normals]
    others = [value for value in graph.input if value.name not in (SEED, INDEX)]
    drawing = _part(model, "latents", [inputs[SEED], inputs[INDEX]], edges)
    making = _part(model, "generator", [*edges, *others], list(graph.output))
    return drawing, making


def _part(
    model: onnx.ModelProto,
    name: str,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """The nodes between `inputs` and `outputs`, with the initializers that they use."""
    given = {value.name for value in inputs}
    makers = {output: i for i, node in enumerate(model.graph.node) for output in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    kept: set[int] = set()
    used: set[str] = set()
    open_names = [value.name for value in outputs]
    while open_names:
        wanted = open_names.pop()
        if wanted in given or wanted in used:
            continue
        used.add(wanted)
        maker = makers.get(wanted)
        if maker is not None:
            kept.add(maker)
            open_names += _reads(model.graph.node[maker])
        elif wanted not in weights:
            raise GantoolError(
                f"The {name} part of the graph needs {wanted!r}, which is none of {', '.join(sorted(given))}.",
                "Give the generator.seeded.onnx that `gantool export` wrote.",
            )
    graph = helper.make_graph(
        [node for i, node in enumerate(model.graph.node) if i in kept],
        name,
        list(inputs),
        list(outputs),
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    part = helper.make_model(
        graph,
        producer_name=model.producer_name,
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
        functions=list(model.functions),
    )
    onnx.checker.check_model(part)
    return part


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    """What a node takes, and what its subgraphs take from around it."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inner = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            inner |= {output for child in graph.node for output in child.output}
            outer = [name for child in graph.node for name in _reads(child)] + [value.name for value in graph.output]
            names += [name for name in outer if name not in inner]
    return names
