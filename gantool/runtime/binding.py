"""Runs whose inputs or output stay at places of our choice: ONNX Runtime's IO binding, with or without a CUDA graph."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

KEPT = 10_000  # of the latest runs whose times are kept


def run_into(session: ort.InferenceSession, feeds: dict[str, np.ndarray], name: str, output: np.ndarray) -> None:
    """Run, and have the output `name` written into `output`: contiguous, of its very dtype and shape.

    From a GPU it then comes in one copy; `session.run` would make two more on the host. Inputs are contiguous. Many
    threads may: each run has a binding of its own. Raises what ONNX Runtime does, also for another shape.
    """
    binding = session.io_binding()
    for key, array in feeds.items():
        binding.bind_cpu_input(key, array)
    binding.bind_output(name, "cpu", 0, output.dtype.type, output.shape, output.ctypes.data)
    session.run_with_iobinding(binding)


@dataclass
class _Plan:
    """What is bound for one shape of the inputs. `run_options`: which graph is recorded and replayed."""

    binding: Any
    inputs: dict[str, Any]
    run_options: Any


class Bound:
    """Takes the place of an `ort.InferenceSession` for `run`: copies in, computes, copies out.

    `spent`: seconds of each (copy in, compute, copy out) of the latest runs. `device`: cuda, or cpu. With `graph`, a
    CUDA graph is recorded for each shape at its second run (the session has to be made for it), and once more for each
    thread that calls: ONNX Runtime keeps graphs by thread. Any number of threads may call; they wait for each other.
    Each shape keeps its buffers: ask for few.
    """

    def __init__(self, session: Any, device: str = "cuda", graph: bool = False, number: int = 0) -> None:
        """`number`: which device of that kind, as the session was told."""
        self.session, self.device, self.graph, self.number = session, device, graph, number
        self.spent: deque[tuple[float, float, float]] = deque(maxlen=KEPT)
        self._plans: dict[tuple[tuple[str, tuple[int, ...]], ...], _Plan] = {}
        self._lock = threading.Lock()

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, copied to the host: the next run writes over what is on the device."""
        with self._lock:
            binding, start, copied = self._compute(feeds)
            computed = time.perf_counter()
            outputs: list[np.ndarray] = binding.copy_outputs_to_cpu()
            self.spent.append((copied - start, computed - copied, time.perf_counter() - computed))
        return outputs

    def compute(self, feeds: dict[str, np.ndarray]) -> None:
        """As `run`, done when it returns, but for the copy to the host."""
        with self._lock:
            self._compute(feeds)

    def _compute(self, feeds: dict[str, np.ndarray]) -> tuple[Any, float, float]:
        """The binding that holds the outputs, and when it started, and had the inputs on the device."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        bound = self._plans.get(shapes)
        if bound is None:
            bound = self._plans[shapes] = self._plan(feeds)
        start = time.perf_counter()
        for name, array in feeds.items():
            bound.inputs[name].update_inplace(np.ascontiguousarray(array))
        bound.binding.synchronize_inputs()
        copied = time.perf_counter()
        self.session.run_with_iobinding(bound.binding, bound.run_options)
        bound.binding.synchronize_outputs()
        return bound.binding, start, copied

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def _plan(self, feeds: dict[str, np.ndarray]) -> _Plan:
        """Bind for the shapes of `feeds`. A first run without a graph tells the shape of the output."""
        binding = self.session.io_binding()
        inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, self.number)
            for name, array in feeds.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        outputs = [item.name for item in self.session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, self.device, self.number)
        self.session.run_with_iobinding(binding, self._options(-1))
        made = binding.get_outputs()
        binding.clear_binding_outputs()
        for name, value in zip(outputs, made, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Plan(binding, inputs, self._options(len(self._plans)))

    def _options(self, graph: int) -> Any:
        """Of a run: which graph it is, -1: none."""
        options = ort.RunOptions()
        if self.graph:
            options.add_run_config_entry("gpu_graph_id", str(graph))
        return options
