"""Load and validate the data sets of plugins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gantool.data.dataset import Dataset, as_labels
from gantool.errors import GantoolError, named
from gantool.plugin.registry import Plugin

_SAMPLE_AXES = {2: "(N, C, T)", 3: "(N, C, H, W)", 4: "(N, C, D, H, W)"}
_ROUNDING = 1e-4  # values this far outside [-1, 1] are rounding errors
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")


def load_of_plugin(plugin: Plugin, size: int | None) -> Dataset:
    """The data set of `plugin`, under the plugin's name.

    GantoolError, which names the plugin, when its `load` raises, or returns something else than valid arrays.
    """
    source = plugin.dataset
    assert source is not None
    where = f"The data set {source.name!r} of {plugin.distribution} {plugin.version}"
    try:
        data = source.load(size)
    except GantoolError as error:
        raise GantoolError(f"{where} can't be loaded: {error.message}", error.hint) from error
    except Exception as error:  # a third party's code may raise anything
        raise GantoolError(
            f"{where} can't be loaded: {named(error)}", f"Tell the authors of {plugin.distribution}."
        ) from error
    problem = _problem(data, size)
    if problem:
        raise GantoolError(f"{where} is broken: {problem}", f"Tell the authors of {plugin.distribution}.")
    return replace(data, name=source.name, source=source.name, licence=data.licence or source.licence)


def _problem(data: object, size: int | None = None) -> str:
    """The first fault of what a plugin returned; "" when it has none."""
    if not isinstance(data, Dataset):
        return f"its load returned {_type(data)}, not a gantool.data.Dataset."
    texts: list[object] = [data.licence, data.stored_fingerprint, *data.class_names, *data.notes]
    if not all(isinstance(text, str) for text in texts) or not isinstance(data.class_names, tuple):
        return "its licence and notes have to be texts, its class names a tuple of texts."
    if not _FINGERPRINT.fullmatch(data.stored_fingerprint):
        return "its stored fingerprint is no SHA-256."
    arrays: object = data.arrays
    if not isinstance(arrays, Mapping) or "images" not in arrays:
        return "it has no array named 'images'."
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            return f"its array {name!r} is {_type(array)}, not a numpy array."
    images = data.images
    if images.dtype not in (np.uint8, np.float32) and not (images.dtype == np.int16 and images.ndim == 3):
        return f"its images have dtype {images.dtype}; they are uint8, or float32 in [-1, 1], and audio may be int16."
    if images.ndim - 1 not in _SAMPLE_AXES or 0 in images.shape:
        kinds = " or ".join(_SAMPLE_AXES.values())
        return f"its images have shape {images.shape}; they are {kinds}, without an empty axis."
    if size is not None and images.shape[2:] != (size,) * (images.ndim - 2):
        return f"its images have shape {images.shape}, though size {size} was asked for."
    for name, array in data.arrays.items():
        if array.ndim == 0 or len(array) != len(data):
            return f"its array {name!r} has shape {array.shape}, but there are {len(data)} images."
    for name, array in data.arrays.items():
        if name != "labels" and (problem := _problem_of_values(name, array)):
            return problem
    return _problem_of_labels(data)


def _problem_of_values(name: str, array: np.ndarray) -> str:
    """Floats have to be finite, and those of images in [-1, 1]."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        return f"its array {name!r} has dtype {array.dtype}, which is no number of 8 to 64 bits."
    if array.dtype.kind != "f":
        return ""
    low, high = float(array.min(initial=0)), float(array.max(initial=0))  # no copy: it may be a map of a large file
    if not np.isfinite([low, high]).all():
        return f"its array {name!r} has values that are NaN or infinite."
    if name == "images" and (low < -1 - _ROUNDING or high > 1 + _ROUNDING):
        return f"its images have values from {low:g} to {high:g}; float32 images lie in [-1, 1]."
    return ""


def _problem_of_labels(data: Dataset) -> str:
    if data.labels is None:
        return ""
    try:
        as_labels(data.labels, len(data), "it")
    except GantoolError as error:
        return error.message
    if data.labels.dtype != np.int64:
        return f"its labels have dtype {data.labels.dtype}; they are int64."
    if data.class_names and len(data.class_names) <= data.labels.max():
        return f"it has {len(data.class_names)} class names, and a label of {data.labels.max()}."
    return ""


def _type(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
