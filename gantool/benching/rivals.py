"""The same generator through torch, interleaved with ours: who is faster, and are the images the same?"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from gantool.benching.child import Child, ended
from gantool.benching.images import difference
from gantool.benching.proof import limits
from gantool.errors import GantoolError
from gantool.runtime import Generator

WAYS: Mapping[str, str] = {
    "torch": "eager torch, channels_last",
    "compile": "torch.compile, channels_last",
    "torchscript": "frozen TorchScript",
}
CONTENDER = (sys.executable, "-P", "-m", "gantool.benching.contender")
OURS = "gantool"
ROUNDS = 7
WARM_ROUNDS = 2  # the first compiles
IMAGES = 64  # of the proof

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


def check(ways: Sequence[str]) -> None:
    """GantoolError for a way that there is not."""
    for way in ways:
        if way not in WAYS:
            raise GantoolError(f"There is nothing to compare with that is called {way!r}.", f"Use {','.join(WAYS)}.")


def compare(
    path: Path,
    ways: Sequence[str],
    batches: Sequence[int],
    seconds: float,
    timeout: float,
    listener: Callable[[str], None] = lambda stage: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time `path` and `ways`, each in a process of its own, in turns: ROUNDS a batch, `seconds` in all for each.

    Returns `file`, `device`, `rounds`, and `contenders`: of each `name`, and either `batches` (batch,
    images_per_second: the median of rounds; ratio: the median over rounds of ours by its) and `proof`, or `cause`.
    """
    check(ways)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gantool-bench-")))
        children = {
            way: stack.enter_context(Child([*CONTENDER, _request(way, path, device)], talks=True))
            for way in (OURS, *ways)
        }

        def ask(way: str, message: dict[str, Any]) -> dict[str, Any]:
            if message:
                children[way].send(message)
            return _answer(children[way], timeout)

        return {
            "file": str(path),
            "device": device,
            "rounds": ROUNDS,
            "contenders": contest(ways, ask, sorted(set(batches)), seconds, _Proof(path, folder), listener),
        }


def contest(
    ways: Sequence[str],
    ask: Ask,
    batches: Sequence[int],
    seconds: float,
    proof: Callable[[str, Ask], str],
    listener: Callable[[str], None] = lambda stage: None,
) -> list[dict[str, Any]]:
    """The rounds. `ask(way, message)` gives the answer of a contender, {} first, which waits until it is ready."""
    failed: dict[str, str] = {}
    rates: dict[str, dict[int, list[float]]] = {way: {} for way in (OURS, *ways)}
    said: dict[str, str] = {}

    def tried(way: str, message: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return ask(way, message)
        except GantoolError as error:
            if way == OURS:
                raise
            failed[way] = str(error)
            return None

    def playing() -> list[str]:
        return [way for way in rates if way not in failed]

    for way in rates:
        listener(f"start of {way}")
        tried(way, {})
    for batch in batches:
        for number in range(-WARM_ROUNDS, ROUNDS):
            listener(f"batch {batch} in turns, round {max(0, number + 1)} of {ROUNDS}")
            order = playing()
            for way in order if number % 2 else reversed(order):
                done = tried(way, {"batch": batch, "seconds": seconds / ROUNDS})
                if done is not None and number >= 0:
                    rates[way].setdefault(batch, []).append(float(done["rate"]))
    for way in playing():
        listener(f"proof of {way}")
        try:
            said[way] = proof(way, ask)
        except GantoolError as error:
            if way == OURS:
                raise
            failed[way] = str(error)
    return [
        {"name": WAYS.get(way, way), "way": way, "cause": failed[way]}
        if way in failed
        else {
            "name": WAYS.get(way, way),
            "way": way,
            "proof": said[way],
            "batches": [_row(batch, rates[way][batch], rates[OURS][batch]) for batch in batches],
        }
        for way in rates
    ]


def _row(batch: int, theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    return {
        "batch": batch,
        "images_per_second": statistics.median(theirs),
        "ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "rates": list(theirs),
    }


class _Proof:
    """New images of each, against ours; ours against the file's golden ones."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.ours: np.ndarray | None = None
        self.generator = Generator(path)

    def __call__(self, way: str, ask: Ask) -> str:
        to = self.folder / f"{way}.npy"
        ask(way, {"images": IMAGES, "to": str(to)})
        images = np.load(to, allow_pickle=False)
        if self.ours is None:
            self.ours = images
            test = self.generator.self_test() if self.generator.manifest.golden else None
            return "the golden ones" if test else "ours"
        off, allowed = difference(images, self.ours), limits(self.generator.manifest, self.path)
        if off.worst > allowed.worst:
            raise GantoolError(f"Its images are not ours: off by up to {off.worst:.3g} levels.")
        return "the same" if off.count == 0 else f"within {max(1, round(off.worst))} on {off.share:.2%}"


def _request(way: str, path: Path, device: str) -> str:
    return json.dumps({"way": way, "path": str(path), "device": device})


def _answer(child: Child, timeout: float) -> dict[str, Any]:
    """GantoolError when it is silent, ends or refuses."""
    try:
        message = child.receive(timeout)
        code = child.wait(timeout) if message is None else 0
    except TimeoutError as error:
        child.stop()
        raise GantoolError(f"It was silent for {timeout:g} s and was stopped.{child.last_words()}") from error
    if message is None:
        raise GantoolError(f"It {ended(code)}.{child.last_words()}")
    if "error" in message:
        raise GantoolError(message["error"], message["hint"])
    return message
