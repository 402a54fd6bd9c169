"""Several processes that train one game: who they are, what they average, and how they end together.

torchrun starts them and tells each its number. Each draws its part of the global batch; a player's gradients are
averaged in one flat all-reduce before its optimizer steps (StyleGAN3's way: it fits several passes a step, double
backward and CUDA graphs, which the DistributedDataParallel wrapper does not). Everything else that they say to each
other happens at ticks, or about once a second. Process 0 leads: it alone touches the run's folder.
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

from gantool.errors import GantoolError

T = TypeVar("T")

VARIABLE, TIMEOUT = "GANTOOL_TIMEOUT", 600.0  # seconds that a process waits for another
AGREE = 1.0  # seconds between two agreements on whether to stop
TEARDOWN = 10.0  # seconds that leaving a broken group may take
LOCKED = 10.0  # seconds that a restarted process waits for the lock of the one before it
_RUN = "gantool/run"


class Lost(GantoolError):
    """Another process ended, hangs, or never came."""


class Group:
    """One process alone, which leads itself: nothing is sent, nothing waited for."""

    rank = 0
    size = 1
    restarted = False

    def __init__(self, memory: Any = None) -> None:
        self._memory = memory

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def remember(self, run: Path) -> None:
        """The run that this job began, for the processes that torchrun starts in the place of these."""
        if self._memory is not None and self.leads:
            self._memory.set(_RUN, str(run.resolve()))

    def begun(self) -> Path | None:
        """The run that this job began before it was restarted. Ask the leader."""
        if self._memory is None or not self._memory.check([_RUN]):
            return None
        return Path(self._memory.get(_RUN).decode())

    def place(self, asked: str | None, last: str = "auto") -> str:
        """The device of this process, for `pick_device`: what was `asked` for, or else what was `last` used."""
        return asked or last

    def part(self, count: int) -> slice | None:
        """Which of the `count` rows of a global batch are this process's; None: all."""
        return None

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make the gradients the mean over all processes; a missing one counts as zero."""

    def sum(self, tensor: Tensor) -> None:
        """Make `tensor` the sum over all processes."""

    def least(self, tensor: Tensor) -> None:
        """Make `tensor` the least over all processes, value by value."""

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Make `tensors` the leader's."""

    def lead(self, work: Callable[[], T]) -> T:
        """What `work` gives the leader, who alone does it. If it raises there, the others end, too."""
        return work()

    def everyones(self, value: T) -> list[T]:
        """The `value` of each process, by rank."""
        return [value]

    def check_same(self, what: str, value: str) -> None:
        """GantoolError when the processes have not the same `value` of `what`."""

    def check_weights(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """GantoolError when the weights of player `name` are not the same everywhere."""

    def agreeing(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """From "was this process asked to stop?" a function that says to all of them in the same step that one was."""
        return asked


ALONE = Group()


class Torchrun(Group):
    """One of several processes."""

    def __init__(self, store: Any, meeting: str, rank: int, size: int, timeout: float) -> None:
        super().__init__(store)
        self.rank, self.size, self.timeout = rank, size, timeout
        self._failures = f"gantool/{meeting}/failures"
        # control goes over the CPU, gradients over what their device has
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        with self._waiting("to connect"):
            dist.init_process_group(
                backend,
                store=dist.PrefixStore(f"gantool/{meeting}", store),  # type: ignore[attr-defined]
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=timeout),
            )

    def place(self, asked: str | None, last: str = "auto") -> str:
        name = asked or last.partition(":")[0]
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
        # a gradient can be missing here and not elsewhere; all processes have to send the same number of values
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._reduce(flat, dist.ReduceOp.SUM, "for gradients")
        flat.div_(self.size)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view(g.shape) for p, g in zip(parts, gradients, strict=True)])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

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
        # they are equal bit by bit where all processors are of one kind; others may round otherwise, a little
        most = torch.stack(torch._foreach_norm([p.detach() for p in parameters])).double()
        least = most.clone()
        self._reduce(most, dist.ReduceOp.MAX, "at a tick")
        self._reduce(least, dist.ReduceOp.MIN, "at a tick")
        if not torch.allclose(most, least, rtol=1e-4, atol=1e-6):
            raise GantoolError(
                f"The weights of the {name} have drifted apart between the {self.size} processes.",
                "Does the architecture draw random numbers of its own, or move players by what it sees?",
            )

    def agreeing(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        # Not in every step: the processes would wait for each other on the host, and a flag beside the gradients
        # would have to be read from the device. All compute the same stride from the slowest one's time.
        stride, left, before = 1, 1, time.monotonic()

        def agreed() -> bool:
            nonlocal stride, left, before
            left -= 1
            if left:
                return False
            news = torch.tensor([float(asked()), time.monotonic() - before], dtype=torch.float64)
            self._reduce(news, dist.ReduceOp.MAX, "to agree on going on")
            stop, seconds = news.tolist()
            stride = max(1, min(2 * stride, int(stride * AGREE / max(seconds, 1e-6))))
            left, before = stride, time.monotonic()
            return bool(stop)

        return agreed

    def speaks(self) -> bool:
        """Whether this process is the first to fail: it says why, and the others end quietly."""
        try:
            return self._memory is None or self._memory.add(self._failures, 1) == 1
        except RuntimeError:  # the process that kept the store is gone
            return True

    def told(self) -> None:
        """The first to fail has said why. Until then the others stay: torchrun kills all when one leaves."""
        with suppress(RuntimeError):
            self._memory.set(f"{self._failures}/told", "")

    def hear(self) -> None:
        """Wait until the first to fail has said why."""
        with suppress(RuntimeError):
            self._memory.wait([f"{self._failures}/told"], timedelta(seconds=TEARDOWN / 2))

    def _reduce(self, tensor: Tensor, by: Any, why: str) -> None:
        with self._waiting(why):
            dist.all_reduce(tensor, by)

    @contextmanager
    def _waiting(self, why: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all errors of torch.distributed are
            text = str(error).strip().partition("\n")[0][:200]
            if "timed out" in str(error).lower() or "timeout" in str(error).lower():
                raise Lost(
                    f"Process {self.rank} of {self.size} waited {self.timeout:g} s {why}, and another did not come: "
                    f"it hangs, or its machine can't be reached ({text}).",
                    f"See what the others did last. If one is only slow: {VARIABLE}=SECONDS waits longer.",
                ) from error
            raise Lost(
                f"Process {self.rank} of {self.size} lost the others while it waited {why}: one has ended ({text}).",
                "Its own message says why; killed without one, it may have been out of memory. "
                "`torchrun --max-restarts N` goes on by itself; otherwise --resume the run.",
            ) from error


@contextmanager
def joined(tell: Callable[[Exception], object] = traceback.print_exception) -> Iterator[Group]:
    """The processes that torchrun started, this one among them; ALONE without torchrun.

    When one of them fails inside, all leave with exit status 1; the first to fail tells its error, the others nothing.
    One process alone just raises.
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
        timer.start()  # what has lost its peers may wait for them forever
        if not group.speaks():
            group.hear()
            raise SystemExit(1) from None
        if isinstance(error, GantoolError) and not isinstance(error, Lost) and not group.leads:
            error.message += f" (process {group.rank} of {group.size}, on {socket.gethostname()})"
        tell(error)
        group.told()
        raise SystemExit(1) from error
    finally:
        dist.destroy_process_group()
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
            is_master=rank == 0 and not agent,  # torchrun keeps one, which outlives the processes
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except RuntimeError as error:
        raise Lost(
            f"Process {rank} of {size} did not reach {address}:{port} within {timeout:g} s, where the others meet.",
            "Is process 0 running, and does a firewall let that port through?",
        ) from error
    group = Torchrun(store, _meet(store, rank, size, timeout), rank, size, timeout) if size > 1 else Group(store)
    group.restarted = _environment("TORCHELASTIC_RESTART_COUNT", 0) > 0
    return group


def _meet(store: Any, rank: int, size: int, timeout: float) -> str:
    """Wait until all processes are there; gives this meeting a name that none before it in the same store had.

    The store may remember processes that have died, so each says a word that no other ever said, and process 0 answers
    until it has been understood.
    """
    word = secrets.token_hex(8)
    if rank:
        store.set(f"gantool/hello/{rank}", word)
        try:
            meeting: str = store.get(f"gantool/answer/{word}").decode()
        except RuntimeError as error:
            raise Lost(
                f"Process {rank} of {size} waited {timeout:g} s for process 0, which never came.",
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
                f"Of {size} processes only {size - len(missing)} came within {timeout:g} s: "
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
