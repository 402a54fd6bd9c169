"""Child processes: those that exchange lines of JSON with this one, and the workers of pools.

The parent:

    with JsonProcess([sys.executable, "-P", "-m", "gantool.example"]) as child:
        child.send({"batch": 8})
        answer = child.receive(timeout=60)  # None when the child has ended
        if answer is None:
            raise GantoolError(f"The process {child.ending()}.{child.stderr_tail()}")

The child:

    send = json_output()
    for request in json_input():
        send({"rate": ...})

A pool: `in_order(work, pieces, ...)`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

from gantool.errors import GantoolError
from gantool.system.machine import usable_cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TAIL_LINES, TAIL_BYTES = 12, 4000
KILL_SECONDS = 5.0  # a killed process that hangs in a driver may stay for ever
ONE_PROCESS = 500  # files that one process decodes before others have started
AHEAD = 3  # pieces a worker of a pool: one in work, one waiting, one done

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class JsonProcess:
    """A child process that reads and writes one JSON object a line.

    A context manager: leaving it kills the child and all processes that the child has started. OSError when the
    command can't be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # a process group of its own, to kill as a whole
            )
        except OSError:
            self._errors.close()
            raise
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=_read_messages, args=(self._process.stdout, self._messages), daemon=True).start()

    def __enter__(self) -> JsonProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._errors.close()

    def send(self, message: dict[str, Any]) -> None:
        """Write a message; ignored if the process has exited."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write((json.dumps(message) + "\n").encode())
            self._process.stdin.flush()

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next message, or None when the process has ended; TimeoutError after `timeout` seconds of silence.

        Lines that are no JSON object, such as a last one that is cut off, are skipped.
        """
        try:
            message = self._messages.get(timeout=max(0.0, timeout))
        except queue.Empty:
            raise TimeoutError from None
        if message is None:
            self._messages.put(None)  # the end stays the end
        return message

    def messages(self, timeout: float) -> Iterator[dict[str, Any]]:
        """All messages until the process ends; TimeoutError when it has not ended after `timeout` seconds in all."""
        deadline = time.monotonic() + timeout
        while (message := self.receive(deadline - time.monotonic())) is not None:
            yield message

    def exit_code(self, timeout: float = KILL_SECONDS) -> int | None:
        """The exit code, -N after signal N; None when the process still runs after `timeout` seconds."""
        running = self._process.returncode is None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        if running:
            self._kill_group()  # at once, while its number can't have been given to another process
        return code

    def ending(self) -> str:
        """How the process ended, for a message: `was killed by SIGSEGV`, `ended with exit code 1`."""
        return describe_exit(self.exit_code())

    def kill(self) -> None:
        """Kill the process and its children, and wait up to 5 seconds for it."""
        if self._process.returncode is None:
            self._kill_group()
            self._process.kill()
            self.exit_code()

    def _kill_group(self) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stderr(self, limit: int = 1_000_000) -> str:
        """The last `limit` bytes of its stderr."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - limit))
        return self._errors.read().decode(errors="replace")

    def stderr_tail(self) -> str:
        """The last lines of its stderr, to put behind an error message."""
        lines = self.stderr(TAIL_BYTES).strip().splitlines()[-TAIL_LINES:]
        return " The end of its stderr:\n" + "\n".join(lines) if lines else " It printed nothing on stderr."


def describe_exit(code: int | None) -> str:
    """An exit code of `subprocess` or `multiprocessing` in words: `was killed by SIGKILL`, `ended with exit code 3`."""
    if code is None:
        return "did not end"
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def json_output() -> Callable[[dict[str, Any]], None]:
    """For the child: the function that sends a message to the parent. Call it before a native library is loaded.

    Native libraries print to file descriptor 1. From here on that is stderr, so that only messages reach the parent.
    """
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message, allow_nan=False) + "\n")
        pipe.flush()

    return send


def json_input() -> Iterator[dict[str, Any]]:
    """For the child: the messages of the parent, until that closes the pipe or ends."""
    for line in sys.stdin:
        yield json.loads(line)


def in_order(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], files: int, workers: int | None
) -> Generator[Result, None, None]:
    """`work(piece)` for each of `pieces`, in their order, computed in processes; at most `AHEAD` a worker are held.

    `workers`: None for one a core, or for this process alone when there are only a few `files` in all the pieces. One
    worker is this process, too. `work` and the pieces have to be picklable. GantoolError when a worker dies. Workers
    ignore Ctrl-C, and end with this process, however it ends.

    Processes, not threads: Pillow decodes without the interpreter's lock, but the work around a small image holds it.
    On 2 cores two threads decoded PNG files of 32×32 at half the rate of one thread, two processes at 1.7 times that.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    workers = workers or (usable_cores() if files > ONE_PROCESS else 1)
    if workers == 1:
        yield from map(work, pieces)
        return
    # A thread and a pipe for each process. In concurrent.futures all processes write to one pipe, whose other end this
    # process holds, too: one that is killed while it writes leaves the reader waiting for the rest for ever.
    idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    pipes = _start_workers(workers)
    for pipe in pipes:
        idle.put(pipe)

    def ask(piece: Piece) -> Result:
        pipe = idle.get()
        try:
            pipe.send((work, piece))
            error, result = pipe.recv()
        except (EOFError, OSError) as broken:
            raise GantoolError(
                f"One of {workers} processes that decode was ended from outside; the memory may have run out.",
                f"Type the same with fewer of them: --workers {max(1, workers // 2)}",
            ) from broken
        finally:
            idle.put(pipe)
        if error:
            raise error
        return result  # type: ignore[no-any-return]

    pool = ThreadPoolExecutor(workers)
    under_way: deque[Future[Result]] = deque()
    try:
        for piece in pieces:
            under_way.append(pool.submit(ask, piece))
            if len(under_way) == AHEAD * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        for pipe in pipes:
            pipe.close()  # which ends the process


def _start_workers(count: int) -> list[Connection]:
    """Start processes that answer a (function, argument) by an (error or None, result); their pipes."""
    from multiprocessing import get_context

    context = get_context("spawn")  # a fork of a process that has threads may hang
    pipes = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        with ignore_sigint():
            context.Process(target=_answer, args=(theirs,), daemon=True).start()
        theirs.close()  # else its end would not be noticed
        pipes.append(ours)
    return pipes


def _answer(pipe: Connection) -> None:
    """For a worker of a pool: answer until the parent closes the pipe."""
    begin_as_helper()
    with contextlib.suppress(EOFError):
        while True:
            work, piece = pipe.recv()
            answer: tuple[Exception | None, Any] = (None, None)
            try:
                answer = (None, work(piece))
            except Exception as error:  # noqa: BLE001 (raised in the parent)
                answer = (error, None)
            pipe.send(answer)


def begin_as_helper() -> None:
    """For a worker of a pool, first of all: ignore Ctrl-C, which the parent handles, and exit when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C from their first instruction on."""
    if threading.current_thread() is not threading.main_thread():  # Python sets signal handlers there only
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _exit_with_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _read_messages(pipe: IO[bytes], messages: queue.Queue[dict[str, Any] | None]) -> None:
    with pipe:
        for line in pipe:
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    messages.put(message)
    messages.put(None)
