"""Third-party distributions as pip would leave them, for `PYTHONPATH`: a module beside a .dist-info folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

Install = Callable[..., None]  # the fixture `install`


def make_distribution(
    folder: Path, name: str, version: str, module: str | Path, entry_points: Mapping[str, str]
) -> Path:
    """Lay distribution `name` out in `folder`, which is returned.

    `module`: a file or package to copy under its own name, or the source of a module named like the distribution.
    `entry_points`: what it offers in the group `gantool`, e.g. {"tiny": "tiny_gan"}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace("-", "_")
    if isinstance(module, str):
        (folder / f"{stem}.py").write_text(module, encoding="utf-8")
    elif module.is_dir():
        shutil.copytree(module, folder / module.name)
    else:
        shutil.copy(module, folder)
    info = folder / f"{stem}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
    (info / "entry_points.txt").write_text(f"[gantool]\n{lines}", encoding="utf-8")
    return folder
