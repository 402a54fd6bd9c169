"""Export a generator as an ONNX graph by torch, fold its BatchNorms, strip and check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from gantool.errors import GantoolError
from gantool.exporting.libraries import any_size, example, first_line, quiet, refusing
from gantool.exporting.onnx_files.seeds import BATCH, OPSET, OPSETS, ir_version, opset_of
from gantool.plugin.architecture import Input, SampleSpec
from gantool.system.files import MAX_MODEL_BYTES
from gantool.training.state import copied

CONVERTED_TO = 15  # the converter goes down no further; operators of ours mean the same in opsets 13 to 15
RANDOM_NODES = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",  # in the graph only when it is on
}


def output_name(spec: SampleSpec) -> str:
    return "image" if spec.is_image else "sample"


def to_onnx(generator: nn.Module, inputs: Sequence[Input], spec: SampleSpec, opset: int = OPSET) -> onnx.ModelProto:
    """The generator in eval mode as an ONNX model of `opset`: batch dynamic, BatchNorms folded.

    Dynamic are also the sides of a picture with a `multiple`, and then those of the output. Inputs keep their names;
    the output is float32 `image` (batch, C, H, W), or `sample` for what is no image. Raises GantoolError when torch
    can't export it, or when the graph draws random numbers.
    """
    if opset not in OPSETS:
        raise GantoolError(f"Opset {opset} can't be written.", f"Give one from {OPSETS[0]} to {OPSETS[-1]}.")
    tensors = [*generator.parameters(), *generator.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size >= MAX_MODEL_BYTES:
        raise GantoolError(
            f"The generator has {size / 2**30:.1f} GB of weights; an ONNX file holds less than 2 GB.",
            "Export it with --torchscript or --pt2, or train a smaller one.",
        )
    generator, arguments = _as_batch_norm(generator), example(inputs)
    what = "torch can't export this generator to ONNX"
    hint = "Write that part of the plugin's forward in another way: docs/plugins.md, “What exports”."
    if any(item.multiple for item in inputs):
        hint += " Or, if only other sizes fail, declare its picture without `multiple`: one size."
    with refusing(what, hint), quiet("torch.onnx", "onnxscript"):
        program = torch.onnx.export(
            generator,
            arguments,
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=any_size(generator, inputs, arguments),
            input_names=[i.name for i in inputs],
            output_names=[output_name(spec)],
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if opset < 18:
        _split_by_slices(model)
    if opset_of(model) != opset:  # the exporter returns another one without an error
        model = _converted(model, opset)
    _refuse_16_bits(model.graph)
    as_float32(model.graph, TensorProto.DOUBLE)  # hosts lack kernels, and WebGPU the type; verification compares
    _fold_batch_norm(model)
    _strip(model)
    _declare_axes(model, inputs)
    model.ir_version = ir_version(opset)
    random = sorted({node.op_type for node in model.graph.node} & RANDOM_NODES)
    if random:
        raise GantoolError(
            f"The generator draws random numbers inside its graph ({', '.join(random)}): no seed repeats its samples.",
            "Make the noise an input of the game: Input(name, shape, 'normal').",
        )
    with refusing("torch exported a graph that is not valid ONNX", hint):
        onnx.checker.check_model(model, full_check=True)
    return model


def _as_batch_norm(generator: nn.Module) -> nn.Module:
    """In eval mode, an InstanceNorm with running statistics computes what a BatchNorm does, which can be folded."""
    kinds = {nn.InstanceNorm1d: nn.BatchNorm1d, nn.InstanceNorm2d: nn.BatchNorm2d, nn.InstanceNorm3d: nn.BatchNorm3d}
    if not any(type(part) in kinds and part.track_running_stats for part in generator.modules()):
        return generator
    made = copied(generator)
    for name, part in list(made.named_modules(remove_duplicate=False)):
        if type(part) in kinds and part.track_running_stats:
            norm = kinds[type(part)](part.num_features, part.eps, affine=part.affine).eval()
            norm.load_state_dict(part.state_dict())
            made.set_submodule(name, norm)
    return made


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in another opset; GantoolError, with the operator, where that can't say the same."""
    try:
        made = onnx.version_converter.convert_version(model, max(opset, CONVERTED_TO))
    except RuntimeError as error:
        why = first_line(error).rpartition("failed: ")[2].rstrip(".")  # after a place in the converter's source
        raise GantoolError(
            f"The generator can't be written in opset {opset}: {why}.",
            f"Leave --opset out: torch exports it in opset {opset_of(model)}.",
        ) from error
    for entry in made.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer if len(tensor.dims) == 1}
    for node in made.graph.node:
        _drop_newer_attributes(node, opset, shapes)
    return made


def _split_by_slices(model: onnx.ModelProto) -> None:
    """Turn each Split of a known side into Slices: the exporter writes that of opset 18, and it can't be converted."""
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    sides = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.input)}
    for node in [node for node in graph.node if node.op_type == "Split" and len(node.input) == 1]:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        side = sides[node.input[0]][axis].dim_value if node.input[0] in sides else 0
        if not side:
            continue
        part, at = -(-side // len(node.output)), list(graph.node).index(node)
        graph.node.remove(node)
        for number, name in enumerate(node.output):
            places = (number * part, min(side, (number + 1) * part), axis)
            names = [f"{name}/{what}" for what in ("start", "end", "axis")]
            graph.initializer.extend(
                numpy_helper.from_array(np.array([place], np.int64), given)
                for place, given in zip(places, names, strict=True)
            )
            slice_node = helper.make_node("Slice", [node.input[0], *names], [name], name=f"{node.name}/{number}")
            graph.node.insert(at + number, slice_node)


def _drop_newer_attributes(node: onnx.NodeProto, opset: int, constants: Mapping[str, np.ndarray]) -> None:
    """Drop what the operator has not in `opset`, if it has its default, which is what older ones do.

    So goes `allowzero` of a Reshape to a constant shape without a zero, which it is about.
    """
    with suppress(onnx.defs.SchemaError):  # an operator that is not there: the checker says so
        known = onnx.defs.get_schema(node.op_type, opset).attributes
        newest = onnx.defs.get_schema(node.op_type).attributes
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        idle = {"allowzero"} if shape is not None and 0 not in shape else set()
        kept = [a for a in node.attribute if a.name in known or a != newest[a.name].default_value]
        kept = [a for a in kept if a.name in known or a.name not in idle]
        del node.attribute[:]
        node.attribute.extend(kept)


def as_float32(graph: onnx.GraphProto, kind: int) -> None:
    """Compute in float32 what a graph computes in `kind`, FLOAT16 or DOUBLE."""
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == kind:
                attribute.i = TensorProto.FLOAT
    for tensor in tensors:
        if tensor.data_type == kind:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for output in graph.output:
        if output.type.tensor_type.elem_type == kind:
            output.type.tensor_type.elem_type = TensorProto.FLOAT


def _refuse_16_bits(graph: onnx.GraphProto) -> None:
    narrow: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    weights = {tensor.name: narrow[tensor.data_type] for tensor in graph.initializer if tensor.data_type in narrow}
    for node in graph.node:
        casts = node.op_type == "Cast"
        found = [narrow.get(a.i) for a in node.attribute if a.name == "to"] if casts else map(weights.get, node.input)
        for kind in filter(None, found):
            raise GantoolError(
                f"The generator computes in {kind} in its forward ({node.name}): ONNX files compute in float32.",
                "Make its layers float32, and leave .half(), .bfloat16() and autocast out of its forward. "
                "16-bit files are made by --half-weights and --half.",
            )


def other_in_openvino(model: onnx.ModelProto) -> list[str]:
    """What OpenVINO (2026.4) computes otherwise than ONNX Runtime and the standard in a graph, without an error."""
    found = set()
    for node in model.graph.node:
        switches = {attribute.name for attribute in node.attribute if attribute.i}
        if node.op_type == "Resize" and "antialias" in switches:
            found.add("antialiased resizing")
        elif node.op_type == "DFT" and {"inverse", "onesided"} <= switches:
            found.add("the inverse FFT to real numbers")
    return sorted(found)


def _fold_batch_norm(model: onnx.ModelProto) -> None:
    """Fold each BatchNorm into the Gemm before its Reshape, or else into a Mul and an Add.

    Those that follow a convolution or a Gemm directly are folded by the exporter already.
    """
    graph = model.graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for node in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        if not set(node.input[1:5]) <= values.keys():
            raise GantoolError(
                f"The normalisation {node.output[0]!r} computes its statistics inside the graph: it can't be exported.",
                "Use BatchNorm with track_running_stats=True, or InstanceNorm: as layers, not as functions.",
            )
        gamma, beta, mean, variance = (values[name].astype(np.float64) for name in node.input[1:5])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        shift = beta - mean * scale
        source = node.input[0]
        reshape: Any = makers.get(source)
        gemm: Any = makers.get(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
        fits = (
            gemm is not None
            and gemm.op_type == "Gemm"
            and uses[source] == uses[gemm.output[0]] == 1
            and gemm.input[1] in values
            and reshape.input[1] in values
        )
        if fits and _fold_into_gemm(graph, values, gemm, values[reshape.input[1]], scale, shift):
            graph.node.remove(node)
            reshape.output[0] = node.output[0]
            continue
        rank = _rank(model, source)
        shape = (1, -1) + (1,) * (rank - 2)
        names = [f"{node.output[0]}/{part}" for part in ("scale", "shift")]
        for name, array in zip(names, (scale, shift), strict=True):
            graph.initializer.append(numpy_helper.from_array(array.reshape(shape).astype(np.float32), name))
        middle = f"{node.output[0]}/scaled"
        position = list(graph.node).index(node)
        graph.node.remove(node)
        graph.node.insert(position, helper.make_node("Mul", [source, names[0]], [middle]))
        graph.node.insert(position + 1, helper.make_node("Add", [middle, names[1]], [node.output[0]]))
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _fold_into_gemm(
    graph: onnx.GraphProto,
    values: dict[str, np.ndarray],
    gemm: Any,
    shape: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
) -> bool:
    """Scale the Gemm's columns so that its output, reshaped to `shape`, is already normalised.

    False when it does not fit, as when the reshape moves columns into the batch.
    """
    attributes = {a.name: helper.get_attribute_value(a) for a in gemm.attribute}
    weight = values[gemm.input[1]].astype(np.float64)
    bias_name = gemm.input[2] if len(gemm.input) > 2 else ""
    if (
        attributes.get("alpha", 1.0) != 1.0
        or attributes.get("beta", 1.0) != 1.0
        or (bias_name and bias_name not in values)
    ):
        return False
    axis = 0 if attributes.get("transB", 0) else 1  # the axis of the outputs
    outputs = weight.shape[axis]
    if shape[1] != len(scale) or int(np.prod(shape[1:])) != outputs:
        return False
    repeat = outputs // len(scale)  # each channel is a run of H·W columns
    columns, offsets = np.repeat(scale, repeat), np.repeat(shift, repeat)
    bias = np.broadcast_to(values[bias_name].astype(np.float64), outputs) if bias_name else np.zeros(outputs)
    folded = weight * (columns[:, None] if axis == 0 else columns)
    for name, array in (
        (f"{gemm.output[0]}/weight", folded),
        (f"{gemm.output[0]}/bias", bias * columns + offsets),
    ):
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    del gemm.input[1:]
    gemm.input.extend([f"{gemm.output[0]}/weight", f"{gemm.output[0]}/bias"])
    return True


def _rank(model: onnx.ModelProto, name: str) -> int:
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in [*inferred.graph.value_info, *inferred.graph.input]:
        if value.name == name:
            return len(value.type.tensor_type.shape.dim)
    raise GantoolError(f"The exported graph does not tell the shape of {name!r}.", "This is a fault of the exporter.")


def fix_batch(model: onnx.ModelProto, batch: int) -> None:
    """Declare that the model's first axes are `batch`, for hosts that want a fixed shape."""
    for value in [*model.graph.input, *model.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param == BATCH:  # a seed's stays 1
            first.dim_value = batch


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter writes about itself: stack traces with this machine's paths, graph signatures."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    items: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in items:
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]  # inferred again by whoever needs it; stale ones would be believed
    model.producer_name, model.producer_version = "gantool", ""


def _declare_axes(model: onnx.ModelProto, inputs: Sequence[Input]) -> None:
    """Name the axes that are dynamic; GantoolError when tracing froze one."""
    for value in [*model.graph.input, *model.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise GantoolError(
                f"The batch of {value.name!r} was frozen at {first.dim_value}.",
                "The generator's forward must not turn the batch size into a Python number.",
            )
        first.dim_param = BATCH
    taken = {value.name: value for value in model.graph.input}
    for item in (item for item in inputs if item.multiple):
        declare_sides(taken[item.name], (2, 3), ("height", "width"))
        declare_sides(model.graph.output[0], (2, 3), ("output_height", "output_width"))


def declare_sides(value: onnx.ValueInfoProto, axes: Sequence[int], names: Sequence[str]) -> None:
    """Name sides that are dynamic; GantoolError for one that tracing froze."""
    for axis, name in zip(axes, names, strict=True):
        side = value.type.tensor_type.shape.dim[axis]
        if side.HasField("dim_value"):
            raise GantoolError(
                f"The sides of {value.name!r} were frozen at {side.dim_value}, but its picture says `multiple`.",
                "The generator's forward must not turn a side into a Python number. Or declare the input without "
                "`multiple`: one size.",
            )
        side.dim_param = name
