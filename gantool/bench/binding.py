"""A session whose inputs and output stay at fixed places on its device, with or without a CUDA graph."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort


@dataclass
class _Plan:
    """What is bound for one shape of the inputs. `run_options`: which graph is recorded and replayed."""

    binding: Any
    inputs: dict[str, Any]
    run_options: Any


class Bound:
    """Takes the place of an `ort.InferenceSession` for `run`: copies in, computes, copies out.

    `spent`: seconds of each (copy in, compute, copy out) since it was last emptied. `device`: cuda, or cpu. With
    `graph`, a CUDA graph is recorded for each shape at its second run (the session has to be made for it).
    """

    def __init__(self, session: Any, device: str = "cuda", graph: bool = False) -> None:
        self.session, self.device, self.graph = session, device, graph
        self.spent: list[tuple[float, float, float]] = []
        self._plans: dict[tuple[tuple[str, tuple[int, ...]], ...], _Plan] = {}

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs, copied to the host: the next run writes over what is on the device."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        plan = self._plans.get(shapes)
        if plan is None:
            plan = self._plans[shapes] = self._plan(feeds)
        start = time.perf_counter()
        for name, array in feeds.items():
            plan.inputs[name].update_inplace(np.ascontiguousarray(array))
        plan.binding.synchronize_inputs()
        copied = time.perf_counter()
        self.session.run_with_iobinding(plan.binding, plan.run_options)
        plan.binding.synchronize_outputs()
        computed = time.perf_counter()
        outputs: list[np.ndarray] = plan.binding.copy_outputs_to_cpu()
        self.spent.append((copied - start, computed - copied, time.perf_counter() - computed))
        return outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def _plan(self, feeds: dict[str, np.ndarray]) -> _Plan:
        """Bind for the shapes of `feeds`. A first run without a graph tells the shape of the output."""
        binding = self.session.io_binding()
        inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0)
            for name, array in feeds.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        outputs = [item.name for item in self.session.get_outputs()]
        for name in outputs:
            binding.bind_output(name, self.device)
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
