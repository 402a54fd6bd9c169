"""Plans: which images go into which shard, and which plans are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantool.errors import GantoolError
from gantool.shards.plan import MAX_SHARDS, PART_BYTES, Plan, choose_labels

PLAN = Plan("", 0, 0, 10, 4, "npy", (8, 8, 1), (), "cpu", True, {})


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(0, 2**47 - 5000))
def test_shards_cover_every_image_once(count: int, size: int, first: int) -> None:
    plan = replace(PLAN, count=count, shard_size=size, first=first)
    plan.check()
    shards = list(plan.shards())
    assert len(shards) == len(plan)
    numbers = [i for shard in shards for i in range(shard.first, shard.first + shard.count)]
    assert numbers == list(range(first, first + count))
    assert {shard.count for shard in shards[:-1]} <= {size}
    assert shards == [plan.shard(shard.number) for shard in shards]
    names = [shard.name for shard in shards]
    assert names == sorted(set(names))


@given(st.integers(1, 20_000), st.tuples(*[st.integers(1, 6000)] * 2, st.sampled_from([1, 3])), st.integers(0, 2**40))
def test_parts_cover_a_shard_once_and_are_bounded(count: int, shape: tuple[int, int, int], first: int) -> None:
    plan = replace(PLAN, count=count, shard_size=count, shape=shape, first=first)
    parts = list(plan.parts(plan.shard(0)))
    ends = [start + size for start, size in parts]
    assert [start for start, _ in parts] == [first, *ends[:-1]]
    assert ends[-1] == first + count
    image = shape[0] * shape[1] * shape[2]
    assert all(size == 1 or size * image <= PART_BYTES for _, size in parts)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=7), st.integers(0, 2**47 - 100), st.integers(1, 50))
def test_a_label_depends_on_the_number_of_the_image_alone(labels: list[int], first: int, count: int) -> None:
    plan = replace(PLAN, labels=choose_labels(labels, 10))
    together = plan.labels_of(first, count)
    assert together is not None
    assert together == [(plan.labels_of(first + i, 1) or [None])[0] for i in range(count)]
    assert together[0] == labels[first % len(labels)]


def test_by_default_images_cycle_over_all_classes() -> None:
    assert choose_labels(None, 3) == (0, 1, 2)
    assert choose_labels(None, 0) == ()
    assert PLAN.labels_of(0, 5) is None


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([1], 0, "takes no labels"),
        ([0, 3], 3, "no class 3: they run from 0 to 2"),
        ([-1], 3, "no class -1"),
        ([], 3, "0 labels were given"),
        ([0] * 65_537, 3, "65,537 labels were given"),
        (None, 10**12, "has 1,000,000,000,000 classes"),  # as a damaged or hostile file may claim
    ],
)
def test_wrong_labels(labels: list[int] | None, classes: int, message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        choose_labels(labels, classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "zip"}, "no format 'zip'"),
        ({"count": 0}, "count is 0"),
        ({"shard_size": 0}, "shard_size is 0"),
        ({"first": -1}, "no image -1"),
        ({"first": 2**47 - 9}, f"no image {2**47}"),
        ({"seed": 2**63}, "does not fit 64 bits"),
        ({"count": 10**9, "shard_size": 100}, "--shard-size 20000 or more"),
        ({"format": "png-tar", "shape": (8, 8, 2)}, "images with 2 channels can't be written as png-tar"),
        ({"format": "parquet", "shape": (8, 8, 8, 1)}, "volumes with 1 channels can't be written as parquet"),
        ({"format": "glb-tar", "shape": (400, 2)}, "sounds with 2 channels can't be written as glb-tar"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_plans(change: dict[str, Any], message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        replace(PLAN, **change).check()


def test_the_last_image_and_the_most_shards() -> None:
    replace(PLAN, first=2**47 - 10).check()
    replace(PLAN, count=MAX_SHARDS * 4).check()
