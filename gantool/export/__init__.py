"""Export a run's generator: verified files that describe themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.architecture import Input, SampleSpec
from gantool.data import Dataset, load
from gantool.errors import GantoolError
from gantool.export.artifacts import Artifact, Source, about, write
from gantool.games import Game
from gantool.manifest import FILES
from gantool.rundir import RunDir
from gantool.training import best, checkpoint
from gantool.training.ema import ready
from gantool.training.sampler import Sampler, noise
from gantool.training.session import described, misfit

__all__ = ["FILES", "Artifact", "Source", "export_run", "from_game", "source_of", "write"]


def export_run(
    run: RunDir,
    kinds: Sequence[str] | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
) -> list[Artifact]:
    """Export a run's newest sound checkpoint (its averaged generator) to `folder` (default: the run's `export/`).

    `kinds`: keys of FILES; None: every one that fits. `say` is told of damaged checkpoints that were passed over.
    `step`: that of another checkpoint, or `best` (by --keep-best). GantoolError, and no file, when a check fails.
    """
    source = source_of(run, say, step)
    if kinds is None:
        kinds = [kind for kind in FILES if source.seedable or kind != "onnx-seeded"]
    if "onnx-seeded" in kinds and not source.seedable:
        takes = ", ".join(f"{i.name} ({i.distribution})" for i in source.inputs)
        raise GantoolError(
            f"The generator of {run.path} takes {takes}: no seed decides its images.",
            "Export it with --onnx or --torchscript.",
        )
    return write(source, kinds, folder or run.export)


def source_of(run: RunDir, say: Callable[[str], None] = lambda note: None, step: str | None = None) -> Source:
    """The generator of a run's newest sound checkpoint (or that of `step`) on the CPU, its BatchNorm ready."""
    info = run.read()
    plugin, recipe, config = described(info)
    assert plugin.architecture is not None
    path, state, notes = checkpoint.load_newest(run) if step is None else _of(run, step)
    for note in notes:
        say(note)
    spec = SampleSpec(info.data.shape, info.data.classes)
    game = plugin.architecture.build(config, spec)
    try:
        for name, module in game.modules().items():
            module.load_state_dict(state["modules"][name])
        if state["ema"] is not None:
            game.generator.load_state_dict(state["ema"])
    except (RuntimeError, KeyError) as error:
        raise misfit(path, info, plugin, error) from error
    game.generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    needs_data = any(i.distribution == "data" for i in game.inputs)
    return from_game(
        game,
        architecture={
            "name": info.architecture,
            "plugin": plugin.distribution,
            "plugin_version": plugin.version,
            "config": info.config,
        },
        training={
            "run": run.name,
            "step": int(state["step"]),
            "seed": info.seed,
            "ema_decay": recipe.ema_decay,
            "recipe": info.recipe,
            "precision": info.precision,
        },
        data={
            "name": info.data.name,
            "fingerprint": info.data.fingerprint,
            "count": info.data.count,
            "class_names": list(info.data.class_names),
        },
        licence=info.data.licence,
        dataset=load(info.data.source, info.data.size) if needs_data else None,
    )


def _of(run: RunDir, step: str) -> tuple[Path, dict[str, Any], list[str]]:
    """The checkpoint that was asked for: no other is used in its place."""
    path = best.path_of(run, step)
    return path, checkpoint.load(path), []


def from_game(
    game: Game,
    *,
    architecture: dict[str, object],
    training: dict[str, object],
    data: dict[str, object],
    licence: str = "",
    dataset: Dataset | None = None,
) -> Source:
    """A game's generator, made ready. `dataset` is needed when the generator takes data."""
    stream = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")

    def rows(item: Input, count: int) -> np.ndarray:
        assert dataset is not None
        first: np.ndarray = Sampler({item.name: item}, dataset, 1, 0, cpu).first(item, count).numpy()
        return first

    def draw(count: int) -> list[Tensor]:
        return [
            torch.from_numpy(rows(i, count)) if i.distribution == "data" else noise(i, count, stream, cpu)
            for i in game.inputs
        ]

    return Source(
        generator=ready(game.generator.cpu(), draw),
        inputs=game.inputs,
        output=game.output,
        about=about(
            architecture=architecture,
            training=training,
            data=data,
            licence=licence,
            inputs=game.inputs,
            output=game.output,
        ),
        rows=rows,
    )
