"""Export a run's generator: verified files that describe themselves."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantool.artifact.manifest import FILES, SEEDED
from gantool.data import Dataset, load
from gantool.errors import GantoolError
from gantool.exporting.artifacts import write
from gantool.exporting.source import Artifact, Options, Source, about
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game
from gantool.run import best, checkpoint
from gantool.run.rundir import RunDir, label
from gantool.system.files import read_json, sha256_of
from gantool.training.sampler import Sampler, class_ends, noise
from gantool.training.session import described, misfit
from gantool.training.state import ready

__all__ = ["FILES", "USUAL", "Artifact", "Options", "Source", "export_run", "from_game", "source_of", "write"]

USUAL = ("onnx", "onnx-seeded", "torchscript")  # kinds that are written when none is named


def export_run(
    run: RunDir,
    kinds: Sequence[str] | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
    options: Options | None = None,
) -> list[Artifact]:
    """Export a run's newest sound checkpoint (its averaged generator) to `folder` (default: the run's `export/`).

    `kinds`: keys of FILES; None: those of USUAL that fit (of another precision than float32, the ONNX ones). `say` is
    told of damaged checkpoints that were passed over, and of what takes time. `step`: that of another checkpoint, or
    `best` (by --keep-best). `options`: of the ONNX files. GantoolError, and no file, when a check fails.
    """
    source = source_of(run, say, step)
    options = options or Options()
    if kinds is None:
        usual = USUAL if options.precisions == ("float32",) else ("onnx", "onnx-seeded")
        kinds = [kind for kind in usual if source.seedable or kind not in SEEDED]
    if set(SEEDED) & set(kinds) and not source.seedable:
        raise _unseedable(run, source)
    return write(source, kinds, folder or run.export, options, say)


def _unseedable(run: RunDir, source: Source) -> GantoolError:
    takes = ", ".join(f"{i.name} ({i.distribution})" for i in source.inputs)
    return GantoolError(
        f"The generator of {run.path} takes {takes}: no seed decides its images.",
        "Export it with --onnx, --torchscript or --pt2.",
    )


def export_app(
    run: RunDir,
    folder: Path,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
    options: Options | None = None,
    *,
    full: bool = False,
    provenance: bool = True,
) -> list[Path]:
    """An app kit in `folder`: the files of `gantool.exporting.app`, whole or not at all.

    Its model stores 16-bit weights, unless `full`.
    """
    from gantool.exporting import app

    options = options or Options()
    if not set(options.precisions) <= {"float32", "half-weights"}:
        raise GantoolError(
            f"An app kit computes in float32 in every language; asked for was {', '.join(options.precisions)}.",
            "Leave --half and --int8 out: a kit stores 16-bit weights already.",
        )
    options = dataclasses.replace(options, precisions=("float32" if full else "half-weights",))
    source = source_of(run, say, step)
    app.check(folder, dataclasses.replace(source.about, batch=options.batch))
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        seeded, torchscript = write(source, ["onnx-seeded", "torchscript-seeded"], Path(temporary), options, say)
        return app.write_app(seeded, torchscript, run, folder, provenance=provenance)


def export_triton(
    run: RunDir,
    folder: Path,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
    options: Options | None = None,
    *,
    ensemble: bool = False,
    bench: Path | None = None,
) -> list[Path]:
    """A Triton model repository in `folder`: see `gantool.exporting.triton`. Returns its files.

    `bench`: what `gantool bench --json` wrote; its best batches are the preferred ones.
    """
    from gantool.exporting import triton

    triton.check(folder)
    architecture, report = run.read().architecture, read_json(bench) if bench else None
    if report is not None:  # before what takes time
        triton.preferred_batches(report, origin=str(bench), architecture=architecture)
    options = options or Options()
    if len(options.precisions) > 1 or options.batch is not None:
        raise GantoolError("A Triton repository holds one model of any batch.", "Name one precision, and no --batch.")
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        source = source_of(run, say, step)
        if not source.seedable:
            raise _unseedable(run, source)
        preferred: Sequence[int] = ()
        if report is not None:
            preferred = triton.preferred_batches(
                report, origin=str(bench), architecture=architecture, model=source.about.model
            )
        (plain,) = write(source, ["onnx"], Path(temporary), options, say)
        name = label(plain.manifest.architecture["name"], str(plain.manifest.data["name"]))
        triton.write_repository(folder, name, plain.path, ensemble=ensemble, preferred=preferred)
    return sorted(path for path in folder.rglob("*") if path.is_file())


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
            "checkpoint": {"file": path.name, "sha256": sha256_of(path)},
        },
        data={
            "name": info.data.name,
            "fingerprint": info.data.fingerprint,
            "count": info.data.count,
            "class_names": list(info.data.class_names),
        },
        licence=info.data.licence,
        dataset=load(info.data.source, info.data.size) if needs_data else None,
        class_counts=info.data.class_counts,
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
    class_counts: Sequence[int] = (),
) -> Source:
    """A game's generator, made ready. `dataset` is needed when the generator takes data.

    `class_counts`: how many samples of each class it was trained on: its BatchNorm statistics are for that mixture.
    """
    stream = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    ends = class_ends(class_counts, cpu)

    def rows(item: Input, count: int) -> np.ndarray:
        assert dataset is not None
        first: np.ndarray = Sampler({item.name: item}, dataset, 1, 0, cpu).first(item, count).numpy()
        return first

    def draw(count: int) -> list[Tensor]:
        return [
            torch.from_numpy(rows(i, count)) if i.distribution == "data" else noise(i, count, stream, cpu, ends)
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
