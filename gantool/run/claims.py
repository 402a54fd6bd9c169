"""Check what a checkpoint's pickle claims, before torch obeys it. Nothing that it names is imported or called.

`torch.load(weights_only=True)` runs no code, but allocates whatever sizes a file names.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

SMALL = 2**20  # bytes that a tensor may have in any file, however small
MAX_SIDES = 64
_ITEM_BYTES = {
    "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "UntypedStorage": 1, "HalfStorage": 2, "BFloat16Storage": 2,
    "ShortStorage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip
# what torch.save writes for plain values and tensors
_OPCODES = (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.POP, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE,
    pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.LONG4, pickle.BINFLOAT,
    pickle.BINUNICODE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1,
    pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS,
    pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET,
    pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID,
)  # fmt: skip


def check(data: bytes, records: Mapping[str, int], size: int) -> None:
    """Check the pickle `data` of a file of `size` bytes. `records`: key of each storage → its bytes in the file.

    Raises UnpicklingError for anything but plain values and tensors, for a storage that is not as large as its record,
    and a tensor that leaves its storage or is larger than the file (one that repeats its values). Damaged pickles raise
    what pickle raises.
    """
    _Reader(data, records, max(size, SMALL)).load()


_STEPS: dict[int, Any] = pickle._Unpickler.dispatch


class _Storage:
    def __init__(self, item_bytes: int, count: int) -> None:
        self.item_bytes, self.count = item_bytes, count


class _Tensor:
    """Stands for a tensor."""


class _Reader(pickle._Unpickler):  # in Python: the one in C allocates for any index of its memo
    dispatch: ClassVar[dict[int, Any]] = {code[0]: _STEPS[code[0]] for code in _OPCODES}

    stack: list[Any]

    def __init__(self, data: bytes, records: Mapping[str, int], limit: int) -> None:
        super().__init__(io.BytesIO(data))
        self.records, self.limit = records, limit

    def find_class(self, module: str, name: str) -> Any:
        found: Any = self._known(f"{module}.{name}")
        if found is None and module in ("torch", "torch.storage"):
            found = _ITEM_BYTES.get(name)
        if found is None and module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            found = dtype
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a checkpoint")
        return found

    def _known(self, name: str) -> Callable[..., Any] | None:
        known: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": lambda: OrderedDict(),  # filled later, with keys that are checked
            "torch.Size": lambda sides: sides,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._typed_tensor,
            "torch._utils._rebuild_parameter": lambda data, *rest: data,
            "_codecs.encode": lambda text, encoding: text,  # bytes
        }
        return known.get(name)

    def persistent_load(self, pid: Any) -> _Storage:
        kind, item_bytes, key, _, count = pid
        if kind != "storage" or type(item_bytes) is not int or type(count) is not int or key not in self.records:
            raise pickle.UnpicklingError(f"the storage {key!r} is not there")
        have = self.records[key]
        if count < 0 or count * item_bytes != have:
            raise pickle.UnpicklingError(f"the storage {key!r} has {have} bytes, not {count} times {item_bytes}")
        return _Storage(item_bytes, count)

    def _tensor(self, storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> _Tensor:
        return self._check_tensor(storage, storage.item_bytes, offset, size, stride)

    def _typed_tensor(
        self, storage: Any, offset: int, size: Any, stride: Any, grad: Any, hooks: Any, dtype: torch.dtype, *rest: Any
    ) -> _Tensor:
        return self._check_tensor(storage, dtype.itemsize, offset, size, stride)

    def _check_tensor(self, storage: Any, item_bytes: int, offset: Any, size: Any, stride: Any) -> _Tensor:
        numbers = (offset, *size, *stride)
        if not all(type(number) is int and 0 <= number < 2**62 for number in numbers) or len(size) > MAX_SIDES:
            raise pickle.UnpicklingError(f"a tensor has the shape {size!r:.200} and strides {stride!r:.200}")
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if math.prod(size) and (last + 1) * item_bytes > storage.item_bytes * storage.count:
            raise pickle.UnpicklingError("a tensor has values outside its storage")
        if math.prod(size) * item_bytes > self.limit:
            raise pickle.UnpicklingError(f"a tensor has the shape {size!r:.200}: it is larger than the file")
        return _Tensor()

    def load_setitem(self) -> None:
        self._check_keys([self.stack[-2]])
        _STEPS[pickle.SETITEM[0]](self)

    def load_setitems(self) -> None:
        self._check_keys(self.stack[::2])
        _STEPS[pickle.SETITEMS[0]](self)

    def _check_keys(self, keys: list[Any]) -> None:
        """Hashing a tuple of tuples may take for ever."""
        if not all(key is None or isinstance(key, str | int | float) for key in keys):
            raise pickle.UnpicklingError("a key of a dictionary is neither a text nor a number")

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
