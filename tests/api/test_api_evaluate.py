"""`gantool.evaluate` and the figures of a tick, on generators whose right figures are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.trainings import Silent, TinyDiscriminator, plugin, start
from torch import Tensor, nn

import gantool
from gantool.plugin import registry
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.objectives import NonSaturating
from gantool.training import loop
from gantool.training.session import Session

SIDE, SPREAD = 16, 12  # pixels; grey levels of noise

# how many samples each class has, by its number: the rare class, and numbers that no sample has
COUNTS = {"rare": {0: 950, 1: 50}, "gaps": {0: 250, 10: 250, 20: 250, 30: 250}}


def grey(label: np.ndarray | int) -> Any:
    """The mean grey level of a class: far from that of any other."""
    return 40 + 20 * (label % 10) + 5 * label


def labelled(path: Path, counts: dict[int, int]) -> Path:
    """Noise around the grey level of each class, as a file for `--data`."""
    labels = np.repeat(list(counts), list(counts.values())).astype(np.int64)
    noise = np.random.default_rng(0).standard_normal((len(labels), SIDE, SIDE))
    images = grey(labels)[:, None, None] + SPREAD * noise
    np.savez(path, images=images.clip(0, 255).round().astype(np.uint8), labels=labels)
    return path


class Exact(nn.Module):
    """z and a label → samples distributed as those of `labelled`."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        levels = grey(torch.arange(spec.classes)) / 127.5 - 1
        self.levels = nn.Parameter(levels)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return (self.levels[label][:, None, None, None] + SPREAD / 127.5 * z).clamp(-1, 1)


def exact_game(spec: SampleSpec) -> Game:
    generator, judge, objective = Exact(spec), TinyDiscriminator(spec), NonSaturating()

    def judged(batch: Batch) -> Loss:
        return Loss(*objective.discriminator(judge(batch["real"]), judge(generator(batch["z"], batch["label"]))))

    def made(batch: Batch) -> Loss:
        return Loss({"adversarial": objective.generator(judge(generator(batch["z"], batch["label"])))})

    fakes = ("z", "label")
    return Game(
        generator,
        (
            Player("discriminator", "discriminator", {"judge": judge}, judged, ("real", *fakes)),
            Player("generator", "generator", {"generator": generator}, made, fakes),
        ),
        (Input("z", spec.shape, "normal"), Input("label", (), "label", spec.classes)),
        (Input("real", spec.shape, "data"),),
        spec,
    )


@pytest.fixture(params=[pytest.param("rare", marks=pytest.mark.slow), "gaps"])
def trained(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    exact = plugin(exact_game)
    monkeypatch.setattr(registry, "find", lambda name: exact)
    data = labelled(tmp_path / "data.npz", COUNTS[request.param])
    opened = start(exact, tmp_path, data=data, steps=2, tick=2, learning_rate=1e-9, keep_best="frechet")
    loop.train(opened.state, opened.run, opened.info, Silent(), figures=opened.figures)
    return opened


def figures(found: dict[str, Any]) -> tuple[float, float]:
    return found["figures"]["frechet_distance"]["value"], found["figures"]["diversity"]["value"]


def test_fakes_have_each_class_as_often_as_the_data(trained: Session) -> None:
    run = gantool.Run(trained.run.path)
    run.export(["onnx", "onnx-seeded"], say=lambda text: None)
    for subject in (run, trained.run.export / "generator.onnx", trained.run.export / "generator.seeded.onnx"):
        found = gantool.evaluate(subject, device="cpu", progress=False, say=lambda text: None)
        distance, diversity = figures(found)
        assert distance < 0.35  # 34 and 9 with the classes in turn
        assert diversity == pytest.approx(1, abs=0.01)


def test_so_have_those_of_a_tick(trained: Session) -> None:
    metrics = gantool.Run(trained.run.path).metrics()
    assert metrics["frechet"][-1] < 0.35
    assert metrics["diversity"][-1] == pytest.approx(1, abs=0.3)  # of 64 samples


def test_classes_without_samples_are_named(trained: Session) -> None:
    found = gantool.evaluate(trained.run.path, device="cpu", progress=False, say=lambda text: None)
    said = "27 of 31 classes have no samples, so a generator can't learn them: 1, 2, 3, 4, 5, …"
    assert (said in trained.notes) == (said in found["notes"]) == (trained.data.spec.classes == 31)


@pytest.mark.parametrize("other", ["floor", "ceiling"])
def test_floor_and_ceiling_take_the_data_of_the_newest_run(trained: Session, other: str) -> None:
    asked: dict[str, Any] = {other: True, "runs": trained.run.path.parent, "progress": False}
    found = gantool.evaluate(**asked, device="cpu", say=lambda text: None)
    assert found["data"]["fingerprint"] == trained.data.fingerprint
    assert found["extractor"]["name"] == "pixels"


def test_a_grid_shows_the_classes_that_have_samples(trained: Session) -> None:
    shown = {0: 40, 1: 65} if trained.data.spec.classes == 2 else {0: 40, 10: 90, 20: 140, 30: 190}
    picture = np.asarray(gantool.Run(trained.run.path).samples())
    assert trained.state.classes == list(shown)
    rows = np.array_split(picture, len(shown))
    assert [int(np.median(row)) for row in rows] == pytest.approx(list(shown.values()), abs=6)
