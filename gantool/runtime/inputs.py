"""Validate arguments, and check that the manifest matches the graph."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from gantool.artifact import latents
from gantool.artifact.manifest import Golden, InputInfo, Manifest
from gantool.artifact.onnxfile import OnnxFile
from gantool.errors import ArgumentError, GantoolError, excerpt
from gantool.runtime.session import Value, signature

Labels = int | str | Sequence[int | str] | np.ndarray | None
Values = Mapping[str, float | Sequence[float] | np.ndarray]

MAX_SIDES = 8
MAX_ELEMENTS = 2**31  # of one row of an input, or of one sample
MAX_CLASSES = 2**31


def check_request(n: Any, seed: Any, first: Any, noun: str = "sample") -> tuple[int, int, int]:
    """The three as int (NumPy's integers too); GantoolError unless samples first … first+n-1 of `seed` exist."""
    if not type(n) is type(seed) is type(first) is int:
        n, seed, first = whole("n", n), whole("seed", seed), whole("first", first)
    if n < 0:
        raise ArgumentError(f"{n} {noun}s were asked for.", "Give 0 or more.")
    if not 0 <= first <= latents.MAX_INDEX - n:
        raise ArgumentError(
            f"There is no {noun} {first + n - 1 if first >= 0 else first}.", "They run from 0 to 2**47 - 1."
        )
    if not -(2**63) <= seed < 2**63:
        latents.key_from_seed(seed)  # raises: a graph would cut it to 64 bits
    return n, seed, first


def whole(name: str, value: Any) -> int:
    """`value` as int; GantoolError when it is no whole number."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise ArgumentError(f"{name} is {value!r:.100}: not a whole number.") from error


def graph_input(item: InputInfo, given: Any) -> np.ndarray:
    """The array `given` for one input of the graph; GantoolError for another shape or dtype, or values out of range."""
    array = np.asarray(given)
    right = (
        array.dtype == np.uint8
        if item.dtype == "uint8"
        else array.dtype.kind in ("f" if item.dtype == "float32" else "iu")
    )
    sides = zip(array.shape[1:], item.axes, strict=False)
    fits = array.ndim == 1 + len(item.shape) and all(
        side == axis if axis is not None else side > 0 and side % item.multiple == 0 for side, axis in sides
    )
    if not right or not fits:
        axes = [f"k·{item.multiple}" if axis is None else str(axis) for axis in item.axes]
        wanted = ", ".join(["n" if item.distribution != "seed" else "1", *axes])
        hint = ""
        if item.dtype == "float32" and array.dtype == np.uint8:
            hint = "Scale a picture of bytes to [-1, 1] first: picture / 127.5 - 1."
            if item.is_picture:
                hint = "Give pictures of bytes to .translate(pictures): it scales and pads them."
        raise ArgumentError(f"{item.name} is {array.dtype} {array.shape}; wanted: {item.dtype} ({wanted}).", hint)
    if item.distribution == "label":
        check_labels(array, item.classes)
    elif item.distribution == "value":
        check_bounds(array, item)
    elif item.distribution in ("seed", "index") and item.dtype == "float32":
        check_limbs(array, item)
    elif item.distribution == "index":
        latents.check_index(array)
    elif item.distribution == "seed":
        for seed in array.tolist():
            latents.key_from_seed(seed)
    return np.ascontiguousarray(array, item.dtype)


def parse_labels(given: Labels, count: int, manifest: Manifest, origin: Path) -> int | np.ndarray | None:
    """Labels, by number or name, as one whole number, int64 (count,), or None.

    GantoolError for a generator without labels, another number of them, or an unknown class.
    """
    if given is None:
        return None
    if manifest.input("label") is None:
        raise manifest.takes_no_labels(origin)
    values = np.asarray(given)
    if values.dtype.kind == "U" and values.ndim < 2:
        names = values.reshape(-1).tolist()
        numbers = {name: manifest.class_number(name) for name in dict.fromkeys(names)}
        values = np.array([numbers[name] for name in names], np.int64).reshape(values.shape)
    if values.shape not in ((), (count,)) or (values.size and values.dtype.kind not in "iu"):
        raise ArgumentError(f"The labels are {values.dtype} {values.shape}; wanted: one whole number, or {count}.")
    check_labels(values, manifest.classes)
    return values.astype(np.int64) if values.shape else int(values)


def check_labels(labels: np.ndarray, classes: int) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)].flat[0]
        raise ArgumentError(f"There is no class {wrong}: the labels of {classes} classes are 0 to {classes - 1}.")


def parse_values(given: Values | None, count: int, manifest: Manifest, origin: Path) -> dict[str, float | np.ndarray]:
    """All values of a generator by name, the defaults of those not given: a number, or float32 (count,).

    ArgumentError for a name that it does not have, another number of them, or one out of its bounds.
    """
    named = {item.name: item for item in manifest.values}
    values: dict[str, float | np.ndarray] = {name: item.default for name, item in named.items()}
    if given is not None and not isinstance(given, Mapping):
        raise ArgumentError(f"The values are {excerpt(repr(given), 60)}.", "Give them by name: {'NAME': NUMBER}")
    for name, value in (given or {}).items():
        if name not in named:
            raise ArgumentError(f"{origin} takes no value {excerpt(name)!r}: {manifest.list_values()}.")
        array = np.asarray(value)
        if array.shape not in ((), (count,)) or array.dtype.kind not in "fiu":
            shown = excerpt(repr(value), 60) if array.dtype.kind in "USO" else f"{array.dtype} {array.shape}"
            raise ArgumentError(f"{name} is {shown}; wanted: one number, or {count}.")
        check_bounds(array, named[name])
        values[name] = array.astype(np.float32) if array.shape else float(array)
    return values


def check_limbs(limbs: np.ndarray, item: InputInfo) -> None:
    """GantoolError unless they are those of `latents.limbs`, of an index below 2**47."""
    most = latents.limbs([latents.MAX_INDEX - 1 if item.distribution == "index" else 2**64 - 1])
    if not ((limbs >= 0) & (limbs <= most) & (np.floor(limbs) == limbs)).all():
        raise ArgumentError(
            f"{item.name} is not four limbs of 16 bits, the lowest first.",
            f"Give gantool.artifact.latents.limbs([NUMBER]), or use .sample({item.name}=NUMBER).",
        )


def check_bounds(values: np.ndarray, item: InputInfo) -> None:
    # as float32, in which files hold them: 0.1 may be less than the 0.1 of a bound
    values, low, high = values.astype(np.float32), np.float32(item.low), np.float32(item.high)
    wrong = values[~((values >= low) & (values <= high))]
    if wrong.size:
        raise ArgumentError(f"{excerpt(item.name)} is {wrong.flat[0]:g}: it goes from {item.low:g} to {item.high:g}.")


def check_signature(session: ort.InferenceSession, path: Path, manifest: Manifest) -> None:
    """GantoolError unless the graph has the inputs and the output that the manifest says: names, dtypes, shapes."""
    inputs, outputs = signature(session, path)
    batch, output = manifest.batch, manifest.output
    wanted_inputs = [
        Value(i.name, i.dtype, (1 if i.distribution == "seed" else batch, *i.axes)) for i in manifest.inputs
    ]
    wanted_outputs = [Value(output.name, output.dtype, (batch, *manifest.output_axes))]
    for what, found, wanted in (("inputs", inputs, wanted_inputs), ("outputs", outputs, wanted_outputs)):
        pairs = [{(value.name, value.dtype) for value in values} for values in (found, wanted)]
        if pairs[0] != pairs[1] or len(found) != len(wanted):
            has, says = (", ".join(f"{name} {dtype}" for name, dtype in sorted(pair)) for pair in pairs)
            raise _changed(path, f"has the {what} {excerpt(has, 300)}; its manifest says {excerpt(says, 300)}")
        shapes = {value.name: value.shape for value in wanted}
        for value in found:
            if not _matches(value.shape, shapes[value.name]):
                has, says = (shape_text(shape) for shape in (value.shape, shapes[value.name]))
                raise _changed(path, f"has {excerpt(value.name)} of {has}; its manifest says {says}")
    rows = [i.shape for i in manifest.inputs + manifest.latents] + [output.shape]
    if any(len(shape) > MAX_SIDES or math.prod(shape) > MAX_ELEMENTS for shape in rows):
        raise _changed(path, "has inputs or an output too large for any memory")
    for item in manifest.inputs:
        if item.distribution == "label" and not 1 <= item.classes <= MAX_CLASSES:
            raise _changed(path, f"has a label of {excerpt(str(item.classes))} classes")


def check_digest(file: OnnxFile, path: Path, manifest: Manifest) -> None:
    """GantoolError when the graph is not the one that the manifest was written for."""
    if manifest.graph_sha256 not in (None, file.graph_sha256):  # None: schema 1
        raise GantoolError(
            f"{path} holds other weights or nodes than its manifest says: "
            f"sha256 {file.graph_sha256} instead of {excerpt(str(manifest.graph_sha256))}.",
            "It was changed since its export: export it again.",
        )


def worst_pixel(golden: Golden, images: np.ndarray, path: Path) -> int:
    """The largest difference, in levels, of the golden pixels; GantoolError for one outside the images."""
    worst = 0
    for *at, values in golden.pixels:
        place = (*at, len(values) - 1)
        if images.ndim != len(place) or any(i >= side for i, side in zip(place, images.shape, strict=True)):
            raise GantoolError(f"{path}: a golden value lies outside its samples.", "Export it again.")
        pixel = images[tuple(at)][: len(values)].astype(int)
        worst = max(worst, int(np.abs(pixel - np.array(values)).max()))
    return worst


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape for a message; an axis of any length is n."""
    return excerpt("(" + ", ".join("n" if side is None else str(side) for side in shape) + ")", 120)


def _matches(found: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a graph's shape agrees with the manifest's; a graph may leave out a side, or all of them.

    It may not fix one that may have any length.
    """
    return not found or (
        len(found) == len(wanted) and all(side in (None, other) for side, other in zip(found, wanted, strict=True))
    )


def _changed(path: Path, what: str) -> GantoolError:
    return GantoolError(f"{path} {what}.", "The file was changed since its export: export it again.")
