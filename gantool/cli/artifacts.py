"""Which exported file a command means: one given, one of a run, or the newest."""

from __future__ import annotations

from pathlib import Path

from gantool import rundir
from gantool.errors import GantoolError
from gantool.rundir import RunDir

# what `gantool export` calls them (gantool.export.FILES, which loads torch); the first that is there is taken
ONNX_FILES = ("generator.seeded.onnx", "generator.onnx")
TORCHSCRIPT_FILE = "generator.torchscript.pt"


def find_artifact(given: str | None, runs: Path) -> Path:
    """The ONNX file that `given` names; None: of the newest run in `runs` that has one.

    `given`: an ONNX file; a folder that holds an export; or a run, by its path, by its folder's name or by its number
    in `runs`. Of an export with both ONNX files, the seeded one. GantoolError: nothing there, nothing exported yet, or
    a TorchScript file.
    """
    if given is None:
        return _newest(runs)
    path = Path(given)
    if path.is_file():
        return _onnx(path)
    found = _in_folder(path)
    if found is not None:
        return found
    if not path.is_dir() and path.suffix in (".onnx", ".pt"):
        raise GantoolError(
            f"There is no file {given}.", "Name an exported file or a run, or none for the newest export."
        )
    run = rundir.find(runs, given)
    found = _in_folder(run.export)
    if found is None:
        raise _unexported(run)
    return found


def _newest(runs: Path) -> Path:
    known = rundir.list_runs(runs)
    for run in reversed(known):
        found = _in_folder(run.export)
        if found is not None:
            return found
    if not known:
        raise GantoolError(
            f"There is no run in {runs}, so nothing is exported.", "Train one, then export it: gantool train mlp"
        )
    raise GantoolError(f"No run in {runs} is exported to ONNX yet.", "Export the newest: gantool export")


def _in_folder(folder: Path) -> Path | None:
    return next((folder / name for name in ONNX_FILES if (folder / name).is_file()), None)


def _unexported(run: RunDir) -> GantoolError:
    hint = f"Type: gantool export {run.path}"
    if (run.export / TORCHSCRIPT_FILE).is_file():
        return GantoolError(f"The run {run.path} is exported to TorchScript only; this takes ONNX.", f"{hint} --onnx")
    return GantoolError(f"The run {run.path} is not exported yet.", hint)


def _onnx(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            archive = file.read(4) == b"PK\x03\x04"  # TorchScript files are zip archives
    except OSError as error:
        raise GantoolError(f"{path} can't be read: {error.strerror}.") from error
    if archive or path.suffix == ".pt":
        raise GantoolError(
            f"{path} is a TorchScript file: `gantool bench` and `gantool generate` take ONNX files.",
            "Export one: gantool export --onnx",
        )
    return path
