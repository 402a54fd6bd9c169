"""`cgan`: what it promises beyond the common contract, and the conditional form of the common game."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gantool_cgan import CGANConfig
from gantool_dcgan import networks as dcgan
from gantool_mlp import networks as mlp
from PIL import Image
from pydantic import ValidationError
from support.trainings import SMALL, TinyDiscriminator, dataset, run_until, start
from torch import Tensor, nn
from torch.nn import functional as F

from gantool import data, exporting
from gantool.artifact import latents, pictures
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.digits import Digits
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import Architecture, Input, Recipe, SampleSpec
from gantool.plugin.game import Game, two_player
from gantool.plugin.options import resolve
from gantool.plugin.train_options import TrainOptions
from gantool.runtime import Generator
from gantool.testing import check_architecture
from gantool.training import session
from gantool.training.sampler import class_ends, noise
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")
BODIES = ("mlp", "dcgan")


def _architecture() -> Architecture:
    found = registry.find("cgan").architecture
    assert found is not None
    return found


def _game(spec: SampleSpec | None = None, **options: Any) -> Game:
    spec = spec or SampleSpec((1, 16, 16), classes=3)
    return _architecture().build(CGANConfig(**{**SMALL["cgan"], **options}), spec, Recipe())


def _state(source: Dataset, **given: Any) -> State:
    config, recipe = resolve(_architecture(), {"batch_size": 8, **SMALL["cgan"], **given})
    return State(_architecture(), config, recipe, source, seed=0, device=CPU, precision="fp32")


# networks


@pytest.mark.parametrize("body", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow)])
def test_it_conforms_on_both_bodies(body: str) -> None:
    specs = (SampleSpec((1, 16, 16), classes=10), SampleSpec((3, 32, 32), classes=2))
    check_architecture(replace(_architecture(), examples=specs), CGANConfig(**SMALL["cgan"], body=body))


def test_the_bodies_are_the_networks_of_mlp_and_dcgan() -> None:
    kinds = {"mlp": mlp, "dcgan": dcgan}
    for body, module in kinds.items():
        game = _game(body=body)
        judge = game.players[0].modules["discriminator"]
        assert type(game.generator.body) is module.Generator
        assert type(judge.body) is module.Discriminator


@pytest.mark.parametrize("body", BODIES)
def test_the_score_is_the_bodys_plus_a_projection(body: str) -> None:
    """Equation 3 of the paper: ψ(φ(x)) + ⟨embedding of y, φ(x)⟩."""
    judge = _game(body=body, dropout=0).players[0].modules["discriminator"].eval()
    images, label = torch.randn(6, 1, 16, 16), torch.tensor([0, 1, 2, 2, 1, 0])
    with torch.no_grad():
        features = judge.body.layers[:-1](images).flatten(1)
        wanted = judge.body(images) + (features @ judge.embed.weight.T)[torch.arange(6), label]
        torch.testing.assert_close(judge(images, label), wanted)
        assert not torch.allclose(judge(images, label), judge(images, label.roll(1)))


def test_the_class_reaches_the_generator_as_an_embedding_beside_z() -> None:
    generator = _game().generator.eval()
    z, label = torch.randn(4, 5), torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        wanted = generator.body(torch.cat((z, generator.embed.weight[label]), 1))
        torch.testing.assert_close(generator(z, label), wanted)


def test_options_that_can_not_be() -> None:
    with pytest.raises(ValidationError, match="widths"):
        CGANConfig(widths=(8, 0))
    with pytest.raises(GantoolError, match="1×30×30"):
        _game(SampleSpec((1, 30, 30), 2), body="dcgan")


# data


def test_the_quick_preset_is_a_short_run_of_small_convolutional_networks() -> None:
    config, recipe = resolve(_architecture(), {"preset": "quick", "steps": 7})
    game = _architecture().build(config, SampleSpec((1, 28, 28), classes=10), recipe)
    assert isinstance(game.generator.body, dcgan.Generator)
    assert sum(weight.numel() for weight in game.generator.parameters()) < 400_000
    assert (recipe.steps, recipe.learning_rate, recipe.schedule) == (7, 2e-3, "linear")
    assert recipe.betas == (0.5, 0.9)  # of the body, which the preset chooses


def test_one_class_trains() -> None:
    """It is a plain GAN then, and no harm is done: a folder with one sub-folder is not worth an error."""
    state = _state(dataset(classes=1))
    for _ in range(3):
        iterate(state)
    assert state.classes == [0]
    assert state.broken_weights() is None


def uneven(counts: tuple[int, ...]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 16, 16), dtype=np.uint8)
    return Dataset("uneven", "uneven", {"images": images, "labels": labels})


def test_fakes_have_each_class_as_often_as_the_data() -> None:
    state = _state(uneven((30, 0, 60, 10)), batch_size=1000)
    label = state.sampler.draw(("label",))["label"]
    share = torch.bincount(label, minlength=4) / len(label)
    assert share[1] == 0
    torch.testing.assert_close(share, torch.tensor([0.3, 0.0, 0.6, 0.1]), atol=0.05, rtol=0)


def test_a_label_that_is_not_like_the_data_is_uniform() -> None:
    ends = class_ends((90, 10), CPU)
    stream = torch.Generator().manual_seed(0)
    for item, wanted in ((Input("a", (), "label", 2), 0.5), (Input("b", (), "label", 2, like_data=True), 0.9)):
        drawn = noise(item, 4000, stream, CPU, ends)
        assert drawn.dtype == torch.int64
        assert abs(float((drawn == 0).float().mean()) - wanted) < 0.03
    assert set(noise(item, 100, stream, CPU, class_ends((), CPU)).tolist()) == {0, 1}


def test_batch_statistics_of_an_export_are_for_the_mixture_that_was_trained_on(tmp_path: Path) -> None:
    """Of 99 % zeros and 1 % ones, as a run's own grids; for both alike they would be others."""
    data_path = tmp_path / "uneven.npz"
    np.savez(data_path, **uneven((99, 1)).arrays)
    opened = start("cgan", tmp_path, data=str(data_path), steps=2, tick=2, body="dcgan")
    run_until(opened)
    assert opened.run.read().data.class_counts == (99, 1)
    made = exporting.source_of(opened.run).generator
    z, label = torch.from_numpy(latents.draw({"z": (5,)}, 0, np.arange(64))["z"]), torch.arange(64) % 2
    game = opened.state.game
    about: dict[str, Any] = {"architecture": {}, "training": {}, "data": {}}
    with torch.no_grad():
        wanted = opened.state.sampling_generator()(z, label)
        of_counts = made(z, label)
        game.generator.load_state_dict(opened.state.ema.module.state_dict())
        of_none = exporting.from_game(game, **about).generator(z, label)
    assert (of_counts - wanted).abs().mean() < 0.5 * (of_none - wanted).abs().mean()


# the common game, with classes


class Judge(TinyDiscriminator):
    """Sample, label → score."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.embed = nn.Embedding(spec.classes, 1)

    def forward(self, sample: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(sample) + self.embed(label)[:, 0]


class Maker(nn.Module):
    """z, label → sample."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.shape, self.classes = spec.shape, spec.classes
        self.linear = nn.Linear(4 + spec.classes, spec.elements)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        given = torch.cat((z, F.one_hot(label, self.classes).to(z.dtype)), 1)
        return self.linear(given).tanh().unflatten(1, self.shape)


def _conditional(spec: SampleSpec, **options: Any) -> Game:
    return two_player(
        Maker(spec), Judge(spec), objectives.Wasserstein(), spec=spec, latent_dim=4, classes=spec.classes, **options
    )


@pytest.mark.parametrize("updates", ["alternating", "simultaneous"])
def test_reals_are_judged_by_their_label_and_fakes_by_theirs(updates: str) -> None:
    spec = SampleSpec((1, 4, 4), classes=3)
    game = _conditional(spec, penalty=2.0)
    judge, maker = game.players
    assert (judge.draws, maker.draws, maker.reuses) == (
        ("real", "real_label", "z", "label"),
        ("z", "label"),
        ("z", "label"),
    )
    batch = {
        "real": torch.rand(5, 1, 4, 4),
        "real_label": torch.tensor([0, 1, 2, 0, 1]),
        "z": torch.randn(5, 4),
        "label": torch.tensor([2, 2, 0, 1, 0]),
    }
    discriminator = judge.modules["discriminator"]
    torch.manual_seed(1)
    if updates == "alternating":
        losses = {"discriminator": judge.loss(batch), "generator": maker.loss(batch)}
    else:
        assert game.together is not None
        losses = dict(game.together(batch))
    with torch.no_grad():
        fake = game.generator(batch["z"], batch["label"])
        real_score = discriminator(batch["real"], batch["real_label"]).mean()
        fake_score = discriminator(fake, batch["label"]).mean()
    torch.testing.assert_close(losses["discriminator"].terms["real"], -real_score)
    torch.testing.assert_close(losses["discriminator"].terms["fake"], fake_score)
    torch.testing.assert_close(losses["generator"].terms["adversarial"], -fake_score)
    slope = discriminator.linear.weight.norm()  # of a linear critic, everywhere
    torch.testing.assert_close(losses["discriminator"].terms["gradient_penalty"], 2 * (slope - 1) ** 2)


# sample grids


@pytest.mark.parametrize(("classes", "rows", "columns"), [(2, 2, 16), (5, 5, 12), (10, 10, 8), (100, 16, 8)])
def test_a_sample_grid_has_a_row_a_class(classes: int, rows: int, columns: int, tmp_path: Path) -> None:
    path = tmp_path / "noise.npz"
    np.savez(path, **dataset(200, classes=classes).arrays)
    opened = start("cgan", tmp_path, data=str(path), steps=1, tick=1)
    run_until(opened)
    side, gap, scale = 16, 2, 3
    with Image.open(opened.run.sample(1)) as picture:
        pixels = np.asarray(picture)[::scale, ::scale]
    assert pixels.shape == (rows * (side + gap) + gap, columns * (side + gap) + gap)
    generator = opened.state.sampling_generator()
    z = torch.from_numpy(latents.draw({"z": (5,)}, 0, np.arange(rows * columns))["z"])
    for row, column in ((0, 0), (rows - 1, 0), (1, columns - 1), (rows - 1, columns - 1)):
        number = column * rows + row  # classes come in turn, as everywhere
        with torch.no_grad():
            made = generator(z[number : number + 1], torch.tensor([row]))
        top, left = (gap + place * (side + gap) for place in (row, column))
        shown = pixels[top : top + side, left : left + side].astype(int)
        assert np.abs(shown - pictures.to_pictures(made.numpy())[0, :, :, 0]).max() <= 1
    told = [note for note in opened.notes if "sample grids" in note]
    assert told == (["sample grids show the classes 0 to 15 of 100, a row each"] if classes == 100 else [])


def test_rows_of_images_that_do_not_come_out_even() -> None:
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    tiles, columns = pictures.in_rows(images, 3, first=4)
    assert columns == 3
    blank = pictures.SPACE
    assert tiles.reshape(3, 3).tolist() == [[2, 5, blank], [0, 3, 6], [1, 4, blank]]
    assert pictures.in_rows(images, 1) == (images, None)


# labels have their effect, according to a classifier trained on the real digits


def agreement(path: Path, each: int = 100) -> np.ndarray:
    """Share of the images of each class that the classifier takes for it, through the exported file: (10,)."""
    generator, judge = Generator(path), Digits(SampleSpec((1, 28, 28)), CPU)
    shares = []
    for label in range(10):
        images = generator.sample(each, seed=1, labels=label)
        samples = torch.from_numpy(np.moveaxis(images, 3, 1).astype(np.float32) / 127.5 - 1)
        probabilities = judge.probabilities(samples)
        assert probabilities is not None
        shares.append(float((probabilities.argmax(1) == label).float().mean()))
    return np.array(shares)


@pytest.mark.slow
def test_the_digits_that_are_asked_for_are_made(tmp_path: Path) -> None:
    """By the default recipe of the body mlp."""
    runs = tmp_path / "runs"
    opened = session.start(registry.find("cgan"), {}, TrainOptions(device="cpu", tick=4_000, runs=runs))
    run_until(opened)
    (made,) = exporting.write(exporting.source_of(opened.run), ["onnx-seeded"], tmp_path / "export")
    shares = agreement(made.path)
    assert shares.mean() >= 0.95, shares


def test_the_classes_of_the_digits_are_named(tmp_path: Path) -> None:
    opened = start("cgan", tmp_path, data="digits", steps=1, tick=1, **SMALL["cgan"])
    run_until(opened)
    source = exporting.source_of(opened.run)
    assert source.about.data["class_names"] == list("0123456789")
    assert data.load("digits").class_counts == opened.info.data.class_counts
    assert sum(opened.info.data.class_counts) == 10_000
