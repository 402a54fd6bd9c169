"""What an installation writes and a bare checkout lacks: gantool's entry points, by which plugins are found.

    python benchmarks/uninstalled.py FOLDER
    PYTHONPATH=FOLDER:$PWD:$PWD/plugins python -m gantool plugins

For machines that run a checkout and install nothing. Standard library only.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write(folder: Path) -> None:
    """`folder`/gantool-VERSION.dist-info, of pyproject.toml. https://packaging.python.org/specifications/entry-points/"""
    sys.path.insert(0, str(ROOT))
    from gantool import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = folder / f"{project['name']}-{__version__}.dist-info"
    made.mkdir(parents=True, exist_ok=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {__version__}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "")
    ]
    (made / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
