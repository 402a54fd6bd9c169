"""What a batch holds: every row once an epoch, in an order of its own, and the same again after a resume."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.training.distributed import Group
from gantool.training.sampler import Sampler

CPU = torch.device("cpu")
SHAPE = (1, 1, 2)
REAL = Input("real", SHAPE, "data")
Z = Input("z", (3,), "normal")


def numbered(rows: int, classes: int = 2) -> Dataset:
    """Samples that hold their own row number, so that a batch tells which rows it is of."""
    images = np.broadcast_to(np.arange(rows, dtype=np.float32)[:, None, None, None], (rows, *SHAPE)).copy()
    return Dataset("numbered", "numbered", {"images": images, "labels": np.arange(rows) % classes})


def sampler(*inputs: Input, rows: int = 10, batch: int = 4, seed: int = 0) -> Sampler:
    return Sampler({item.name: item for item in inputs}, numbered(rows), batch, seed, CPU)


def rows_of(batch: torch.Tensor) -> list[int]:
    return batch[:, 0, 0, 0].int().tolist()


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 30), batch=st.integers(1, 70), seed=st.integers(0, 2**63 - 1))
def test_every_row_comes_once_an_epoch(rows: int, batch: int, seed: int) -> None:
    """Also where a batch spans the end of an epoch, or several epochs."""
    source = sampler(REAL, rows=rows, batch=batch, seed=seed)
    drawn: list[int] = []
    while len(drawn) < 3 * rows:
        drawn += rows_of(source.draw(("real",))["real"])
    assert len(drawn) % batch == 0
    assert source.seen == len(drawn)
    assert source.epoch == len(drawn) / rows
    for epoch in range(len(drawn) // rows):
        assert Counter(drawn[epoch * rows : (epoch + 1) * rows]) == Counter(range(rows))


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = []
    for seed in (0, 1):
        source = sampler(REAL, rows=20, batch=20, seed=seed)
        orders += [tuple(rows_of(source.draw(("real",))["real"])) for _ in range(3)]
    assert len(set(orders)) == 6
    again = sampler(REAL, rows=20, batch=20, seed=1)
    assert tuple(rows_of(again.draw(("real",))["real"])) == orders[3]


def test_inputs_of_one_class_share_their_rows() -> None:
    pair, label = Input("pair", SHAPE, "data"), Input("label", (), "data", array="labels")
    source = sampler(REAL, pair, label)
    for _ in range(7):
        batch = source.draw(("real", "pair", "label"))
        assert torch.equal(batch["real"], batch["pair"])
        assert batch["label"].tolist() == [row % 2 for row in rows_of(batch["real"])]
        assert batch["label"].dtype == torch.int64
    assert source.seen == 28


def test_a_class_is_drawn_from_alone_and_whole() -> None:
    even, odd = (Input(f"class{i}", SHAPE, "data", label=i) for i in (0, 1))
    source = sampler(even, odd, rows=9, batch=5)  # five even rows, four odd ones
    drawn: dict[str, list[int]] = {"class0": [], "class1": []}
    for _ in range(4):
        batch = source.draw(drawn)
        for name, rows in drawn.items():
            rows += rows_of(batch[name])
    assert Counter(drawn["class0"]) == Counter(dict.fromkeys((0, 2, 4, 6, 8), 4))
    assert Counter(drawn["class1"]) == Counter(dict.fromkeys((1, 3, 5, 7), 5))
    assert source.epoch == 5.0  # of the smaller class


def test_bytes_become_floats_from_minus_1_to_1() -> None:
    images = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1).repeat(2, 3)
    source = Sampler({"real": REAL}, Dataset("b", "b", {"images": images}), 3, 0, CPU)
    values = source.draw(("real",))["real"]
    assert values.dtype == torch.float32
    assert sorted(values[:, 0, 0, 0].tolist()) == pytest.approx([-1.0, -0.6, 1.0])


def test_latents_are_normal_and_labels_uniform() -> None:
    label = Input("label", (), "label", classes=4)
    source = sampler(Z, label, batch=20_000)
    batch = source.draw(("z", "label"))
    assert batch["z"].shape == (20_000, 3)
    assert batch["z"].mean().item() == pytest.approx(0, abs=0.02)
    assert batch["z"].std().item() == pytest.approx(1, abs=0.02)
    assert batch["label"].dtype == torch.int64
    assert [batch["label"].eq(i).float().mean().item() for i in range(4)] == pytest.approx([0.25] * 4, abs=0.02)
    assert source.seen == 0
    assert source.epoch == 0


def test_latents_do_not_depend_on_what_else_is_random() -> None:
    one, two = sampler(Z), sampler(Z)
    torch.manual_seed(5)
    first = one.draw(("z",))["z"]
    torch.randn(100)
    assert torch.equal(first, two.draw(("z",))["z"])
    assert not torch.equal(first, one.draw(("z",))["z"])
    assert not torch.equal(first, sampler(Z, seed=1).draw(("z",))["z"])


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 20), batch=st.integers(1, 25), before=st.integers(0, 6), seed=st.integers(0, 1000))
def test_a_restored_sampler_draws_what_the_saved_one_would_have(rows: int, batch: int, before: int, seed: int) -> None:
    inputs = (REAL, Input("odd", SHAPE, "data", label=1), Z, Input("label", (), "label", classes=3))
    names = [item.name for item in inputs]
    one = sampler(*inputs, rows=rows, batch=batch, seed=seed)
    for _ in range(before):
        one.draw(names)
    two = sampler(*inputs, rows=rows, batch=batch, seed=seed)
    two.load_state_dict(one.state_dict())
    assert (two.seen, two.epoch) == (one.seen, one.epoch)
    for _ in range(3):
        ours, theirs = one.draw(names), two.draw(names)
        assert all(torch.equal(ours[name], theirs[name]) for name in names)


def test_fixed_rows_are_repeated_when_there_are_few() -> None:
    odd = Input("odd", SHAPE, "data", label=1)
    source = sampler(REAL, odd, rows=6)
    assert rows_of(source.first(REAL, 8)) == [0, 1, 2, 3, 4, 5, 0, 1]
    assert rows_of(source.first(odd, 5)) == [1, 3, 5, 1, 3]
    assert source.seen == 0


def test_what_the_data_lack_is_named() -> None:
    with pytest.raises(GantoolError, match="needs 'depth'") as caught:
        sampler(Input("depth", SHAPE, "data", array="depth"))
    assert "images, labels" in caught.value.hint
    with pytest.raises(GantoolError, match="class 7"):
        sampler(Input("seventh", SHAPE, "data", label=7))


def halves(rows: int) -> Dataset:
    """Images that hold their row number on the left and nothing on the right, twice; labels; a picture's mirror."""
    images = np.zeros((rows, 1, 2, 4), np.float32)
    images[..., :2] = np.arange(1, rows + 1, dtype=np.float32)[:, None, None, None]
    return Dataset("halves", "halves", {"images": images, "pair": images * 2, "labels": np.arange(rows) % 2})


HALVES = {
    item.name: item
    for item in (
        Input("real", (1, 2, 4), "data"),
        Input("pair", (1, 2, 4), "data", array="pair"),
        Input("label", (), "data", array="labels"),
        Input("odd", (1, 2, 4), "data", label=1),
        Z,
    )
}


def test_half_of_the_images_are_mirrored_and_all_images_of_a_row_together() -> None:
    names = [*HALVES]
    plain, flipped = (Sampler(HALVES, halves(100), 50, 0, CPU, flip=flip) for flip in (False, True))
    bits: list[torch.Tensor] = []
    for _ in range(40):
        one, two = plain.draw(names), flipped.draw(names)
        assert torch.equal(one["z"], two["z"])  # no latent is another for it
        assert torch.equal(one["label"], two["label"])
        mirrored = (two["real"] != one["real"]).flatten(1).any(1)
        for name in ("real", "pair"):
            assert torch.equal(two[name], torch.where(mirrored[:, None, None, None], one[name].flip(3), one[name]))
        other = (two["odd"] != one["odd"]).flatten(1).any(1)
        assert torch.equal(two["odd"], torch.where(other[:, None, None, None], one["odd"].flip(3), one["odd"]))
        assert not torch.equal(mirrored, other)
        bits += [mirrored]
    assert torch.cat(bits).float().mean().item() == pytest.approx(0.5, abs=0.05)
    first, second = torch.cat(bits[:2]), torch.cat(bits[2:4])
    assert not torch.equal(first, second)  # another epoch, other images
    assert torch.equal(plain.first(HALVES["real"], 8), flipped.first(HALVES["real"], 8))  # grids show what there is


def with_margin() -> Dataset:
    """Nine pictures of 6×6 pixels that hold their places, and the same at twice the size; samples have 4 and 8."""
    small = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6).repeat(9, 0)
    arrays = {"images": small.repeat(2, 2).repeat(2, 3), "sources": small, "labels": np.arange(9) % 2}
    return Dataset("large", "large", arrays, margin=4)


CROPPED = {
    item.name: item
    for item in (
        Input("real", (1, 8, 8), "data"),
        Input("source", (1, 4, 4), "data", array="sources"),
        Input("odd", (1, 8, 8), "data", label=1),
    )
}


@pytest.mark.parametrize("flip", [False, True])
def test_with_a_margin_rows_are_cropped_at_random_and_all_images_of_a_row_alike(flip: bool) -> None:
    source, corners = Sampler(CROPPED, with_margin(), 9, 0, CPU, flip=flip), set()
    for _ in range(20):
        batch = source.draw(CROPPED)
        assert batch["real"].shape == (9, 1, 8, 8)
        assert torch.equal(batch["real"], batch["source"].repeat_interleave(2, 2).repeat_interleave(2, 3))
        values = ((batch["source"] + 1) * 127.5).round().int()
        assert (values.diff(dim=2) == 6).all()
        assert (values.diff(dim=3).abs() == 1).all()
        corners |= set(values.amin((1, 2, 3)).tolist())
    assert corners == {6 * down + right for down in range(3) for right in range(3)}
    centre = ((source.first(CROPPED["source"], 2) + 1) * 127.5).round().int()
    assert centre[1, 0].tolist() == [[6 * (1 + row) + 1 + column for column in range(4)] for row in range(4)]
    assert torch.equal(source.first(CROPPED["real"], 2)[..., ::2, ::2], source.first(CROPPED["source"], 2))


@pytest.mark.parametrize("data", ["halves", "margin"])
def test_mirrored_and_cropped_rows_do_not_depend_on_where_a_run_was_stopped_or_split(data: str) -> None:
    class Part(Group):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        def part(self, count: int) -> slice:
            return slice(self.rank * count // 2, (self.rank + 1) * count // 2)

    inputs, rows = (HALVES, halves(9)) if data == "halves" else (CROPPED, with_margin())
    whole = Sampler(inputs, rows, 4, 5, CPU, flip=True)
    parts = [Sampler(inputs, rows, 4, 5, CPU, Part(rank), flip=True) for rank in (0, 1)]
    for _ in range(7):
        state = whole.state_dict()
        batch = whole.draw(inputs)
        for name, (one, two) in {name: [part.draw(inputs)[name] for part in parts] for name in ["real"]}.items():
            assert torch.equal(batch[name], torch.cat((one, two)))
        again = Sampler(inputs, rows, 4, 5, CPU, flip=True)
        again.load_state_dict(state)
        resumed = again.draw(inputs)
        assert all(torch.equal(batch[name], resumed[name]) for name in inputs)


@pytest.mark.parametrize("shape", [(1, 8), (1, 2, 2, 2)])
def test_what_is_no_image_is_not_mirrored(shape: tuple[int, ...]) -> None:
    data = Dataset("d", "d", {"images": np.zeros((4, *shape), np.uint8)})
    with pytest.raises(GantoolError, match="--flip mirrors images, and the input 'sound'") as caught:
        Sampler({"sound": Input("sound", shape, "data")}, data, 2, 0, CPU, flip=True)
    assert "channels×height×width" in caught.value.hint
    with pytest.raises(GantoolError, match="draws none"):
        Sampler({"z": Z}, data, 2, 0, CPU, flip=True)


@pytest.mark.parametrize(
    ("declared", "array", "there"),
    [((3,), (5,), "5"), ((3,), (), "one number"), ((), (2, 2), "2×2"), ((1, 2, 2), (1, 4, 4), "1×4×4")],
    ids=["longer", "a number", "no number", "other sides"],
)
def test_an_array_has_the_shape_that_its_input_declares(
    declared: tuple[int, ...], array: tuple[int, ...], there: str
) -> None:
    data = Dataset("x", "x", {"images": np.zeros((4, *SHAPE), np.float32), "extra": np.zeros((4, *array), np.float32)})
    with pytest.raises(GantoolError, match=f"takes 'extra' as .* a sample; the data 'x' has {there}"):
        Sampler({"extra": Input("extra", declared, "data", array="extra")}, data, 2, 0, CPU)
    Sampler({"extra": Input("extra", array, "data", array="extra")}, data, 2, 0, CPU)
