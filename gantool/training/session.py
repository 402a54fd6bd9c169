"""Starting a run, and taking an old one up again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from pydantic import BaseModel, ValidationError
from torch import Tensor

from gantool import __version__
from gantool.artifact import pictures
from gantool.data import Dataset, Request, load
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, Recipe
from gantool.plugin.options import all_options, check_together, parse, reason, resolve, training_options
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import RunOptions, TrainOptions
from gantool.run import best, checkpoint, metrics_log, rundir
from gantool.run.rundir import DataInfo, RunDir, RunInfo
from gantool.training import augment, finetune
from gantool.training import tensorboard as board
from gantool.training.ada import share_of_reals
from gantool.training.distributed import ALONE, LOCKED, Group
from gantool.training.loop import Figures, no_figures
from gantool.training.state import State, build_game, copied, pick_device


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
    budget: float = 0.0  # seconds that this session may take; 0: it trains until `info.steps`


def open_session(name: str, given: Mapping[str, Any], resumed: str | None = None, group: Group = ALONE) -> Session:
    """Start a run of the architecture `name`, or resume one.

    `given`: validated options, of `TrainOptions`, the config and the recipe. `resumed`: the path, folder name or number
    of a run; `auto`: the newest unfinished run of these options, or a new one.
    """
    plugin = registry.find(name)
    assert plugin.architecture is not None
    known = all_options(plugin.architecture)
    check_together(known, given.keys() - {"runs"}, resumed not in (None, "auto"))
    changes = {option.name: given[option.name] for option in known if option.changeable and option.name in given}
    options = TrainOptions(**{key: value for key, value in given.items() if key in TrainOptions.model_fields})
    own = {key: value for key, value in given.items() if key not in TrainOptions.model_fields}
    begun, saved = group.lead(lambda: _begun(group))
    if begun and saved:
        return resume(begun, group=group, **changes)
    if begun or resumed is None:
        return start(plugin, own, options, into=begun, group=group)
    if resumed == "auto":
        left = group.lead(lambda: unfinished(plugin, own, options))
        return resume(left, group=group, **changes) if left else start(plugin, own, options, group=group)
    run = group.lead(lambda: rundir.find(options.runs, resumed))
    info = group.lead(run.read)
    if info.architecture != name:
        raise GantoolError(
            f"The run {run.path} is of {info.architecture!r}, not of {name!r}.",
            f"Type: gantool train {info.architecture} --resume {run.path}",
        )
    return resume(run, group=group, **changes)


def _begun(group: Group) -> tuple[RunDir | None, bool]:
    """The run that this job began, when torchrun repeats its command line, and whether it has saved something."""
    path = group.begun()
    run = RunDir(path) if path and path.is_dir() else None
    return run, bool(run and run.checkpoints())


def start(
    plugin: Plugin,
    given: Mapping[str, Any],
    options: TrainOptions,
    *,
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
    policies = augment.parse(options.diffaugment)
    target = pick_device(group.place(options.device))
    asked = Request(
        options.data, options.size, options.skip_broken, options.target, options.pairs, options.jitter, options.rate
    )
    dataset = load(*asked)
    group.check_same("The data", f"{options.data} {dataset.fingerprint[:12]}")
    of_machine = {"runs", "device", "data_on"}  # may differ between machines
    group.check_same("The options", f"{config} {recipe} {options.model_dump(exclude=of_machine)}")
    state = State(
        architecture,
        config,
        recipe,
        dataset,
        seed=options.seed,
        device=target,
        precision=options.precision,
        engine=options.engine,
        group=group,
        place=options.data_on,
        flip=options.flip,
        diffaugment=policies,
        ada=options.augment == "ada",
        freeze_d=options.freeze_d,
    )
    notes = [*dataset.notes, *_notes(state)]
    if options.init_from:
        saved = group.lead(lambda: finetune.read(options.init_from, options.runs))
        notes.append(finetune.take(state, saved, options.init_from))
    elif options.freeze_d:
        raise GantoolError("--freeze-d would freeze layers that have learned nothing.", "Add --init-from RUN.")
    _check_sources(options.pairs, state, architecture.name)
    _check_generator(state)
    if state.ada:
        _check_measured(architecture, config, recipe, dataset, state)
    steps = recipe.steps if options.epochs is None else _steps(options.epochs, state)
    if options.tensorboard:
        board.require()
    _check_goal(options.keep_best, state)
    extractor, figures = _figures(options.keep_best, state, dataset)
    name = options.name or rundir.label(architecture.name, dataset.name)
    run = into or group.lead(lambda: rundir.create(options.runs, name))
    held = run.hold(LOCKED if group.restarted else 0.0) if group.leads else None
    resolved = {"device": str(target), "engine": state.engine.name, "diffaugment": ",".join(policies)}
    info = RunInfo(
        **{**options.model_dump(include=set(RunOptions.model_fields)), **resolved},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
        step=0,
        architecture=architecture.name,
        plugin=plugin.distribution,
        plugin_version=plugin.version,
        config=config.model_dump(mode="json"),
        recipe=recipe.model_dump(mode="json"),
        data=DataInfo(
            source=options.data,
            target=options.target,
            pairs=options.pairs,
            name=dataset.name,
            size=options.size,
            shape=dataset.spec.shape,
            classes=dataset.spec.classes,
            arrays=dict(dataset.spec.arrays),
            rate=dataset.rate,
            count=len(dataset),
            fingerprint=dataset.fingerprint,
            class_names=dataset.class_names,
            class_counts=dataset.class_counts,
            licence=dataset.licence,
        ),
        steps=steps,
        versions=versions(),
        extractor=extractor,
        processes=group.size,
    )
    if group.leads:
        if into:
            with run.writing():
                run.sweep()
                metrics_log.forget_after(run, 0, 0)
        run.write(info)
        group.remember(run.path)
    budget = 60 * (options.minutes or 0.0)
    return Session(state, run, info, dataset, held, tuple(notes), figures, budget)


def resume(run: RunDir, *, group: Group = ALONE, **changes: Any) -> Session:
    """Take up a run from its newest sound checkpoint; on the same CPU exactly as if it had never stopped, on
    CUDA up to the rounding of algorithms that are not deterministic.

    `changes`: options that are to differ from now on; only changeable ones can. `data`: where the same data lies now,
    if it moved (its fingerprint must agree). Nothing on disk is changed until everything that can be wrong has been
    found out. GantoolError when another process trains the run. Only the leader of `group` needs the run's folder.
    """
    info = group.lead(run.read)
    plugin, recipe, config = definition_of(info)
    assert plugin.architecture is not None
    known = all_options(plugin.architecture)
    changes = parse(known, changes)
    check_together(known, changes, resumed=True)
    held = run.hold(LOCKED if group.restarted else 0.0) if group.leads else None
    path, saved, notes = group.lead(lambda: checkpoint.load_newest(run))
    device, engine = info.device, info.engine  # of the last time
    info = info.model_copy(update={key: value for key, value in changes.items() if key in RunOptions.model_fields})
    info.data.source = changes.get("data", info.data.source)
    info.data.target = changes.get("target", info.data.target)
    changed = {key: value for key, value in changes.items() if value != getattr(recipe, key, value) and key != "steps"}
    recipe = recipe.model_copy(update=changed)
    info.recipe |= recipe.model_dump(mode="json", include=set(changed))
    dataset = _data_of(info)
    if dataset.fingerprint != info.data.fingerprint:
        raise GantoolError(
            f"The data {info.data.source!r} is not what the run was trained on "
            f"(fingerprint {dataset.fingerprint[:12]}…, then {info.data.fingerprint[:12]}…).",
            "Put the old data back, or start a new run.",
        )
    target = pick_device(group.place(changes.get("device"), device))
    state = State(
        plugin.architecture,
        config,
        recipe,
        dataset,
        seed=info.seed,
        device=target,
        precision=info.precision,
        engine=changes.get("engine", engine if target.type == torch.device(device).type else "auto"),
        group=group,
        place=info.data_on,
        flip=info.flip,
        diffaugment=augment.parse(info.diffaugment),
        ada=info.augment == "ada",
        freeze_d=info.freeze_d,
    )
    try:
        state.load_state_dict(saved)
    except (RuntimeError, KeyError, ValueError) as error:
        raise misfit(path, info, plugin, error) from error
    if changed.keys() - {"batch_size"}:
        state.rate_scale = 1.0  # the rate that was asked for, however often a rollback has halved the old one
        state.follow_schedule()
    if changes.get("epochs") is not None:
        info.steps = _steps(changes["epochs"], state)
    info.steps = changes.get("steps", info.steps)
    if info.steps < state.step:
        raise GantoolError(
            f"The run {run.name} is at step {state.step}, beyond the {info.steps} asked for.",
            "Ask for more --steps.",
        )
    info = info.model_copy(update={"device": str(target), "engine": state.engine.name})
    if info.tensorboard:
        board.require()
    if "keep_best" in changes:
        _check_goal(info.keep_best, state)
    if info.keep_best and group.leads:
        best.check_records(info.keep_best, metrics_log.read_metrics(run))
    info.extractor, figures = _figures(info.keep_best, state, dataset, info.extractor)
    info.step, info.rollbacks = state.step, saved["rollbacks"]
    info.threads_used = 0 if "threads" in changes else saved.get("threads", 0)
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
    budget = 60 * (changes.get("minutes") or 0.0)
    return Session(state, run, info, dataset, held, (*notes, *dataset.notes, *_notes(state)), figures, budget)


def _notes(state: State) -> list[str]:
    """What a person should know of this architecture and this data together."""
    rows = pictures.class_rows(len(state.classes))[0]
    if rows == len(state.classes) or rows == 1:
        return []
    return [f"sample grids show the classes 0 to {state.classes[rows - 1]} of {len(state.classes)}, a row each"]


def unfinished(plugin: Plugin, given: Mapping[str, Any], options: TrainOptions) -> RunDir | None:
    """The newest run in `options.runs` that `start` made of the same; None when it has finished or saved nothing yet.

    What can change on a resume (steps, tick …) may differ, but for the data.
    """
    assert plugin.architecture is not None
    config, recipe = resolve(plugin.architecture, given)
    fixed = [o.name for o in training_options() if not o.changeable and o.name in RunOptions.model_fields]
    wanted = {**options.model_dump(include=set(fixed)), "diffaugment": ",".join(augment.parse(options.diffaugment))}
    asked = (options.data, options.size, options.target, options.pairs)
    origin = (plugin.name, config.model_dump(mode="json"), recipe.model_dump(mode="json"), *asked)
    for run in reversed(rundir.list_runs(options.runs)):
        try:
            info = run.read()
        except GantoolError:
            continue
        then = {**info.recipe, "steps": recipe.steps}
        if (
            origin
            == (
                info.architecture,
                info.config,
                then,
                *(getattr(info.data, key) for key in ("source", "size", "target", "pairs")),
            )
            and wanted == info.model_dump(include=set(fixed))
            and options.name in (None, run.name.partition("-")[2])
            and run.checkpoints()
        ):
            return None if info.status == "finished" else run
    return None


def definition_of(info: RunInfo) -> tuple[Plugin, Recipe, Any]:
    """The plugin, recipe and config that a run was made with."""
    plugin = _plugin_of(info)
    architecture: Architecture | None = plugin.architecture
    assert architecture is not None
    try:
        return plugin, Recipe(**info.recipe), architecture.config(**info.config)
    except ValidationError as error:
        first = error.errors()[0]
        raise GantoolError(
            f"The run's config does not fit {info.architecture!r} of {plugin.distribution} {plugin.version}: "
            f"{'.'.join(map(str, first['loc']))}: {reason(error)}.",
            f"It was made with {info.plugin} {info.plugin_version}.",
        ) from error


def misfit(path: Path, info: RunInfo, plugin: Plugin, error: Exception) -> GantoolError:
    """What to say of a checkpoint whose tensors are not those of the architecture that is installed now."""
    return GantoolError(
        f"The checkpoint {path} does not fit the architecture {info.architecture!r}: {error}",
        f"It was made with {info.plugin} {info.plugin_version}; installed is {plugin.version}.",
    )


def _check_goal(keep_best: str, state: State) -> None:
    """GantoolError when this game will never record what `--keep-best` names."""
    if keep_best:
        best.check_player(keep_best, [player.name for player in state.game.players])


def _figures(wanted: str, state: State, data: Dataset, extractor: str = "") -> tuple[str, Figures]:
    """What is computed at every tick for the sake of `wanted`: the name of its extractor ("": none), and how."""
    if not wanted or best.parse(wanted).key != "frechet" or not state.group.leads:
        return extractor, no_figures
    from gantool.training.watch import Frechet

    frechet = Frechet(state, data, extractor or None)
    return frechet.name, frechet.measure


def _data_of(info: RunInfo) -> Dataset:
    try:
        return load(*info.request())
    except GantoolError as error:
        moved = "If the run's data lies elsewhere now, add --data PATH."
        raise GantoolError(error.message, f"{error.hint} {moved}".lstrip()) from error


def _steps(epochs: float, state: State) -> int:
    """Iterations that draw the data `epochs` times."""
    rate = state.epochs_per_step()
    if not rate:
        raise GantoolError("--epochs means nothing to an architecture that draws no data.", "Use --steps.")
    return max(1, math.ceil(Fraction(str(epochs)) / rate))  # as a float it would be a little more or less


def _check_generator(state: State) -> None:
    """GantoolError unless each generator makes a tensor of samples in the declared shape."""
    for which in state.game.exports:
        _check_samples(state, which)


def _check_sources(pairs: str, state: State, name: str) -> None:
    """GantoolError when `--pairs` makes sources that no input takes."""
    if pairs and not any(item.array == "sources" for item in state.game.draws.values()):
        raise GantoolError(
            f"--pairs {pairs} gives a source to each image, and {name} takes none.",
            "Leave --pairs out, or train an architecture that makes pictures of pictures: gantool train pix2pix",
        )


def _check_samples(state: State, which: str) -> None:
    game, devices = state.game.of(which), [state.device] if state.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), state.autocast():
        made = copied(game.generator)(*state.fixed_inputs(2, which=which))
    name, shape = type(game.generator).__name__, (2, *game.output.shape)
    if not isinstance(made, Tensor):
        raise GantoolError(
            f"The generator {name} returns a {type(made).__name__}, not a tensor.",
            "Return the samples alone from its forward; a loss can call the parts of the generator for anything else.",
        )
    if made.shape != shape:
        raise GantoolError(
            f"The generator {name} makes samples of shape {tuple(made.shape[1:])}; the game declares {shape[1:]}.",
            "Make samples of spec.shape, or declare their shape in Game(output=…).",
        )


def _check_measured(architecture: Architecture, config: BaseModel, recipe: Recipe, data: Dataset, state: State) -> None:
    """GantoolError unless a discriminator measures how many reals it judges rightly, which --augment ada follows.

    It computes losses of a game of its own: that of the state stays as it is.
    """
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        game = build_game(architecture, config, data.spec, recipe, state.seed)
        batch = {name: drawn.cpu() for name, drawn in state.sampler.trial(min(4, recipe.batch_size)).items()}
        measured = any(share_of_reals(player, player.loss(batch)) is not None for player in game.players)
    if not measured:
        raise GantoolError(
            f"--augment ada follows how many reals a discriminator judges rightly, and no player of "
            f"{architecture.name!r} with this objective measures that: a critic's scores have no threshold.",
            "Use --diffaugment color,translation,cutout. (A plugin's discriminator gives the measure accuracy_real.)",
        )


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
