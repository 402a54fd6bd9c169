"""How a training is shown while it runs, on stderr: a bar in a terminal or a notebook, else a line in ten seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gantool.system.terminal import EVERY, REFRESH, Cell, console, in_notebook, moves
from gantool.training.session import Session

if TYPE_CHECKING:
    from rich.console import Console

SAVING = "Saving; Ctrl-C again leaves at once."
LOSSES = 1.0  # seconds between two readings of the losses below it


class SecondInterrupt(KeyboardInterrupt):
    """Ctrl-C, pressed again while the first one is still waiting for the step to end."""


class Display:
    """Shows nothing; what the others inherit. A `gantool.training.loop.Listener`, and a context while it trains.

    `interrupted`: the training is to end after this step.
    """

    interrupted = False

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stepped(self, step: int) -> None:
        """After every iteration."""

    def ticked(self, record: dict[str, float]) -> None:
        """After every tick, with its line of metrics.jsonl."""

    def noted(self, text: str) -> None:
        """When something happened that a person should read."""

    def stopping(self) -> None:
        """When Ctrl-C was pressed; called from a signal handler."""


def display_for(opened: Session) -> Display:
    """The display that fits where the program runs; it begins with what is trained on what."""
    if in_notebook():
        return Notebook(opened)
    out = console(stderr=True)
    out.print(summary(opened))
    for note in opened.notes:
        out.print(f"note: {note}")
    if opened.state.step:
        out.print(f"resumed at step {opened.state.step} of {opened.info.steps}")
    return Bar(opened, out) if moves(out) else Lines(opened, out)


def summary(opened: Session) -> str:
    """One line: the architecture, its size, the data, the device, and the run's folder."""
    state, info = opened.state, opened.info
    parameters = sum(p.numel() for p in state.game.generator.parameters())
    how = ["read batch by batch"] if state.sampler.reads_ahead else []
    how += ["flipped"] if info.flip else []
    how += [f"DiffAugment {info.diffaugment}"] if info.diffaugment else []
    how += ["adaptive augmentation"] if info.augment == "ada" else []
    seen = f" ({', '.join(how)})" if how else ""
    processes = f"{state.group.size} processes, " if state.group.size > 1 else ""
    return (
        f"{info.architecture} ({parameters / 1e6:.2f} M parameters in the generator) on {len(opened.data):,} samples "
        f"{opened.data.spec} of {info.data.name}{seen}, {info.device}, {info.precision}, "
        f"engine {info.engine}, {processes}seed {info.seed} → {opened.run.path}"
    )


class Lines(Display):
    """A line at the first step, then every ten seconds, and at the last step."""

    def __init__(self, opened: Session, out: Console) -> None:
        self.state, self.info, self.out = opened.state, opened.info, out
        self.per_step = opened.state.data_per_step()
        self.printed: tuple[float, int] | None = None  # when the latest line was printed, and at which step

    def stepped(self, step: int) -> None:
        now = time.monotonic()
        # while --minutes is measured, nobody knows how many there will be
        steps = self.info.steps if self.state.held is None else 0
        if self.printed and now - self.printed[0] < EVERY and step != steps:
            return
        speed, left = "", ""
        if self.printed:
            seconds_a_step = (now - self.printed[0]) / (step - self.printed[1])
            speed = f"{self.per_step / seconds_a_step:,.0f} {self.state.game.output.noun}s/s  "
            left = f"  ETA {clock((steps - step) * seconds_a_step)}" if steps else ""
        far = f"step {step}/{steps}" if steps else f"step {step}"
        self.out.print(f"{far}  {speed}{losses(self.state.meter.glance())}{left}")
        self.printed = now, step

    def noted(self, text: str) -> None:
        self.out.print(text)

    def stopping(self) -> None:
        os.write(2, f"{SAVING}\n".encode())  # raw: the signal may have come in the middle of a print


class Bar(Display):
    """A progress bar that moves with every step; the losses below it change every second."""

    def __init__(self, opened: Session, out: Console) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.text import Text

        state, info = opened.state, opened.info
        self.progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[speed]}} {opened.state.game.output.noun}s/s"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self.state, self.info, self.meter, self.read = state, info, state.meter, 0.0
        self.per_step = state.data_per_step()
        self.asked_to_stop = False
        self.task = self.progress.add_task("", total=info.steps, completed=state.step, speed="…")
        self.losses = Text()
        shown = Group(self.progress, self.losses)
        self.live = Live(shown, console=out, refresh_per_second=1 / REFRESH, redirect_stdout=sys.stdout.isatty())

    def __enter__(self) -> Bar:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def stepped(self, step: int) -> None:
        if self.asked_to_stop:
            self.asked_to_stop = False
            self.noted(SAVING)
        self.progress.tasks[0].total = self.info.steps if self.state.held is None else None  # --minutes is measured
        self.progress.update(self.task, completed=step)
        speed = self.progress.tasks[0].speed  # the bar's own estimate, between ticks
        if speed:
            self.progress.update(self.task, speed=f"{speed * self.per_step:,.0f}")
        if time.monotonic() - self.read >= LOSSES:
            self._show(self.meter.glance())

    def ticked(self, record: dict[str, float]) -> None:
        self._show(record)

    def _show(self, means: dict[str, float]) -> None:
        self.losses.plain = losses(means).replace("; ", "\n") or self.losses.plain
        self.read = time.monotonic()

    def noted(self, text: str) -> None:
        self.live.console.print(text)

    def stopping(self) -> None:
        self.asked_to_stop = True  # told after the step: printed from a signal, it would tear the bar apart


class Notebook(Display):
    """A bar below the cell, and lines of text below it."""

    def __init__(self, opened: Session) -> None:
        self.step, self.info, self.meter = opened.state.step, opened.info, opened.state.meter
        self.noun = opened.state.game.output.noun
        self.lines = [summary(opened), *(f"note: {note}" for note in opened.notes)]
        if self.step:
            self.lines.append(f"resumed at step {self.step}")
        self.speed, self.losses, self.read = "", "", 0.0
        self.cell = Cell()

    def __enter__(self) -> Notebook:
        self._show(now=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._show(now=True)

    def _show(self, now: bool = False) -> None:
        reached = f"{self.step:,} of {self.info.steps:,} steps"
        self.cell.show([reached, *self.lines, self.speed + self.losses], self.step, self.info.steps, now)

    def stepped(self, step: int) -> None:
        self.step, now = step, time.monotonic()
        if now - self.read >= LOSSES:
            self.losses, self.read = losses(self.meter.glance()) or self.losses, now
        self._show()

    def ticked(self, record: dict[str, float]) -> None:
        self.speed, self.losses = f"{record['images_per_second']:,.0f} {self.noun}s/s  ", losses(record)
        self.read = time.monotonic()
        self._show(now=True)

    def noted(self, text: str) -> None:
        self.lines.append(text)

    def stopping(self) -> None:
        self.lines.append("Saving; interrupting again leaves at once.")


class Reporting(Display):
    """Another display, and a caller's function that is given each tick's record."""

    def __init__(self, display: Display, callback: Callable[[dict[str, float]], object]) -> None:
        self.display, self.callback = display, callback
        self.stepped = display.stepped  # type: ignore[method-assign]
        self.noted = display.noted  # type: ignore[method-assign]
        self.stopping = display.stopping  # type: ignore[method-assign]

    def __enter__(self) -> Reporting:
        self.display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.display.__exit__(*error)

    def ticked(self, record: dict[str, float]) -> None:
        self.display.ticked(record)
        try:
            self.callback(dict(record))
        except SecondInterrupt:
            raise
        except KeyboardInterrupt:
            self.interrupted = True


def clock(seconds: float) -> str:
    """Hours (as many as there are), minutes and seconds."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"


def losses(record: dict[str, float]) -> str:
    """`discriminator: real 0.41, fake 0.38, accuracy_real 85%; generator: adversarial 1.20`."""
    players: dict[str, list[str]] = {}
    for key, value in record.items():
        kind, _, rest = key.partition(".")
        if kind in ("loss", "measure"):
            player, _, term = rest.partition(".")
            text = f"{term} {value:.0%}" if term.startswith("accuracy") else f"{term} {value:.3g}"
            players.setdefault(player, []).append(text)
    return "; ".join(f"{player}: {', '.join(terms)}" for player, terms in players.items())
