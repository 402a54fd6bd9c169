"""What `icgan` promises beyond the common contract: codes are components of the data, and a label is a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gantool_dcgan.networks import SIDES
from gantool_icgan import ICGANConfig
from gantool_icgan.networks import Coder, Generator
from PIL import Image
from support.inprocess import Run
from support.trainings import SMALL
from torch import nn

import gantool
from gantool.artifact import pictures
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.options import resolve
from gantool.training import finetune
from gantool.training.state import State
from gantool.training.step import iterate

EXACT = "donot_use_mm_for_euclid_dist"


def _architecture() -> Architecture:
    architecture = registry.find("icgan").architecture
    assert architecture is not None
    return architecture


def _build(*shape: int) -> Game:
    return _architecture().build(ICGANConfig(**SMALL["icgan"]), SampleSpec(shape), Recipe())


def _pictures(count: int, side: int = 16, seed: int = 0) -> Dataset:
    """Pictures of three smooth patterns with unequal weights, and a little noise."""
    random = np.random.default_rng(seed)
    patterns = [np.kron(random.random((4, 4)), np.ones((side // 4, side // 4))) for _ in range(3)]
    weights = random.random((count, 3)) * [3, 2, 1]
    images = np.tensordot(weights, patterns, 1) * 40 + random.random((count, side, side))
    return Dataset(arrays={"images": images.astype(np.uint8)[:, None]}, name="patterns", source="patterns")


def _state(data: Dataset, **options: object) -> State:
    config, recipe = resolve(_architecture(), {**SMALL["icgan"], "batch_size": 6, **options})
    return State(_architecture(), config, recipe, data, seed=0, device=torch.device("cpu"), precision="fp32")


def _parts(state: State) -> tuple[Coder, Generator]:
    coder, generator = state.game.players[0].modules["coder"], state.game.generator
    assert isinstance(coder, Coder)
    assert isinstance(generator, Generator)
    return coder, generator


def _samples(data: Dataset) -> torch.Tensor:
    return torch.from_numpy(data.images.astype(np.float32)) / 127.5 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIDES)
def test_every_promised_size(side: int, channels: int) -> None:
    game = _build(channels, side, side)
    with torch.no_grad():
        image = game.generator(torch.randn(2, 7), torch.tensor([0, 5]), torch.ones(2))
        assert image.shape == (2, channels, side, side)
        assert game.players[0].modules["discriminator"](image, torch.randn(2, 4)).shape == (2,)


@pytest.mark.parametrize("shape", [(1, 30, 30), (2, 32, 32), (3, 32, 64), (1, 64), (1, 8, 16, 16), (2,)])
def test_another_size_is_named_with_what_to_type(shape: tuple[int, ...]) -> None:
    for options in ({}, SMALL["icgan"]):
        with pytest.raises(GantoolError, match="×".join(map(str, shape))) as caught:
            _architecture().build(ICGANConfig(**options), SampleSpec(shape), Recipe())
        assert "--size" in caught.value.hint


@pytest.mark.parametrize("side", [16, 64])
def test_codes_are_principal_components_of_variance_one(side: int) -> None:
    data = _pictures(300, side)
    coder, _ = _parts(_state(data))
    codes = coder(_samples(data))
    assert torch.allclose(codes.mean(0), torch.zeros(4), atol=1e-3)
    covariance = codes.T @ codes / len(codes)
    assert torch.allclose(covariance[:3, :3], torch.eye(3), atol=0.01)
    small = nn.functional.avg_pool2d(_samples(data), side // coder.side).flatten(1)
    wanted = torch.linalg.svd(small - small.mean(0), full_matrices=False)[0][:, :3] * len(data) ** 0.5
    same = (codes[:, :3] * wanted).mean(0).abs()  # correlations; the sign of a component is free
    assert torch.allclose(same, torch.ones(3), atol=0.01)


@pytest.mark.parametrize(("count", "numbers"), [(3, 1), (40, 2), (300, 4)])
def test_codes_of_few_pictures_have_few_numbers(count: int, numbers: int) -> None:
    """One for each 16 pictures: codes that tell which picture it is would give copies."""
    data = _pictures(count)
    coder, generator = _parts(_state(data))
    codes = coder(_samples(data))
    assert codes.any(0).tolist() == [True] * numbers + [False] * (4 - numbers)
    assert torch.cdist(generator.codes, codes, compute_mode=EXACT).min(1).values.max() < 1e-3
    assert bool(generator.codes.isfinite().all())


def test_few_pictures_are_repeated_as_instances() -> None:
    _, generator = _parts(_state(_pictures(3)))
    assert torch.equal(generator.codes[:3], generator.codes[3:])


@pytest.mark.parametrize(
    ("shape", "numbers"), [((1, 28, 28), 32), ((3, 32, 32), 128), ((3, 64, 64), 128), ((1, 16, 16), 10)]
)
def test_codes_of_small_pictures_are_short(shape: tuple[int, ...], numbers: int) -> None:
    options = {name: value for name, value in SMALL["icgan"].items() if name != "code_dim"}
    game = _architecture().build(ICGANConfig(**options), SampleSpec(shape), Recipe())
    assert game.inputs[0].shape == (numbers + options["latent_dim"],)


def test_pictures_all_alike_have_no_components() -> None:
    grey = Dataset(arrays={"images": np.full((8, 1, 16, 16), 99, np.uint8)}, name="grey", source="grey")
    state = _state(grey)
    iterate(state)
    assert not _parts(state)[1].codes.any()
    assert state.broken_weights() is None


def test_instances_are_codes_of_pictures_of_the_data() -> None:
    data = _pictures(50)
    coder, generator = _parts(_state(data))
    distances = torch.cdist(generator.codes, coder(_samples(data)), compute_mode=EXACT)
    assert distances.min(1).values.max() < 1e-3
    assert len(set(distances.argmin(1).tolist())) == len(generator.codes)


def test_the_discriminator_is_told_the_code_that_the_generator_makes() -> None:
    """With the noise of z in both: else it could tell a fake by its distance from the code."""
    state = _state(_pictures(20))
    coder, generator = _parts(state)
    judge = state.game.players[0].modules["discriminator"]
    told: list[torch.Tensor] = []
    made: list[torch.Tensor] = []
    judge.register_forward_pre_hook(lambda module, args: told.append(args[1]))
    generator.body.register_forward_pre_hook(lambda module, args: made.append(args[0]))
    batch = state.sampler.draw(("real", "z"))
    state.game.players[0].loss(batch)
    moved = coder(batch["real"]) + 0.35 * batch["z"][:, :4]
    assert all(torch.equal(code, moved) for code in told)
    assert len(told) == 2
    assert torch.equal(made[0], torch.cat((moved, batch["z"][:, 4:]), 1))


def test_variation_is_how_far_z_moves_the_code() -> None:
    _, generator = _parts(_state(_pictures(100)))
    seen: list[torch.Tensor] = []
    generator.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    z, label = torch.randn(3, 7), torch.tensor([0, 0, 2])
    with torch.no_grad():
        generator(z, label, torch.tensor([0.0, 1.0, 2.0]))
    codes = generator.codes[label]
    moved = codes + torch.tensor([0.0, 0.35, 0.7])[:, None] * z[:, :4]
    assert torch.allclose(seen[0], torch.cat((moved, z[:, 4:]), 1))


def test_fine_tuning_keeps_the_components_and_takes_the_new_pictures() -> None:
    base, data = _state(_pictures(40)), _pictures(40, seed=1)
    saved = base.state_dict()
    state = _state(data)
    finetune.take(state, saved, "base")
    coder, generator = _parts(state)
    assert torch.equal(coder.directions, _parts(base)[0].directions)
    assert torch.cdist(generator.codes, coder(_samples(data)), compute_mode=EXACT).min(1).values.max() < 1e-3
    assert state.ema is not None
    assert torch.equal(state.ema.module.codes, generator.codes)


def test_a_label_is_a_kind_of_picture(tmp_path: Path, cli: Run) -> None:
    """Dark and bright pictures: after a short training, the samples of a label are as bright as its picture."""
    random = np.random.default_rng(0)
    bright = np.where(random.random(64) < 0.5, 40, 215)[:, None, None, None] + random.integers(-9, 10, (64, 1, 16, 16))
    np.savez(tmp_path / "data.npz", images=bright.astype(np.uint8))
    options = {
        **SMALL["icgan"],
        "width": 16,
        "max_width": 32,
        "instances": 300,
        "code_noise": 0.0,
        "steps": 150,
        "tick": 150,
    }
    run = gantool.train(
        "icgan", data=str(tmp_path / "data.npz"), runs=tmp_path, device="cpu", progress=False, **options
    )
    (file,) = run.export("onnx-seeded")
    generator = gantool.Generator(file.path)
    # more labels than a grid has rows for: an image of each, in turn; asked for, variations of one
    for labels, words in ((np.arange(64), ()), (np.full(64, 7), ("--label", "7"))):
        assert cli("generate", file.path, "-o", tmp_path / "grid.png", *words)[0] == 0
        wanted = pictures.grid(generator.sample(64, labels=labels))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "grid.png")), np.asarray(wanted))
    shown = generator.sample(64 * 4, labels=np.arange(64 * 4) % 64).reshape(4, 64, -1).mean(2)
    assert np.ptp(shown.mean(0)) > 100  # both kinds are there
    assert np.ptp(shown, axis=0).max() < 60  # and each label has one
