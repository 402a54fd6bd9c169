"""Classes of samples that look alike, for data without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics import clusters, load_extractor

CPU = torch.device("cpu")


def planted(sizes: tuple[int, ...], noise: int = 20) -> tuple[Dataset, np.ndarray]:
    """Noisy copies of as many random pictures, mixed; and of which picture each is."""
    random = np.random.default_rng(0)
    pictures = np.repeat(np.repeat(random.integers(20, 236, (len(sizes), 3, 4, 4)), 4, 2), 4, 3)
    of = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = pictures[of] + random.integers(-noise, noise + 1, (len(of), 3, 16, 16))
    return Dataset("planted", "planted", {"images": images.clip(0, 255).astype(np.uint8)}), of


def of_pixels(data: Dataset, count: int) -> Dataset:
    return clusters.clustered(data, load_extractor("pixels", data.spec, CPU), count)


@pytest.mark.parametrize("fit", [clusters.FIT, 60])  # all rows decide, or a part of them
def test_planted_groups_are_found_largest_first(monkeypatch: pytest.MonkeyPatch, fit: int) -> None:
    monkeypatch.setattr(clusters, "FIT", fit)
    data, of = planted((20, 80, 50))
    made = of_pixels(data, 3)
    assert made.labels is not None
    assert made.class_counts == (80, 50, 20)
    assert np.array_equal(made.labels, np.array([2, 0, 1])[of])
    assert made.class_names == ("group-0", "group-1", "group-2")
    assert made.spec.classes == 3
    assert "3 groups that look alike to pixels" in made.notes[-1]
    assert np.array_equal(made.images, data.images)
    assert made.fingerprint != data.fingerprint


def test_the_same_data_give_the_same_classes() -> None:
    data, _ = planted((40, 40, 40), noise=200)
    assert of_pixels(data, 8).fingerprint == of_pixels(data, 8).fingerprint


def test_rows_that_do_not_differ_make_no_class_of_their_own() -> None:
    data, of = planted((5, 9), noise=0)
    assert of_pixels(data, 6).class_counts == (9, 5)
    assert of_pixels(replace(data, arrays={"images": data.images[of == 0]}), 3).class_counts == (5,)


@pytest.mark.parametrize("count", [1, 15])
def test_a_count_that_the_data_can_not_make(count: int) -> None:
    with pytest.raises(GantoolError, match=rf"14 samples can't make {count} classes"):
        of_pixels(planted((5, 9))[0], count)


@pytest.mark.parametrize(("rows", "count"), [(2, 2), (300, 8), (14_807, 60), (10**7, 1581)])
def test_usual_count(rows: int, count: int) -> None:
    assert clusters.usual_count(rows) == count
