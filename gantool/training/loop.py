"""The shared loop. Every architecture trains here; none is named."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gantool.artifact import pictures
from gantool.artifact.provenance import Provenance
from gantool.errors import GantoolError
from gantool.run import best, checkpoint, metrics_log
from gantool.run.rundir import RunDir, RunInfo, Status
from gantool.training.meter import NonFinite
from gantool.training.rollback import Diverged, recover, snapshot
from gantool.training.state import State
from gantool.training.step import iterate
from gantool.training.watch import Watch

SAMPLES = pictures.SAMPLES

Figures = Callable[[State], dict[str, float]]  # what a tick computes beside the losses: key → value


def no_figures(state: State) -> dict[str, float]:
    return {}


class Listener(Protocol):
    """What wants to know how the training goes: the progress display, a test."""

    def stepped(self, step: int) -> None:
        """After every iteration. On the hot path: must not read the device."""

    def ticked(self, record: dict[str, float]) -> None:
        """After every tick, with the line that went to metrics.jsonl."""

    def noted(self, text: str) -> None:
        """When something happened that a person should read."""


def train(
    state: State,
    run: RunDir,
    info: RunInfo,
    listener: Listener,
    interrupted: Callable[[], bool] = lambda: False,
    figures: Figures = no_figures,
) -> Status:
    """Train until `info.steps`; at every tick read metrics, draw samples, save.

    `figures` gives what else belongs into a tick's record. Returns `finished`, or `interrupted` (everything saved)
    when `interrupted()` became true. Raises GantoolError when a loss or a weight is no longer finite (and
    `info.on_nan` knows no way on); the last good checkpoint stays.
    """
    info.status = "running"
    _describe(state, run, info)
    try:
        status = _loop(state, run, info, listener, interrupted, figures)
    except BaseException:
        info.status = "failed"
        with contextlib.suppress(GantoolError):  # a full disk may be why: its own error says more
            _describe(state, run, info)
        raise
    finally:
        state.sampler.close()
    info.status = status
    _describe(state, run, info)
    return status


def _describe(state: State, run: RunDir, info: RunInfo) -> None:
    if state.group.leads:
        run.write(info)


def _loop(
    state: State,
    run: RunDir,
    info: RunInfo,
    listener: Listener,
    interrupted: Callable[[], bool],
    figures: Figures,
) -> Status:
    watch, interrupted = _watch(state, run, info), state.group.agreeing(interrupted)
    began, first, stopping = time.perf_counter(), state.sampler.seen, False
    while state.step < info.steps and not stopping:
        iterate(state)
        listener.stepped(state.step)
        stopping = interrupted()
        if state.step % info.tick == 0 or state.step == info.steps or stopping:
            try:
                means = _means(state)  # waits for the device: what follows is timed whole
            except Diverged as cause:
                recover(state, run, info, cause, listener.noted)
                watch = _watch(state, run, info)
                began, first = time.perf_counter(), state.sampler.seen
                continue
            elapsed = time.perf_counter() - began
            state.seconds += elapsed
            speed = (state.sampler.seen - first) / elapsed
            with run.writing():
                observe = partial(_observe, state, run, info, watch, figures, means, speed)
                record, alarms = state.group.lead(observe)
                _save(state, run, info)
            listener.ticked(record)
            for alarm in alarms:
                listener.noted(f"step {state.step}: {alarm['text']}")
            began, first = time.perf_counter(), state.sampler.seen
    return "finished" if state.step >= info.steps else "interrupted"


def _means(state: State) -> dict[str, float]:
    try:
        means = state.meter.read()
        culprit = state.broken_weights()
    except NonFinite as error:
        # steps are shown as people count them: the first is 1
        raise Diverged(f"{error.term} became NaN or infinite at step {error.step + 1}") from None
    if culprit:
        raise Diverged(f"the weights of the {culprit} became NaN or infinite by step {state.step}")
    return means


def _observe(
    state: State, run: RunDir, info: RunInfo, watch: Watch, figures: Figures, means: dict[str, float], speed: float
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Samples, metrics, alarms."""
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
    """The checkpoint: it comes last, so that what it promises is there."""
    saved = snapshot(state, info)
    info.step = state.step
    if state.group.leads:
        checkpoint.save(run.checkpoint(state.step), saved)
        checkpoint.prune(run, info.keep, info.keep_every, best.best(run, info))
        run.write(info)


def _watch(state: State, run: RunDir, info: RunInfo) -> Watch:
    """A watch that remembers what the run has logged so far."""
    # what a generator itself draws at random here must not change what training draws
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        before = _fixed_samples(state)[1] if state.step else None
    return Watch(state, info, metrics_log.read_metrics(run), before)


@torch.no_grad()
def _fixed_samples(state: State) -> tuple[list[Tensor], np.ndarray]:
    """Fixed inputs, and the samples (N, *shape), float32, that they become: as many as `class_rows` says."""
    rows, columns = pictures.class_rows(state.classes)
    inputs = state.fixed_inputs(rows * columns, classes=rows)
    samples: np.ndarray = state.sampling_generator()(*inputs).float().cpu().numpy()
    return inputs, samples


def draw_samples(state: State, run: RunDir, info: RunInfo) -> np.ndarray:
    """A grid of the fixed samples, which it returns: a row a class when the generator takes a label.

    When it takes images, each stands beside what became of it.
    """
    inputs, samples = _fixed_samples(state)
    images, beside = pictures.to_pictures(samples), False
    shown = [i for i, item in enumerate(state.game.inputs) if item.distribution == "data"]
    for position in shown:
        source = pictures.to_pictures(inputs[position].float().cpu().numpy())
        if source.shape == images.shape:
            images, beside = np.stack((source, images), 1).reshape(-1, *images.shape[1:]), True
            break
    where = Provenance(
        info.architecture,
        run.name,
        state.step,
        count=len(samples),
        data=info.data.name,
        fingerprint=info.data.fingerprint,
        licence=info.data.licence,
        composite=beside,
    )
    rows = 1 if beside else pictures.class_rows(state.classes)[0]
    pictures.save_png(pictures.grid(*pictures.in_rows(images, rows)), run.sample(state.step), where)
    return samples
