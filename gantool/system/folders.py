"""What has to hold before a folder is replaced by an export, whatever it is an export of."""

from __future__ import annotations

from pathlib import Path

from gantool.errors import GantoolError
from gantool.system.files import reading


def require_place(folder: Path, option: str) -> None:
    """GantoolError when `folder` is a file, or has the current folder in it; `option`: what named it, as `--app`.

    Replacing the folder that a shell stands in, or one above that, would leave the shell in a deleted one.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        what = "is" if folder.resolve() == Path.cwd() else "holds"
        raise GantoolError(
            f"{folder} {what} the folder you are in: it can't be replaced.",
            f"Name a new one, or go elsewhere first: {option} DIR",
        )
    with reading(folder):
        if folder.exists() and not folder.is_dir():
            raise GantoolError(f"{folder} is a file.", f"Name a folder: {option} DIR")


def listing(folder: Path) -> list[Path]:
    """Files and links below `folder`, relative to it, sorted; [] where there is none. Links are not followed."""
    with reading(folder):
        return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
