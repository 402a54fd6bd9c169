"""The matrix of cells: files × providers × threads × options. A cell is measured in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantool.artifact import onnxfile
from gantool.artifact.manifest import PRECISIONS, Manifest, file_name
from gantool.errors import GantoolError, cause
from gantool.system import nvml

BINDING = "io-binding"  # inputs and output stay at fixed places on the device
GRAPH = "cuda-graph"  # the kernels of one shape are recorded and replayed; needs the binding
# what each provider can be told besides its defaults: our word → its own options
OPTIONS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "cpu": {},
    "openvino": {},
    "tensorrt": {BINDING: {}, "fp16": {"trt_fp16_enable": "1"}},
    "cuda": {
        BINDING: {},
        GRAPH: {"enable_cuda_graph": "1"},
        "nhwc": {"prefer_nhwc": "1"},
        # onnxruntime's defaults are the exhaustive search, and TF32
        "exhaustive-search": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
        "heuristic-search": {"cudnn_conv_algo_search": "HEURISTIC"},
        "tf32": {"use_tf32": "1"},
        "no-tf32": {"use_tf32": "0"},
    },
}
# the combinations that `--full` tries, most promising first; what only repeats a default is left out
COMBINATIONS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "cuda": (
        (),
        (GRAPH,),
        (BINDING,),
        (GRAPH, "nhwc"),
        ("nhwc",),
        ("no-tf32",),
        (GRAPH, "no-tf32"),
        ("heuristic-search",),
    ),
    "tensorrt": ((), (BINDING,), (BINDING, "fp16")),
    "cpu": ((),),
    "openvino": ((),),
}
PROVIDERS = tuple(COMBINATIONS)
ON_GPU = ("cuda", "tensorrt")
UNABLE = {("cuda", "int8")}  # a provider and a precision: it leaves nodes to the CPU
# precisions, fastest first: a CPU computes half in float32, with casts
_BY_SPEED: Mapping[bool, Sequence[str]] = {
    True: ("float32", "half", "half-weights", "int8"),
    False: ("float32", "int8", "half-weights", "half"),
}

Absent = Callable[[str], str | None]


@dataclass(frozen=True)
class Cell:
    """`path`: of the ONNX file; `threads`: cores to use, None: all."""

    path: str
    provider: str = "cpu"
    threads: int | None = None
    options: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        """The provider's own options."""
        known = OPTIONS[self.provider]
        return {key: value for option in self.options for key, value in known[option].items()}

    @property
    def bound(self) -> bool:
        return BINDING in self.options or GRAPH in self.options

    def as_dict(self) -> dict[str, Any]:
        return {"provider": self.provider, "threads": self.threads, "options": list(self.options)}


@dataclass(frozen=True)
class Request:
    """What a measured process is told. `seconds`: of timed runs a batch, at least.

    `reference`: a float32 file of the same generator, whose images on the CPU these must equal; None: there is none.
    """

    cell: Cell
    batches: tuple[int, ...]
    seconds: float
    reference: str | None = None


def label(cell: Mapping[str, Any]) -> str:
    """The name of a report's cell without its file: "cuda, io-binding", "cpu, 1 thread"."""
    threads = cell["threads"]
    parts = [cell["provider"], *cell["options"]]
    if threads is not None:
        parts.insert(1, f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join(parts)


def arithmetic(provider: str, settings: Mapping[str, str]) -> str | None:
    """ "TF32" or "fp16" where a provider multiplies with fewer bits than a float32 file asks for, else None.

    `settings`: as they are in force. A GPU from before Ampere has no TF32 and ignores it.
    """
    if provider == "cuda":
        return None if settings.get("use_tf32") == "0" else "TF32"
    if provider == "tensorrt":  # its builder's default
        return "fp16" if settings.get("trt_fp16_enable") in ("1", "True", "true") else "TF32"
    return None


def absent(provider: str) -> str | None:
    """Why a provider can't be on this machine; None: it may be, and running it will tell."""
    import onnxruntime as ort

    from gantool.runtime.session import PROVIDERS as NAMES

    if NAMES[provider] not in ort.get_available_providers():
        return f"the installed onnxruntime {ort.__version__} has no {NAMES[provider]}"
    # the GPU build lists its providers on any machine
    if provider in ON_GPU and nvml.open_device() is None:
        return "no NVIDIA driver answers"
    if provider == "tensorrt":
        try:
            nvml.load_tensorrt()
        except OSError as error:
            return f"TensorRT's library is missing ({cause(error)}): gantool doctor says how to get it"
    return None


def best_provider(absent: Absent = absent) -> str:
    """cuda where there is a GPU for it, else cpu."""
    return "cpu" if absent("cuda") else "cuda"


def short(paths: Sequence[Path], provider: str, threads: int | None = None, options: Sequence[str] = ()) -> list[Cell]:
    """A cell a file. GantoolError for a provider or an option that does not exist."""
    if provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    for option in options:
        if option not in OPTIONS[provider]:
            have = ", ".join(OPTIONS[provider])
            raise GantoolError(
                f"The provider {provider!r} has no option {option!r}.", f"It has: {have}." if have else "It has none."
            )
    return [Cell(str(path), provider, threads, tuple(options)) for path in paths]


def full(paths: Sequence[Path], cores: int, absent: Absent = absent) -> list[Cell]:
    """Every variant beside each file × provider × threads × options, those that are likely fastest first.

    Defaults come before any option, and all cores before one. A provider that can't be here has one cell, last.
    """
    here = [provider for provider in PROVIDERS if absent(provider) is None]
    files = list(dict.fromkeys(file for path in paths for file in variants(path)))
    ranked = []
    for place, file in enumerate(files):
        precision = next((p for p in PRECISIONS if f".{p}." in file.name), PRECISIONS[0])
        for provider in here:
            if (provider, precision) in UNABLE:
                continue
            gpu = provider in ON_GPU
            for threads in (None,) if gpu or cores == 1 else (None, 1):
                for extra, options in enumerate(COMBINATIONS[provider]):
                    rank = (extra, threads is not None, not gpu, _BY_SPEED[gpu].index(precision), place)
                    ranked.append((rank, Cell(str(file), provider, threads, options)))
    missing = [Cell(str(paths[0]), provider) for provider in PROVIDERS if provider not in here]
    return [cell for _, cell in sorted(ranked, key=lambda pair: pair[0])] + missing


def variants(path: Path) -> list[Path]:
    """`path`, then the files of the same export beside it, if it is named as exports are."""
    names = [file_name(kind, precision) for precision in PRECISIONS for kind in ("onnx-seeded", "onnx")]
    if path.name not in names:
        return [path]
    return [path, *(p for name in names if name != path.name and (p := path.with_name(name)).is_file())]


def reference_of(cell: Cell) -> Path | None:
    """The float32 file whose images on the CPU the cell's should equal; None where there is none.

    It lies beside and is of the same training. Without one it is the file itself, unless the cell runs just that: the
    CPU's plain session.
    """
    path = Path(cell.path)
    own = manifest_of(path)
    for kind in ("onnx", "onnx-seeded"):
        beside = path.with_name(file_name(kind))
        if beside == path or not beside.is_file():
            continue
        other = manifest_of(beside)
        if other and own and other.model == own.model:
            return beside
    return None if cell.provider == "cpu" and not cell.options else path


def manifest_of(path: Path) -> Manifest | None:
    """None for a damaged file: the measured process reports why."""
    try:
        return onnxfile.read_manifest(path)
    except GantoolError:
        return None
