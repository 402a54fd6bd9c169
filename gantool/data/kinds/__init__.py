"""Kinds of samples: images, sounds and volumes. What a file becomes, how it is described and drawn."""

from __future__ import annotations

from gantool.data.image_files import SUFFIXES
from gantool.data.kinds.base import Kind
from gantool.data.kinds.formats import problem_of_reader, reader_of
from gantool.data.kinds.images import Images
from gantool.data.kinds.sounds import Sounds
from gantool.data.kinds.volumes import Volumes
from gantool.errors import GantoolError
from gantool.plugin.architecture import KINDS as NAMES

__all__ = ["KINDS", "Kind", "kind_of", "kind_of_shape", "problem_of_reader"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Images(), Sounds(), Volumes())}


def kind_of(suffix: str) -> str:
    """The name of the kind of files of `suffix`, in lower case; "" when nothing reads them."""
    if suffix in SUFFIXES:
        return "image"
    reader = reader_of(suffix)
    return reader.kind if reader else ""


def kind_of_shape(shape: tuple[int, ...]) -> Kind:
    """Of samples (N, C, …) of `shape`. GantoolError for points, which no file holds."""
    if len(shape) == 2:
        raise GantoolError(
            "Points are made, not read from files: there is nothing to survey, pack or resample.",
            "Train on them: gantool train mlp --data ring",
        )
    return KINDS[NAMES[len(shape) - 2]]
