"""curves.png: a panel for each kind of figure that a run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantool.run import curves
from gantool.run.rundir import RunDir


def _height(run: RunDir, records: list[dict[str, Any]]) -> int:
    curves.draw(run, records)
    with Image.open(run.curves) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 0
        return picture.height


def test_each_kind_of_figure_has_a_panel_also_one_that_is_not_in_every_record(tmp_path: Path) -> None:
    run, loss = RunDir(tmp_path), {"step": 1, "loss.a.x": 0.5}
    one = _height(run, [loss])
    rare = [{**loss, "measure.b.y": 0.1}, {**loss, "step": 2}]
    assert _height(run, rare) > one
    every = [{**loss, "measure.b.y": 0.1, "diversity": 0.4, "frechet": 9.0, "seconds": 1.0}]
    assert _height(run, every) > _height(run, rare)


def test_nothing_is_drawn_without_records(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    curves.draw(run, [])
    assert not run.curves.exists()
