"""Inversion: a generator's own samples are found again, pictures of any kind are read, what can't be is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.inprocess import Run
from support.trainings import run_until, start

import gantool
from gantool.errors import ArgumentError, GantoolError
from gantool.filming import keys
from gantool.metrics.extractors import Outputs, Pixels
from gantool.plugin.architecture import SampleSpec
from gantool.run.rundir import RunDir

FAST = {"starts": 4, "steps": 150, "progress": False}


def trained(folder: Path, name: str, **options: object) -> RunDir:
    opened = start(name, folder, steps=2, **options)
    run_until(opened)
    return opened.run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return trained(tmp_path_factory.mktemp("invert"), "mlp", widths=(8,))


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """With labels, and a mapping network."""
    return trained(tmp_path_factory.mktemp("styled"), "stylegan2")


def test_own_samples_are_found_again(run: RunDir) -> None:
    found = gantool.invert(["7:3", (7, 4)], run.path, **FAST)
    assert found.names == ("7:3", "7:4")
    assert found.levels.max() < 1
    assert not found.far.any()
    again = gantool.invert(["7:3", (7, 4)], run.path, **FAST)
    assert np.array_equal(found.z, again.z)


@pytest.mark.slow
def test_the_class_is_found_too(styled: RunDir) -> None:
    found = gantool.invert([(1, 0), (1, 1), (1, 2)], styled.path, **FAST)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0]  # image i has class i modulo 2
    fixed = gantool.invert([(1, 0)], styled.path, label="1", **FAST)
    assert fixed.labels is not None
    assert fixed.labels.tolist() == [1]


@pytest.mark.slow
def test_behind_a_mapping_network_it_comes_nearer(styled: RunDir) -> None:
    strange = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    z, w = (gantool.invert(strange, styled.path, space=space, **FAST) for space in ("z", "w"))
    assert w.w is not None
    assert z.w is None
    assert w.w.shape == (2, 5)
    assert (w.levels <= z.levels + 1e-3).all()
    assert w.levels.mean() < z.levels.mean()
    assert w.far.all()  # noise is nothing that it makes


def test_pictures_from_files_to_an_npz_that_films_take(run: RunDir, tmp_path: Path, cli: Run) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    made = gantool.invert([(0, 1)], run.path, **FAST).images[0]
    Image.fromarray(made[..., 0]).save(folder / "a.png")
    large = Image.fromarray(made[..., 0]).convert("RGBA").resize((48, 48), Image.Resampling.NEAREST)
    large.save(folder / "b.png")  # in colour, larger, with alpha: read as data are
    np.savez(tmp_path / "more.npz", images=made.transpose(2, 0, 1)[None])
    few = ["--starts", 4, "--steps", 150, "--run", run.path]
    code, out, _ = cli("invert", folder, tmp_path / "more.npz", *few, "-o", tmp_path / "z.npz", "--json")
    rows = json.loads(out)["pictures"]
    assert (code, [row["picture"] for row in rows]) == (0, ["a.png", "b.png", "more.npz[0]"])
    assert max(rows[0]["levels"], rows[2]["levels"]) < 2
    assert rows[1]["levels"] < 20  # resizing has smoothed it
    with Image.open(tmp_path / "z.sheet.png") as sheet:
        assert sheet.width > 2 * 96
    z, labels = keys.latents_of(tmp_path / "z.npz", gantool.exporting.source_of(run).normals[0])
    assert (z.shape, labels) == ((3, 5), None)
    code, out, _ = cli("invert", "0:0", *few, "-o", tmp_path / "one.npz")
    assert (code, "0:0" in out, f"gantool film --through {tmp_path / 'one.npz'}" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nope.png"], "There is no picture nope.png"),
        (["text.png"], "text.png"),
        (["0:0", "--label", "1"], "takes no labels"),
        (["0:0", "--space", "w"], "no mapping network"),
        (["0:0", "--space", "v"], "no space 'v'"),
        (["0:0", "-o", "z.txt"], "is no .npz"),
        (["volumes.npz"], "volumes.npz"),
    ],
)
def test_what_can_not_be(
    run: RunDir, given: list[str], message: str, tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    np.savez("volumes.npz", volumes=np.zeros((3, 1, 8, 8, 8), np.uint8))
    code, _, err = cli("invert", "--run", run.path, *given)
    assert (code, message in err) == (1, True), err
    assert not list(tmp_path.glob("z*"))


def test_arrays_that_are_no_pictures(run: RunDir) -> None:
    with pytest.raises(ArgumentError, match=r"wanted: uint8 \(n, H, W, 1 or 3\)"):
        gantool.invert(np.zeros((2, 16, 16), np.float32), run.path)
    with pytest.raises(ArgumentError, match="no picture"):
        gantool.invert([], run.path)


class Rounding(Pixels):
    """It rounds to 8 bits, as some published ones do."""

    def _outputs(self, samples: torch.Tensor) -> Outputs:
        return Outputs(super()._outputs(samples).features.mul(127).detach())


def test_an_extractor_without_gradients_is_named() -> None:
    rounding = Rounding(SampleSpec((1, 16, 16)), torch.device("cpu"))
    with pytest.raises(GantoolError, match="'pixels' passes no gradients"):
        rounding.differentiable(torch.zeros(1, 1, 16, 16, requires_grad=True))
