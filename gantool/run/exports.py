"""Find the exported file that a user names: a file, a run's, or the newest."""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

from gantool.artifact import manifest, onnxfile
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError
from gantool.run import rundir
from gantool.run.rundir import RunDir
from gantool.system.files import reading, recover

# in order of preference
ONNX_FILES = tuple(
    manifest.file_name(kind, precision)
    for precision in manifest.PRECISIONS
    for kind in ("onnx-seeded", "onnx", "onnx-portable")
)
TORCH_FILES = tuple(manifest.FILES[kind] for kind in ("torchscript", "torchscript-seeded", "pt2"))


def find_artifact(given: str | None, runs: Path) -> Path:
    """The ONNX file that `given` names; None: that of the run in `runs` that was exported last.

    `given`: an ONNX file, a folder with an export, or a run (path, folder name, or number in `runs`). Of several ONNX
    files float32 goes first, and of one precision the seeded file. GantoolError: there is no such file or run, nothing
    is exported yet, or the file is for torch.
    """
    # Path.is_file and the like raise under a folder that may not be searched
    with reading(Path(given) if given else runs):
        return _newest(runs) if given is None else _named(given, runs)


def find_plain(path: Path) -> Path:
    """The ONNX file that takes latents: `path`, or where that draws its own, one beside it of the same model.

    One of the same precision goes first. GantoolError where there is none.
    """
    about = onnxfile.read_manifest(path)
    if not about.seeded:
        return path
    plain = [manifest.file_name("onnx", precision) for precision in (about.precision, *manifest.PRECISIONS)]
    for beside in (path.with_name(name) for name in plain):
        with suppress(GantoolError):
            if beside.is_file() and onnxfile.read_manifest(beside).model == about.model:
                return beside
    run = path.parent.parent if path.parent.name == "export" else "RUN"
    raise GantoolError(
        f"{path} draws its latents itself, and no {manifest.file_name('onnx')} of the same model is beside it.",
        f"Write the file that takes them: gantool export {run} --onnx",
    )


def run_of(path: Path, about: Manifest) -> RunDir | None:
    """The run in whose `export/` the file is, if it was made of that run's data."""
    folder = path.resolve().parent.parent if about.which else path.resolve().parent
    run = RunDir(folder.parent)
    if run.export != folder or not (run.path / "run.json").is_file():
        return None
    return run if run.read().data.fingerprint == about.data.get("fingerprint") else None


def newest_with_classes(runs: Path) -> Path | None:
    """The folder of the newest exported run in `runs` whose generator takes labels."""
    for run in sorted(rundir.list_runs(runs), key=_exported, reverse=True):
        found = _in_folder(run.export)
        with suppress(GantoolError):
            if found is not None and onnxfile.read_manifest(found).classes:
                return run.path
    return None


def _named(given: str, runs: Path) -> Path:
    path = Path(given)
    if path.is_file():
        return _onnx(path)
    found = _in_export(path)
    if found is not None:
        return found
    if not path.is_dir() and path.suffix in manifest.SUFFIXES:
        raise GantoolError(
            f"There is no file {given}.", "Name an exported file or a run, or none for the newest export."
        )
    try:
        run = rundir.find(runs, given)
    except rundir.NoSuchRun as error:
        if not given or not path.exists():
            raise
        raise GantoolError(f"{given} is neither an ONNX file, an export folder nor a run.", error.hint) from error
    found = _in_export(run.export)
    if found is None:
        raise _unexported(run)
    return found


def _newest(runs: Path) -> Path:
    known = rundir.list_runs(runs)
    for run in sorted(known, key=_exported, reverse=True):
        found = _in_export(run.export)
        if found is not None:
            return found
    if not known:
        raise GantoolError(
            f"There is no run in {runs}, so nothing is exported.", "Train one, then export it: gantool train mlp"
        )
    raise GantoolError(f"No run in {runs} is exported to ONNX yet.", "Export the newest: gantool export")


def _in_export(folder: Path) -> Path | None:
    """The file in an export's folder, or in that of its generator; GantoolError where several generators have one."""
    found = _in_folder(folder)
    if found is not None or not folder.is_dir():
        return found
    inside = {path.name: own for path in sorted(folder.iterdir()) if path.is_dir() and (own := _in_folder(path))}
    if len(inside) > 1:
        raise GantoolError(
            f"{folder} has the files of several generators: {', '.join(inside)}.",
            f"Name one: {folder / next(iter(inside))}",
        )
    return next(iter(inside.values()), None)


def _exported(run: RunDir) -> tuple[int, int]:
    """When the run was exported, in nanoseconds, and its number, of runs that were at once."""
    folders = [run.export, *(run.export.iterdir() if run.export.is_dir() else ())]
    files = [found for folder in folders if folder.is_dir() and (found := _in_folder(folder))]
    return max((file.stat().st_mtime_ns for file in files), default=0), run.number


def _in_folder(folder: Path) -> Path | None:
    recover(folder)
    return next((folder / name for name in ONNX_FILES if (folder / name).is_file()), None)


def _unexported(run: RunDir) -> GantoolError:
    hint = f"Type: gantool export {run.path}"
    if any((run.export / name).is_file() for name in TORCH_FILES):
        return GantoolError(f"The run {run.path} is exported for torch only; this takes ONNX.", f"{hint} --onnx")
    return GantoolError(f"The run {run.path} is not exported yet.", hint)


def _onnx(path: Path) -> Path:
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    if path.suffix in (".pt", ".pt2") or (archive and _holds_code(path)):
        raise GantoolError(
            f"{path} is a file for torch: `gantool bench` and `gantool generate` take ONNX files.",
            "Export one: gantool export --onnx",
        )
    if archive:
        raise GantoolError(f"{path} is not an ONNX file but a zip archive.", "Export one: gantool export --onnx")
    return path


def _holds_code(path: Path) -> bool:
    """Whether a zip archive is TorchScript or has our manifest. An .npz, for one, is a zip archive, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error):
        return False
    return any("/code/" in name or name.endswith(f"/extra/{manifest.KEY}") for name in names)
