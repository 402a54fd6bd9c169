"""The shared loop. Every architecture trains here; none is named."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gantool.artifact import pictures, points, sounds
from gantool.artifact.provenance import Provenance
from gantool.errors import GantoolError
from gantool.plugin.game import Game
from gantool.plugin.train_options import RunOptions
from gantool.run import best, checkpoint, metrics_log, verdict
from gantool.run.rundir import RunDir, RunInfo, Status
from gantool.system import machine
from gantool.system.files import write_bytes
from gantool.training import field
from gantool.training.state import State
from gantool.training.step import Diverged, iterate
from gantool.training.threads import Threads, computing_on
from gantool.training.watch import Watch

if TYPE_CHECKING:
    from PIL.Image import Image

CHANGED = 0.3  # share of the steps left by which their number must differ before it is changed
USUAL_TICK = RunOptions.model_fields["tick"].default
TICKS = 8  # at least, of a training with a time budget
FEW = 0.1  # of the recipe's steps: samples will be rough
POINTS = 500  # reals, and as many fakes, that a tick draws of two-dimensional samples
ROLLBACKS = 3  # in a run: when an eighth of the learning rates does not help, the rates are not the cause

Figures = Callable[[State], dict[str, float]]  # what a tick computes beside the losses: key → value


def no_figures(state: State) -> dict[str, float]:
    return {}


class Listener(Protocol):
    """Follows a training: the progress display, TensorBoard, a test."""

    def stepped(self, step: int) -> None:
        """After every iteration. On the hot path: must not read the device."""

    def ticked(self, record: dict[str, float]) -> None:
        """After every tick, with its line of metrics.jsonl."""

    def noted(self, text: str) -> None:
        """When something happened that a person should read."""


def train(
    state: State,
    run: RunDir,
    info: RunInfo,
    listener: Listener,
    interrupted: Callable[[], bool] = lambda: False,
    figures: Figures = no_figures,
    budget: float = 0.0,
) -> Status:
    """Train until `info.steps`; at every tick read metrics, draw samples, save.

    `budget`: seconds to take, when not 0: the first steps show how many fit, and that becomes `info.steps`, which a
    tick changes when the machine has become faster or slower. `figures` adds to the record of a tick. Returns
    `finished`, or `interrupted` (everything saved) when `interrupted()` became true. When a loss or a weight is NaN or
    infinite: goes back to the last checkpoint if `info.on_nan` is `rollback`, else raises GantoolError; the last good
    checkpoint stays.
    """
    info.status = "running"
    _write(state, run, info)
    try:
        with computing_on(), machine.keeping_freed_memory():
            info.status = _loop(state, run, info, listener, interrupted, figures, budget)
    except BaseException:
        info.status = "failed"
        with contextlib.suppress(GantoolError):  # the disk may be full, and the error on its way says more
            _write(state, run, info)
        raise
    finally:
        state.sampler.close()
    _write(state, run, info)
    if state.group.leads:
        for text in verdict.at(run, state.step):
            listener.noted(f"at the end, step {state.step}: {text}")
    return info.status


def _loop(
    state: State,
    run: RunDir,
    info: RunInfo,
    listener: Listener,
    interrupted: Callable[[], bool],
    figures: Figures,
    budget: float,
) -> Status:
    state.steps, state.held = info.steps, None
    began, chosen = time.perf_counter(), Threads(state, info)
    if said := chosen.begin():
        listener.noted(said)
    watch, interrupted = _watch(state, run, info), state.group.agreeing(interrupted)
    pace = _Pace(max(0.1, budget - (time.perf_counter() - began)), state) if budget else None
    planned = pace is None
    if not planned:  # until it is known, for those who show how far it is
        info.steps, state.held = max(info.steps, state.step + info.tick), state.progress
    known = state.group.agreeing(pace.known) if pace else lambda: False
    began, first, stopping = time.perf_counter(), state.sampler.seen, False
    while (not planned or state.step < info.steps) and not stopping:
        iterate(state)
        if pace and not planned and known():
            planned, info.steps = True, state.group.lead(pace.steps)
            state.steps, state.held = info.steps, None
            if info.tick == USUAL_TICK:  # one that was asked for stays
                info.tick = min(info.tick, max(1, info.steps // TICKS))
            _write(state, run, info)
            minutes = "a minute" if budget == 60 else f"{budget / 60:g} minutes"
            listener.noted(f"{info.steps:,} steps take about {minutes} here, a tick is {info.tick:,}{_few(info)}")
        listener.stepped(state.step)
        stopping = interrupted()
        if state.step % info.tick and (not planned or state.step < info.steps) and not stopping:
            continue
        # a tick
        if pace and not planned:  # a first guess: every checkpoint has a run.json that says how long the run is
            info.steps = state.group.lead(pace.steps)
        elif pace and state.step < info.steps:
            steps = max(state.group.lead(pace.steps), state.step + 1)  # one more: displays show the last as such
            if abs(steps - info.steps) > CHANGED * (info.steps - state.step):
                listener.noted(f"step {state.step}: the speed has changed; {steps:,} steps in place of {info.steps:,}")
                info.steps = state.steps = steps
        try:
            means = _means(state)  # CPU-GPU sync point: the time below is that of all steps
        except Diverged as cause:
            _roll_back(state, run, info, cause, listener)
            watch = _watch(state, run, info)
        else:
            elapsed = time.perf_counter() - began
            state.seconds += elapsed
            speed = (state.sampler.seen - first) / elapsed
            switched = chosen.look_again(speed) if state.step < info.steps and not stopping else ""
            with run.writing():
                record, alarms = state.group.lead(partial(_observe, state, run, info, watch, figures, means, speed))
                if switched:
                    _log_threads(state, run, info)
                _save(state, run, info)
            listener.ticked(record)
            if switched:
                listener.noted(f"step {state.step}: {switched}")
            for alarm in alarms:
                listener.noted(f"step {state.step}: {alarm['text']}")
        began, first = time.perf_counter(), state.sampler.seen
    return "finished" if state.step >= info.steps else "interrupted"


def _few(info: RunInfo) -> str:
    usual = int(info.recipe["steps"])
    if info.steps >= FEW * usual:
        return ""
    return (
        f". That is {info.steps / usual:.0%} of this recipe's {usual:,}, so samples will be rough; smaller pictures or "
        "networks take less time a step"
    )


class _Pace:
    """How many steps fit into a time, by the speed of those since the plan before."""

    def __init__(self, budget: float, state: State) -> None:
        self.budget, self.state, self.begin = budget, state, time.perf_counter()
        self.warm = self.begin, state.step  # when, and at which step, the slow first steps were over

    def known(self) -> bool:
        """Whether enough steps were made to tell."""
        now = time.perf_counter()
        if now - self.begin < min(2.0, self.budget / 10):
            self.warm = now, self.state.step
        return now - self.begin >= min(10.0, self.budget / 5)

    def steps(self) -> int:
        """The step at which the time will be over."""
        if self.state.device.type == "cuda":
            torch.cuda.synchronize(self.state.device)
        now = time.perf_counter()
        since, step = self.warm if self.state.step > self.warm[1] else (self.begin, 0)
        a_step = (now - since) / max(1, self.state.step - step)
        self.warm = now, self.state.step
        return self.state.step + max(0, int((self.begin + self.budget - now) / a_step))


def _means(state: State) -> dict[str, float]:
    means = state.meter.read()
    if broken := state.broken_weights():
        raise Diverged(f"the weights of the {broken} became NaN or infinite by step {state.step}")
    return means


def _observe(
    state: State, run: RunDir, info: RunInfo, watch: Watch, figures: Figures, means: dict[str, float], speed: float
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Draw samples; log metrics and alarms, and return them."""
    samples = draw_samples(state, run, info)
    record = {
        "step": state.step,
        "epoch": round(state.sampler.epoch, 4),
        "images": state.sampler.seen,
        "seconds": round(state.seconds, 3),
        "images_per_second": round(speed, 1),
        **means,
        **watch.measure(samples),
        **figures(state),
    }
    if info.keep_best:
        best.check_record(info.keep_best, record)
    alarms = watch.judge(record)
    for line in (record, *alarms):
        metrics_log.append(run, line)
    return record, alarms


def _save(state: State, run: RunDir, info: RunInfo) -> None:
    """Save a checkpoint: last, after its metrics and samples, so that they are there when it is."""
    saved = _snapshot(state, info)
    info.step = state.step
    if state.group.leads:
        checkpoint.save(run.checkpoint(state.step), saved)
        checkpoint.prune(run, info.keep, info.keep_every, best.best(run, info))
        run.write(info)


def _snapshot(state: State, info: RunInfo) -> dict[str, Any]:
    """What a checkpoint holds."""
    return {**state.state_dict(), "rollbacks": info.rollbacks, "threads": info.threads_used}


def _log_threads(state: State, run: RunDir, info: RunInfo) -> None:
    if state.group.leads:
        metrics_log.append(run, {"event": "threads", "step": state.step, "threads": info.threads_used})


def _write(state: State, run: RunDir, info: RunInfo) -> None:
    if state.group.leads:
        run.write(info)


def _roll_back(state: State, run: RunDir, info: RunInfo, cause: Diverged, listener: Listener) -> None:
    """Go back to the last good checkpoint, with half the learning rates.

    The checkpoint is written again with the new rates and the number of rollbacks, so that a resume keeps both.
    Raises GantoolError when `--on-nan` is `stop`, after ROLLBACKS of them, and before the first checkpoint.
    """
    failed = state.step
    path, saved, notes = state.group.lead(lambda: _last_good(run, info, cause))
    state.load_state_dict(saved)
    info.rollbacks += 1
    info.step = state.step
    state.rate_scale *= 0.5
    state.follow_schedule()
    event = {
        "event": "rollback",
        "step": state.step,
        "failed_step": failed,
        "cause": str(cause),
        "rollbacks": info.rollbacks,
        "learning_rates": {name: float(made.torch.param_groups[0]["lr"]) for name, made in state.optimizers.items()},
    }
    saved = _snapshot(state, info)
    if state.group.leads:
        with run.writing():
            checkpoint.set_aside(run, path)
            metrics_log.forget_after(run, state.step, info.rollbacks)
            metrics_log.append(run, event)
            checkpoint.save(path, saved)  # after the line: a resume drops the line when a kill came in between
            run.write(info)
    for note in notes:
        listener.noted(f"note: {note}")
    listener.noted(
        f"{cause}: back to step {state.step} at half the learning rates (rollback {info.rollbacks} of {ROLLBACKS})"
    )


def _last_good(run: RunDir, info: RunInfo, cause: Diverged) -> tuple[Path, dict[str, Any], list[str]]:
    kept = run.checkpoints()
    if kept and info.on_nan == "rollback" and info.rollbacks < ROLLBACKS:
        return checkpoint.load_newest(run)
    good = f"The last good checkpoint is {kept[-1]}." if kept else "It happened before the first checkpoint."
    way = "Resume with --on-nan rollback, or start" if kept and info.on_nan == "stop" else "Start"
    times = f", after {info.rollbacks} rollbacks" if info.rollbacks else ""
    raise GantoolError(f"Training stopped: {cause}{times}.", f"{good} {way} a new run with a smaller --learning-rate.")


def _watch(state: State, run: RunDir, info: RunInfo) -> Watch:
    """A watch that knows what the run has logged so far."""
    # a generator may draw random numbers of its own: here they must not change what training draws
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        before = _sample(state.sampling_generator(), state.fixed_inputs(pictures.SAMPLES)) if state.step else None
    return Watch(state, info, metrics_log.read_metrics(run), before)


@torch.no_grad()
def _sample(generator: nn.Module, inputs: list[Tensor]) -> np.ndarray:
    """What the generator makes of `inputs`: (N, *shape), float32."""
    samples: np.ndarray = generator(*inputs).float().cpu().numpy()
    return samples


def draw_samples(state: State, run: RunDir, info: RunInfo) -> np.ndarray:
    """Save a grid of fixed samples, with labels a row a class; return samples to measure, of the data's classes.

    When the generator takes pictures, each of them is shown to the left of the sample made of it, and to the right what
    it should be, where the data says so. The grids of several generators are below each other. Beside the grid of
    sounds lies a WAV of the first few. Points are in one picture, beside reals.
    """
    rate = info.data.rate
    generators = {name: state.sampling_generator(name) for name in state.game.exports}
    if state.game.output.kind == "point":
        drawn = [_points(state, run)]
    else:
        drawn = [_grid(state, state.game.of(name), generator, rate) for name, generator in generators.items()]
    where = Provenance(
        info.architecture,
        run.name,
        state.step,
        count=len(drawn[0][1]),
        data=info.data.name,
        fingerprint=info.data.fingerprint,
        licence=info.data.licence,
        composite=state.game.source is not None,
    )
    pictures.save_png(pictures.stacked([grid for grid, _ in drawn]), run.sample(state.step), where)
    if state.game.output.kind == "audio":
        sounds.save_wav(drawn[0][1], run.sound(state.step), rate)
    if state.classes:
        return _sample(generators[state.game.name], state.fixed_inputs(pictures.SAMPLES))
    return drawn[0][1][: pictures.SAMPLES]


def _points(state: State, run: RunDir) -> tuple[Image, np.ndarray]:
    """A picture of reals and fakes, and the fakes. A file for `gantool watch` also has the discriminator's scores."""
    generator, reals = state.sampling_generator(), state.game.compared
    fakes = _sample(generator, state.fixed_inputs(POINTS))
    shown = state.sampler.shuffled(reals, POINTS).float().cpu().numpy() if reals else fakes[:0]
    described = json.dumps(field.described(state, shown, fakes), separators=(",", ":"))
    write_bytes(run.sample(state.step).with_suffix(".json"), described.encode())
    return pictures.grid(points.scatter(shown, fakes), gap=0), fakes


def _grid(state: State, game: Game, generator: nn.Module, rate: int) -> tuple[Image, np.ndarray]:
    """The grid of the first generator's fixed samples, and the samples."""
    rows, columns = pictures.class_rows(0 if game.source else len(state.classes))
    classes = state.classes[:rows] if rows > 1 else ()
    samples = _sample(generator, state.fixed_inputs(rows * columns, classes, game.name))
    images = pictures.to_pictures(samples, rate)
    if game.source is None:
        return pictures.grid(*pictures.in_rows(images, rows)), samples
    beside = pictures.side_by_side(*_compared(state, game, images, rate))
    columns = math.isqrt(len(images) * beside.shape[1] // beside.shape[2])
    return pictures.grid(beside, columns, scale=pictures.enlarged(images)), samples


def _compared(state: State, game: Game, images: np.ndarray, rate: int) -> list[np.ndarray]:
    """Pictures (N, H, W, 1 or 3): sources, `images` made of them, and the reals that are paired with them."""
    source, reals = game.source, game.compared
    assert source
    shown = [source, *([reals] if reals and reals.is_picture and reals.label == source.label else [])]
    rows = [state.sampler.first(item, len(images)).float().cpu().numpy() for item in shown]
    of_data = [pictures.to_pictures(row, rate) for row in rows]
    return [of_data[0], images, *of_data[1:]]
