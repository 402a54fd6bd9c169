"""How fast this machine multiplies matrices: what a generator's arithmetic is a share of.

`python -m gantool.benching.gemm REQUEST` is the process that measures it: REQUEST is JSON, `provider`, `threads` and
`settings` as of a cell. A line of JSON goes to stdout, {"gflops": …} or {"error": …, "hint": …}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-P", "-m", "gantool.benching.gemm")
SIDES: Mapping[bool, Sequence[int]] = {False: (1024, 2048, 4096), True: (4096, 8192)}  # by whether it is on a GPU
ENOUGH = 5e-3  # seconds of a product that is long against what starting it costs
RUNS, SECONDS = 10, 0.3  # at most, of one size
TIMEOUT = 120.0


def gemm_gflops(provider: str, threads: int | None, settings: Mapping[str, str]) -> float | None:
    """Billions of operations a second of a float32 matrix product on a provider, set as a cell's are: the best of a
    few, in a process of its own. None where it fails: no cell depends on it."""
    from gantool.benching.child import Child

    request = json.dumps({"provider": provider, "threads": threads, "settings": dict(settings)})
    with Child([*COMMAND, request]) as child:
        try:
            message = child.receive(TIMEOUT)
        except TimeoutError:
            return None
    return None if message is None or "error" in message else float(message["gflops"])


def measure(provider: str, threads: int | None, settings: Mapping[str, str]) -> float:
    """As `gemm_gflops`, in this process. GantoolError: the provider does not run it."""
    from gantool.runtime.session import open_session

    on_gpu = provider in ("cuda", "tensorrt")
    found = 0.0
    for side in SIDES[on_gpu]:
        session = open_session(_model(side), Path("gemm.onnx"), provider, threads, settings)  # no such file
        seconds = _best(_product(session, side, "cuda" if on_gpu else "cpu"))
        found = max(found, 2 * side**3 / seconds / 1e9)
        if seconds >= ENOUGH:
            break
    return found


def _model(side: int) -> bytes:
    """x · w of two square matrices; w is a constant, as weights are."""
    import numpy as np

    from gantool.doctor.wire import FLOAT, model, node

    weights = np.random.default_rng(0).standard_normal((side, side), np.float32)
    shape = (side, side)
    return model([node("MatMul", ["x", "w"], "y", {})], {"w": weights}, ("x", FLOAT, shape), ("y", FLOAT, shape))


def _product(session: Any, side: int, device: str) -> Callable[[], None]:
    """A run whose input and output stay on the device."""
    import numpy as np
    import onnxruntime as ort

    x = np.random.default_rng(1).standard_normal((side, side), np.float32)
    binding = session.io_binding()
    given = ort.OrtValue.ortvalue_from_numpy(x, device, 0)
    made = ort.OrtValue.ortvalue_from_shape_and_type([side, side], np.float32, device, 0)
    binding.bind_ortvalue_input("x", given)
    binding.bind_ortvalue_output("y", made)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _best(run: Callable[[], None]) -> float:
    run()
    found: list[float] = []
    while len(found) < 2 or (len(found) < RUNS and sum(found) < SECONDS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def main(argument: str) -> None:
    from gantool.errors import GantoolError

    # native libraries print to descriptor 1 as they like: it is made stderr, and the parent's pipe kept apart
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            answer: dict[str, Any] = {"gflops": measure(**json.loads(argument))}
        except GantoolError as error:
            answer = {"error": error.message, "hint": error.hint}
        out.write(json.dumps(answer, allow_nan=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
