"""The data that gantool ships."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from gantool.data.dataset import Dataset

DIGITS_LICENCE = "MNIST digits, Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0"
BUILT_IN = ("digits",)
DIGITS: dict[str, Any] = {  # told without loading them
    "name": "digits",
    "summary": "handwritten digits",
    "count": 10_000,
    "shape": (1, 28, 28),
    "classes": 10,
    "licence": DIGITS_LICENCE,
}


def load_digits(size: int | None = None, *, shadows: Path | None = None) -> Dataset:
    """10,000 MNIST digits: uint8 (10000, 1, 28, 28), 0 background to 255 ink, with labels 0 to 9.

    `shadows` is something on disk that bears the same name; a note says how to name it instead.
    """
    from gantool.data.readers.npz import load_npz

    with resources.as_file(resources.files("gantool.data") / "digits" / "mnist10k.npz") as path:
        data = load_npz(path, size)
    notes = (f"these are the built-in digits; give ./{shadows} for what lies there",) if shadows else ()
    names = tuple(map(str, range(10)))
    return replace(data, name="digits", source="digits", class_names=names, licence=DIGITS_LICENCE, notes=notes)
