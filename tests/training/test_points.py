"""Two-dimensional samples: the toy data, what a tick leaves of them, and where they can go."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.inprocess import Run
from torch import Tensor, nn

import gantool
from gantool.artifact import pictures
from gantool.data import load
from gantool.errors import ArgumentError, GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec
from gantool.training import field

SMALL = {"widths": (8,), "latent_dim": 2, "batch_size": 4, "tick": 2, "device": "cpu", "progress": False}
RING = 0.75 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)


@pytest.mark.parametrize(
    ("name", "begins"), [("ring", "08f0e129f04a"), ("grid", "22850bc12ab9"), ("spiral", "4a2ded040127")]
)
def test_toy_data_are_the_same_everywhere(name: str, begins: str) -> None:
    data = load(name)
    assert (data.spec, data.spec.kind, data.images.dtype) == (SampleSpec((2,)), "point", np.float32)
    assert data.fingerprint.startswith(begins)
    assert np.abs(data.images).max() <= 1
    assert np.abs(data.images.mean(axis=0)).max() < 0.2
    with pytest.raises(GantoolError, match="have no size"):
        load(name, 32)


def test_the_ring_has_eight_places() -> None:
    found = modes(load("ring").images)
    assert found.sum() > 0.98
    assert found.min() > 0.1


def test_a_point_has_two_coordinates() -> None:
    assert str(SampleSpec((2,))) == "(2,)"
    for shape in ((3,), (1,), ()):
        with pytest.raises(ValueError, match="or is a point"):
            SampleSpec(shape)


def test_a_picture_shows_where_a_point_lies() -> None:
    right, top = pictures.to_pictures(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))[..., 0]
    assert np.argwhere(right).mean(axis=0) == pytest.approx([23.5, 44], abs=1)  # row, column
    assert np.argwhere(top).mean(axis=0) == pytest.approx([3, 23.5], abs=1)
    assert pictures.to_pictures(np.array([[np.nan, np.inf]], np.float32)).any()


class Rising(nn.Module):
    """Scores rise to the right and, half as fast, to the top; but not while it trains."""

    def forward(self, points: Tensor) -> Tensor:
        return points @ torch.tensor([[2.0], [1.0]]) * (not self.training)


class Labelled(nn.Module):
    def forward(self, points: Tensor, label: Tensor) -> Tensor:
        return points[:, 0]


class OfPictures(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.conv2d(pictures, torch.ones(1, 1, 3, 3)).flatten(1).sum(1)


def described(*modules: nn.Module) -> dict[str, Any]:
    players = [SimpleNamespace(role="generator", modules={"g": Rising()})]
    players += [SimpleNamespace(role="discriminator", modules={"d": module}) for module in modules]
    state: Any = SimpleNamespace(game=SimpleNamespace(players=players), device=torch.device("cpu"))
    return field.described(state, RING, RING.astype(np.float32))


def test_the_field_is_of_the_first_discriminator_that_takes_points() -> None:
    rising = Rising()
    found = described(Labelled(), OfPictures(), rising)
    scores = np.array(found["scores"])
    assert scores.shape == (40, 40)
    edge = 1.1 * 39 / 40  # the centres of the outermost cells
    assert [scores[0, 0], scores[0, -1], scores[-1, -1]] == pytest.approx([-edge, 3 * edge, edge], abs=1e-4)
    assert found["slopes"] == [[2, 1]] * 8
    assert rising.training
    assert described(Labelled(), OfPictures()).keys() == {"extent", "reals", "fakes"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gantool.Run:
    return gantool.train("mlp", data="ring", steps=4, runs=tmp_path_factory.mktemp("points") / "runs", **SMALL)


def test_a_tick_leaves_points_and_scores(run: gantool.Run) -> None:
    told = json.loads((run.path / "samples" / "step-00000004.json").read_text(), parse_constant=pytest.fail)
    assert {name: np.shape(told[name]) for name in told} == {
        "extent": (), "reals": (500, 2), "fakes": (500, 2), "scores": (40, 40), "slopes": (256, 2),
    }  # fmt: skip
    assert modes(np.array(told["reals"])).min() > 0.05
    with Image.open(run.path / "samples" / "step-00000004.png") as picture:
        assert picture.size == (480, 480)
        assert "gantool" in picture.info["Software"]
    assert np.isfinite(run.metrics()["diversity"]).all()


def test_they_do_not_change_the_training(run: gantool.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a run that was stopped goes on to the same weights."""
    begun = gantool.train("mlp", data="ring", steps=4, runs=tmp_path / "runs", **SMALL, callback=interrupt)
    assert begun.status == "interrupted"
    monkeypatch.setattr(field, "described", lambda *_: {})
    begun.resume(progress=False)
    weights = [torch.load(r.path / "checkpoints" / "step-00000004.pt", weights_only=True) for r in (run, begun)]
    for one, other in zip(*(tensors(each) for each in weights), strict=True):
        assert torch.equal(one, other)


def interrupt(record: dict[str, float]) -> None:
    raise KeyboardInterrupt


def tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inner for tensor in tensors(each)]


def test_points_are_exported_plain(run: gantool.Run, tmp_path: Path, cli: Run) -> None:
    (file,) = run.export("onnx", folder=tmp_path / "out")
    assert (file.manifest.output.layout, file.manifest.output.shape) == ("C", (2,))
    points = gantool.Generator(file.path).sample(500)
    told = json.loads((run.path / "samples" / "step-00000004.json").read_text())
    assert points == pytest.approx(np.array(told["fakes"]), abs=1e-3)
    with pytest.raises(GantoolError, match="too coarse for points"):
        run.export("onnx-seeded", folder=tmp_path / "out")
    for words in (["generate", file.path, "-o", tmp_path / "a.png"], ["export", run.path, "--app", tmp_path / "app"]):
        code, _, error = cli(*words)
        assert code == 1
        assert "(2,)" in error


def test_points_are_evaluated_by_their_coordinates(run: gantool.Run, tmp_path: Path) -> None:
    report = run.evaluate(samples=50, device="cpu", output=tmp_path / "out", progress=False, say=lambda text: None)
    assert report["extractor"]["name"] == "pixels"
    assert report["extractor"]["features"] == 2


def test_what_needs_more_than_points_says_so(tmp_path: Path) -> None:
    names = [plugin.name for plugin in registry.discover() if plugin.architecture and plugin.name != "mlp"]
    assert len(names) > 8
    for name in names:
        with pytest.raises(GantoolError) as caught:
            gantool.train(name, data="ring", steps=1, device="cpu", runs=tmp_path, progress=False)
        assert not isinstance(caught.value, ArgumentError)
    for options in ({"flip": True}, {"diffaugment": "color"}, {"augment": "ada"}, {"jitter": 2}, {"rate": 8000}):
        with pytest.raises(GantoolError):
            gantool.train("mlp", data="ring", steps=1, runs=tmp_path, **SMALL, **options)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_mlp_finds_all_places_of_the_ring(tmp_path: Path) -> None:
    options = {"widths": (128, 128), "dropout": 0.0, "latent_dim": 2, "steps": 2000, "device": "cpu"}
    run = gantool.train("mlp", data="ring", runs=tmp_path, progress=False, **options)
    found = modes(np.array(json.loads((run.path / "samples" / "step-00002000.json").read_text())["fakes"]))
    assert found.min() > 0.03
    assert found.sum() > 0.55


def modes(points: np.ndarray) -> np.ndarray:
    """(8,): the share of the points that lie within three standard deviations of each place of the ring."""
    distances = np.linalg.norm(points[:, np.newaxis] - RING, axis=2)
    return np.bincount(distances.argmin(1)[distances.min(1) < 0.12], minlength=8) / len(points)
