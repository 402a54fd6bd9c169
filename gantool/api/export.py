"""`gantool.export`: verified files of a run's generator."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from gantool import exporting
from gantool.api import Named, name_of
from gantool.artifact.hosts import settle
from gantool.errors import ArgumentError
from gantool.exporting import FILES, Artifact
from gantool.plugin.options import closest
from gantool.run import rundir
from gantool.system.terminal import console, status


def note(text: str) -> None:
    """Print what a person should know, on stderr."""
    console(stderr=True).print(f"note: {text}")


def export(
    run: Named | None = None,
    formats: str | Sequence[str] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    step: int | str | None = None,
    precision: str | Sequence[str] = "float32",
    optimize: bool = True,
    opset: int | None = None,
    batch: int | None = None,
    force: bool = False,
    hosts: str | Sequence[str] = (),
    which: str = "",
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
    say: Callable[[str], None] = note,
) -> list[Artifact]:
    """Export a run's generator (default: of the newest run) to files that are verified and describe themselves.

        (file,) = gantool.export(run, "onnx-seeded")
        generator = gantool.Generator(file.path)

    `formats`: `onnx`, `onnx-seeded`, `onnx-portable`, `torchscript`, `torchscript-seeded`, `pt2`, one or several;
    without any, `onnx`, `onnx-seeded` and `torchscript` as far as they fit. `folder`: default: the run's `export/`.
    `step`: of another checkpoint than the newest, or `best` (by the option keep_best). `precision` of ONNX files:
    `float32`, `half-weights`, `half`, `int8`, a file each; `force` writes an int8 file that is less exact than it
    should be. `optimize`, `opset` (18), `batch`: as `gantool export` describes them. `hosts`: one or several of
    docs/hosts.md, for which files are written, or refused with the node that one can't take. `which`: one of several
    generators; default: all, each in a folder of its name. `runs`: where a run that is given by number or name lies.
    `progress`: show on stderr what is being done. `say`: is told of what a person should know.

    GantoolError, and no file, when a check fails; ArgumentError for an argument that is wrong.
    """
    kinds = [formats] if isinstance(formats, str) else formats
    for kind in kinds or ():
        if kind not in FILES:
            raise ArgumentError(f"There is no format {kind!r}.", closest(kind, list(FILES)))
    precisions = (precision,) if isinstance(precision, str) else tuple(precision)
    named = (hosts,) if isinstance(hosts, str) else tuple(hosts)
    opset, batch = settle(named, opset, batch, precisions, kinds or ())
    options = exporting.Options(precisions, optimize, opset or exporting.Options.opset, batch, force, named)
    target = None if folder is None else Path(folder)
    chosen = rundir.find_or_newest(Path(runs), None if run is None else name_of(run))
    with status() if progress else nullcontext():
        return exporting.export_run(chosen, kinds, target, say, None if step is None else str(step), options, which)
