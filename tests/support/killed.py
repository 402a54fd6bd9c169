"""`python killed.py FOLDER KILLS SEED`: a training that is killed and resumed again and again.

Every training is a fork of this process, which has torch loaded, so that a kill costs a fraction of a second. Prints
the run's folder; then for each kill, as a line of JSON, how it came, at which step the run stands and how many
half-written files it left; then the last step.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch

from gantool.run import checkpoint
from gantool.run.rundir import RunDir, list_runs
from gantool.training import loop, session
from support.trainings import run_until, start

TINY = {"widths": (8,), "latent_dim": 4, "size": 8}
HANG = 60  # seconds; then a child shows where it is, and ends
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.chmod", "os.truncate", "os.mkdir"}


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def at_a_moment(chance: random.Random) -> float:
    """Any time from the first line of `resume` on; the parent kills."""
    return chance.uniform(0.0, 0.15)


def at_a_file(chance: random.Random) -> None:
    """Right before a file is opened, renamed, removed …"""
    left = chance.randrange(1, 200)

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS:
            left -= 1
            if not left:
                die()

    sys.addaudithook(count)


def in_a_checkpoint(chance: random.Random) -> None:
    """With a part of a checkpoint written."""
    left, share, save = chance.randrange(1, 10), chance.random(), torch.save

    def cut(state: object, stream: BinaryIO) -> None:
        nonlocal left
        save(state, stream)
        left -= 1
        if not left:
            stream.truncate(int(share * stream.tell()))
            die()

    torch.save = cut  # this process will not live to miss it


WAYS: tuple[Callable[[random.Random], float | None], ...] = (at_a_moment, at_a_file, in_a_checkpoint)


def fork(work: Callable[[], object], kill_after: float | None = None) -> int:
    """Do `work` in a child; its exit status (negative: the signal that ended it)."""
    pid = os.fork()
    if not pid:
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            work()
        except BaseException:  # noqa: BLE001  # a fork must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + HANG + 5
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def train(run: RunDir, steps: int, before: Callable[[], object] = lambda: None) -> None:
    before()
    run_until(session.resume(run, steps=steps))


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    # import all that a training imports; without a backward pass, whose threads would not survive a fork
    (folder / "warm").mkdir()
    warm = start("mlp", folder / "warm", steps=1, **TINY)
    loop.draw_samples(warm.state, warm.run, warm.info)
    assert fork(lambda: run_until(start("mlp", folder, steps=1, tick=1, **TINY))) == 0
    (run,) = list_runs(folder / "runs")
    print(run.path)
    for number in range(kills):
        way, chance = WAYS[number % len(WAYS)], random.Random(f"{seed} {number}")
        if way is at_a_moment:
            ended = fork(lambda: train(run, 10**6), kill_after=at_a_moment(chance))
        else:
            ended = fork(lambda way=way, chance=chance: train(run, 10**6, lambda: way(chance)))
        if ended != -signal.SIGKILL:
            sys.exit(f"kill {number}, {way.__name__}: the training ended by itself with {ended}")
        path, state, notes = checkpoint.load_newest(run)
        assert not notes, notes
        assert run.step_of(path) == state["step"]
        half = len(list(run.path.rglob(".*.tmp")))
        print(json.dumps({"way": way.__name__, "step": state["step"], "half": half}))
    last = state["step"] + 3
    assert fork(lambda: train(run, last)) == 0
    print(last)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
