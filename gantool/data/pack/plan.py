"""What is to be packed: a source, what is known of it, and the plan by which an interrupted call is known again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from gantool import __version__
from gantool.data import is_bare, load
from gantool.data.checks import check_sides, check_size
from gantool.data.dataset import Dataset
from gantool.data.decode import Preparation, colour
from gantool.data.images import CHANNELS, FITS, Fit, channel_axis, check_images
from gantool.data.mapped import open_npy
from gantool.data.pack.format import is_pack
from gantool.data.pack.sources import ArraySource, FolderSource, all_grey, first_whole, signature
from gantool.data.readers.csv_labels import read_labels
from gantool.data.readers.folder import class_note, classes_of, find_images
from gantool.data.sources import names
from gantool.errors import GantoolError, excerpt
from gantool.system.cores import usable_cores

FEW = 500  # files that one process decodes before others have started


@dataclass(frozen=True)
class Options:
    """How a source is packed; the defaults keep what it has. `labels`: folders, none or a CSV file; None: folders, when
    there are any. `background`: a colour that Pillow knows."""

    size: int | None = None
    channels: int | None = None
    fit: Fit = "crop"
    labels: str | None = None
    background: str = "white"
    skip_broken: bool = False
    licence: str | None = None


def is_folder_of_files(source: str) -> bool:
    """Whether `source` is a folder of image files: no pack, and no name that `load` takes for another set's."""
    path = Path(source)
    return path.is_dir() and not is_pack(path) and not (is_bare(source) and source in names())


def _check(options: Options) -> None:
    if options.size is not None:
        check_size(options.size)
    if options.channels not in (None, *CHANNELS):
        raise GantoolError(f"--channels is {options.channels}.", "Give 1 (grey) or 3 (colour).")
    if options.fit not in FITS:
        raise GantoolError(f"--fit is {excerpt(options.fit)!r}.", f"Give one of {', '.join(FITS)}.")
    colour(options.background)


# from what an earlier call found out about the source, and the number of workers: the source, and what is found out
Ready = Callable[[Mapping[str, Any], int | None], tuple[ArraySource | FolderSource, dict[str, Any]]]


def open_source(source: str, options: Options) -> tuple[dict[str, Any], dict[str, Any], Ready]:
    """What `pack.json` will say of `source`; the plan (equal plans make equal packs); how to make the source ready.

    GantoolError for options that make no sense, and a source that is none.
    """
    _check(options)
    path = Path(source)
    shape = {"size": options.size, "channels": options.channels, "fit": options.fit, "background": options.background}
    plan: dict[str, Any] = {**shape, "labels": options.labels, "licence": options.licence}
    plan |= {"pillow": PIL.__version__, "gantool": __version__}  # other pixels, other files
    if is_folder_of_files(source):
        return _open_folder(path, options, plan)
    if options.labels not in (None, "none"):
        raise GantoolError(
            f"--labels {excerpt(options.labels)} is for a folder of image files, which {source} is not.",
            "Leave --labels out to keep the labels that it has, or give --labels none.",
        )
    if path.suffix.lower() == ".npy" and path.is_file():
        data, plan["source"] = _mapped(path), signature(path.parent, [path.name])
    else:
        data = load(source)
        plan["source"] = data.fingerprint
    arrays = ArraySource(
        data,
        size=options.size,
        channels=options.channels,
        fit=options.fit,
        background=colour(options.background),
        keep_labels=options.labels != "none",
    )
    described = {
        "name": data.name,
        "source": source,
        "licence": data.licence if options.licence is None else options.licence,
        "size": options.size,
        "fit": options.fit if options.size else None,
        "labels": arrays.labels,
        "class_names": list(data.class_names) if arrays.labels == "kept" else [],
        "notes": arrays.notes,
    }
    return described, plan, lambda found, workers: (arrays, {})


def _open_folder(path: Path, options: Options, plan: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Ready]:
    files, notes = find_images(path)
    class_names, labels, origin = _labels(path, files, options.labels)
    if origin == "folders":
        notes.append(class_note(class_names))
    plan |= {"source": signature(path, files), "label_digest": _digest(class_names, labels)}
    described = {
        "name": path.resolve().name or "images",
        "source": str(path),
        "licence": options.licence or "",
        "size": options.size,
        "fit": options.fit if options.size else None,
        "background": options.background,
        "labels": origin,
        "class_names": list(class_names),
        "notes": notes,
    }

    def ready(found: Mapping[str, Any], workers: int | None) -> tuple[FolderSource, dict[str, Any]]:
        count = workers or (usable_cores() if len(files) > FEW else 1)
        channels = found.get("channels") or options.channels or (1 if all_grey(path, files, count) else 3)
        how = Preparation("L" if channels == 1 else "RGB", options.size, options.fit, colour(options.background))
        row, first = found.get("row"), found.get("first", files[0])
        if row is None and options.size is not None:
            row = (channels, options.size, options.size)
        elif row is None:
            whole = first_whole(path, files, how)
            first, row = whole or (first, (channels, 4, 4))  # none is whole: all will be told as broken
            check_sides(row[1], row[2], str(path / first))
        folder = FolderSource(path, files, labels, how, tuple(row), first, count)
        return folder, {"channels": channels, "row": list(row), "first": first}

    return described, plan, ready


def _labels(path: Path, files: list[str], asked: str | None) -> tuple[tuple[str, ...], np.ndarray | None, str]:
    """Class names, the label of each file, and where they come from: folders, none or the CSV file's name."""
    if asked == "none":
        return (), None, "none"
    if asked in (None, "folders"):
        class_names, labels = classes_of(files)
        if class_names:
            return class_names, labels, "folders"
        if asked is None:
            return (), None, "none"
        outside = next((name for name in files if "/" not in name), "")
        why = f"{excerpt(outside)!r} lies in none" if outside else "there is only one"
        raise GantoolError(
            f"The sub-folders of {path} are no classes: {why}.",
            "Put every image into a sub-folder named after its class, or give --labels none or a CSV file.",
        )
    assert asked is not None
    file = Path(asked)
    class_names, labels = read_labels(file, files)
    return class_names, labels, file.name


def _digest(class_names: tuple[str, ...], labels: np.ndarray | None) -> str:
    if labels is None:
        return ""
    return Dataset("", "", {"labels": labels}, class_names).fingerprint + json.dumps(class_names)


def _mapped(path: Path) -> Dataset:
    """The images in a .npy file, as a memory map: uint8 only, for of floats the range had to be looked for first."""
    array: np.ndarray = open_npy(path)
    check_images(array.shape, array.dtype, str(path))
    if array.dtype != np.uint8:
        raise GantoolError(
            f"{path} holds {array.dtype}; a .npy file is packed when it holds uint8.",
            "Convert it to uint8, or save the floats as .npz.",
        )
    axis = channel_axis(array.shape)
    array = array[:, np.newaxis] if axis is None else np.moveaxis(array, axis, 1)
    return Dataset(path.stem, str(path), {"images": array})
