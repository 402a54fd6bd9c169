"""DiffAugment: its ranges, its gradients, and that every discriminator and no generator sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_cgan, tiny_cyclegan
from support.inprocess import Run
from support.trainings import (
    SMALL,
    TinyDiscriminator,
    TinyGenerator,
    dataset,
    different,
    run_until,
    save_npz,
    start,
    tiny_game,
    tiny_state,
)
from torch import Tensor, nn

from gantool import exporting
from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import Architecture, SampleSpec
from gantool.plugin.game import Batch, Game, Loss, Player
from gantool.plugin.options import resolve
from gantool.run import checkpoint
from gantool.run.rundir import find
from gantool.testing import synthetic
from gantool.training import augment, session
from gantool.training.state import State
from gantool.training.step import iterate

ALL = "color,translation,cutout"
CPU = torch.device("cpu")


def pictures(count: int = 2000, channels: int = 3, high: int = 8, wide: int = 16) -> Tensor:
    """The same random picture `count` times."""
    torch.manual_seed(1)
    return (torch.rand(1, channels, high, wide) * 2 - 1).expand(count, -1, -1, -1).contiguous()


def test_color_changes_brightness_saturation_and_contrast_within_their_ranges() -> None:
    images = pictures()
    torch.manual_seed(0)
    changed = augment.augment(images, ["color"])
    shift = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))  # the two others keep the mean
    assert -0.5 <= shift.min() < -0.49
    assert 0.49 < shift.max() <= 0.5
    assert shift.mean().abs() < 0.02  # in expectation an image stays what it is
    grey, before = changed.mean(1), images.mean(1)
    contrast = grey.std((1, 2)) / before.std((1, 2))  # saturation leaves grey alone
    assert 0.5 - 1e-4 <= contrast.min() < 0.51
    assert 1.49 < contrast.max() <= 1.5 + 1e-4
    assert abs(float(contrast.mean()) - 1) < 0.02
    colour = (changed - grey[:, None]).std((1, 2, 3)) / (images - before[:, None]).std((1, 2, 3)) / contrast
    assert 0 <= colour.min() < 0.01
    assert 1.99 < colour.max() <= 2 + 1e-4
    assert abs(float(colour.mean()) - 1) < 0.04


def test_one_channel_has_no_saturation() -> None:
    images = pictures(4, channels=1)
    torch.manual_seed(3)
    changed = augment.augment(images, ["color"])
    torch.manual_seed(3)
    bright = images + torch.rand(4, 1, 1, 1) - 0.5
    mean = bright.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, mean + (bright - mean) * (torch.rand(4, 1, 1, 1) + 0.5))


def test_translation_moves_by_whole_pixels_an_eighth_at_most_and_zeros_come_in() -> None:
    images = pictures(400)  # 8 high, 16 wide: by 1 and by 2
    torch.manual_seed(0)
    moved = augment.augment(images, ["translation"])
    source, seen = images[0], set()
    for image in moved:
        found = None
        for down in range(-1, 2):
            for right in range(-2, 3):
                wanted = torch.zeros_like(source)
                to = (slice(max(0, down), 8 + min(0, down)), slice(max(0, right), 16 + min(0, right)))
                of = (slice(max(0, -down), 8 + min(0, -down)), slice(max(0, -right), 16 + min(0, -right)))
                wanted[:, to[0], to[1]] = source[:, of[0], of[1]]
                if torch.equal(image, wanted):  # exact: no value was rounded
                    found = (down, right)
        assert found is not None
        seen.add(found)
    assert len(seen) == 15


@pytest.mark.parametrize("sides", [(8, 16), (9, 7)])
def test_cutout_zeroes_a_rectangle_of_half_the_sides_anywhere(sides: tuple[int, int]) -> None:
    images = pictures(2000, 2, *sides).abs() + 0.1
    torch.manual_seed(0)
    cut = augment.augment(images, ["cutout"])
    gone = cut == 0
    assert torch.equal(cut, torch.where(gone, 0.0, images))  # the rest is untouched
    assert torch.equal(gone[:, 0], gone[:, 1])
    for axis, side in ((1, sides[0]), (2, sides[1])):
        along = gone[:, 0].any(3 - axis)  # (N, side)
        first, count = along.int().argmax(1), along.sum(1)
        last = side - 1 - along.flip(1).int().argmax(1)
        assert torch.equal(last - first + 1, count)  # in one piece
        assert count.max() == side // 2
        assert count.min() >= 1
        whole = count == side // 2
        assert bool((whole | (first == 0) | (last == side - 1)).all())  # less only at the border
        assert along.any(0).all()
    area = gone[:, 0].flatten(1).sum(1)
    assert torch.equal(area, gone[:, 0].any(2).sum(1) * gone[:, 0].any(1).sum(1))  # a rectangle


# the channels matter to the colours alone
@pytest.mark.parametrize(
    ("policy", "channels"),
    [
        *(
            pytest.param(p, c, marks=pytest.mark.slow)
            for p, c in (("color", 1), ("color", 3), ("translation", 1), ("cutout", 1))
        ),
        (ALL, 3),
    ],
)
def test_gradients_and_their_gradients_are_right(policy: str, channels: int) -> None:
    def changed(images: Tensor) -> Tensor:
        torch.manual_seed(7)
        return augment.augment(images, augment.parse(policy))

    torch.manual_seed(0)
    images = torch.randn(3 // channels, channels, 8, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(changed, (images,))
    assert torch.autograd.gradgradcheck(lambda x: changed(x).square(), (images,))


def test_images_in_half_precision_are_changed_in_float32() -> None:
    images = pictures(3)
    for half in (torch.bfloat16, torch.float16):
        assert augment.augment(images.to(half), augment.parse(ALL)).dtype == torch.float32
    assert augment.augment(images.double(), augment.parse(ALL)).dtype == torch.float64


def test_each_image_is_changed_in_its_own_way() -> None:
    for policy in augment.POLICIES:
        changed = augment.augment(pictures(8), [policy])
        assert any(not torch.equal(changed[0], other) for other in changed[1:])


def test_policies_are_read_in_any_order_and_the_unknown_is_named() -> None:
    assert augment.parse(" cutout, color") == ("color", "cutout")
    assert augment.parse("") == augment.parse("none") == ()
    with pytest.raises(GantoolError, match="no DiffAugment policy 'colour'") as caught:
        augment.parse("cutout,colour")
    assert "color,translation,cutout" in caught.value.hint


class Seeing(TinyDiscriminator):
    """Keeps what it is given."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__(spec)
        self.seen: list[Tensor] = []

    def forward(self, sample: Tensor) -> Tensor:
        self.seen.append(sample)
        return super().forward(sample)


def test_reals_and_fakes_are_augmented_in_the_turns_of_both_players() -> None:
    """And what the loss functions see is not."""
    given: list[Tensor] = []
    judge: list[Seeing] = []

    def build(spec: SampleSpec) -> Game:
        judge.append(Seeing(spec))
        judge[0].register_forward_pre_hook(lambda module, args: given.append(args[0]))  # before ours
        return tiny_game(spec, discriminator=judge[0])

    state = tiny_state(build=build, diffaugment=("cutout",))
    iterate(state)
    assert [len(seen) for seen in judge[0].seen] == [16, 8]  # reals and fakes in one pass; then the fakes again
    for before, seen in zip(given, judge[0].seen, strict=True):
        gone = seen == 0
        assert bool(gone.flatten(1).any(1).all())
        assert torch.equal(seen, torch.where(gone, 0.0, before))
    first, again = judge[0].seen[0][8:], judge[0].seen[1]
    assert not torch.equal(first == 0, again == 0)  # drawn anew
    assert again.requires_grad  # the generator learns through it


def test_what_comes_in_one_call_is_changed_alike_and_labels_are_left_alone() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.seen: list[Any] = []

        def forward(self, image: Tensor, label: Tensor, *, other: Tensor, small: Tensor) -> Tensor:
            self.seen = [image, label, other, small]
            return (self.scale * image).mean((1, 2, 3))

    judge = Pairs()
    game = tiny_game(SampleSpec((3, 8, 8)))
    owner = Player("judge", "discriminator", {"pairs": judge}, lambda batch: Loss({}), ())
    augment.attach(Game(game.generator, (owner, game.players[1]), game.inputs, game.data, game.output), ["cutout"])
    image, small, label = torch.ones(4, 3, 8, 8), torch.ones(4, 3, 4, 4), torch.arange(4)
    judge(image, label, other=image[:, :1] * 2, small=small)
    seen = judge.seen
    assert torch.equal(seen[0][:, :1] == 0, seen[2] == 0)
    assert bool((seen[0] == 0).any())
    assert seen[2].shape == (4, 1, 8, 8)
    assert seen[1] is label
    assert seen[3] is small
    judge.eval()
    judge(image, label, other=image, small=small)
    assert judge.seen[0] is image


def test_a_module_that_a_generator_uses_is_left_alone() -> None:
    """A discriminator-role player may own a part of the generator, whose samples must stay as they are."""

    class Refining(TinyGenerator):
        def __init__(self, spec: SampleSpec) -> None:
            super().__init__(spec)
            self.refine = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, z: Tensor) -> Tensor:
            return self.refine(super().forward(z))

    spec = SampleSpec((1, 8, 8))
    generator = Refining(spec)
    game = tiny_game(spec, generator)
    judge, maker = game.players
    owner = Player("judge", judge.role, {**judge.modules, "shared": generator.refine}, judge.loss, judge.draws)
    z = torch.randn(4, 4)
    images = generator(z)
    (scoring,) = judge.modules.values()
    scores = scoring(images)
    augment.attach(Game(generator, (owner, maker), game.inputs, game.data, game.output), ["color"])
    assert torch.equal(generator(z), images)
    assert not torch.equal(scoring(images), scores)


def test_samples_that_are_no_images_and_games_without_a_discriminator_are_refused() -> None:
    sound = Dataset("s", "s", {"images": dataset().images.reshape(50, 1, 256)})
    with pytest.raises(GantoolError, match="samples of this architecture have shape 1×256") as caught:
        tiny_state(sound, diffaugment=("color",))
    assert "--diffaugment" in caught.value.hint

    def alone(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        return Game(game.generator, game.players[1:], game.inputs, game.data, game.output)

    with pytest.raises(GantoolError, match="has none of its own"):
        tiny_state(build=alone, diffaugment=("color",))


THIRD = {"tiny-cgan": tiny_cgan, "tiny-cyclegan": tiny_cyclegan}
NAMES = [*registry.architecture_names(), *THIRD]


def _found(name: str) -> Architecture:
    found = THIRD[name].gantool_architectures()[0] if name in THIRD else registry.find(name).architecture
    assert found is not None
    return found


def _state(name: str, data: Dataset, **given: Any) -> State:
    architecture = _found(name)
    config, recipe = resolve(architecture, {"batch_size": 6, **SMALL.get(name, {})})
    policies = augment.parse(ALL)
    return State(
        architecture, config, recipe, data, seed=0, device=CPU, diffaugment=policies, **{"precision": "fp32", **given}
    )


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param("projected", "fp32", marks=pytest.mark.slow),
        *((name, "fp32") for name in NAMES if name != "projected"),
        ("dcgan", "bf16"),
    ],
)
def test_every_architecture_trains_with_it(name: str, precision: str) -> None:
    images = [spec for spec in _found(name).examples if spec.is_image]
    for spec in images:
        state = _state(name, synthetic(spec), precision=precision)
        before = {m.player.name: [p.detach().clone() for p in m.parameters] for m in state.movers}
        for _ in range(3):
            iterate(state)
        state.meter.read()  # raises what is not finite
        assert state.broken_weights() is None
        for mover in state.movers:
            pairs = zip(before[mover.player.name], mover.parameters, strict=True)
            assert any(not torch.equal(old, new) for old, new in pairs)
    assert images or not any(spec.is_image for spec in _found(name).examples)


@pytest.mark.parametrize("name", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow), "wgan"])
def test_a_stopped_run_goes_on_exactly_with_flips_and_augmentation(name: str, tmp_path: Path) -> None:
    seen = {"flip": True, "diffaugment": ALL}
    short = {"steps": 10, "tick": 5}
    whole = start(name, tmp_path, **seen, **short)
    run_until(whole)
    half = start(name, tmp_path, **seen, **short)
    run_until(half, stop=7)
    resumed = session.resume(half.run)
    assert (resumed.info.flip, resumed.info.diffaugment) == (True, ALL)
    run_until(resumed)
    finals = [checkpoint.load(run.checkpoint(10)) for run in (whole.run, half.run)]
    assert different(*finals) == []
    for without in ({"flip": True}, {"diffaugment": ALL}, {}):
        other = start(name, tmp_path, **without, **short)
        run_until(other)
        end = checkpoint.load(other.run.checkpoint(10))
        assert "modules.generator.generator" in "".join(different(finals[0], end))
        assert torch.equal(end["sampler"]["latents"], finals[0]["sampler"]["latents"])  # whatever is done to images


def test_the_export_of_an_augmented_run_is_that_of_its_weights(tmp_path: Path) -> None:
    opened = start("dcgan", tmp_path, diffaugment=ALL, steps=20)
    run_until(opened)
    source = exporting.source_of(opened.run)
    inputs = opened.state.fixed_inputs(4)
    with torch.no_grad():
        torch.testing.assert_close(source.generator(*inputs), opened.state.sampling_generator()(*inputs))


def test_the_command_tells_keeps_and_compares_what_is_done_to_images(cli: Run, here: Path) -> None:
    save_npz(Path("noise.npz"))
    tiny = ("--data", "noise.npz", "--widths", 8, "--batch-size", 8, "--device", "cpu", "--steps", 2)
    code, _, errors = cli("train", "mlp", *tiny, "--flip", "--diffaugment", "cutout,color")
    assert code == 0, errors
    assert "of noise (flipped, DiffAugment color,cutout), cpu" in errors
    code, _, errors = cli("train", "mlp", "--resume", 1, "--steps", 3)
    assert code == 0, errors
    assert "(flipped, DiffAugment color,cutout)" in errors
    code, _, errors = cli("train", "mlp", "--resume", 1, "--steps", 4, "--no-flip")
    assert code == 2
    assert "--flip can't change when a run is resumed" in errors
    assert cli("train", "mlp", *tiny, "--diffaugment", "none")[0] == 0
    code, output, _ = cli("runs", "compare", 1, 2, "--json")
    assert code == 0
    differing = json.loads(output)["settings"]
    assert differing["flip"] == [True, False]
    assert differing["diffaugment"] == ["color,cutout", ""]
    code, _, errors = cli("train", "mlp", *tiny, "--diffaugment", "blur")
    assert code == 1
    assert "no DiffAugment policy 'blur'" in errors
    assert len(list(Path("runs").iterdir())) == 2
    # the newest unfinished run of these options is one that sees images in the same way
    stopped = find(Path("runs"), "1")
    info = stopped.read()
    info.status = "interrupted"
    stopped.write(info)
    code, _, output = cli("train", "mlp", *tiny, "--steps", 5, "--resume", "auto")
    assert "0003-" in output
    code, _, output = cli(
        "train", "mlp", *tiny, "--steps", 5, "--flip", "--diffaugment", "color,cutout", "--resume", "auto"
    )
    assert "resumed at step 3 of" in output


def test_a_penalty_is_of_the_discriminator_with_its_augmentation() -> None:
    """As the authors' R1 is: with respect to the image before it was augmented."""
    norms: list[Tensor] = []

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, sample: Tensor) -> Tensor:
            return self.weight * sample.sum((1, 2, 3))

    critic = Sum()

    def build(spec: SampleSpec) -> Game:
        game = tiny_game(spec, discriminator=critic)

        def loss(batch: Batch) -> Loss:
            real = batch["real"].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
            norms.append((gradient != 0).flatten(1).sum(1))
            penalty = objectives.gradient_penalty(critic, batch["real"], batch["real"])
            return Loss({"penalty": penalty + gradient.square().mean()})

        judge = Player("judge", "discriminator", {"critic": critic}, loss, ("real",))
        return Game(game.generator, (judge, game.players[1]), game.inputs, game.data, game.output)

    state = tiny_state(build=build, diffaugment=("cutout",))
    iterate(state)
    assert state.broken_weights() is None
    assert float(critic.weight.detach()) != 1
    assert bool((norms[0] < 256).all())  # where it was cut out, nothing matters
