"""What the author of a data source declares. No numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gantool.data.dataset import Dataset


@dataclass(frozen=True)
class DataSource:
    """A named data set: `--data NAME` loads it.

    - `name`: letters, digits, `_` and `-`; without a dot or a slash, so that it can't be taken for a path.
    - `summary`: half a line for `gantool data list`.
    - `load(size)`: the data, as a `gantool.data.Dataset`. `size` is None for the data's own size, else the images come
      as `size`×`size` pixels (`gantool.data.images.resize` does it). The same call gives the same data every time: a
      resumed run asks for it again and compares the fingerprints. Raises GantoolError when it can't.
    - `licence`: of the data; used where the Dataset names none.
    """

    name: str
    summary: str
    load: Callable[[int | None], Dataset]
    licence: str = ""
