"""What callers give, looked at: whole numbers, inputs of a graph, labels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gantool.artifact import classnames, latents
from gantool.artifact.manifest import InputInfo, Manifest
from gantool.errors import GantoolError

Labels = int | str | Sequence[int | str] | np.ndarray | None


def asked(n: Any, seed: Any, first: Any) -> tuple[int, int, int]:
    """The three as int, NumPy's integers too; GantoolError unless there are images first … first+n-1 of `seed`."""
    if not type(n) is type(seed) is type(first) is int:
        n, seed, first = whole("n", n), whole("seed", seed), whole("first", first)
    if n < 0:
        raise GantoolError(f"{n} images were asked for.", "Give 0 or more.")
    if not 0 <= first <= latents.MAX_INDEX - n:
        raise GantoolError(
            f"There is no image {first + n - 1 if first >= 0 else first}.", "They run from 0 to 2**47 - 1."
        )
    if not -(2**63) <= seed < 2**63:
        latents.key_from_seed(seed)  # refuses what a graph would cut to 64 bits
    return n, seed, first


def whole(name: str, value: Any) -> int:
    """`value` as int; GantoolError for what is no whole number."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise GantoolError(f"{name} is {value!r:.100}: not a whole number.") from error


def graph_input(item: InputInfo, given: Any) -> np.ndarray:
    """An input as the graph takes it; GantoolError for another shape, or for what are no numbers."""
    array = np.asarray(given)
    sound = array.dtype.kind in "biuf" and (item.dtype == "float32" or array.dtype.kind in "iu")
    if not sound or array.ndim != 1 + len(item.shape) or array.shape[1:] != item.shape:
        wanted = ", ".join(map(str, ("n" if item.distribution != "seed" else 1, *item.shape)))
        raise GantoolError(f"{item.name} is {array.dtype} {array.shape}; wanted: {item.dtype} ({wanted}).")
    return np.ascontiguousarray(array, item.dtype)


def classes(given: int | str | Sequence[int | str] | np.ndarray, count: int, described: Manifest) -> int | np.ndarray:
    """Labels as one whole number, or int64 (count,); GantoolError unless each is a class, by number or by name."""
    values = np.asarray(given)
    if values.dtype.kind == "U" and values.ndim < 2:
        named = values.reshape(-1).tolist()
        numbers = {name: classnames.number(name, described) for name in dict.fromkeys(named)}
        values = np.array([numbers[name] for name in named], np.int64).reshape(values.shape)
    known = classnames.count(described)
    if values.shape not in ((), (count,)) or (values.size and values.dtype.kind not in "iu"):
        raise GantoolError(f"The labels are {values.dtype} {values.shape}; wanted: one whole number, or {count}.")
    if values.size and not 0 <= values.min() <= values.max() < known:
        raise GantoolError(f"The labels run from {values.min()} to {values.max()}; there are {known} classes.")
    return values.astype(np.int64) if values.shape else int(values)


def padded(array: np.ndarray, count: int) -> np.ndarray:
    """`array` with its last row repeated, up to `count` rows."""
    return np.concatenate([array, np.repeat(array[-1:], count - len(array), axis=0)])
