"""Values of a network in C, and its elementwise operators: a chain of them is one loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

BINARY = {"Add": "{0} + {1}", "Sub": "{0} - {1}", "Mul": "{0} * {1}", "Div": "{0} / {1}", "Pow": "powf({0}, {1})"}
BINARY |= {"Max": "{0} > {1} ? {0} : {1}", "Min": "{0} < {1} ? {0} : {1}"}
UNARY = {"Relu": "{0} > 0.0f ? {0} : 0.0f", "Tanh": "fast_tanh({0})", "Sigmoid": "fast_sigmoid({0})"}
UNARY |= {"Sqrt": "sqrtf({0})", "Reciprocal": "1.0f / {0}", "Neg": "-{0}", "Exp": "expf({0})", "Abs": "fabsf({0})"}
UNARY |= {"LeakyRelu": "{0} > 0.0f ? {0} : {0} * {alpha}", "Elu": "{0} > 0.0f ? {0} : {alpha} * expm1f({0})"}
UNARY |= {"Erf": "erff({0})", "Log": "logf({0})"}
ALPHA = {"LeakyRelu": 0.01, "Elu": 1.0}
CHEAP = {"Add", "Constant", "Mul", "Neg", "Relu", "Sub"}  # computed again rather than kept


@dataclass(frozen=True)
class Value:
    """float32 at a C pointer. `index`: where each number lies there, -1 for zero; None: in order."""

    pointer: str
    shape: tuple[int, ...]
    index: np.ndarray | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Formula:
    """An elementwise operator of values, formulas and numbers not computed yet; `text`: in C, of {0} and {1}."""

    op: str
    text: str
    parts: tuple[Value | Formula | float, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def cheap(self) -> bool:
        return self.op in CHEAP and all(part.cheap for part in self.parts if isinstance(part, Formula))

    def leaves(self) -> Iterator[Value]:
        for part in self.parts:
            if isinstance(part, Formula):
                yield from part.leaves()
            elif isinstance(part, Value):
                yield part


def number(value: float) -> str:
    """A float32 as C writes it, exactly."""
    if not math.isfinite(value):
        return "-INFINITY" if value < 0 else "INFINITY" if value > 0 else "NAN"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def function(formula: Formula, leaves: Sequence[Value], over: Value | None) -> str:
    """A C function %NAME% that computes the formula; it reads the leaf `over` where it writes."""
    rank = len(formula.shape)
    strides = []
    for leaf in leaves:
        shape = (1,) * (rank - len(leaf.shape)) + leaf.shape
        strides.append([0 if n == 1 else math.prod(shape[i + 1 :]) for i, n in enumerate(shape)])
    loops: list[tuple[int, list[int]]] = []  # side, and each leaf's step; axes that all go through in order are one
    for axis, side in enumerate(formula.shape):
        step = [row[axis] for row in strides]
        if loops and side > 1 and loops[-1][1] == [s * side for s in step]:
            loops[-1] = (loops[-1][0] * side, step)
        elif side > 1:
            loops.append((side, step))
    names = ["y" if leaf == over else f"x{i}" for i, leaf in enumerate(leaves)]

    def at(step: Sequence[int]) -> str:
        return " + ".join(f"i{n}" if s == 1 else f"i{n} * {s}" for n, s in enumerate(step) if s) or "0"

    lines = [f"v{i} = {name}[{at([step[i] for _, step in loops])}]" for i, name in enumerate(names)]

    def write(part: Value | Formula | float) -> str:
        if isinstance(part, float):
            return number(part)
        if isinstance(part, Value):
            return f"v{leaves.index(part)}"
        text = part.text.format(*map(write, part.parts))
        lines.append(f"v{len(lines)} = {text}")
        return f"v{len(lines) - 1}"

    place, result = at([math.prod(side for side, _ in loops[n + 1 :]) for n in range(len(loops))]), write(formula)
    heads = "".join(f"for (size_t i{n} = 0; i{n} < {side}; i{n}++) " for n, (side, _) in enumerate(loops))
    parameters = ", ".join(["float *restrict y", *(f"const float *restrict {name}" for name in names if name != "y")])
    body = "\n".join(f"        const float {line};" for line in lines)
    return f"static void %NAME%({parameters}) {{\n    {heads}{{\n{body}\n        y[{place}] = {result};\n    }}\n}}"
