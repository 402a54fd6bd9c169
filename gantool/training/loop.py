"""The shared loop. Every architecture trains here; none is named."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from gantool import pictures
from gantool.errors import GantoolError
from gantool.rundir import RunDir, RunInfo, Status
from gantool.training import checkpoint, log
from gantool.training.meter import NonFinite
from gantool.training.rollback import Diverged, recover, snapshot
from gantool.training.state import State

SAMPLES = 64


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
) -> Status:
    """Train until `info.steps`; at every tick read metrics, draw samples, save.

    Returns `finished`, or `interrupted` (everything saved) when `interrupted()` became true. Raises GantoolError when
    a loss or a weight is no longer finite (and `info.on_nan` knows no way on); the last good checkpoint stays.
    """
    info.status = "running"
    run.write(info)
    try:
        status = _loop(state, run, info, listener, interrupted)
    except BaseException:
        info.status = "failed"
        with contextlib.suppress(GantoolError):  # a full disk may be why: its own error says more
            run.write(info)
        raise
    info.status = status
    run.write(info)
    return status


def _loop(state: State, run: RunDir, info: RunInfo, listener: Listener, interrupted: Callable[[], bool]) -> Status:
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
                began, first = time.perf_counter(), state.sampler.seen
                continue
            elapsed = time.perf_counter() - began
            state.seconds += elapsed
            speed = (state.sampler.seen - first) / elapsed
            with run.writing():
                record = _maintain(state, run, info, means, speed)
            listener.ticked(record)
            began, first = time.perf_counter(), state.sampler.seen
    return "finished" if state.step >= info.steps else "interrupted"


def iterate(state: State) -> None:
    """One iteration: every player moves. Nothing here reads the device, prints or touches a file."""
    for mover in state.movers:
        player = mover.player
        if state.step % player.every:
            continue
        with mover.turn():
            for _ in range(mover.moves):
                batch = state.sampler.draw(player.draws)
                with state.autocast():
                    loss = player.loss(batch)
                total = torch.stack([term.float() for term in loss.terms.values()]).sum()
                mover.optimizer.zero_grad(set_to_none=True)
                total.backward()  # type: ignore[no-untyped-call]
                mover.optimizer.step()
                if player.after_step:
                    with torch.no_grad():
                        player.after_step()
                state.meter.add(player.name, loss, state.step)
    if state.ema:
        state.ema.update(state.game.generator, state.step)
    state.step += 1


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


def _maintain(state: State, run: RunDir, info: RunInfo, means: dict[str, float], speed: float) -> dict[str, float]:
    """Samples, metrics, then the checkpoint: it comes last, so that what it promises is there."""
    draw_samples(state, run)
    record = {
        "step": state.step,
        "epoch": round(state.sampler.epoch, 4),
        "images": state.sampler.seen,
        "seconds": round(state.seconds, 3),
        "images_per_second": round(speed, 1),
        **means,
    }
    log.append(run, record)
    checkpoint.save(run.checkpoint(state.step), snapshot(state, info))
    checkpoint.prune(run, info.keep, info.keep_every)
    info.step = state.step
    run.write(info)
    return record


@torch.no_grad()
def draw_samples(state: State, run: RunDir) -> None:
    """A grid of fixed inputs; when the generator takes images, each beside what became of it."""
    generator, inputs = state.sampling_generator(), state.fixed_inputs(SAMPLES)
    images = pictures.to_pictures(generator(*inputs).float().cpu().numpy())
    shown = [i for i, item in enumerate(state.game.inputs) if item.distribution == "data"]
    for position in shown:
        source = pictures.to_pictures(inputs[position].float().cpu().numpy())
        if source.shape == images.shape:
            images = np.stack((source, images), 1).reshape(-1, *images.shape[1:])
            break
    pictures.save_png(pictures.grid(images), run.sample(state.step))
