"""What pip installed that matters: versions, conflicts, and who owns a library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

_LISTED = re.compile(
    r"(nvidia-.*|onnxruntime(-.*)?|tensorrt(-.*)?|openvino|torch|numpy|onnx|gantool)\Z",
)


@dataclass(frozen=True)
class Wheel:
    """`owns`: its files, as RECORD writes them, below `root`; none where it has no RECORD."""

    name: str
    version: str
    root: Path
    owns: frozenset[str] = field(repr=False)
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


def installed(distributions: Iterable[metadata.Distribution] | None = None) -> list[Wheel]:
    """Those that have to do with running a model, by name; a damaged one is left out."""
    wheels: dict[str, Wheel] = {}
    for found in metadata.distributions() if distributions is None else distributions:
        try:
            name = re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower()
            if not _LISTED.match(name) or name in wheels:  # the first on the path is the one that is imported
                continue
            wheels[name] = Wheel(
                name,
                found.version,
                Path(str(found.locate_file(""))),
                _record(found.read_text("RECORD") or ""),
                tuple(found.metadata.get_all("Requires-Dist") or ()),
                tuple(found.metadata.get_all("Provides-Extra") or ()),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [wheels[name] for name in sorted(wheels)]


def _record(text: str) -> frozenset[str]:
    # "path,hash,size"; a path with a comma is quoted, and no library has one
    return frozenset(line.split(",")[0] for line in text.splitlines())


def owner(path: str, wheels: Iterable[Wheel]) -> str | None:
    """`name version` of the wheel that a file belongs to, or None: the system's."""
    for wheel in wheels:
        try:
            below = Path(path).resolve().relative_to(wheel.root.resolve()).as_posix()
        except (ValueError, OSError, RuntimeError):
            continue
        if below in wheel.owns:
            return f"{wheel.name} {wheel.version}"
    return None


def runtimes(wheels: Iterable[Wheel]) -> list[Wheel]:
    """The wheels that write the one folder `onnxruntime`: two of them overwrite each other's files."""
    return [wheel for wheel in wheels if "onnxruntime/__init__.py" in wheel.owns]
