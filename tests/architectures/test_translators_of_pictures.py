"""`pix2pix` and `cyclegan`: what they take and refuse, and that their noise and history repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gantool_cyclegan.networks import History
from support.trainings import different, run_until, start

import gantool
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.training import session
from gantool.training.step import iterate


def build(name: str, spec: SampleSpec, **options: Any) -> Game:
    architecture = registry.find(name).architecture
    assert architecture is not None
    return architecture.build(architecture.config(**{"width": 4, **options}), spec, Recipe())


def paired(target: tuple[int, ...], source: tuple[int, ...]) -> SampleSpec:
    return SampleSpec(target, arrays={"sources": source})


@pytest.mark.parametrize(
    ("target", "source", "multiple"),
    [
        ((3, 256, 256), (1, 256, 256), 256),
        ((3, 32, 64), (3, 32, 64), 32),
        ((1, 40, 40), (1, 40, 40), 8),
        ((3, 64, 64), (3, 16, 16), 16),
        ((3, 48, 48), (1, 16, 16), 16),
        ((1, 16, 16), (3, 64, 64), 64),
    ],
)
def test_pix2pix_makes_pictures_of_sources_and_takes_any_multiples(
    target: tuple[int, ...], source: tuple[int, ...], multiple: int
) -> None:
    game = build("pix2pix", paired(target, source))
    assert game.source is not None
    assert game.source.multiple == multiple
    z = torch.randn(2, *game.inputs[1].shape)
    wide = (source[0], source[1] + multiple, source[2] + 2 * multiple)
    with torch.no_grad():
        for shape in (source, wide):
            made = game.generator(torch.randn(2, *shape), z, torch.ones(2))
            assert made.shape[1:] == (target[0], *(side * target[1] // source[1] for side in shape[1:]))


def test_the_receptive_field_is_the_papers() -> None:
    judge = build("pix2pix", paired((3, 256, 256), (3, 256, 256)), width=64).players[0].modules["judge"]
    convolutions = [m for m in judge.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, 512, 1]
    field = 1
    for layer in reversed(convolutions):
        field = (field - 1) * layer.stride[0] + layer.kernel_size[0]
    assert field == 70


@pytest.mark.parametrize(
    ("name", "spec", "message", "hint"),
    [
        ("pix2pix", SampleSpec((3, 64, 64)), "no sources", "--pairs edges"),
        ("pix2pix", paired((3, 64, 64), (3, 48, 48)), "3×64×64 from sources of shape 3×48×48", "whole number"),
        ("pix2pix", paired((3, 32, 64), (3, 64, 32)), "3×32×64 from sources of shape 3×64×32", "whole number"),
        ("pix2pix", paired((3, 28, 28), (3, 28, 28)), "3×28×28", "--size 32"),
        ("pix2pix", paired((3, 1024, 1024), (3, 64, 64)), "3×1024×1024", "--size 512"),
        ("pix2pix", SampleSpec((1, 64), arrays={"sources": (1, 64)}), "1×64", "images"),
        ("cyclegan", SampleSpec((3, 64, 64)), "one set, without classes", "--target"),
        ("cyclegan", SampleSpec((3, 64, 64), classes=3), "3 classes", "--target"),
        ("cyclegan", SampleSpec((3, 30, 30), classes=2), "3×30×30", "--size 64"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_do(name: str, spec: SampleSpec, message: str, hint: str) -> None:
    with pytest.raises(GantoolError, match=message) as caught:
        build(name, spec)
    assert hint in caught.value.hint


def test_levels_that_the_sides_do_not_allow() -> None:
    with pytest.raises(GantoolError, match="--levels 5") as caught:
        build("pix2pix", paired((3, 40, 40), (3, 40, 40)), levels=5)
    assert "--levels 3" in caught.value.hint


def test_z_decides_what_is_dropped_and_variety_how_much() -> None:
    torch.manual_seed(0)
    game = build("pix2pix", paired((3, 32, 32), (1, 32, 32)))
    source, z = torch.randn(1, 1, 32, 32).expand(3, -1, -1, -1), torch.randn(3, *game.inputs[1].shape)
    with torch.no_grad():
        one, signs = (game.generator(source, noise, torch.ones(3)) for noise in (z, z.sign()))
        none = game.generator(source, z, torch.zeros(3))
        half = game.generator(source, z, torch.full((3,), 0.5))
    assert torch.equal(one, signs)  # only whether a number is above zero
    assert not torch.allclose(one[0], one[1])
    assert torch.allclose(none[0], none[1], atol=1e-6)
    assert not torch.allclose(half[0], half[1])


def test_a_history_shows_and_keeps_all_until_it_is_full_and_then_half() -> None:
    torch.manual_seed(0)
    history, number = History(10, (1,)), 0
    seen = []
    for _ in range(100):
        made = torch.arange(number, number + 4, dtype=torch.float32)[:, None]
        number += 4
        before = history.pictures.flatten().tolist()
        shown = history.exchange(made).flatten()
        if number <= 12:
            assert torch.equal(shown, made.flatten())
            continue
        old = ~torch.isin(shown, made.flatten())
        assert set(shown[old].tolist()) <= set(before)
        assert len(set(shown.tolist())) == 4
        # what was shown in place of another has left, and the other has come
        assert set(history.pictures.flatten().tolist()) == set(before) - set(shown[old].tolist()) | set(
            made.flatten()[old].tolist()
        )
        seen += old.tolist()
    assert np.mean(seen) == pytest.approx(0.5, abs=0.07)
    assert int(history.count) == 10


def test_a_history_smaller_than_a_batch_and_none() -> None:
    made = torch.arange(6.0)[:, None]
    assert torch.equal(History(4, (1,)).exchange(made), made)
    assert History(0, (1,)).exchange(made) is made


def test_a_stopped_run_of_cyclegan_goes_on_exactly_with_a_full_history(tmp_path: Path) -> None:
    given = {"history": 12, "steps": 12, "tick": 4}
    whole = start("cyclegan", tmp_path, **given)
    run_until(whole)
    half = start("cyclegan", tmp_path, **given)
    run_until(half, stop=6)
    history = half.state.game.players[0].modules["history"]
    assert int(history.count) == 12
    again = session.resume(half.run)
    run_until(again)
    assert different(again.state.state_dict(), whole.state.state_dict()) == []


@pytest.mark.parametrize("colours", [True, False])
def test_a_generator_of_cyclegan_begins_by_returning_the_picture(colours: bool) -> None:
    game = build("cyclegan", SampleSpec((3, 32, 32), classes=2), colours=colours)
    picture = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert all(torch.equal(game.of(name).generator(picture), picture) for name in game.exports)


def test_cyclegan_learns_the_colours_of_the_other_kind(tmp_path: Path) -> None:
    """Orange rectangles and purple ones, without pairs: each gets the other's colour and stays where it is."""

    def rectangles(colour: tuple[int, int, int], count: int, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        images = np.full((count, 16, 16, 3), 255, np.uint8)
        for image in images:
            top, left, height, width = random.integers((0, 0, 5, 5), (8, 8, 9, 9))
            image[top : top + height, left : left + width] = colour
        return images

    orange, purple = (220, 60, 40), (150, 80, 190)
    learned = np.concatenate([rectangles(orange, 64, 0), rectangles(purple, 64, 1)])
    np.savez(tmp_path / "data.npz", images=np.moveaxis(learned, 3, 1), labels=np.repeat([0, 1], 64))
    run = gantool.train(
        "cyclegan", data=str(tmp_path / "data.npz"), steps=150, batch_size=4, width=8, blocks=1, runs=tmp_path,
        device="cpu", progress=False,
    )  # fmt: skip
    (file,) = run.export("onnx-seeded", which="a-to-b")
    sources, wanted = (rectangles(colour, 32, 2).astype(int) for colour in (orange, purple))
    made = gantool.Generator(file.path).translate(sources.astype(np.uint8))
    assert abs(made - wanted).mean() < abs(sources - wanted).mean() / 4


def test_both_directions_are_exported(tmp_path: Path) -> None:
    opened = start("cyclegan", tmp_path, steps=1)
    assert list(opened.state.game.exports) == ["a-to-b", "b-to-a"]
    assert [item.name for item in opened.state.game.of("b-to-a").inputs] == ["b"]
    iterate(opened.state)
    to_b, to_a = (opened.state.sampling_generator(which) for which in ("a-to-b", "b-to-a"))
    picture = torch.zeros(1, 1, 20, 24)
    with torch.no_grad():
        assert to_b(picture).shape == picture.shape
        assert not torch.equal(to_b(picture), to_a(picture))


@pytest.mark.parametrize(
    ("name", "spec"),
    [("pix2pix", paired((3, 32, 32), (3, 32, 32))), ("cyclegan", SampleSpec((3, 32, 32), classes=2))],
)
def test_maps_are_enlarged_as_the_papers_do_when_asked(name: str, spec: SampleSpec) -> None:
    kinds = {}
    for enlarge in ("nearest", "transposed"):
        game = build(name, spec, enlarge=enlarge)
        kinds[enlarge] = {type(module) for module in game.generator.modules()}
        inputs = [torch.zeros(1, *item.shape) for item in game.inputs]
        with torch.no_grad():
            assert game.generator(*inputs).shape == (1, 3, 32, 32)
    assert kinds["nearest"] ^ kinds["transposed"] == {torch.nn.Upsample, torch.nn.ConvTranspose2d}
