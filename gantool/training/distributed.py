"""Several processes that train one game: how they meet, what they average, and how they end together.

torchrun starts them and gives each its rank. Each draws its part of the global batch; a player's gradients are averaged
in one flat all-reduce before its optimizer steps (as in StyleGAN3: it allows several passes a step, double backward and
CUDA graphs, which DistributedDataParallel does not). All other communication happens at ticks, or about once a second.
Process 0 leads: it alone writes the run's folder.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gantool.errors import GantoolError, cause

T = TypeVar("T")

VARIABLE, TIMEOUT = "GANTOOL_TIMEOUT", 600.0  # seconds that a process waits for another
AGREE = 1.0  # seconds between two agreements on whether to stop
TEARDOWN = 10.0  # seconds to leave a broken group; then the process is ended
LOCKED = 10.0  # seconds that a restarted process waits for the run's lock, which its predecessor may still hold
_RUN = "gantool/run"


class Lost(GantoolError):
    """Another process ended, hangs, or never started."""


class Group:
    """A single process: it leads, sends nothing and waits for nothing."""

    rank = 0
    size = 1
    restarted = False

    def __init__(self, memory: Any = None) -> None:
        self._memory = memory

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def before_end(self, work: Callable[[], None]) -> None:
        """Do `work` before the group is dissolved: captured graphs that hold work of NCCL have to go first."""

    def remember(self, run: Path) -> None:
        """Remember the run that this job began, for the processes that torchrun starts after a failure."""
        if self._memory is not None and self.leads:
            self._memory.set(_RUN, str(run.resolve()))

    def begun(self) -> Path | None:
        """The run that this job began before it was restarted. Ask the leader."""
        if self._memory is None or not self._memory.check([_RUN]):
            return None
        return Path(self._memory.get(_RUN).decode())

    def place(self, device: str | None, last: str = "auto") -> str:
        """The device of this process, for `pick_device`: `device`, else the one used `last`."""
        return device or last

    def part(self, count: int) -> slice | None:
        """Which of the `count` rows of a global batch are this process's; None: all."""
        return None

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make the gradients the mean over all processes; one that only some processes have counts as zero there."""

    def sum(self, tensor: Tensor) -> None:
        """Make `tensor` the sum over all processes."""

    def least(self, tensor: Tensor) -> None:
        """Make each value of `tensor` the smallest over all processes."""

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Copy the leader's `tensors` to all processes."""

    def lead(self, work: Callable[[], T]) -> T:
        """Do `work` in the leader only; all processes get its result. If it raises, the others end, too."""
        return work()

    def everyones(self, value: T) -> list[T]:
        """The `value` of each process, by rank."""
        return [value]

    def check_same(self, what: str, value: str) -> None:
        """GantoolError when `value` (of `what`) differs between the processes."""

    def check_weights(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """GantoolError when the weights of player `name` differ between the processes."""

    def agreeing(self, stops: Callable[[], bool]) -> Callable[[], bool]:
        """A function that tells all processes in the same step that one of them has to stop, by its own `stops`."""
        return stops


ALONE = Group()


class Torchrun(Group):
    """One of several processes. They talk through torch.distributed and torchrun's key-value store."""

    def __init__(self, store: Any, meeting: str, rank: int, size: int, timeout: float) -> None:
        super().__init__(store)
        self.rank, self.size, self.timeout = rank, size, timeout
        self._failures = f"gantool/{meeting}/failures"
        self._before_end: list[Callable[[], None]] = []
        # gloo for values on the CPU, NCCL for gradients on GPUs
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        with self._waiting("to connect"):
            dist.init_process_group(
                backend,
                store=dist.PrefixStore(f"gantool/{meeting}", store),  # type: ignore[attr-defined]
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=timeout),
            )

    def before_end(self, work: Callable[[], None]) -> None:
        self._before_end.append(work)

    def end(self) -> None:
        """Leave the others."""
        for work in self._before_end:
            work()
        dist.destroy_process_group()

    def place(self, device: str | None, last: str = "auto") -> str:
        name = device or last.partition(":")[0]
        if name.startswith("cuda:"):
            raise GantoolError(
                f"--device {name} is one device, but there are {self.size} processes.",
                "Use --device cuda: each process takes the device of its number on its machine.",
            )
        if name == "cpu" or not torch.cuda.is_available():
            return name
        local = _environment("LOCAL_RANK", self.rank)
        if local < torch.cuda.device_count():
            torch.cuda.set_device(local)  # where NCCL looks for it
        return f"cuda:{local}"

    def part(self, count: int) -> slice:
        each, left = divmod(count, self.size)
        if left:
            raise GantoolError(
                f"--batch-size {count} can't be divided among {self.size} processes.",
                f"It is the size of the global batch: use {max(1, each) * self.size} or {(each + 1) * self.size}.",
            )
        return slice(self.rank * each, (self.rank + 1) * each)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._reduce(flat, dist.ReduceOp.SUM, "for gradients")
        flat.div_(self.size)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view(g.shape) for p, g in zip(parts, gradients, strict=True)])

    def sum(self, tensor: Tensor) -> None:
        self._reduce(tensor, dist.ReduceOp.SUM, "at a tick")

    def least(self, tensor: Tensor) -> None:
        self._reduce(tensor, dist.ReduceOp.MIN, "at a tick")

    @torch.no_grad()
    def copy(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            with self._waiting("for weights or buffers"):
                dist.broadcast(sent.reshape(-1).view(torch.uint8), 0)  # as bytes: gloo does not know all types
            if sent.data_ptr() != tensor.data_ptr():
                tensor.copy_(sent)

    def lead(self, work: Callable[[], T]) -> T:
        box: list[Any] = [work() if self.leads else None]
        with self._waiting("for process 0"):
            dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        done: T = box[0]
        return done

    def everyones(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        with self._waiting("at a tick"):
            dist.all_gather_object(values, value)
        return values

    def check_same(self, what: str, value: str) -> None:
        values = self.everyones(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise GantoolError(
                    f"{what} of the processes differ: process 0 has {values[0]}, process {rank} has {other}.",
                    "Give all machines the same command line, the same data and the same gantool.",
                )

    def check_weights(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        # with a tolerance: processors of different kinds may round differently
        most = torch.stack(torch._foreach_norm([p.detach() for p in parameters])).double()
        least = most.clone()
        self._reduce(most, dist.ReduceOp.MAX, "at a tick")
        self._reduce(least, dist.ReduceOp.MIN, "at a tick")
        if not torch.allclose(most, least, rtol=1e-4, atol=1e-6):
            raise GantoolError(
                f"The weights of the {name} have drifted apart between the {self.size} processes.",
                "Does the architecture draw random numbers of its own, or does what it does depend on the batch?",
            )

    def agreeing(self, stops: Callable[[], bool]) -> Callable[[], bool]:
        # Not in every step: the processes would wait for each other. The stride follows the time of the slowest
        # process, so that all have the same.
        stride, left, before = 1, 1, time.monotonic()

        def agreed() -> bool:
            nonlocal stride, left, before
            left -= 1
            if left:
                return False
            news = torch.tensor([float(stops()), time.monotonic() - before], dtype=torch.float64)
            self._reduce(news, dist.ReduceOp.MAX, "to agree on going on")
            stop, seconds = news.tolist()
            stride = max(1, min(2 * stride, int(stride * AGREE / max(seconds, 1e-6))))
            left, before = stride, time.monotonic()
            return bool(stop)

        return agreed

    def fails_first(self) -> bool:
        """Whether this process is the first to fail: it prints why, and the others end quietly."""
        try:
            return self._memory is None or self._memory.add(self._failures, 1) == 1
        except RuntimeError:  # the process that kept the store is gone
            return True

    def release(self) -> None:
        """Let the others end, after the error was printed. torchrun kills all processes when one leaves."""
        with suppress(RuntimeError):
            self._memory.set(f"{self._failures}/printed", "")

    def wait_for_release(self) -> None:
        """Wait until the first to fail has printed why."""
        with suppress(RuntimeError):
            self._memory.wait([f"{self._failures}/printed"], timedelta(seconds=TEARDOWN / 2))

    def _reduce(self, tensor: Tensor, by: Any, why: str) -> None:
        with self._waiting(why):
            dist.all_reduce(tensor, by)

    @contextmanager
    def _waiting(self, why: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # the type of all errors of torch.distributed
            text = cause(error)
            if "timed out" in str(error).lower() or "timeout" in str(error).lower():
                raise Lost(
                    f"Process {self.rank} of {self.size} waited {self.timeout:g} s {why} in vain: "
                    f"another process hangs, or its machine can't be reached ({text}).",
                    f"See what the others did last. If one is only slow: {VARIABLE}=SECONDS waits longer.",
                ) from error
            raise Lost(
                f"Process {self.rank} of {self.size} lost the others while it waited {why}: one has ended ({text}).",
                "Its own message says why; killed without one, it may have been out of memory. "
                "`torchrun --max-restarts N` goes on by itself; otherwise --resume the run.",
            ) from error


@contextmanager
def joined(tell: Callable[[Exception], object] = traceback.print_exception) -> Iterator[Group]:
    """The group of processes that torchrun started; ALONE without torchrun.

    When one of them fails inside, all leave with exit status 1. The first to fail prints its error by `tell`, the
    others print nothing. A single process just raises.
    """
    group = _join()
    if not isinstance(group, Torchrun):
        yield group
        return
    timer = threading.Timer(TEARDOWN, os._exit, (1,))
    timer.daemon = True
    try:
        yield group
    except Exception as error:
        timer.start()  # torch may wait forever for processes that are gone
        if not group.fails_first():
            group.wait_for_release()
            raise SystemExit(1) from None
        if isinstance(error, GantoolError) and not isinstance(error, Lost) and not group.leads:
            error.message += f" (process {group.rank} of {group.size}, on {socket.gethostname()})"
        tell(error)
        group.release()
        raise SystemExit(1) from error
    finally:
        group.end()
        timer.cancel()


def _join() -> Group:
    size, agent = _environment("WORLD_SIZE", 1), os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if size == 1 and not agent:
        return ALONE
    rank, timeout = _environment("RANK"), _timeout()
    address, port = os.environ.get("MASTER_ADDR", ""), _environment("MASTER_PORT")
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address,
            port,
            is_master=rank == 0 and not agent,  # torchrun has a store that outlives the processes
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except RuntimeError as error:
        raise Lost(
            f"Process {rank} of {size} did not reach process 0 at {address}:{port} within {timeout:g} s.",
            "Is process 0 running, and does a firewall let that port through?",
        ) from error
    group = Torchrun(store, _meet(store, rank, size, timeout), rank, size, timeout) if size > 1 else Group(store)
    group.restarted = _environment("TORCHELASTIC_RESTART_COUNT", 0) > 0
    return group


def _meet(store: Any, rank: int, size: int, timeout: float) -> str:
    """Wait until all processes are there; returns a name for this meeting, for keys that no earlier one has used.

    The store may hold keys of processes that have died. So each process writes a random word of its own, and process 0
    answers that word with its own, which names the meeting, until the process has read the answer.
    """
    word = secrets.token_hex(8)
    if rank:
        store.set(f"gantool/hello/{rank}", word)
        try:
            meeting: str = store.get(f"gantool/answer/{word}").decode()
        except RuntimeError as error:
            raise Lost(
                f"Process {rank} of {size} waited {timeout:g} s for process 0, which did not start.",
                f"Start all {size} with the same command; {VARIABLE}=SECONDS waits longer.",
            ) from error
        store.set(f"gantool/{meeting}/here/{rank}", "")
        return meeting
    missing, deadline = list(range(1, size)), time.monotonic() + timeout
    while missing:
        for other in missing:
            if store.check([f"gantool/hello/{other}"]):
                store.set(f"gantool/answer/{store.get(f'gantool/hello/{other}').decode()}", word)
        missing = [other for other in missing if not store.check([f"gantool/{word}/here/{other}"])]
        if missing and time.monotonic() > deadline:
            raise Lost(
                f"Of {size} processes only {size - len(missing)} started within {timeout:g} s: "
                f"{', '.join(map(str, missing))} missing.",
                f"Start all {size} with the same command, and see why one ended; {VARIABLE}=SECONDS waits longer.",
            )
        time.sleep(0.01)
    return word


def _environment(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise GantoolError(
            f"The environment variable {name} is {text!r}, not a number.", "Start several processes with torchrun."
        )
    return int(text)


def _timeout() -> float:
    text = os.environ.get(VARIABLE, str(TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise GantoolError(f"{VARIABLE}={text} is not a number of seconds from 1 to 86400.", f"Use {VARIABLE}=600.")
    return seconds
