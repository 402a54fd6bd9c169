"""A generator that makes its own latents: the graph of `squares32-table16/1`, and its joining to a generator.

It is `gantool.artifact.latents` in ONNX: uint64 Mul, Add, Sub and Div, which wrap as C's do and run on the CPU and
on CUDA. Bit operators, Mod and float64 are left out: some provider or browser has no kernel of each. A graph
can't refuse an index that `gantool.artifact.latents` refuses (negative, or 2**47 and above): it repeats other latents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from gantool.artifact import latents
from gantool.errors import GantoolError

OPSET = 18
OPSETS = range(13, 26)
IR_VERSION = 10  # nothing up to opset 22 needs a newer one, and older runtimes refuse it

SEED, INDEX, BATCH = "seed", "index", "batch"
LEVELS_INPUT = "levels/input"
Draw = Callable[[Sequence[tuple[str, tuple[int, ...]]], int], onnx.ModelProto]


def latents_graph(
    inputs: Sequence[tuple[str, tuple[int, ...]]], opset: int = OPSET, *, per_row: bool = False
) -> onnx.ModelProto:
    """`seed` int64 (1,), `index` int64 (batch,) → a normal float32 (batch, *shape) for every (name, shape).

    All share one draw, `gantool.artifact.latents.normals(seed, index, total)`, its columns dealt out in order. With
    `per_row` seed and index are int64 (batch, 1), a seed for each row. Raises GantoolError when a row is empty or has
    more than 262144 numbers.
    """
    sizes = [math.prod(shape) for _, shape in inputs]
    count = latents.counters(sum(sizes))
    emit = Emitter("latents", opset)
    two32 = emit.constant("two32", np.uint64(1 << 32))

    def swap(x: str) -> str:  # rotate by 32 bits: the halves don't overlap, so adding them is or-ing them
        return emit("Add", emit("Div", x, two32), emit("Mul", x, two32))

    def square(x: str, plus: str) -> str:
        return emit("Add", emit("Mul", x, x), plus)

    def three_rounds(y: str, z: str) -> str:
        return swap(square(swap(square(swap(square(y, y)), z)), y))

    # the key: latents.key_from_seed
    hash_key = emit.constant("hash_key", np.uint64(latents.HASH_KEY))
    y = emit("Mul", emit("Cast", SEED, to=TensorProto.UINT64), hash_key)
    z = emit("Add", y, hash_key)
    t = square(three_rounds(y, z), z)
    hashed = emit("Add", t, emit("Div", square(swap(t), y), two32))
    two, one = emit.constant("two", np.uint64(2)), emit.constant("one", np.uint64(1))
    key = emit("Add", emit("Mul", emit("Div", hashed, two), two), one, name="latents/key")

    # one number a counter: latents.integers
    stride = emit.constant("stride", np.uint64(latents.stride(count)))
    starts = emit("Mul", emit("Mul", emit("Cast", INDEX, to=TensorProto.UINT64), stride), key)
    offsets = emit("Mul", emit.constant("columns", np.arange(count, dtype=np.uint64)), key)
    axis1 = emit.constant("axis1", np.array([1], np.int64))
    y = emit("Add", starts if per_row else emit("Unsqueeze", starts, axis1), offsets)
    z = emit("Add", y, key)
    bits = emit("Div", square(three_rounds(y, z), z), two32, name="latents/bits")

    # two normals a number: latents.normals
    levels = emit.constant("levels", np.uint64(1 << 16))
    high = emit("Div", bits, levels)
    low = emit("Sub", bits, emit("Mul", high, levels))
    places = emit("Cast", emit("Concat", high, low, axis=1), to=TensorProto.INT64)
    emit.deal(emit.constant("table", latents.table()), places, inputs)

    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape]) for name, shape in inputs]
    seed = helper.make_tensor_value_info(SEED, TensorProto.INT64, [BATCH, 1] if per_row else [1])
    index = helper.make_tensor_value_info(INDEX, TensorProto.INT64, [BATCH, 1] if per_row else [BATCH])
    return emit.model([seed, index], outputs)


def seeded_model(
    generator: onnx.ModelProto,
    normal_inputs: Sequence[tuple[str, tuple[int, ...]]],
    *,
    per_row: bool = False,
    pictures: Sequence[str] = (),
    draw: Draw | None = None,
    floats: bool = False,
) -> onnx.ModelProto:
    """The generator with its `normal_inputs` (name, shape without batch) made from `seed` and `index` inside.

    Inputs: `seed` int64 (1,), `index` int64 (batch,), then the generator's others; with `per_row`, for servers that
    join requests, `seed` and `index` are int64 (batch, 1). Without `normal_inputs` there are neither. The `pictures`
    among the others are uint8 (batch, H, W, C), scaled to [-1, 1] inside. The output keeps its name; its float32
    (batch, C, …) in [-1, 1] leaves as `gantool.artifact.latents.levels` has it. Metadata is left out: it describes the
    other file. `draw`: makes another graph of latents. `floats`: the output is float32, and labels are int32.
    Raises GantoolError for a generator that can't be joined.
    """
    _check(generator, normal_inputs, pictures)
    opset = opset_of(generator)
    output = generator.graph.output[0].name
    inner = compose.add_prefix(generator, "generator/", rename_inputs=False, rename_outputs=True)
    inner.ir_version = ir_version(opset)
    del inner.metadata_props[:]
    del inner.graph.value_info[:]  # it calls the batch what the generator called it
    for value in [*inner.graph.input, *inner.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH

    joined = inner
    if normal_inputs:
        drawn = draw(normal_inputs, opset) if draw else latents_graph(normal_inputs, opset, per_row=per_row)
        joined = _join(drawn, inner, [(name, name) for name, _ in normal_inputs])
    for name in pictures:
        _take_bytes(joined, name, opset)
    if floats:
        _narrow(joined)
    sides = [dim.dim_value or dim.dim_param or None for dim in inner.graph.output[0].type.tensor_type.shape.dim[1:]]
    joined = _join(joined, levels_graph(output, sides, opset, floats=floats), [(f"generator/{output}", LEVELS_INPUT)])
    joined.graph.name = "seeded"
    onnx.checker.check_model(joined, full_check=True)
    return joined


def _check(
    generator: onnx.ModelProto,
    normal_inputs: Sequence[tuple[str, tuple[int, ...]]],
    pictures: Sequence[str],
) -> None:
    opset_of(generator)
    declared = {value.name: value.type.tensor_type for value in [*generator.graph.input, *generator.graph.output]}
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(pictures, (4,))
    wanted |= {name: (len(shape) + 1,) for name, shape in normal_inputs}
    wanted[generator.graph.output[0].name] = (3, 4, 5)
    for name, ranks in wanted.items():
        tensor = declared.get(name)
        if tensor is None or tensor.elem_type != TensorProto.FLOAT or len(tensor.shape.dim) not in ranks:
            axes = " to ".join(str(rank) for rank in sorted({ranks[0], ranks[-1]}))
            raise GantoolError(
                f"The generator has no float32 input or output {name!r} with {axes} axes.",
                f"It has {', '.join(declared)}.",
            )
    if len(generator.graph.output) != 1 or declared.keys() & {SEED, INDEX}:
        raise GantoolError(
            f"The generator's inputs and outputs are {', '.join(declared)}.",
            f"Export one output, and call none of them {SEED!r} or {INDEX!r}: the seeded file does.",
        )


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of a model's standard operators; GantoolError unless it is one of OPSETS."""
    opsets = {entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if len(opsets) != 1 or not opsets <= set(OPSETS):
        versions = ", ".join(map(str, sorted(opsets))) or "none"
        raise GantoolError(
            f"The generator's opset is {versions}, not one from {OPSETS[0]} to {OPSETS[-1]}.",
            f"Export it with opset {OPSET}.",
        )
    return int(opsets.pop())


def ir_version(opset: int, newest: int = IR_VERSION) -> int:
    """The IR version that files of an opset are written with: at most `newest`, unless the opset needs a newer one."""
    return max(min(newest, IR_VERSION), helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))


def _join(first: onnx.ModelProto, second: onnx.ModelProto, io_map: list[tuple[str, str]]) -> onnx.ModelProto:
    joined = compose.merge_models(first, second, io_map, producer_name="gantool", doc_string="")
    opsets = {entry.domain: entry.version for entry in joined.opset_import}  # merging repeats them
    del joined.opset_import[:]
    joined.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())
    return joined


def declare_output(model: onnx.ModelProto, axes: Sequence[int | None]) -> None:
    """Write the sides of the output that are known, `axes` without the batch, into the graph."""
    for dim, side in zip(model.graph.output[0].type.tensor_type.shape.dim[1:], axes, strict=True):
        if side is not None:
            dim.dim_value = side


def _take_bytes(model: onnx.ModelProto, name: str, opset: int) -> None:
    """latents.floats: the model's input float32 `name` (batch, C, H, W) becomes uint8 (batch, H, W, C)."""
    graph, scaled = model.graph, f"{name}/floats"
    for node in graph.node:
        node.input[:] = [scaled if given == name else given for given in node.input]
    emit = Emitter(f"{name}/bytes", opset)
    x = emit("Div", emit("Cast", name, to=TensorProto.FLOAT), emit.constant("scale", np.float32(127.5)))
    x = emit("Sub", x, emit.constant("offset", np.float32(1)))
    emit("Transpose", x, perm=[0, 3, 1, 2], name=scaled)
    nodes = [*emit.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(emit.constants.values())
    (value,) = (value for value in graph.input if value.name == name)
    batch, channels, *sides = (dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim)
    value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, *sides, channels]))


def _narrow(model: onnx.ModelProto) -> None:
    """Inputs of int64 become int32; where an operator takes int64 only, they are cast."""
    graph = model.graph
    labels = [value for value in graph.input if value.type.tensor_type.elem_type == TensorProto.INT64]
    for value in labels:
        value.type.tensor_type.elem_type = TensorProto.INT32
        wide = f"{value.name}/int64"
        others = [node for node in graph.node if value.name in node.input and node.op_type not in ("Gather", "Cast")]
        for node in others:
            node.input[:] = [wide if given == value.name else given for given in node.input]
        if others:
            graph.node.insert(0, helper.make_node("Cast", [value.name], [wide], name=wide, to=TensorProto.INT64))


def levels_graph(
    output: str, sides: Sequence[int | str | None], opset: int = OPSET, *, floats: bool = False
) -> onnx.ModelProto:
    """latents.levels: float32 `levels/input` (batch, C, …) → `output` (batch, …, C), int16 of audio, else uint8.

    `floats`: the same whole numbers as float32.
    """
    audio = len(sides) == 2
    scale, offset, low, high = (32767, 0.5, -32767, 32767) if audio else (127.5, 128, 0, 255)
    emit = Emitter("levels", opset)
    x = emit("Mul", LEVELS_INPUT, emit.constant("scale", np.float32(scale)))
    x = emit("Add", x, emit.constant("offset", np.float32(offset)))
    x = emit("Floor", x) if audio or floats else x  # the cast cuts towards 0, which is down for pixels only
    x = emit("Clip", x, emit.constant("low", np.float32(low)), emit.constant("high", np.float32(high)))
    dtype = TensorProto.FLOAT if floats else TensorProto.INT16 if audio else TensorProto.UINT8
    turned = emit("Transpose", x, perm=[0, *range(2, len(sides) + 1), 1], name=output if floats else "")
    if not floats:
        emit("Cast", turned, to=dtype, name=output)
    first = helper.make_tensor_value_info(LEVELS_INPUT, TensorProto.FLOAT, [BATCH, *sides])
    last = helper.make_tensor_value_info(output, dtype, [BATCH, *sides[1:], sides[0]])
    return emit.model([first], [last])


class Emitter:
    """Collects nodes and constants; every name but those of the outputs starts with `prefix/`."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.prefix, self.opset = prefix, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any) -> str:
        name = f"{self.prefix}/{name}"
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        label = f"{self.prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name or label], name=label, **attributes))
        return name or label

    def parts(self, x: str, count: int) -> list[str]:
        """`x` (count, …) cut into rows (1, …)."""
        made = [f"{self.prefix}/Split_{len(self.nodes)}/{part}" for part in range(count)]
        each = self.constant(f"each{count}", np.ones(count, np.int64))
        self.nodes.append(helper.make_node("Split", [x, each], made, name=f"{self.prefix}/Split_{len(self.nodes)}"))
        return made

    def deal(self, table: str, places: str, inputs: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        """The numbers of `table` at `places` (batch, columns), dealt out in order as (batch, *shape) for each name."""
        sizes = [math.prod(shape) for _, shape in inputs]
        columns = 2 * latents.counters(sum(sizes))
        single = len(inputs) == 1 and sizes[0] == columns and len(inputs[0][1]) == 1
        drawn = self("Gather", table, places, name=inputs[0][0] if single else "")
        starts_at = itertools.accumulate(sizes, initial=0)
        for (name, shape), size, start in zip(inputs, sizes, starts_at, strict=False):
            part, flat = drawn, len(shape) == 1
            if size != columns:
                first, last = (self.constant(f"{name}/{at}", np.array([at], np.int64)) for at in (start, start + size))
                axis1 = self.constant("axis1", np.array([1], np.int64))
                part = self("Slice", drawn, first, last, axis1, name=name if flat else "")
            if not flat:  # 0 keeps the batch
                self("Reshape", part, self.constant(f"{name}/shape", np.array([0, *shape], np.int64)), name=name)

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.prefix, list(inputs), list(outputs), list(self.constants.values()))
        opset, version = helper.make_opsetid("", self.opset), ir_version(self.opset)
        return helper.make_model(graph, producer_name="gantool", opset_imports=[opset], ir_version=version)
