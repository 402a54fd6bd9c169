"""Which cells there are: files by what lies beside them, providers, threads and options; the most promising first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gantool.artifact import onnxfile
from gantool.artifact.manifest import PRECISIONS, Manifest, file_name
from gantool.benching.cell import COMBINATIONS, OPTIONS, Cell
from gantool.errors import GantoolError
from gantool.system import nvml

PROVIDERS = tuple(COMBINATIONS)
ON_GPU = ("cuda", "tensorrt")
# precisions by how fast they were seen: a CPU computes half in float32, with casts
_PROMISE: Mapping[bool, Sequence[str]] = {
    True: ("float32", "half", "half-weights", "int8"),
    False: ("float32", "int8", "half-weights", "half"),
}

Absent = Callable[[str], str | None]


def absent(provider: str) -> str | None:
    """Why a provider can't be on this machine; None: it may be, and running it will tell."""
    import onnxruntime as ort

    from gantool.runtime.session import PROVIDERS as NAMES

    if NAMES[provider] not in ort.get_available_providers():
        return f"the installed onnxruntime {ort.__version__} has no {NAMES[provider]}"
    # the GPU build lists its providers on any machine
    if provider in ON_GPU and nvml.open_device() is None:
        return "no NVIDIA driver answers"
    return None


def best_provider(absent: Absent = absent) -> str:
    """cuda where there is a GPU for it, else cpu."""
    return "cpu" if absent("cuda") else "cuda"


def check(provider: str, options: Sequence[str]) -> None:
    """GantoolError for a provider or an option that there is not."""
    if provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    for option in options:
        if option not in OPTIONS[provider]:
            have = ", ".join(OPTIONS[provider])
            raise GantoolError(
                f"The provider {provider!r} has no option {option!r}.", f"It has: {have}." if have else "It has none."
            )


def short(paths: Sequence[Path], provider: str, threads: int | None = None, options: Sequence[str] = ()) -> list[Cell]:
    """A cell a file."""
    check(provider, options)
    return [Cell(str(path), provider, threads, tuple(options)) for path in paths]


def full(paths: Sequence[Path], cores: int, absent: Absent = absent) -> list[Cell]:
    """Every variant beside each file × provider × threads × options. First what promises most, at its defaults.

    A provider that can't be here has one cell, last.
    """
    here = [provider for provider in PROVIDERS if absent(provider) is None]
    files = list(dict.fromkeys(file for path in paths for file in variants(path)))
    ranked = []
    for place, file in enumerate(files):
        precision = _precision(file)
        for provider in here:
            gpu = provider in ON_GPU
            for threads in (None,) if gpu or cores == 1 else (None, 1):
                for extra, options in enumerate(COMBINATIONS[provider]):
                    promise = (extra, threads is not None, not gpu, _PROMISE[gpu].index(precision), place)
                    ranked.append((promise, Cell(str(file), provider, threads, options)))
    missing = [Cell(str(paths[0]), provider) for provider in PROVIDERS if provider not in here]
    return [cell for _, cell in sorted(ranked, key=lambda pair: pair[0])] + missing


def variants(path: Path) -> list[Path]:
    """`path`, then the files of the same export beside it, if it is named as exports are."""
    names = [file_name(kind, precision) for precision in PRECISIONS for kind in ("onnx-seeded", "onnx")]
    if path.name not in names:
        return [path]
    return [path, *(p for name in names if name != path.name and (p := path.with_name(name)).is_file())]


def reference_of(cell: Cell) -> Path | None:
    """The float32 file of the same generator, whose images on the CPU are what the cell's should be.

    It lies beside and comes from the same training; else it is the file itself where something else than the CPU's
    plain session runs it. None: there is nothing that could tell.
    """
    path = Path(cell.path)
    plainly = cell.provider == "cpu" and not cell.options
    described = _described(path)
    for kind in ("onnx", "onnx-seeded"):
        beside = path.with_name(file_name(kind))
        if beside == path or not beside.is_file():
            continue
        other = _described(beside)
        if other and described and other.model == described.model:
            return beside
    return None if plainly else path


def _described(path: Path) -> Manifest | None:
    """The manifest; None of a damaged file, which the measured process tells of."""
    try:
        return onnxfile.read_manifest(path)
    except GantoolError:
        return None


def _precision(file: Path) -> str:
    return next((p for p in PRECISIONS if f".{p}." in file.name), PRECISIONS[0])
