"""Verified files with their manifests, put in place together or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gantool import manifest
from gantool.errors import GantoolError
from gantool.export import onnx_files, torch_files, verify
from gantool.export.source import Artifact, Options, Source
from gantool.export.verify import Check
from gantool.manifest import FILES

TORCH_KINDS = ("torchscript", "torchscript-seeded", "pt2")


def write(
    source: Source,
    kinds: Sequence[str],
    folder: Path,
    options: Options | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[Artifact]:
    """Export, verify, and only then put every file of `kinds` (keys of FILES) into `folder`.

    `options`: of the ONNX files; of `half-weights` alone, files for torch have the same
    16-bit weights. `say` hears what takes time. GantoolError, and not one file, when any check of any
    file fails.
    """
    options = options or Options()
    generator_checks = verify.check_generator(
        source.generator, verify.reference_inputs(source.inputs, verify.STATISTICS, source.rows)
    )
    verify.demand(generator_checks)
    inputs = verify.reference_inputs(source.inputs, max(verify.BATCHES), source.rows)
    with _aside(folder) as temporary:
        # torch's files take their golden images from the plain one
        plain, made = onnx_files.write(source, kinds, options, inputs, temporary, say)
        if options.torch == "half-weights":
            source = source.rounded()
        made += [
            torch_files.write(source, kind, inputs, temporary, plain.manifest.golden)
            for kind in FILES
            if kind in kinds and kind in TORCH_KINDS
        ]
        for item in made:
            verify.demand(item.checks)
        return [_place(item, folder, (*generator_checks, *item.checks)) for item in made]


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the final place, so that files can be renamed into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".export-", dir=folder)
    except OSError as error:
        raise GantoolError(f"{folder} can't be written: {error.strerror}.", "Name another folder with -o.") from error
    with temporary as name:
        yield Path(name)


def _place(made: Artifact, folder: Path, checks: tuple[Check, ...]) -> Artifact:
    made.manifest.write_beside(made.path)
    for path in (made.path, manifest.beside(made.path)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(folder / path.name)
    return Artifact(folder / made.path.name, made.manifest, checks)
