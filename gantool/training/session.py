"""Starting a run, and taking an old one up again."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from pydantic import ValidationError

from gantool import __version__
from gantool.artifact import pictures
from gantool.data import Dataset, load
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, Recipe
from gantool.plugin.options import resolve
from gantool.plugin.registry import Plugin
from gantool.run import best, checkpoint, lock, metrics_log, rundir
from gantool.run.rundir import DataInfo, OnNan, Place, RunDir, RunInfo
from gantool.training import augment
from gantool.training import tensorboard as board
from gantool.training.distributed import ALONE, LOCKED, Group
from gantool.training.loop import Figures, no_figures
from gantool.training.state import State, pick_device


@dataclass(frozen=True)
class Session:
    """A state, and the run folder that it is saved in, which is locked as long as the session is referred to."""

    state: State
    run: RunDir
    info: RunInfo
    data: Dataset
    lock: BaseFileLock | None  # the leader's
    notes: tuple[str, ...] = ()
    figures: Figures = no_figures


def start(
    plugin: Plugin,
    given: dict[str, Any],
    *,
    data: str = "digits",
    size: int | None = None,
    data_on: Place = "auto",
    flip: bool = False,
    diffaugment: str = "",
    epochs: float | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    engine: str = "auto",
    tick: int = 250,
    keep: int = 2,
    keep_every: int = 0,
    on_nan: OnNan = "stop",
    keep_best: str | None = None,
    tensorboard: bool = False,
    runs: Path = Path("runs"),
    name: str | None = None,
    into: RunDir | None = None,
    group: Group = ALONE,
) -> Session:
    """Make a new run. `given`: the config and recipe values that differ from the plugin's defaults.

    The folder is made last, when everything that can be wrong with the request has been found out. All processes of
    `group` start together; only the leader writes. `into`: a run that was begun, and has saved nothing yet.
    """
    architecture = plugin.architecture
    assert architecture is not None
    config, recipe = resolve(architecture, given)
    policies = augment.parse(diffaugment)
    target = pick_device(group.place(device))
    dataset = load(data, size)
    group.check_same("The data", f"{data} {dataset.fingerprint[:12]}")
    group.check_same(
        "The options", f"{config} {recipe} {seed=} {tick=} {precision=} {epochs=} {on_nan=} {flip=} {policies}"
    )
    state = State(
        architecture,
        config,
        recipe,
        dataset,
        seed=seed,
        device=target,
        precision=precision,
        engine=engine,
        group=group,
        place=data_on,
        flip=flip,
        diffaugment=policies,
    )
    steps = recipe.steps if epochs is None else _steps(epochs, state, dataset)
    if tensorboard:
        board.require()
    wanted = _goal(keep_best, state)
    extractor, figures = _figures(wanted, state, dataset)
    run = into or group.lead(lambda: rundir.create(runs, name or rundir.label(architecture.name, dataset.name)))
    held = lock.take(run, LOCKED if group.restarted else 0.0) if group.leads else None
    info = RunInfo(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
        step=0,
        architecture=architecture.name,
        plugin=plugin.distribution,
        plugin_version=plugin.version,
        config=config.model_dump(mode="json"),
        recipe=recipe.model_dump(mode="json"),
        data=DataInfo(
            source=data,
            name=dataset.name,
            size=size,
            shape=dataset.spec.shape,
            classes=dataset.spec.classes,
            count=len(dataset),
            fingerprint=dataset.fingerprint,
            class_names=dataset.class_names,
            class_counts=dataset.class_counts,
            licence=dataset.licence,
        ),
        steps=steps,
        seed=seed,
        tick=tick,
        precision=precision,
        engine=state.engine.name,
        device=str(target),
        versions=versions(),
        keep=keep,
        keep_every=keep_every,
        on_nan=on_nan,
        keep_best=wanted,
        extractor=extractor,
        tensorboard=tensorboard,
        processes=group.size,
        data_on=data_on,
        flip=flip,
        diffaugment=",".join(policies),
    )
    if group.leads:
        if into:
            with run.writing():
                run.sweep()
                metrics_log.forget_after(run, 0, 0)
        run.write(info)
        group.remember(run.path)
    return Session(state, run, info, dataset, held, (*dataset.notes, *_notes(state)), figures)


def resume(
    run: RunDir,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    device: str | None = None,
    engine: str | None = None,
    tick: int | None = None,
    keep: int | None = None,
    keep_every: int | None = None,
    on_nan: OnNan | None = None,
    keep_best: str | None = None,
    tensorboard: bool | None = None,
    data: str | None = None,
    data_on: Place | None = None,
    group: Group = ALONE,
) -> Session:
    """Take up a run from its newest sound checkpoint; on the same device exactly as if it had never stopped.

    `data`: where the same data lies now, if it moved (its fingerprint must agree). Nothing on disk is changed until
    everything that can be wrong has been found out. GantoolError when another process trains the run. Only the leader
    of `group` needs the run's folder.
    """
    info = group.lead(run.read)
    held = lock.take(run, LOCKED if group.restarted else 0.0) if group.leads else None
    plugin, recipe, config = described(info)
    assert plugin.architecture is not None
    path, saved, notes = group.lead(lambda: checkpoint.load_newest(run))
    if data:
        info.data.source = data
    dataset = _data_of(info)
    if dataset.fingerprint != info.data.fingerprint:
        raise GantoolError(
            f"The data {info.data.source!r} is not what the run was trained on "
            f"(fingerprint {dataset.fingerprint[:12]}…, then {info.data.fingerprint[:12]}…).",
            "Put the old data back, or start a new run.",
        )
    target = pick_device(group.place(device, info.device))
    info.data_on = data_on or info.data_on
    state = State(
        plugin.architecture,
        config,
        recipe,
        dataset,
        seed=info.seed,
        device=target,
        precision=info.precision,
        engine=engine or (info.engine if target.type == torch.device(info.device).type else "auto"),
        group=group,
        place=info.data_on,
        flip=info.flip,
        diffaugment=augment.parse(info.diffaugment),
    )
    try:
        state.load_state_dict(saved)
    except (RuntimeError, KeyError, ValueError) as error:
        raise misfit(path, info, plugin, error) from error
    if epochs is not None:
        steps = _steps(epochs, state, dataset)
    info.steps = steps or info.steps
    if info.steps < state.step:
        raise GantoolError(
            f"The run {run.name} is at step {state.step}, beyond the {info.steps} asked for.",
            "Ask for more --steps.",
        )
    info.tick = tick or info.tick
    info.device, info.engine = str(target), state.engine.name
    info.keep = keep or info.keep
    info.keep_every = info.keep_every if keep_every is None else keep_every
    info.on_nan = on_nan or info.on_nan
    info.tensorboard = info.tensorboard if tensorboard is None else tensorboard
    if info.tensorboard:
        board.require()
    info.keep_best = info.keep_best if keep_best is None else _goal(keep_best, state)
    if info.keep_best and group.leads:
        best.check_records(info.keep_best, metrics_log.read_metrics(run))
    info.extractor, figures = _figures(info.keep_best, state, dataset, info.extractor)
    info.step, info.rollbacks = state.step, saved["rollbacks"]
    if info.processes != group.size:
        notes.append(
            f"{info.processes} process(es) trained this run, now {group.size}: data and latents go on exactly, random "
            "numbers inside a step (dropout, gradient penalty) and batch statistics do not."
        )
        info.processes = group.size
    if group.leads:
        with run.writing():
            run.sweep()
            checkpoint.set_aside(run, path)
            metrics_log.forget_after(run, state.step, info.rollbacks)
    return Session(state, run, info, dataset, held, (*notes, *dataset.notes, *_notes(state)), figures)


def _notes(state: State) -> list[str]:
    """What a person should know of this architecture and this data together."""
    rows = pictures.class_rows(state.classes)[0]
    if rows == state.classes or rows == 1:
        return []
    return [f"sample grids show the classes 0 to {rows - 1} of {state.classes}, a row each"]


def unfinished(
    runs: Path,
    plugin: Plugin,
    given: dict[str, Any],
    *,
    data: str = "digits",
    size: int | None = None,
    seed: int = 0,
    precision: str = "fp32",
    flip: bool = False,
    diffaugment: str = "",
    name: str | None = None,
    **_: Any,
) -> RunDir | None:
    """The newest run in `runs` that `start` made of these options; None when it has finished or saved nothing yet.

    What can change on a resume (steps, tick …) may differ.
    """
    assert plugin.architecture is not None
    config, recipe = resolve(plugin.architecture, given)
    seen = (flip, ",".join(augment.parse(diffaugment)))
    wanted = (plugin.name, config.model_dump(mode="json"), recipe.model_dump(mode="json"), data, size, seed, precision)
    for run in reversed(rundir.list_runs(runs)):
        try:
            info = run.read()
        except GantoolError:
            continue
        then = {**info.recipe, "steps": recipe.steps}
        was = (info.architecture, info.config, then, info.data.source, info.data.size, info.seed, info.precision)
        if (
            was == wanted
            and seen == (info.flip, info.diffaugment)
            and name in (None, run.name.partition("-")[2])
            and run.checkpoints()
        ):
            return None if info.status == "finished" else run
    return None


def described(info: RunInfo) -> tuple[Plugin, Recipe, Any]:
    """Plugin, recipe and config of a run's description."""
    plugin = _plugin_of(info)
    architecture: Architecture | None = plugin.architecture
    assert architecture is not None
    try:
        return plugin, Recipe(**info.recipe), architecture.config(**info.config)
    except ValidationError as error:
        first = error.errors()[0]
        raise GantoolError(
            f"The run's config does not fit {info.architecture!r} of {plugin.distribution} {plugin.version}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.",
            f"It was made with {info.plugin} {info.plugin_version}.",
        ) from error


def misfit(path: Path, info: RunInfo, plugin: Plugin, error: Exception) -> GantoolError:
    """What to say of a checkpoint whose tensors are not those of the architecture that is installed now."""
    return GantoolError(
        f"The checkpoint {path} does not fit the architecture {info.architecture!r}: {error}",
        f"It was made with {info.plugin} {info.plugin_version}; installed is {plugin.version}.",
    )


def _goal(keep_best: str | None, state: State) -> str:
    """What `--keep-best` asked for; "" for none. GantoolError when this game will never record it."""
    if keep_best in (None, "none"):
        return ""
    best.check_player(keep_best, [player.name for player in state.game.players])
    return keep_best


def _figures(wanted: str, state: State, data: Dataset, extractor: str = "") -> tuple[str, Figures]:
    """What is computed at every tick for the sake of `wanted`: the name of its extractor ("": none), and how."""
    if not wanted or best.parse(wanted).key != "frechet" or not state.group.leads:
        return extractor, no_figures
    from gantool.training.frechet import Frechet

    frechet = Frechet(state, data, extractor or None)
    return frechet.name, frechet.measure


def _data_of(info: RunInfo) -> Dataset:
    try:
        return load(info.data.source, info.data.size)
    except GantoolError as error:
        moved = "If the run's data lies elsewhere now, add --data PATH."
        raise GantoolError(error.message, f"{error.hint} {moved}".lstrip()) from error


def _steps(epochs: float, state: State, data: Dataset) -> int:
    """Iterations that draw the data `epochs` times."""
    if not state.data_per_step():
        raise GantoolError("--epochs means nothing to an architecture that draws no data.", "Use --steps.")
    return max(1, math.ceil(epochs * len(data) / state.data_per_step()))


def _plugin_of(info: RunInfo) -> Plugin:
    try:
        return registry.find(info.architecture)
    except GantoolError as error:
        if any(plugin.name == info.architecture for plugin in registry.discover()):
            raise  # it is installed, but broken or claimed twice
        raise GantoolError(
            f"{error.message} The run was made with {info.plugin} {info.plugin_version}.",
            f"Install it: pip install {info.plugin}",
        ) from error


def versions() -> dict[str, str]:
    return {"gantool": __version__, "torch": torch.__version__, "python": platform.python_version()}
