"""Adaptive augmentation: its transformations, when their probability moves, and that a resume and ranks agree on it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ranks, tiny_cgan, tiny_cyclegan, tiny_r1, tiny_r3
from support.inprocess import Run
from support.ranks import Ranks, only_run
from support.trainings import (
    SMALL,
    TinyDiscriminator,
    dataset,
    different,
    in_float64,
    needs_cuda,
    plugin,
    run_until,
    save_npz,
    start,
    tiny_game,
    tiny_state,
)
from torch import Tensor

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import Architecture, SampleSpec
from gantool.plugin.game import Game, Loss, Player, two_player
from gantool.plugin.options import resolve
from gantool.plugin.registry import Plugin
from gantool.run import checkpoint, metrics_log
from gantool.testing import synthetic
from gantool.training import ada, session
from gantool.training.ada import Ada
from gantool.training.distributed import ALONE, Group
from gantool.training.state import State
from gantool.training.step import iterate

CPU = torch.device("cpu")
P = torch.tensor(0.5)


def augmentation(p: float, high: int = 8, wide: int = 8) -> Ada:
    made = Ada((high, wide), 8, CPU)
    made.p.fill_(p)
    return made


def pictures(count: int, channels: int = 3, high: int = 8, wide: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(count, channels, high, wide, dtype=dtype) * 2 - 1


def drawn(*values: float) -> Iterator[Tensor]:
    """The random numbers of one image, in the order in which they are taken."""
    return iter([torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in values])


# --- the transformations


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_probability_an_image_stays_as_it_is_bit_by_bit(channels: int, dtype: torch.dtype) -> None:
    images = pictures(16, channels, 8, 11, dtype)
    (made,) = augmentation(0.0, 8, 11)([images])
    assert made.dtype == dtype
    assert torch.equal(made, images)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("sides", [(8, 8), (4, 13)])
def test_at_full_probability_each_image_is_changed_in_its_own_way_and_stays_finite(
    channels: int, sides: tuple[int, int]
) -> None:
    images = pictures(1, channels, *sides).expand(32, -1, -1, -1).contiguous()
    (made,) = augmentation(1.0, *sides)([images])
    assert made.shape == images.shape
    assert bool(made.isfinite().all())
    for number in range(32):
        assert not torch.equal(made[number], images[number])
        assert not torch.equal(made[number], made[number - 1])


def test_each_transformation_has_the_probability() -> None:
    """In each group, an image stays when nothing was drawn for it. Half of the flips drawn are none."""
    p, count = 0.3, 4000
    images = pictures(1, 3, 4, 4).expand(count, -1, -1, -1).contiguous()
    torch.manual_seed(0)
    groups: dict[str, tuple[Callable[..., list[Tensor]], float]] = {
        "blit": (ada.blit, (1 - p / 2) * (1 - p * 3 / 4)),  # an eighth of 4 pixels rounds to none
        "resampling": (augmentation(p, 4, 4)._resampling, (1 - p) ** 4),
        "color": (ada.color, (1 - p / 2) * (1 - p) ** 4),
    }
    for name, (change, share) in groups.items():
        numbers = (iter(draw(25, count, 1, 1, 1).unbind()) for draw in (torch.rand, torch.randn))
        (made,) = change([images], torch.tensor(p), *numbers)
        same = (made - images).abs().flatten(1).amax(1) < 1e-5
        assert float(same.double().mean()) == pytest.approx(share, abs=0.03), name


def test_blits_mirror_turn_and_shift_by_whole_pixels_exactly() -> None:
    image = pictures(1)[0]
    known: list[Tensor] = []
    for flipped in (image, image.flip(2)):
        for quarter in range(4):
            turned = torch.rot90(flipped, quarter, (1, 2))
            wide = torch.cat((turned.flip(1), turned, turned.flip(1)), 1)  # mirrored around it
            wide = torch.cat((wide.flip(2), wide, wide.flip(2)), 2)
            known += [wide[:, y : y + 8, x : x + 8] for y in (7, 8, 9) for x in (7, 8, 9)]
    torch.manual_seed(0)
    count = 3000
    numbers = iter(torch.rand(25, count, 1, 1, 1).unbind())
    (made,) = ada.blit([image.expand(count, -1, -1, -1)], torch.tensor(1.0), numbers, iter([]))
    found = [[number for number, one in enumerate(known) if torch.equal(one, picture)] for picture in made]
    assert all(len(numbers) == 1 for numbers in found)  # each is one of them, and no two are alike
    assert {numbers[0] for numbers in found} == set(range(72))


def blob(y: Tensor, x: Tensor) -> Tensor:
    """A smooth picture with nothing alike in it, at points from the centre."""
    return torch.exp(-((x - 2) ** 2) / 18 - (y + 1) ** 2 / 50) - 0.5 * torch.exp(-((x + 4) ** 2 + (y - 3) ** 2) / 20)


NO, YES = 0.9, 0.1  # against P
RESAMPLED = {
    "scale": ((YES, NO, NO, NO, NO, 0.3, 0.3), (1.2, 0, 0, 0)),
    "stretch": ((NO, YES, NO, NO, NO, 0.3, 0.3), (0, -0.9, 0, 0)),
    "shift": ((NO, NO, YES, NO, NO, 0.3, 0.3), (0, 0, 0.13, -0.07)),
    "rotate": ((NO, NO, NO, YES, NO, 0.62, 0.3), (0, 0, 0, 0)),
    "rotate last": ((NO, NO, NO, NO, YES, 0.3, 0.41), (0, 0, 0, 0)),
    "all": ((YES, YES, YES, YES, YES, 0.62, 0.41), (-0.5, 0.7, 0.13, -0.07)),
}


@pytest.mark.parametrize("name", RESAMPLED)
def test_a_resampling_is_that_of_the_matrices_of_the_paper(name: str) -> None:
    uniform, normal = RESAMPLED[name]
    high, wide = 30, 25
    y, x = torch.meshgrid(
        *(torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in (high, wide)), indexing="ij"
    )
    picked = [value < 0.5 for value in uniform[:3]] + [value < 1 - math.sqrt(0.5) for value in uniform[3:5]]
    scale, stretch = (2 ** (0.2 * normal[number]) if picked[number] else 1 for number in range(2))
    angles = [(2 * value - 1) * math.pi if chosen else 0 for value, chosen in zip(uniform[5:], picked[3:], strict=True)]
    first, last = (
        torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64) for a in angles
    )
    matrix = last @ torch.diag(torch.tensor([stretch, 1 / stretch], dtype=torch.float64)) @ first * scale
    shift = torch.tensor([normal[2] * wide / 8, normal[3] * high / 8], dtype=torch.float64) * picked[2]
    back = torch.linalg.inv(matrix)
    from_x, from_y = torch.einsum("ij,jhw->ihw", back, torch.stack((x - shift[0], y - shift[1])))
    change = augmentation(0.5, high, wide)._resampling
    (made,) = change([blob(y, x)[None, None]], P, drawn(*uniform), drawn(*normal))
    inside = (from_x.abs() < wide / 2 - 1) & (from_y.abs() < high / 2 - 1)  # beyond, it is mirrored
    assert inside.double().mean() > 0.5
    assert float((made[0, 0] - blob(from_y, from_x)).abs()[inside].max()) < 0.01


def test_what_lies_beyond_the_border_is_mirrored() -> None:
    image = torch.linspace(-1, 1, 16, dtype=torch.float64).expand(1, 1, 16, 16)
    far = 20 / 16 * 8  # by 20 pixels
    change = augmentation(0.5, 16, 16)._resampling
    (made,) = change([image], P, drawn(NO, NO, YES, NO, NO, 0, 0), drawn(0, 0, far, 0))
    wanted = torch.tensor([19 - n if n > 3 else n + 12 for n in range(16)])  # pixel n comes from n - 20
    assert float((made - image[..., wanted])[..., [0, 1, 6, 7, 8, 9, 10, 15]].abs().max()) < 0.02


def test_colors_are_those_of_the_matrices_of_the_paper() -> None:
    image = pictures(1, dtype=torch.float64)
    normal, angle = (0.7, -1.1, 0.4), 0.81
    grey = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    one = torch.eye(3, dtype=torch.float64)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)
    turn = (2 * angle - 1) * math.pi
    hue = math.cos(turn) * one + (1 - math.cos(turn)) * grey + math.sin(turn) * cross  # Rodrigues
    saturation = grey + (one - grey) * 2 ** normal[2]
    matrix = saturation @ hue @ (one - 2 * grey) * 2 ** (0.5 * normal[1])
    wanted = torch.einsum("ij,njhw->nihw", matrix, image + 0.2 * normal[0])
    (made,) = ada.color([image], P, drawn(*[YES] * 5, 0.2, angle), drawn(*normal))
    torch.testing.assert_close(made, wanted)


def test_grey_has_brightness_contrast_and_flip_alone() -> None:
    image = pictures(1, 1, dtype=torch.float64)
    (made,) = ada.color([image], P, drawn(NO, NO, NO, YES, YES, 0.7, 0.3), drawn(1, 1, 1))
    torch.testing.assert_close(made, image)
    (made,) = ada.color([image], P, drawn(YES, YES, YES, NO, NO, 0.2, 0.3), drawn(1, 1, 1))
    torch.testing.assert_close(made, -(2**0.5) * (image + 0.2))


def test_the_filter_is_an_orthogonal_wavelet() -> None:
    taps = torch.tensor(ada.SYM6, dtype=torch.float64)
    for shift in range(6):
        product = float((taps[2 * shift :] * taps[: len(taps) - 2 * shift]).sum())
        assert product == pytest.approx(float(shift == 0), abs=1e-11)
    signs = torch.tensor([1.0, -1] * 6, dtype=torch.float64)
    for moment in range(6):  # as many vanish as its name says
        assert float((signs * torch.arange(12.0, dtype=torch.float64) ** moment * taps).sum()) == pytest.approx(
            0, abs=1e-5
        )


@pytest.mark.parametrize(("count", "channels"), [(2, 1), (1, 3)])
def test_gradients_and_their_gradients_are_right(count: int, channels: int) -> None:
    change = augmentation(0.8, 5, 4)

    def changed(images: Tensor) -> Tensor:
        torch.manual_seed(7)
        return change([images])[0]

    images = pictures(count, channels, 5, 4, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(changed, (images,))
    assert torch.autograd.gradgradcheck(lambda x: changed(x).square(), (images,))


def test_what_comes_in_one_call_is_moved_alike_and_half_precision_becomes_float32() -> None:
    images = pictures(8)
    torch.manual_seed(0)
    one, two = augmentation(1.0)([images, images])
    assert torch.equal(one, two)
    grey = images.mean(1, keepdim=True)
    torch.manual_seed(0)
    _, other = augmentation(1.0)([images, grey])
    torch.testing.assert_close(other, one.mean(1, keepdim=True), rtol=1e-4, atol=1e-5)  # hue and saturation keep grey
    for half in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", torch.bfloat16):
            (made,) = augmentation(1.0)([images.to(half)])
        assert made.dtype == torch.float32


# --- the probability


def judged(share: float, role: Any = "discriminator", name: str = "accuracy_real") -> tuple[Player, Loss]:
    player = Player("judge", role, {}, lambda batch: Loss({}), ())
    return player, Loss({"real": torch.zeros(())}, {name: torch.tensor(share)})


def after(share: float, iterations: int, p: float = 0.0, **given: Any) -> float:
    made = augmentation(p)
    for step in range(iterations):
        made.measure(*judged(share, **given))
        made.adapt(step)
    return float(made.p)


def test_p_moves_after_every_fourth_iteration_from_0_to_1_in_half_a_million_images() -> None:
    four = 4 * 8 / 500_000
    assert after(0.9, 3) == 0
    assert after(0.9, 4) == pytest.approx(four)
    assert after(0.9, 11) == pytest.approx(2 * four)
    assert after(0.79, 4, p=0.5) == pytest.approx(0.5 - four)  # r_t = 2·0.79 - 1 < 0.6
    assert after(0.81, 4, p=0.5) == pytest.approx(0.5 + four)
    assert after(0.1, 8) == 0
    assert after(1.0, 8, p=1.0) == 1
    assert after(1.0, 4, name="accuracy") == pytest.approx(four)  # of pairs, in a relativistic loss
    assert after(1.0, 4, role="generator") == after(1.0, 4, name="distance") == 0


def test_r_is_the_mean_over_the_four_iterations() -> None:
    made = augmentation(0.5)
    for step, share in enumerate([1.0, 1.0, 1.0, 0.3]):
        made.measure(*judged(share))
        made.adapt(step)
    assert float(made.p) > 0.5
    for step, share in enumerate([1.0, 1.0, 0.5, 0.3], 4):
        made.measure(*judged(share))
        made.adapt(step)
    assert float(made.p) == 0.5


@pytest.mark.slow
def test_p_holds_a_discriminator_back_that_knows_its_few_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the p with which the discriminator is right about 80 % of the reals: r_t is 0.6."""
    monkeypatch.setattr(ada, "IMAGES", 4000)
    save_npz(tmp_path / "noise.npz", rows=8)
    given = {"steps": 400, "tick": 200, "discriminator_rate": 2e-3, "dropout": 0.0}
    ends = []
    for augment in ("none", "ada"):
        opened = start("mlp", tmp_path, augment=augment, **given)
        run_until(opened)
        ends.append(metrics_log.read_metrics(opened.run)[-1])
    without, adapted = (end["measure.discriminator.accuracy_real"] for end in ends)
    assert without > 0.9
    assert adapted == pytest.approx(0.8, abs=0.05)
    assert 0.05 < ends[1]["measure.discriminator.augment_p"] < 0.8
    assert "measure.discriminator.augment_p" not in ends[0]


def test_p_stays_0_while_the_discriminator_can_not_tell() -> None:
    """A discriminator at chance: linear, hardly moving, of data around zero."""
    state = tiny_state(dataset(400), ada=True, discriminator_rate=1e-9, batch_size=40)
    assert state.ada is not None
    for _ in range(40):
        iterate(state)
    assert float(state.ada.p) == 0
    assert -0.5 < 2 * state.meter.read()["measure.discriminator.accuracy_real"] - 1 < 0.5


# --- in a training

THIRD = {"tiny-cgan": tiny_cgan, "tiny-cyclegan": tiny_cyclegan, "tiny-r1": tiny_r1, "tiny-r3": tiny_r3}


PROJECTED = pytest.param("projected", "fp32", marks=pytest.mark.slow)  # its features take long


def _found(name: str) -> Architecture:
    found = THIRD[name].gantool_architectures()[0] if name in THIRD else registry.find(name).architecture
    assert found is not None
    return found


NAMES = [name for name in (*registry.architecture_names("image"), *THIRD) if name != "wgan"]  # it is refused, see below


@pytest.mark.parametrize(
    ("name", "precision"), [PROJECTED, *((name, "fp32") for name in NAMES if name != "projected"), ("dcgan", "bf16")]
)
def test_every_architecture_trains_with_it(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ada, "IMAGES", 500)
    found = _found(name)
    spec = next(spec for spec in found.examples if spec.is_image)
    data = synthetic(spec)
    monkeypatch.setattr(session, "load", lambda *_: data)
    own = {"batch_size": 6, "tick": 5, "steps": 5, "precision": precision, **SMALL.get(name, {})}
    opened = start(Plugin(name, "tests", "1", found), tmp_path, data="synthetic", augment="ada", **own)
    state = opened.state
    assert state.ada is not None
    state.ada.p.fill_(0.7)
    before = [p.detach().clone() for mover in state.movers for p in mover.parameters]
    assert run_until(opened) == "finished"
    assert 0 < float(state.ada.p) != pytest.approx(0.7, abs=1e-3)
    after = [p.detach() for mover in state.movers for p in mover.parameters]
    assert any(not torch.equal(one, two) for one, two in zip(before, after, strict=True))
    (record,) = metrics_log.read_metrics(opened.run)
    assert any(key.endswith(".augment_p") for key in record)


def test_the_check_before_a_run_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_check = start("dcgan", tmp_path, augment="ada").state
    stream = torch.get_rng_state()
    monkeypatch.setattr(session, "_check_measured", lambda *_: None)
    without = start("dcgan", tmp_path, augment="ada").state
    assert torch.equal(stream, torch.get_rng_state())
    assert different(with_check.state_dict(), without.state_dict()) == []


@pytest.mark.parametrize("name", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow), "tiny-r3"])
def test_a_stopped_run_goes_on_exactly(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ada, "IMAGES", 1000)
    found = registry.find
    monkeypatch.setattr(
        registry, "find", lambda wanted: Plugin(name, "tests", "1", _found(name)) if wanted in THIRD else found(wanted)
    )
    whole = start(name, tmp_path, augment="ada")
    whole.state.ada.p.fill_(0.5)  # type: ignore[union-attr]
    run_until(whole)
    half = start(name, tmp_path, augment="ada")
    half.state.ada.p.fill_(0.5)  # type: ignore[union-attr]
    run_until(half, stop=13)  # three iterations before p moves
    resumed = session.resume(half.run)
    assert resumed.info.augment == "ada"
    assert resumed.state.ada is not None
    assert sum(map(sum, resumed.state.ada.state_dict()["sums"])) != 0
    run_until(resumed)
    finals = [checkpoint.load(run.checkpoint(40)) for run in (whole.run, half.run)]
    assert 0.1 < finals[0]["ada"]["p"] < 0.9
    assert finals[0]["ada"]["p"] != 0.5
    assert different(*finals) == []
    plain = start(name, tmp_path)
    run_until(plain)
    end = checkpoint.load(plain.run.checkpoint(40))
    assert end["ada"] is None
    assert "modules.generator.generator" in "".join(different(finals[0], end))


def test_a_tensor_is_p_so_that_a_step_need_not_be_made_anew() -> None:
    """Whatever changes it, the storage that a captured step reads stays the same."""
    made = augmentation(0.0)
    p, place = made.p, made.p.data_ptr()
    for step in range(4):
        made.measure(*judged(1.0))
        made.adapt(step)
    made.load_state_dict({"p": 0.25, "sums": [[1.5, 2.0]]})
    assert made.p is p
    assert (float(p), p.data_ptr()) == (0.25, place)
    assert made.state_dict() == {"p": 0.25, "sums": [[1.5, 2.0]]}


ENGINES = [
    "rewritten",
    pytest.param("compiled", marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no g++")]),
    pytest.param("graph", marks=[pytest.mark.gpu, needs_cuda]),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["mlp", "tiny-r3"])
def test_every_engine_is_eager_to_rounding_whatever_p_becomes(name: str, engine: str) -> None:
    """A compiled or captured step reads p anew. In tiny-r3 a penalty is differentiated through the transformations."""
    torch.compiler.reset()
    device = torch.device("cuda" if engine == "graph" else "cpu")
    config, recipe = resolve(_found(name), {"batch_size": 6, **SMALL.get(name, {})})
    data = dataset(shape=(3, 16, 16))
    ends = []
    # compiled code draws random numbers of its own, unless told to draw eager's
    with torch._inductor.config.patch(fallback_random=True):
        for how in ("eager", engine):
            made = State(
                _found(name), config, recipe, data, seed=0, device=device, precision="fp32", engine=how, ada=True
            )
            state = in_float64(made)
            assert state.ada is not None
            for p in (0.0, 0.9):
                state.ada.p.fill_(p)
                for _ in range(5):
                    iterate(state)
            ends.append([p.detach() for mover in state.movers for p in mover.parameters])
            assert float(state.ada.p) not in (0.0, pytest.approx(0.9, abs=1e-7))
    for one, two in zip(*ends, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-8)


def overfitting() -> Plugin:
    """A discriminator that tells ranks apart: each process sees another share."""

    def build(spec: SampleSpec) -> Game:
        return tiny_game(spec, discriminator=TinyDiscriminator(spec))

    return plugin(build)


def agreed(group: Group) -> None:
    """Print p and the share that this process saw, after 10 iterations."""
    ada.IMAGES = 400
    found = overfitting().architecture
    assert found is not None
    config, recipe = resolve(found, {"batch_size": 8, "learning_rate": 0.01})
    data = dataset(20)
    state = State(found, config, recipe, data, seed=0, device=CPU, precision="fp32", group=group, ada=True)
    assert state.ada is not None
    shares = []
    for _ in range(10):
        iterate(state)
        shares.append(state.ada._sums.tolist())
    saved = state.ada.state_dict()
    print(repr((saved["p"], saved["sums"], shares)))


@pytest.mark.slow
def test_all_ranks_have_one_p_from_the_signs_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agreed(ALONE)
    (p, (sums,), _) = eval(capsys.readouterr().out)
    first, second = (eval(one.text) for one in Ranks(2, tmp_path, ranks.together, agreed).join())
    assert first[2] != second[2]  # each has seen other reals
    assert first[:2] == second[:2]
    assert first[0] > 0.05
    assert first[0] == pytest.approx(p, abs=0.03)  # the random numbers of the transformations differ
    assert len(first[1]) == 2
    assert sum(count for _, count in first[1]) == 2 * sums[1]


def test_resumed_on_2_processes_is_bit_equal_to_never_stopped_on_2(tmp_path: Path) -> None:
    given = {"widths": (16, 24), "latent_dim": 5, "batch_size": 8, "steps": 26, "learning_rate": 0.01}
    runs = []
    for name, steps in (("whole", 26), ("half", 13)):
        folder = tmp_path / name
        folder.mkdir()
        save_npz(folder / "noise.npz")
        common = {"augment": "ada", "tick": 13}
        ended = Ranks(2, folder, ranks.together, ranks.train, "mlp", {**given, "steps": steps}, common).join()
        assert [one.code for one in ended] == [0, 0], ended
        runs.append(only_run(folder))
    ended = Ranks(2, tmp_path / "half", ranks.together, ranks.go_on, runs[1].path, 26).join()
    assert [one.code for one in ended] == [0, 0], ended
    whole, half = (checkpoint.load(run.checkpoint(26)) for run in runs)
    assert different(whole, half) == []
    assert whole["ada"]["p"] > 0
    assert [count for _, count in whole["ada"]["sums"]] == [2, 2]


def test_another_number_of_processes_takes_the_sums_of_all() -> None:
    made = augmentation(0.0)
    made.load_state_dict({"p": 0.5, "sums": [[1.0, 1.0], [0.5, 1.0]]})
    assert made.state_dict() == {"p": 0.5, "sums": [[1.5, 2.0]]}


# --- refused


def test_samples_that_are_no_images_and_games_without_a_discriminator_are_refused() -> None:
    sound = Dataset("s", "s", {"images": dataset().images.reshape(50, 1, 256)})
    with pytest.raises(GantoolError, match=r"--augment ada is for images, and the samples .* have shape 1×256"):
        tiny_state(sound, ada=True)

    def alone(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        return Game(game.generator, game.players[1:], game.inputs, game.data, game.output)

    with pytest.raises(GantoolError, match="has none of its own") as caught:
        tiny_state(build=alone, ada=True)
    assert "Leave --augment ada out" in caught.value.hint


def test_a_critic_of_a_plugin_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    def critic(spec: SampleSpec) -> Game:
        game = tiny_game(spec)
        judge = game.players[0].modules["discriminator"]
        return two_player(game.generator, judge, objectives.Wasserstein(), spec=spec, latent_dim=4, clip=0.1)

    with pytest.raises(GantoolError, match="no player of 'planted' with this objective measures that"):
        start(plugin(critic), tmp_path, augment="ada")
    assert not (tmp_path / "runs").exists()


def test_the_command_tells_and_records_it(cli: Run, here: Path) -> None:
    save_npz(Path("noise.npz"))
    tiny = ("--data", "noise.npz", "--widths", 8, "--batch-size", 8, "--device", "cpu")
    code, _, errors = cli("train", "mlp", *tiny, "--steps", 4, "--augment", "ada", "--diffaugment", "cutout")
    assert code == 0, errors
    assert "of noise (DiffAugment cutout, adaptive augmentation), cpu" in errors
    assert "augment_p 0" in errors
    code, _, errors = cli("train", "mlp", "--resume", 1, "--steps", 5)
    assert code == 0, errors
    assert "adaptive augmentation" in errors
    code, _, errors = cli("train", "mlp", "--resume", 1, "--steps", 6, "--augment", "none")
    assert code == 2
    assert "--augment can't change when a run is resumed" in errors
    code, _, errors = cli("train", "wgan", "--data", "noise.npz", "--size", 16, "--device", "cpu", "--augment", "ada")
    assert code == 1
    assert "follows how many reals a discriminator judges rightly" in errors
    assert len(list(Path("runs").iterdir())) == 1
