"""Decode files in processes, and give the results in order.

Processes, not threads: Pillow decodes without the interpreter's lock, but the work around a small image holds it. On 2
cores two threads decoded PNG files of 32×32 at half the rate of one thread, and two processes at 1.7 times that of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from gantool.errors import GantoolError
from gantool.system.cores import usable_cores
from gantool.system.subprocesses import begin_as_helper, ignore_sigint

Piece = TypeVar("Piece")
Result = TypeVar("Result")
ONE_PROCESS = 500  # files that one process decodes before others have started
AHEAD = 3  # pieces a worker: one in work, one waiting, one done


def in_order(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], files: int, workers: int | None
) -> Generator[Result, None, None]:
    """`work(piece)` for each of `pieces`, in their order; at most `AHEAD` pieces a worker are held at once.

    `workers`: None for one a core, or for this process alone when there are only a few `files` in all the pieces. One
    worker is this process, too. `work` and the pieces have to be picklable. GantoolError when a worker dies. Workers
    ignore Ctrl-C, and end with this process, however it ends.
    """
    workers = workers or (usable_cores() if files > ONE_PROCESS else 1)
    if workers == 1:
        yield from map(work, pieces)
        return
    # spawned: a fork of a process that has threads may hang
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=begin_as_helper)
    under_way: deque[Future[Result]] = deque()
    try:
        for piece in pieces:
            with ignore_sigint():
                under_way.append(pool.submit(work, piece))
            if len(under_way) == AHEAD * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise GantoolError(
            f"One of {workers} processes that decode was ended from outside; the memory may have run out.",
            f"Type the same with fewer of them: --workers {max(1, workers // 2)}",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
