"""The atlas of units in Chromium, opened from disk: a click on a planted unit takes what it draws out of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.exports import Z, source
from support.pages import Open, assert_alike, settle, shown
from torch import Tensor, nn

from gantool import exporting
from gantool.api.dissect import Dissection
from gantool.control.dissect import dissect, layers_of
from gantool.errors import GantoolError
from gantool.exporting import Source
from gantool.exporting.app import atlas
from gantool.plugin.architecture import Input
from gantool.runtime import Generator

pytestmark = pytest.mark.usefixtures("browser_runtime")
SQUARE = 5  # the planted unit
COUNTS_SOUNDS = """
  const start = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function () {
    window.started = (window.started || 0) + 1;
    return start.call(this);
  };
"""
HOSTILE = "</script><img src=x onerror=hacked=1>"


class Planted(nn.Module):
    """z (N, 4), label → image (1, 8, 8), in which unit 5 draws a square at the top left."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 8 * 8 * 8)
        self.embed = nn.Embedding(2, 8 * 8 * 8)
        self.layer = nn.Unflatten(1, (8, 8, 8))
        self.last = nn.Conv2d(8, 1, 1)
        with torch.no_grad():
            self.first.weight.view(8, 8, 8, 4)[SQUARE] = 0
            self.first.bias.view(8, 8, 8)[SQUARE] = 0
            self.embed.weight.view(2, 8, 8, 8)[:, SQUARE] = 0
            self.first.bias.view(8, 8, 8)[SQUARE, :4, :4] = 3
            self.last.weight.mul_(0.1)[0, SQUARE] = 1

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.last(self.layer(self.first(z) + self.embed(label))).tanh()


def page_of(made: Source, folder: Path, run: str = "0001-test", **options: Any) -> Path:
    layers = layers_of(made)
    found = dissect(made, layers, units=4, samples=20, seed=0, **options)
    return Dissection(run, 0, 0, 20, "", found, made, folder).save()


@pytest.fixture(scope="module")
def planted() -> Source:
    made = source(Planted(), Z, Input("label", (), "label", 2))
    made.about.data["class_names"] = ["one", HOSTILE]
    made.about.architecture["name"] = HOSTILE
    return made


@pytest.fixture(scope="module")
def saved(planted: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(planted, tmp_path_factory.mktemp("atlas"))


def rows(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """The images as they are, and as they are changed."""
    settle(page)
    canvases = [shown(canvas) for canvas in page.query_selector_all("#pairs canvas")]
    return np.stack(canvases[::2]), np.stack(canvases[1::2])


def images(planted: Source, folder: Path) -> np.ndarray:
    (file,) = exporting.write(planted, ["onnx-seeded"], folder)
    return Generator(file.path).sample(8, 0)


def test_a_click_on_the_planted_unit_takes_the_square_away(
    saved: Path, planted: Source, opened: Open, tmp_path: Path
) -> None:
    page = opened(saved)
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")
    before, after = rows(page)
    assert_alike(before, images(planted, tmp_path))
    assert np.array_equal(before, after)
    page.click("#units button")  # the unit that changes most comes first
    assert page.get_attribute("#units button", "data-unit") == str(SQUARE)
    assert page.get_attribute("#units button", "aria-pressed") == "true"
    unchanged, after = rows(page)
    assert np.array_equal(before, unchanged)
    assert (before[:, :4, :4].mean(), after[:, :4, :4].mean() < 160) == (pytest.approx(254, abs=2), True)
    assert np.array_equal(before[:, 4:], after[:, 4:])
    assert "1 unit times 0: values move by" in page.inner_text("#moved")
    page.fill("#factor", "1")
    assert np.array_equal(*rows(page))
    page.fill("#factor", "0")
    page.wait_for_url("**units=0.5")
    again = opened(saved, page.evaluate("location.hash"))  # a link opens what was found
    assert_alike(rows(again)[1], after)
    again.click("#chips button")
    assert np.array_equal(*rows(again))
    assert page.inner_text("h1") == HOSTILE
    assert page.evaluate("typeof hacked") == "undefined"


@pytest.mark.slow
def test_it_works_by_keyboard_and_on_a_phone(saved: Path, opened: Open) -> None:
    page = opened(saved, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.focus("#units button")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.unit")
    assert second == page.get_attribute("#units button >> nth=1", "data-unit")
    page.keyboard.press("Enter")
    before, after = rows(page)
    assert not np.array_equal(before, after)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.get_attribute(":focus", "aria-pressed") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.unit") is None  # one tab stop for all units
    page.select_option("#order", "2")
    numbers = [int(tile.get_attribute("data-unit")) for tile in page.query_selector_all("#units button")]
    assert numbers == sorted(numbers)
    assert page.locator("[aria-pressed=true]").get_attribute("data-unit") == second
    page.click("#some")
    assert page.locator("[aria-pressed=true]").count() == 4
    assert page.locator("#chips button").count() == 4
    page.click("#reset")
    page.fill("#seed", "7")
    page.press("#seed", "Enter")
    page.locator("#class-buttons label").nth(2).click()
    other, after = rows(page)
    assert np.array_equal(other, after)
    assert not np.array_equal(other, before)
    nonsense = opened(saved, "#units=9.9&factor=7&layer=3")
    assert np.array_equal(*rows(nonsense))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 300), (1, 8, 8, 8), (3, 8, 8)])
def test_of_sounds_volumes_and_colours(shape: tuple[int, ...], opened: Open, tmp_path: Path) -> None:
    class Some(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Unflatten(1, (4, *shape[1:]))
            self.first = nn.Linear(4, 4 * int(np.prod(shape[1:])))
            kind = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}[len(shape)]
            self.last = kind(4, shape[0], 1)

        def forward(self, z: Tensor) -> Tensor:
            return self.last(self.layer(self.first(z))).tanh()

    made = source(Some(), shape=shape, rate=8000 if len(shape) == 2 else 0)
    page = opened(page_of(made, tmp_path), script=COUNTS_SOUNDS)
    page.click("#units button")
    settle(page)
    assert int(page.get_attribute("#moved", "data-worst")) > 0
    page.fill("#factor", "1")
    page.wait_for_selector("#moved[data-worst='0']")
    if len(shape) == 2:
        page.click("#pairs button")
        page.wait_for_function("window.started === 1")


def test_what_no_page_shows_is_said(tmp_path: Path) -> None:
    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, z: Tensor) -> Tensor:
            return self.layers(z)

    made = source(Points(), shape=(2,))
    with pytest.raises(GantoolError, match="images, sounds or volumes"):
        atlas.build(made, layers_of(made), {}, {})
