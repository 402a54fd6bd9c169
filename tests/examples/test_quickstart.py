"""examples/quickstart.ipynb runs as it stands, and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support.commands import environment

NOTEBOOK = Path(__file__).parent.parent.parent / "examples/quickstart.ipynb"


@pytest.mark.slow
def test_the_notebook_trains_shows_exports_and_generates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:  # a tenth of the training
        cell.source = re.sub(r"(steps?|tick)=(\d+)0", r"\1=\2", cell.source)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    def data_of(line: str) -> list[dict[str, str]]:
        (outputs,) = (outputs for source, outputs in shown.items() if line in source)
        return [output.data for output in outputs if "data" in output]

    bar, run = data_of("gantool.train")
    assert "60 of 60 steps" in bar["text/html"]
    assert "images/s" in bar["text/html"]
    assert "<img" in run["text/html"]
    for line in ("run.samples()", "run.samples(step=20)", "run.curves()", "generator.sample"):
        (picture,) = data_of(line)
        assert picture["image/png"]
    assert data_of("run.resume")[-1]["text/plain"] == "80"
    assert (tmp_path / "runs/0001-mlp-digits/export/generator.seeded.onnx").is_file()


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
