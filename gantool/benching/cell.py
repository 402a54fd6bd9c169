"""A cell: one file on one provider with one setting, measured in a process of its own. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def arithmetic(provider: str, settings: Mapping[str, str]) -> str | None:
    """ "TF32" or "fp16" where a provider, set so, multiplies with fewer bits than a float32 file asks for, else None.

    `settings`: as they are in force. A GPU from before Ampere has no TF32 and ignores it.
    """
    if provider == "cuda":
        return None if settings.get("use_tf32") == "0" else "TF32"
    if provider == "tensorrt":  # its builder's default
        return "fp16" if settings.get("trt_fp16_enable") in ("1", "True", "true") else "TF32"
    return None


@dataclass(frozen=True)
class Request:
    """What a measured process is told. `seconds`: of timed runs a batch, at least.

    `reference`: a file of the same generator in float32, whose images on the CPU these must be; None: none is known.
    """

    cell: Cell
    batches: tuple[int, ...]
    seconds: float
    reference: str | None = None


def label(cell: Mapping[str, Any]) -> str:
    """What a cell of a report is called, without its file: "cuda, io-binding", "cpu, 1 thread"."""
    threads = cell["threads"]
    parts = [cell["provider"], *cell["options"]]
    if threads is not None:
        parts.insert(1, f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join(parts)
