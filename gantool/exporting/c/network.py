"""An exported graph, for one sample, as calls of the kernels in C, and its weights in the order that they read them.

Layers are calls; elementwise operators become loops. What only moves numbers (Reshape, Slice, Resize to the nearest …)
is followed number by number here, and becomes a pointer, nested loops or a table.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from gantool.errors import GantoolError, excerpt
from gantool.exporting.c import memory, places
from gantool.exporting.c.loops import ALPHA, BINARY, UNARY, Formula, Value, number
from gantool.exporting.onnx_files.transposed import attributes
from gantool.runtime.session import ORT_ERRORS

PANEL, STRIP, DEPTH, WIDE, SLACK = 4, 16, 256, 32, 8  # as in kernels.h; on some processors its WIDE is less
ALIGN = 16  # floats
COLUMNS = 1 << 16  # floats of a transposed convolution's products at once, unless four channels have more
MAX_PLACES = 1 << 16  # of all tables
MAX_EXACT = 1 << 24  # whole numbers that float32 holds: places are followed in it
MOVES = {"AveragePool", "Cast", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"}
MOVES |= {"Identity", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose"}
MOVES |= {"Unsqueeze", "Where"}  # one of the inputs; zeros may come in between

Array = np.ndarray


@dataclass
class Weights:
    """A piece of the file: floats, or halves in panels of `lanes` rows, each row times its scale."""

    array: Array
    scale: Array | None = None
    lanes: int = 1
    panel: int = 1  # numbers


@dataclass
class Network:
    """In C: `body` are its calls, `result` is where its output lies, `floats` how long its workspace is."""

    declarations: list[str]
    body: list[str]
    result: str
    floats: int
    weights: list[Weights]


def build(model: onnx.ModelProto, inputs: Mapping[str, Value | None], origin: str) -> Network:
    """The network of `model` for a batch of 1. `inputs`: where each lies; None: the class, an integer `label`.

    GantoolError for an operator that has no kernel, with the node's name and what to do. `origin`: the architecture.
    """
    return _Builder(model, inputs, origin).build()


class _Builder:
    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Value | None], origin: str) -> None:
        self.graph, self.origin, self.opsets = model.graph, origin, model.opset_import
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.halves: dict[str, tuple[Array, Array]] = {}  # constants that are 16-bit numbers times factors
        self.values: dict[str, Value | Formula] = {name: v for name, v in inputs.items() if v is not None}
        self.labels = inputs.keys() - self.values.keys()
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(output.name for output in model.graph.output)
        self.steps: list[memory.Step] = []
        self.sizes: list[int] = []  # of the buffers
        self.weights: list[Weights] = []
        self.placed: dict[tuple[str, str], str] = {}
        self.tables: dict[str, str] = {}
        self.offset = self.places = 0

    def build(self) -> Network:
        for node in self.graph.node:
            self.node, self.given = node, attributes(node)
            self.inputs = [*node.input, "", "", ""]
            self._visit(node)
        output = self._kept(self.graph.output[0].name)
        loops, same = memory.loops(self.steps, output, len(self.sizes))
        body, result, floats = memory.plan(self.steps, output, self.sizes, same)
        tables = [f"static const {text % name}" for text, name in self.tables.items()]
        return Network([*tables, *loops], body, result, floats + SLACK, self.weights)

    def _visit(self, node: onnx.NodeProto) -> None:
        op, first = node.op_type, node.output[0]
        dynamic = [name for name in node.input if name and name not in self.constants]
        if op == "Shape" and dynamic and dynamic[0] in self.values:
            self.constants |= zip(node.output, self._run(node, {dynamic[0]: self._marks(dynamic[0])}), strict=True)
        elif not dynamic:
            self.constants |= zip(node.output, self._run(node, {}), strict=True)
            self._follow_halves(node)
        elif op == "Gather" and dynamic == [node.input[1]] and dynamic[0] in self.labels and not self.given.get("axis"):
            width = self.constants[node.input[0]][0].size
            pointer = f"{self._vector(node.input[0])} + (size_t)label * {width}"
            self.values[first] = Value(pointer, (1, *self.constants[node.input[0]].shape[1:]))
        elif self.labels & set(dynamic):
            self._refuse()
        elif op in UNARY or op in BINARY or op == "Clip":
            self.values[first] = self._formula(op)
        elif op not in MOVES or len(dynamic) != 1 or not self._moves(node, dynamic[0]):
            self.values[first] = self.LAYERS.get(op, _Builder._refuse)(self)

    def _refuse(self, why: str = "") -> NoReturn:
        weights = [name for name in self.node.input if name in self.constants and self.constants[name].ndim > 1]
        layer = f" with the weights {excerpt(weights[0])}" if weights else ""
        node = f"{excerpt(self.node.name or self.node.output[0])} ({excerpt(self.node.op_type)})"
        raise GantoolError(
            f"C has no kernel for the node {node} of {excerpt(self.origin)}{layer}{why and f': {why}'}.",
            "docs/c.md lists what has one: use such layers there, or --app or --onnx in place of --c.",
        )

    def _demand(self, fits: bool, why: str) -> None:
        if not fits:
            self._refuse(why)

    # constants

    def _run(self, node: onnx.NodeProto, given: Mapping[str, Array]) -> list[Array]:
        """The node's outputs for `given` and constants."""
        feeds = {name: given[name] if name in given else self.constants[name] for name in node.input if name}
        types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
        graph = helper.make_graph(
            [node],
            "node",
            [helper.make_tensor_value_info(name, types[name], list(given[name].shape)) for name in given],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
            [numpy_helper.from_array(array, name) for name, array in feeds.items() if name not in given],
        )
        model = helper.make_model(graph, opset_imports=self.opsets, ir_version=10)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            made: list[Array] = session.run(None, dict(given))
        except ORT_ERRORS as error:
            self._refuse(excerpt(str(error)))
        return made

    def _follow_halves(self, node: onnx.NodeProto) -> None:
        """Keep what 16-bit numbers a constant is made of: `precision.half_weights` casts them, and multiplies them."""
        out = node.output[0]
        if node.op_type == "Cast" and self.constants[node.input[0]].dtype == np.float16:
            self.halves[out] = self.constants[node.input[0]], np.ones(1, np.float32)
        elif node.op_type == "Mul":
            for name, other in (node.input, reversed(node.input)):
                if name in self.halves and self.constants[out].shape == self.constants[name].shape:
                    numbers, factor = self.halves[name]
                    self.halves[out] = numbers, factor * self.constants[other]

    def _place(self, name: str, key: str, array: Array, half: tuple[Array, Array] | None = None, lanes: int = 1) -> str:
        """The pointer of a constant in the file; of the same (name, key) there is one. `half`: numbers, row scales."""
        if (name, key) not in self.placed:
            self.placed[name, key] = f"w + {self.offset}"
            piece = Weights(np.ascontiguousarray(array, np.float32).ravel())
            if half is not None:
                numbers, scale = half
                piece = Weights(numbers.astype(np.float16), scale, lanes, numbers.size // len(scale) * lanes)
            piece.array = np.pad(piece.array, (0, -piece.array.size % ALIGN))
            self.weights.append(piece)
            self.offset += piece.array.size
        return self.placed[name, key]

    def _matrices(self, name: str, key: str, lanes: int, rows: Callable[[Array], list[Array]]) -> str:
        """The pointer of a weight as matrices (rows, depth), a group each, that `rows` makes; in panels of `lanes`."""

        def packed(array: Array) -> Array:
            wholes = [np.pad(matrix, ((0, -len(matrix) % lanes), (0, 0))) for matrix in rows(array)]
            return np.concatenate([w.reshape(-1, lanes, w.shape[1]).transpose(0, 2, 1).ravel() for w in wholes])

        array, half = self.constants[name], None
        if name in self.halves:
            numbers, factor = self.halves[name]
            scales = rows(np.broadcast_to(factor, array.shape))
            if all((matrix == matrix[:, :1]).all() for matrix in scales):  # else it stays float32
                columns = [np.pad(matrix[:, 0], (0, -len(matrix) % lanes)) for matrix in scales]
                half = packed(numbers), np.concatenate(columns).astype(np.float32)
        return self._place(name, key, packed(array), half, lanes)

    def _vector(self, name: str) -> str:
        self._demand(not name or name in self.constants, "its weights are computed")
        return self._place(name, "raw", self.constants[name]) if name else "NULL"

    def _weight(self, name: str) -> Array:
        self._demand(name in self.constants, "its weights are computed")
        return self.constants[name]

    # values

    def _kept(self, name: str) -> Value:
        """A value in memory, its numbers in order."""
        if name in self.constants:
            return Value(self._vector(name), self.constants[name].shape)
        self._demand(name in self.values, f"it takes {excerpt(name)}")
        value = self.values[name]
        if isinstance(value, Formula):
            value = self._loop(value)
        elif value.index is not None:
            value = self._moved(value, value.index)
        self.values[name] = value
        return value

    def _own(self, value: Value) -> Value:
        """The value where runs may be read a little further: what is the caller's is copied."""
        if value.pointer.startswith(("m ", "w ")):
            return value
        copy = self._new(*value.shape)
        self._call("memcpy", copy.pointer, value.pointer, f"{value.size} * sizeof(float)")
        return copy

    def _new(self, *shape: int) -> Value:
        self.sizes.append(-(-math.prod(shape) // ALIGN) * ALIGN)
        return Value(f"m + @{len(self.sizes) - 1}@", shape)

    def _call(self, name: str, *arguments: object) -> None:
        texts = (a.pointer if isinstance(a, Value) else str(a) for a in arguments)
        about = re.sub(r"[^\w.-]", "_", self.node.output[0], flags=re.ASCII)[:80]
        self.steps.append(memory.Step(f"{name}({', '.join(texts)}); /* {about} */"))

    def _declared(self, kind: str, text: str) -> str:
        """The name of a constant in C; one of the same text is written once."""
        return self.tables.setdefault(f"{kind} %s{text};", f"c{len(self.tables)}")

    def _table(self, kind: str, values: Sequence[object]) -> str:
        self.places += len(values)
        self._demand(self.places <= MAX_PLACES, f"tables of more than {MAX_PLACES} places would be needed")
        return self._declared(kind, f"[{len(values)}] = {_braced(values)}")

    # elementwise operators

    def _formula(self, op: str) -> Formula:
        parts = [self._part(name) for name in self.node.input[: 1 if op == "Clip" else None]]
        text = {**UNARY, **BINARY}.get(op, "{0}").replace("{alpha}", number(self.given.get("alpha", ALPHA.get(op, 0))))
        self._demand(len(parts) <= 2, "it has more than two inputs")
        if op == "Clip":
            for name, sign in ((self.inputs[2], ">"), (self.inputs[1], "<")):
                if name:
                    self._demand(self._weight(name).size == 1, "its bounds are not numbers")
                    bound = number(float(self.constants[name].ravel()[0]))
                    text = f"{{0}} {sign} {bound} ? {bound} : {text}"
        if op == "Pow" and parts[1] in (2.0, 0.5):
            text, parts = "{0} * {0}" if parts[1] == 2.0 else "sqrtf({0})", parts[:1]
        shapes = [part.shape for part in parts if not isinstance(part, float)]
        return Formula(op, text, tuple(parts), np.broadcast_shapes(*shapes))

    def _part(self, name: str) -> Value | Formula | float:
        constant, value = self.constants.get(name), self.values.get(name)
        if constant is not None and constant.size and (constant == constant.ravel()[0]).all():
            same = float(constant.ravel()[0])  # its shape may be the larger one
            return Formula("Constant", number(same), (), constant.shape) if constant.ndim > 1 else same
        return value if isinstance(value, Formula) and self.uses[name] == 1 else self._kept(name)

    def _loop(self, formula: Formula) -> Value:
        """Compute a formula; parts that are smaller and dear are computed before it."""

        def ready(part: Formula) -> Formula:
            parts: list[Value | Formula | float] = []
            for inner in part.parts:
                if isinstance(inner, Formula):
                    inner = self._loop(inner) if inner.size < formula.size and not inner.cheap else ready(inner)
                parts.append(inner)
            return dataclasses.replace(part, parts=tuple(parts))

        whole = ready(formula)
        made = self._new(*formula.shape)
        self.steps.append(memory.Step("", (whole, [made, *dict.fromkeys(whole.leaves())])))
        return made

    # what moves numbers

    def _marks(self, name: str) -> Array:
        """1, 2, 3 … in the shape of a value."""
        shape = self.values[name].shape
        self._demand(math.prod(shape) <= MAX_EXACT, "it is too large")
        return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)

    def _moves(self, node: onnx.NodeProto, name: str) -> bool:
        """Follow where each number goes; False for a node that computes, or brings other numbers than zeros."""
        constants = [self.constants[other] for other in node.input if other in self.constants]
        if (
            (node.op_type == "AveragePool" and any(side != 1 for side in self.given["kernel_shape"]))
            or (node.op_type == "Resize" and self.given.get("mode", b"nearest") != b"nearest")
            or (node.op_type == "Where" and (node.input[0] == name or constants[1].any()))
            or (node.op_type == "Pad" and self.inputs[2] and self.constants[self.inputs[2]].any())
        ):
            return False
        value = self.values.get(name)
        value = value if isinstance(value, Value) else self._kept(name)
        for output, made in zip(node.output, self._run(node, {name: self._marks(name)}), strict=True):
            index = made.astype(np.int64).ravel() - 1
            if value.index is not None:
                index = np.where(index < 0, -1, value.index[index])
            start = int(index[0]) if index.size else 0
            if np.array_equal(index, np.arange(start, start + index.size)) and start >= 0:
                self.values[output] = Value(f"{value.pointer} + {start}" if start else value.pointer, made.shape)
            else:
                self.values[output] = Value(value.pointer, made.shape, index)
        return True

    def _moved(self, value: Value, index: Array) -> Value:
        """The value's numbers in order, copied."""
        made, (sides, steps, rest) = self._new(*value.shape), places.strides(index)
        if rest.size == 1 and rest[0] >= 0:
            self._copy(
                made,
                f"{value.pointer} + {rest[0]}",
                sides,
                [math.prod(sides[i:]) for i in range(1, len(sides) + 1)],
                steps,
            )
            return made
        inner, step = (sides[-1], steps[-1]) if sides else (1, 0)
        table = index.reshape(-1, inner)[:, 0]
        outer, outer_step = places.repeats(table)
        count = table.size // outer
        listed = self._table("int32_t", table[:count].tolist())
        self._call("pick", made, value, outer, outer_step, count, listed, inner, step)
        return made

    def _copy(self, to: object, source: object, sides: Sequence[int], *steps: Sequence[int]) -> None:
        tables = [self._table("size_t", row) for row in (sides, *steps)]
        self._call("rearrange", to, source, len(sides), *tables)

    def _concat(self) -> Value:
        parts = [self._kept(name) for name in self.node.input]
        shape = list(parts[0].shape)
        axis = self.given["axis"] % len(shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        made, at, row = self._new(*shape), 0, math.prod(shape[axis:])
        for part in parts:
            run = math.prod(part.shape[axis:])
            self._copy(f"{made.pointer} + {at}", part, [math.prod(shape[:axis]), run], [row, 1], [run, 1])
            at += run
        return made

    # layers

    def _gemm(self) -> Value:
        """Gemm or MatMul."""
        plain = not self.given.get("transA") and self.given.get("alpha", 1) == self.given.get("beta", 1) == 1
        self._demand(plain, "its first matrix is turned, or it has factors")
        value, weight, turned = self._kept(self.inputs[0]), self._weight(self.inputs[1]), bool(self.given.get("transB"))
        self._demand(weight.ndim == 2, "its second matrix has more axes")
        rows, depth = weight.shape if turned else weight.shape[::-1]
        bias = self._vector(self.inputs[2])
        self._demand(bias == "NULL" or self.constants[self.inputs[2]].size == rows, "its bias is not one a column")
        count = value.size // depth
        made, lanes = self._new(*value.shape[:-1], rows), STRIP if count == 1 else PANEL
        weights = self._matrices(self.inputs[1], f"{turned} {lanes}", lanes, lambda w: [w if turned else w.T])
        if count == 1:
            self._call("dense", made, value, weights, bias, rows, depth)
        else:
            product = self._product(1, rows, depth, 1, [1, 1, count], [0, 0, depth], 1, 1, rows)
            self._multiply(made, value, weights, bias, depth, product, [0])
        return made

    def _product(self, groups: int, rows: int, channels: int, taps: int, *rest: int | Sequence[int]) -> str:
        """The pointer of a `product` of kernels.h."""
        return "&" + self._declared("product", f" = {_braced([groups, rows, channels, taps, *rest])}")

    def _multiply(
        self, made: Value, value: Value, weights: str, bias: str, inner: int, product: str, taps: Sequence[int]
    ) -> None:
        scratch, tap = self._new(min(DEPTH, inner) * WIDE + SLACK), self._table("size_t", taps)
        self._call("multiply", made, self._own(value), weights, bias, scratch, product, tap)

    def _window(self, kernel: Sequence[int]) -> list[list[int]]:
        """Kernel, strides, dilations, pads before and after, each of three axes."""
        fixed = self.given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and "output_shape" not in self.given
        rank = len(kernel)
        self._demand(fixed and 1 <= rank <= 3, "its padding is automatic, or it has too many axes")
        pads = list(self.given.get("pads", [0] * (2 * rank)))
        rows = [list(kernel), *(list(self.given.get(name, [1] * rank)) for name in ("strides", "dilations"))]
        return [[1] * (3 - rank) + row for row in rows] + [[0] * (3 - rank) + row for row in (pads[:rank], pads[rank:])]

    def _conv(self) -> Value:
        shape = self._weight(self.inputs[1]).shape
        return self._convolution(self._kept(self.inputs[0]), self.inputs[1], shape, self.given.get("group", 1))

    def _averagepool(self) -> Value:
        """A convolution of each channel, its weights one over how many there are."""
        counted = not any(self.given.get("pads", [])) or self.given.get("count_include_pad")
        self._demand(bool(counted) and not self.given.get("ceil_mode"), "it rounds up, or does not count its padding")
        value, kernel = self._kept(self.inputs[0]), self.given["kernel_shape"]
        name, shape = f"average {value.shape[1]} {kernel}", (value.shape[1], 1, *kernel)
        self.constants[name] = np.full(shape, 1 / math.prod(kernel), np.float32)
        return self._convolution(value, name, shape, value.shape[1])

    def _convolution(self, value: Value, name: str, shape: Sequence[int], groups: int) -> Value:
        kernel, strides, dilations, before, after = self._window(shape[2:])
        rows, channels, taps, rank = shape[0] // groups, shape[1], math.prod(kernel), len(shape) - 2
        sides = [1] * (3 - rank) + list(value.shape[2:])
        padded = [side + one + two for side, one, two in zip(sides, before, after, strict=True)]
        if padded != sides:
            whole = self._new(1, value.shape[1], *padded)
            start = (before[0] * padded[1] + before[1]) * padded[2] + before[2]
            self._call("memset", whole, 0, f"{whole.size} * sizeof(float)")
            steps = ([math.prod(of[i:]) for i in range(4)] for of in (padded, sides))
            self._copy(f"{whole.pointer} + {start}", value, [value.shape[1], *sides], *steps)
            value = whole
        grid = [(p - d * (k - 1) - 1) // s + 1 for p, d, k, s in zip(padded, dilations, kernel, strides, strict=True)]
        ahead = [padded[1] * padded[2], padded[2], 1]
        step = [s * a for s, a in zip(strides, ahead, strict=True)]
        tap = [sum(at * d * a for at, d, a in zip(t, dilations, ahead, strict=True)) for t in np.ndindex(*kernel)]
        made, bias = (
            self._new(1, shape[0], *grid[3 - rank :]),
            self._vector(self.inputs[2] if name in self.inputs else ""),
        )
        product = self._product(groups, rows, channels, taps, grid, step, math.prod(padded), math.prod(grid), 1)
        if rows == channels == 1 and groups > 1:
            weights = self._matrices(name, "taps", 1, lambda w: [w.reshape(groups, taps)])
            self._call("depthwise", made, value, weights, bias, product, self._table("size_t", tap))
        else:
            weights = self._matrices(name, "conv", PANEL, lambda w: [g.reshape(rows, -1) for g in np.split(w, groups)])
            self._multiply(made, value, weights, bias, channels * taps, product, tap)
        return made

    def _convtranspose(self) -> Value:
        value, weight, groups = self._kept(self.inputs[0]), self._weight(self.inputs[1]), self.given.get("group", 1)
        kernel, strides, dilations, before, after = self._window(weight.shape[2:])
        rank, channels, rows, taps = weight.ndim - 2, weight.shape[0] // groups, weight.shape[1], math.prod(kernel)
        sides = [1] * (3 - rank) + list(value.shape[2:])
        extra = [0] * (3 - rank) + list(self.given.get("output_padding", [0] * rank))
        out = [
            s * (n - 1) + e + (k - 1) * d + 1 - b - a
            for s, n, e, k, d, b, a in zip(strides, sides, extra, kernel, dilations, before, after, strict=True)
        ]
        area = math.prod(sides)
        block = min(rows, max(1, COLUMNS // (taps * area * PANEL)) * PANEL)  # channels: their rows fill panels
        made, bias = self._new(1, rows * groups, *out[3 - rank :]), self._vector(self.inputs[2])
        product = self._product(groups, rows * taps, channels, 1, [1, 1, area], [0, 0, 1], area, area, 1)
        landing = self._declared("landing", f" = {_braced([block, sides, out, kernel, strides, dilations, before])}")
        weights = self._matrices(
            self.inputs[1], "turned", PANEL, lambda w: [g.reshape(channels, -1).T for g in np.split(w, groups)]
        )
        scratch, columns = self._new(min(DEPTH, channels) * WIDE + SLACK), self._new(block * taps * area)
        line, own = self._new(strides[2] * (out[2] // strides[2] + 1)), self._own(value)
        self._call("transposed", made, own, weights, bias, scratch, columns, line, product, f"&{landing}")
        return made

    def _resize(self) -> Value:
        """Axis by axis: the shares of the inputs are what ONNX Runtime makes of each of them alone."""
        value, scales = self._kept(self.inputs[0]), self.constants.get(self.inputs[2])
        plain = not self.given.get("antialias") and "axes" not in self.given
        if scales is None or scales.size != len(value.shape) or not plain:
            self._refuse("it has sizes, or is smoothed")
        for axis in np.flatnonzero(scales != 1):
            node, side = onnx.NodeProto(), value.shape[axis]
            node.CopyFrom(self.node)
            node.input[2] = "scales of an axis"
            self.constants["scales of an axis"] = np.array([1, 1, 1, scales[axis]], np.float32)
            (made,) = self._run(node, {self.inputs[0]: np.eye(side, dtype=np.float32)[:, None, None]})
            shares = made[:, 0, 0].T  # (outputs, inputs)
            taps = int((shares != 0).sum(axis=1).max())
            chosen = np.argsort(shares == 0, axis=1, kind="stable")[:, :taps]
            outer, inner = math.prod(value.shape[:axis]), math.prod(value.shape[axis + 1 :])
            result = self._new(*value.shape[:axis], len(shares), *value.shape[axis + 1 :])
            table = self._table("int32_t", chosen.ravel().tolist())
            parts = self._table(
                "float", [number(share) for share in np.take_along_axis(shares, chosen, axis=1).ravel()]
            )
            self._call("blend", result, value, outer, side, len(shares), inner, taps, table, parts)
            value = result
        return value

    def _reduce(self) -> Value:
        """ReduceMean, ReduceSum or GlobalAveragePool."""
        value = self._kept(self.inputs[0])
        rank, mean = len(value.shape), self.node.op_type != "ReduceSum"
        every = range(2 if self.node.op_type == "GlobalAveragePool" else 0, rank)
        axes = self.constants[self.inputs[1]].tolist() if self.inputs[1] else self.given.get("axes", every)
        gone = sorted(axis % rank for axis in axes)
        self._demand(gone != [] and gone == list(range(gone[0], gone[-1] + 1)), "its axes are not side by side")
        outer, side, inner = (
            math.prod(value.shape[a:b]) for a, b in ((0, gone[0]), (gone[0], gone[-1] + 1), (gone[-1] + 1, rank))
        )
        keep = self.given.get("keepdims", 1)
        made = self._new(*(1 if axis in gone else n for axis, n in enumerate(value.shape) if keep or axis not in gone))
        self._call("reduce", made, value, outer, side, inner, number(1 / side if mean else 1))
        return made

    LAYERS: ClassVar[dict[str, Callable[[_Builder], Value]]] = {
        "AveragePool": _averagepool,
        "Concat": _concat,
        "Conv": _conv,
        "ConvTranspose": _convtranspose,
        "Gemm": _gemm,
        "GlobalAveragePool": _reduce,
        "MatMul": _gemm,
        "ReduceMean": _reduce,
        "ReduceSum": _reduce,
        "Resize": _resize,
    }


def _braced(values: Sequence[object]) -> str:
    """As C initialises arrays and structs."""
    return "{" + ", ".join(_braced(v) if isinstance(v, list | tuple) else str(v) for v in values) + "}"
