"""Write verified files with their manifests, all of them or none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from gantool.artifact import manifest
from gantool.artifact.manifest import FILES, ONNX, PRECISIONS, Manifest, file_name
from gantool.errors import GantoolError, excerpt
from gantool.exporting import verify
from gantool.exporting.onnx_files.write import Failures, write_onnx
from gantool.exporting.source import Artifact, Options, Source
from gantool.exporting.torch_files.write import WRITERS, write_torch
from gantool.system.files import MAX_JSON_BYTES, read_bounded, replacing_files
from gantool.system.terminal import doing


class PartialExport(GantoolError):
    """Some files were written, `artifacts`; others failed, each with an error of its own: `failed`, by file name."""

    def __init__(self, artifacts: list[Artifact], failed: Failures) -> None:
        whys = " ".join(f"{name} could not be written: {error.message}" for name, error in failed.items())
        made = ", ".join(artifact.path.name for artifact in artifacts)
        super().__init__(f"{whys} Written: {made}.", next(iter(failed.values())).hint)
        self.artifacts, self.failed = artifacts, failed


def write(
    source: Source,
    kinds: Sequence[str],
    folder: Path,
    options: Options | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[Artifact]:
    """Export and verify every file of `kinds` (keys of FILES), then put them into `folder`.

    `options`: of the ONNX files. When `half-weights` is their only precision, files for torch have the same 16-bit
    weights. `say` is told what takes time. A format that fails costs no other: PartialExport, once the others are
    written. GantoolError, and no file at all, when none could be made or the generator itself is at fault.
    """
    options = options or Options()
    drawn = verify.reference_inputs(source.inputs, source.statistics, source.rows, source.class_counts)
    doing("checking the generator")
    generator_checks = verify.check_generator(source.generator, drawn)
    verify.demand(generator_checks)
    inputs = verify.reference_inputs(source.inputs, source.verified, source.rows)
    truncation = verify.truncation(source.generator, inputs, [item.name for item in source.normals])
    source = dataclasses.replace(source, about=dataclasses.replace(source.about, truncation=truncation))
    with replacing_files(folder) as temporary:
        golden, made, failed = write_onnx(source, kinds, options, inputs, temporary, say)
        if not set(ONNX) & set(kinds):
            for error in failed.values():
                say(f"without golden samples, for these come from an ONNX file: {error.message}")
            failed = {}
        if options.torch == "half-weights":
            source = source.rounded()
        for kind in (kind for kind in FILES if kind in kinds and kind in WRITERS):
            doing(f"writing {file_name(kind)}, and comparing it with PyTorch")
            try:
                made.append(write_torch(source, kind, inputs, temporary, golden))
            except GantoolError as error:
                failed[file_name(kind)] = error
        failed = {name: _as_told(error, temporary) for name, error in failed.items()}
        if not made:
            raise next(iter(failed.values()))
        _finish(made, temporary, folder)
    _name_others(folder, source.about, say)
    artifacts = [Artifact(folder / a.path.name, a.manifest, (*generator_checks, *a.checks)) for a in made]
    if failed:
        raise PartialExport(artifacts, failed)
    return artifacts


def _as_told(error: GantoolError, temporary: Path) -> GantoolError:
    """The error of a file without its temporary folder, and with a hint."""
    return GantoolError(error.message.replace(f"{temporary}{os.sep}", ""), error.hint or verify.HINT)


def _name_others(folder: Path, about: Manifest, say: Callable[[str], None]) -> None:
    """Tell of the files in `folder` that an earlier export left, of another checkpoint."""
    left: dict[str, list[str]] = {}
    for name in sorted(file_name(kind, precision) for kind in FILES for precision in PRECISIONS):
        path = manifest.beside(folder / name)
        with contextlib.suppress(GantoolError):  # as for a file that is not there
            other = manifest.from_json(read_bounded(path, MAX_JSON_BYTES), path)
            if other.model != about.model:
                origin = f"run {other.training.get('run')}, step {other.training.get('step')}"
                left.setdefault(excerpt(origin), []).append(name)
    for origin, names in left.items():
        verb = "is" if len(names) == 1 else "are"
        say(f"{', '.join(names)} {verb} of another export ({origin}): delete what you don't need, or export it again")


def _finish(made: Sequence[Artifact], temporary: Path, folder: Path) -> None:
    """Leave the files of `made` with their manifests in `temporary`, and nothing else."""
    wanted = set()
    for item in made:
        item.manifest.write_beside(item.path)
        wanted |= {item.path.name, manifest.beside(item.path).name}
    for path in temporary.iterdir():
        if path.name not in wanted:  # of a format that failed
            path.unlink()
    folders = [name for name in sorted(wanted) if (folder / name).is_dir()]
    if folders:
        raise GantoolError(f"{folder / folders[0]} is a folder, where a file would go.", "Name another folder with -o.")
