"""The random generator of a seeded file without 64-bit integers: `squares32-table16/1` in float32.

It is `gantool.artifact.latents` for runtimes that have no int64, or narrow it: the same numbers, bit for bit. A number
of 64 bits is four digits of 16, the lowest first: float32 (4, columns). A product is one of nibbles:

- Both factors are split into 16 nibbles, whose products are at most 225.
- A matrix of powers of two (1 to 4096, and their doubles) adds them up to digits, which are below 15.8 million.
- Carries go from digit to digit by floor(x / 65536).

Why it is exact: each value is a whole number below 2**24, or one times a power of two, so no product, sum, floor or
fused multiply-add rounds, in whatever order. That holds on matrix units, too: what is multiplied there has 8
significant bits, so bfloat16, TF32 and float16 hold it, and they add in float32. What breaks it is a runtime that keeps
intermediate results in 16 bits, for digits have 24. No graph can prevent that: have the runtime compute in float32, as
the rest of a float32 file wants, too. The golden images show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper

from gantool.artifact import latents
from gantool.artifact.manifest import LIMBS as DIGITS
from gantool.exporting.onnx_files.seeds import BATCH, INDEX, OPSET, SEED, Emitter, seeded_model

NIBBLES = 16
BASE = 1 << 16
SQUARED = [(i, j) for k in range(NIBBLES) for i in range(k + 1) if i <= (j := k - i)]
MULTIPLIED = [(i, k - i) for k in range(NIBBLES) for i in range(k + 1)]


def portable_model(generator: onnx.ModelProto, normal_inputs: Sequence[tuple[str, tuple[int, ...]]]) -> onnx.ModelProto:
    """The generator with its `normal_inputs` (name, shape without batch) made inside, without 64-bit integers.

    Inputs: `seed` float32 (1, 4) and `index` float32 (batch, 4), both as `gantool.artifact.latents.limbs` makes them;
    then the generator's others, a label as int32 (batch,). The output has the whole numbers of a seeded file, as
    float32 (batch, …, C). Raises GantoolError for a generator that can't be joined.
    """
    return seeded_model(generator, normal_inputs, draw=latents_graph, floats=True)


def latents_graph(inputs: Sequence[tuple[str, tuple[int, ...]]], opset: int = OPSET) -> onnx.ModelProto:
    """`seed` float32 (1, 4), `index` float32 (batch, 4) → a normal float32 (batch, *shape) for every (name, shape).

    They are those of `seeds.latents_graph`. GantoolError when a row is empty or has more than 262144 numbers.
    """
    sizes = [math.prod(shape) for _, shape in inputs]
    count = latents.counters(sum(sizes))
    emit = Emitter("latents", opset)
    write = _Arithmetic(emit)

    # the key: latents.key_from_seed
    hash_key = write.constant("hash_key", latents.limbs([latents.HASH_KEY]).T)
    y = write.product(emit("Transpose", SEED, perm=[1, 0]), hash_key)
    z = emit("Add", y, hash_key)
    t = write.whole(write.square(write.three_rounds(y, z), z))
    upper = write.square(write.split(emit.parts(t, DIGITS)), y)[2:]
    zeros = write.constant("zeros", np.zeros((2, 1)))
    hashed = write.whole(write.carried(emit("Add", t, emit("Concat", write.whole(upper), zeros, axis=0))))
    halved = emit("Floor", emit("Mul", hashed, write.constant("half", [[0.5], [1.0], [1.0], [1.0]])))
    doubled = emit("Mul", halved, write.constant("double", [[2], [1], [1], [1]]))
    key = emit("Add", doubled, write.constant("odd", [[1], [0], [0], [0]]), name="latents/key")

    # one number a counter: latents.integers
    y = write.product(_counters(write, count), key)
    z = emit("Add", y, key)
    high, low = reversed(write.square(write.three_rounds(y, z), z)[2:])
    bits = write.whole([high, low])

    # two normals a number: latents.normals
    row = write.integers("row", [2, -1, count])
    pairs = emit("Transpose", emit("Reshape", bits, row), perm=[1, 0, 2])
    places = emit("Cast", emit("Reshape", pairs, write.integers("rows", [-1, 2 * count])), to=TensorProto.INT32)
    emit.deal(emit.constant("table", latents.table()), places, inputs)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape]) for name, shape in inputs]
    seed = helper.make_tensor_value_info(SEED, TensorProto.FLOAT, [1, DIGITS])
    index = helper.make_tensor_value_info(INDEX, TensorProto.FLOAT, [BATCH, DIGITS])
    return emit.model([seed, index], outputs)


def _counters(write: _Arithmetic, count: int) -> str:
    """index * stride + j as digits (4, batch * count), image by image."""
    emit, far = write.emit, latents.stride(count) // latents.STRIDE
    j = np.arange(count)
    columns = np.stack([j % BASE, j // BASE, 0 * j, 0 * j])[:, None]
    turned = emit("Gather", INDEX, emit.constant("turned", np.array([3, 0, 1, 2], np.int32)), axis=1)  # times 65536
    rows = emit("Unsqueeze", emit("Transpose", turned, perm=[1, 0]), write.integers("axis2", [2]))
    if far > 1:
        rows = emit("Mul", rows, write.constant("far", far))
    spread = emit("Add", rows, write.constant("columns", columns))
    digits = emit("Reshape", spread, write.integers("flat", [DIGITS, -1]))
    return write.whole(write.carried(digits)) if far > 1 else digits


class _Arithmetic:
    """Numbers modulo 2**64: float32 (4, columns) of digits below 65536, and (16, columns) of nibbles."""

    def __init__(self, emit: Emitter) -> None:
        self.emit = emit

    def constant(self, name: str, value: ArrayLike) -> str:
        return self.emit.constant(name, np.asarray(value, np.float32))

    def integers(self, name: str, value: Sequence[int]) -> str:
        """A shape or axis, which ONNX wants as int64."""
        return self.emit.constant(name, np.array(value, np.int64))

    def three_rounds(self, y: str, z: str) -> str:
        """The nibbles of the third square, turned by 32 bits."""
        x = self.nibbles(y)
        for plus in (y, z, y):
            x = self.split(self.square(x, plus))
        return x

    def square(self, x: str, plus: str) -> list[str]:
        """x * x + plus: nibbles and digits → four digits, what is above 65536 still in them."""
        return self.carried(self.emit("Add", self._products("squared", x, x, SQUARED), plus))

    def product(self, x: str, y: str) -> str:
        """Digits times digits, as digits."""
        return self.whole(self.carried(self._products("multiplied", self.nibbles(x), self.nibbles(y), MULTIPLIED)))

    def _products(self, name: str, x: str, y: str, pairs: Sequence[tuple[int, int]]) -> str:
        weights = np.zeros((DIGITS, len(pairs)))
        for column, (i, j) in enumerate(pairs):
            digit, nibble = divmod(i + j, DIGITS)
            weights[digit, column] = 16**nibble * (2 if pairs is SQUARED and i < j else 1)
        firsts, seconds = (
            self.emit.constant(f"{name}/{side}", np.array(rows, np.int32))
            for side, rows in zip(("first", "second"), zip(*pairs, strict=True), strict=True)
        )
        made = self.emit("Mul", self.emit("Gather", x, firsts, axis=0), self.emit("Gather", y, seconds, axis=0))
        return self.emit("MatMul", self.constant(f"{name}/weights", weights), made)

    def carried(self, sums: str) -> list[str]:
        """Four digits with the carries of those below; what is above 65536 is still in them, too."""
        emit, base = self.emit, self.constant(f"1/{BASE}", 1 / BASE)
        digits = emit.parts(sums, DIGITS)
        for place in range(1, DIGITS):
            carry = emit("Floor", emit("Mul", digits[place - 1], base))
            digits[place] = emit("Add", digits[place], carry)
        return digits

    def whole(self, digits: Sequence[str]) -> str:
        """Digits modulo 65536, in one tensor."""
        return self._modulo(self.emit("Concat", *digits, axis=0), BASE)

    def nibbles(self, digits: str) -> str:
        """The nibbles of digits in one tensor."""
        rows = self.emit.constant("spread", np.repeat(np.arange(DIGITS, dtype=np.int32), DIGITS))
        return self._nibbles(self.emit("Gather", digits, rows, axis=0))

    def split(self, digits: Sequence[str]) -> str:
        """The nibbles of `carried` digits, turned by 32 bits."""
        turned = [*digits[2:], *digits[:2]]
        return self._nibbles(self.emit("Concat", *(digit for digit in turned for _ in range(DIGITS)), axis=0))

    def _nibbles(self, spread: str) -> str:
        """`spread`: each digit four times."""
        places = self.constant("places", [[16.0**-place] for _ in range(DIGITS) for place in range(DIGITS)])
        return self._modulo(self.emit("Floor", self.emit("Mul", spread, places)), 16)

    def _modulo(self, x: str, base: int) -> str:
        emit = self.emit
        above = emit("Floor", emit("Mul", x, self.constant(f"1/{base}", 1 / base)))
        return emit("Sub", x, emit("Mul", above, self.constant(str(base), base)))
