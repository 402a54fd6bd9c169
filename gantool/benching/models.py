"""Which generator each row of a report is of, and what rows are called: a report may hold files of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gantool.artifact import onnxfile
from gantool.artifact.manifest import Manifest
from gantool.benching.cell import label
from gantool.errors import GantoolError, excerpt
from gantool.system.files import sha256_of

DIGESTS = ("sha256", "weights_sha256", "graph_sha256", "model")  # of a file of a report; null when not known


def manifest_of(path: Path) -> Manifest | None:
    """None of a file that is damaged or none of ours, of which the measured process tells."""
    try:
        return onnxfile.read_manifest(path)
    except GantoolError:
        return None


def digests(path: Path) -> dict[str, str | None]:
    """DIGESTS of the file at `path`: of its bytes, its weights, its graph, and of what it was made from."""
    described = manifest_of(path)
    if described is None:
        return dict.fromkeys(DIGESTS)
    return {
        "sha256": sha256_of(path),
        "weights_sha256": described.weights_sha256,
        "graph_sha256": described.graph_sha256,
        "model": described.model,
    }


def listed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The models of a report's cells, in their order: `model` (its digest), `name`, and the paths of its `files`."""
    found: dict[str | None, dict[str, Any]] = {}
    for row in rows:
        file = row["file"]
        model = found.setdefault(file.get("model"), {"model": file.get("model"), "name": "", "files": []})
        model["name"] = model["name"] or _name(Path(file["path"]))
        if file["path"] not in model["files"]:
            model["files"].append(file["path"])
    names = [model["name"] for model in found.values()]
    for model in found.values():
        if names.count(model["name"]) > 1:
            model["name"] += f" ({(model['model'] or 'unknown')[:8]})"
    return list(found.values())


def _name(path: Path) -> str:
    """For people: "mlp, run 0001-mlp-digits"."""
    described = manifest_of(path)
    if described is None:
        return path.name
    name, run = (excerpt(str(part)) for part in (described.architecture.get("name"), described.training.get("run")))
    return f"{name}, run {run}" if described.training.get("run") else name


def told_apart(paths: Iterable[str]) -> dict[str, str]:
    """Path → as much of its end as no other has: mostly the file's name."""
    paths = list(paths)
    found = {}
    for path in paths:
        parts = Path(path).parts
        for length in range(1, len(parts) + 1):
            end = parts[-length:]
            if sum(Path(other).parts[-length:] == end for other in paths) == 1:
                break
        found[path] = str(Path(*end))
    return found


class Names:
    """What the cells of a report are called for people."""

    def __init__(self, models: Sequence[Mapping[str, Any]]) -> None:
        self.several = len(models) > 1
        self._short = {path: name for model in models for path, name in told_apart(model["files"]).items()}
        self._models = {str(path): str(model["name"]) for model in models for path in model["files"]}

    def model(self, cell: Mapping[str, Any]) -> str:
        return self._models.get(cell["file"]["path"], "")

    def within(self, cell: Mapping[str, Any]) -> str:
        """Where the model is said: "generator.onnx on cpu, 1 thread"."""
        file = cell["file"]
        return f"{self._short.get(file['path'], file['name'])} on {label(cell)}"

    def cell(self, cell: Mapping[str, Any]) -> str:
        """With the model's name before it where the report has several."""
        return f"{self.model(cell)}: {self.within(cell)}" if self.several else self.within(cell)
