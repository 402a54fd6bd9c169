"""Export a run's generator: verified files that describe themselves."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gantool.artifact.hosts import find
from gantool.artifact.manifest import FILES, SEEDED
from gantool.errors import GantoolError
from gantool.exporting import edits
from gantool.exporting.artifacts import PartialExport, write
from gantool.exporting.source import Artifact, Options, Source, from_game, source_of
from gantool.run import directions
from gantool.run.rundir import RunDir, label
from gantool.system.files import listing, read_json

__all__ = [
    "FILES",
    "USUAL",
    "Artifact",
    "Options",
    "PartialExport",
    "Source",
    "export_run",
    "from_game",
    "source_of",
    "write",
]

USUAL = ("onnx", "onnx-seeded", "torchscript")  # kinds that are written when none is named


def export_run(
    run: RunDir,
    kinds: Sequence[str] | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
    options: Options | None = None,
    which: str = "",
) -> list[Artifact]:
    """Export a run's newest sound checkpoint (its averaged generator) to `folder` (default: the run's `export/`).

    Of several generators each goes to a folder of its name in there. `which`: only that one.

    `kinds`: keys of FILES; None: those of USUAL that fit (of another precision than float32, the ONNX ones). `say` is
    told of damaged checkpoints that were passed over, and of what takes time. `step`: that of another checkpoint, or
    `best` (by --keep-best). `options`: of the ONNX files. GantoolError, and no file, when a check fails.
    """
    source = _source(run, say, step, which)
    folder, options = folder or run.export, options or Options()
    if not source.names:
        return _export(run, source, kinds, folder, options, say)
    made: list[Artifact] = []
    failed: dict[str, GantoolError] = {}
    for name in [which] if which else source.names:
        one = source if name == source.about.which else _source(run, step=step, which=name)
        try:
            made += _export(run, one, kinds, folder / name, options, say)
        except PartialExport as error:
            made += error.artifacts
            failed |= {f"{name}/{file}": why for file, why in error.failed.items()}
        except GantoolError as error:
            failed[name] = error
    if not made:
        raise next(iter(failed.values()))
    if failed:
        raise PartialExport(made, failed)
    return made


def _source(
    run: RunDir, say: Callable[[str], None] = lambda note: None, step: str | None = None, which: str = ""
) -> Source:
    """The generator with the run's named directions."""
    source = source_of(run, say, step, which)
    named = directions.named(run, source.about.which)
    for text in edits.notes(named, int(source.about.training["step"])):
        say(text)
    return edits.with_directions(source, named)


def _export(
    run: RunDir,
    source: Source,
    kinds: Sequence[str] | None,
    folder: Path,
    options: Options,
    say: Callable[[str], None],
) -> list[Artifact]:
    if options.hosts:
        forms = [next(form for form in find(name).forms if form in source.kinds) for name in options.hosts]
        kinds = kinds or list(dict.fromkeys(forms))
        say(f"for {', '.join(options.hosts)}: {', '.join(FILES[kind] for kind in kinds)}, opset {options.opset}")
    if kinds is None:
        usual = USUAL if options.precisions == ("float32",) else ("onnx", "onnx-seeded")
        kinds = [kind for kind in usual if kind in source.kinds]
    if set(SEEDED) & set(kinds) and not source.seedable:
        raise _unseedable(run, source)
    if not set(kinds) <= set(source.kinds):
        raise GantoolError(
            f"The generator of {run.path} makes images of pictures: portable files take a seed only.",
            "Leave --portable out: generator.onnx needs no 64-bit integers.",
        )
    return write(source, kinds, folder, options, say)


def _unseedable(run: RunDir, source: Source) -> GantoolError:
    if source.output.kind == "point":
        return GantoolError(
            "Seeded files make whole numbers, which are too coarse for points.",
            "Export it with --onnx, --torchscript or --pt2.",
        )
    takes = ", ".join(f"{i.name} ({i.distribution})" for i in source.inputs)
    return GantoolError(
        f"The generator of {run.path} takes {takes}: no seed decides its samples.",
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
    which: str = "",
) -> list[Path]:
    """An app kit in `folder`: the files of `gantool.exporting.app`, whole or not at all.

    Its model stores 16-bit weights, unless `full`; of sounds and volumes only where they are asked for: sounds would
    be many steps off, and voxels fall to the other side. `which`: of several generators; default: the first.
    """
    from gantool.exporting import app

    options = options or Options()
    if not set(options.precisions) <= {"float32", "half-weights"}:
        raise GantoolError(
            f"An app kit computes in float32 in every language; asked for was {', '.join(options.precisions)}.",
            "Leave --half and --int8 out: a kit stores 16-bit weights already.",
        )
    source = _source(run, say, step, which)
    whole = full or (options.precisions == ("float32",) and source.output.kind != "image")
    options = dataclasses.replace(options, precisions=("float32" if whole else "half-weights",))
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
    bench: Path | None = None,
    which: str = "",
) -> list[Path]:
    """A model in the Triton model repository `folder`: see `gantool.exporting.triton`. Returns its files.

    `bench`: what `gantool bench --json` wrote; its best batches are the preferred ones. `which`: of several generators;
    default: the first.
    """
    from gantool.exporting import triton

    info, report = run.read(), read_json(bench) if bench else None
    name = label(info.architecture, info.data.name) + (f"-{which}" if which else "")
    triton.check(folder, name)
    if report is not None:  # before what takes time
        triton.preferred_batches(report, origin=str(bench), architecture=info.architecture)
    options = options or Options()
    if len(options.precisions) > 1 or options.batch is not None:
        raise GantoolError("A model for Triton has one precision and any batch.", "Name one precision, and no --batch.")
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        source = _source(run, say, step, which)
        if not source.seedable:
            raise _unseedable(run, source)
        preferred: Sequence[int] = ()
        if report is not None:
            preferred = triton.preferred_batches(
                report, origin=str(bench), architecture=info.architecture, model=source.about.model
            )
        (plain,) = write(source, ["onnx"], Path(temporary), options, say)
        made = triton.write_model(folder, name, plain.path, preferred)
    return [made / path for path in listing(made)]


def export_c(
    run: RunDir,
    folder: Path,
    say: Callable[[str], None] = lambda note: None,
    step: str | None = None,
    options: Options | None = None,
    *,
    which: str = "",
) -> list[Path]:
    """The generator as C99 sources and weights in `folder`: see `gantool.exporting.c.write`. Returns its files.

    `options.precisions`: float32, or half-weights for a file of half the size. `which`: of several generators; default:
    the first.
    """
    from gantool.exporting.c import write as c

    options = options or Options()
    if options.precisions not in (("float32",), ("half-weights",)) or options.batch is not None:
        raise GantoolError("C computes one sample in float32.", "Leave --half, --int8 and --batch out.")
    c.check(folder)
    source = _source(run, say, step, which)
    c.require_fit(source.about)
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        (plain,) = write(source, ["onnx"], Path(temporary), options, say)
        return c.write_c(plain.path, folder, say)
