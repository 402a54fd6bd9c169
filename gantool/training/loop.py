"""The shared loop. Every architecture trains here; none is named."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from gantool import pictures
from gantool.errors import GantoolError
from gantool.files import write_bytes
from gantool.rundir import RunDir, RunInfo, Status
from gantool.training import checkpoint
from gantool.training.meter import NonFinite
from gantool.training.state import State

SAMPLES = 64


class Listener(Protocol):
    """What wants to know how the training goes: the progress display, a test."""

    def stepped(self, step: int) -> None:
        """After every iteration. On the hot path: must not read the device."""

    def ticked(self, record: dict[str, float]) -> None:
        """After every tick, with the line that went to metrics.jsonl."""


def train(
    state: State,
    run: RunDir,
    info: RunInfo,
    listener: Listener,
    interrupted: Callable[[], bool] = lambda: False,
) -> Status:
    """Train until `info.steps`; at every tick read metrics, draw samples, save.

    Returns `finished`, or `interrupted` (everything saved) when `interrupted()` became true. Raises GantoolError when
    a loss or a weight is no longer finite; the last good checkpoint stays.
    """
    info.status = "running"
    run.write(info)
    try:
        status = _loop(state, run, info, listener, interrupted)
    except BaseException:
        info.status = "failed"
        with contextlib.suppress(OSError):  # a full disk may be why: its own error says more
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
            means = _means(state, run)  # waits for the device: what follows is timed whole
            elapsed = time.perf_counter() - began
            state.seconds += elapsed
            speed = (state.sampler.seen - first) / elapsed
            try:
                record = _maintain(state, run, info, means, speed)
            except OSError as error:
                raise GantoolError(
                    f"The run {run.path} can't be written: {error}.",
                    "Free space or mend the folder, then --resume the run.",
                ) from error
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


def _means(state: State, run: RunDir) -> dict[str, float]:
    try:
        means = state.meter.read()
        culprit = state.broken_weights()
    except NonFinite as error:
        # steps are shown as people count them: the first is 1
        raise _not_finite(f"{error.term} became NaN or infinite at step {error.step + 1}", run) from None
    if culprit:
        raise _not_finite(f"the weights of the {culprit} became NaN or infinite by step {state.step}", run)
    return means


def _not_finite(what: str, run: RunDir) -> GantoolError:
    kept = run.checkpoints()
    good = f"The last good checkpoint is {kept[-1]}." if kept else "It happened before the first checkpoint."
    return GantoolError(f"Training stopped: {what}.", f"{good} Start a new run with a smaller --learning-rate.")


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
    with run.metrics.open("a") as file:
        file.write(json.dumps(record) + "\n")
    checkpoint.save(run.checkpoint(state.step), state.state_dict())
    checkpoint.prune(run)
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


def read_metrics(run: RunDir) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut off by a kill is left out."""
    records = []
    if run.metrics.is_file():
        for line in run.metrics.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def forget_after(run: RunDir, step: int) -> None:
    """Drop metrics and samples later than `step`: a killed run may have written more than its checkpoint holds."""
    kept = [json.dumps(record) + "\n" for record in read_metrics(run) if record["step"] <= step]
    write_bytes(run.metrics, "".join(kept).encode())
    for path in run.sample(0).parent.glob("step-*.png"):
        if path > run.sample(step):
            path.unlink()
