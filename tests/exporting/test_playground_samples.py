"""playground.html of sounds and of volumes, in Chromium: heard (by what is given to the player), turned, cut, saved."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from support.exports import Tiny, sounds, source
from support.pages import Model, Open, saved, settle, shown
from support.wavs import chunks
from torch import Tensor

from gantool import exporting
from gantool.artifact import inspection, volumes
from gantool.artifact.provenance import of, xmp
from gantool.artifact.sounds import wav
from gantool.exporting.app import playground
from gantool.runtime import Generator

pytestmark = pytest.mark.skipif(
    not all((playground.ASSETS / name).is_file() for name in playground.ORT_WEB),
    reason="the browser runtime is not there: make assets",
)
# every sound that is started: [rate, its channels, playback rate]
SPY = """globalThis.started = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) {
  const { buffer } = this;
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i));
  started.push([buffer.sampleRate, channels.map((one) => [...one]), this.playbackRate.value]);
  return start.apply(this, when);
};"""


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of three classes, 8,000 samples a second."""
    (made,) = exporting.write(sounds(), ["onnx-seeded"], tmp_path_factory.mktemp("sounds"))
    return Model(made.path, made.manifest)


@pytest.fixture(scope="module")
def boxes(tiny_export: Callable[..., Path]) -> Model:
    path = tiny_export(1, 8, 6, 10) / "generator.seeded.onnx"
    return Model(path, inspection.inspect(path).manifest)


def ball(folder: Path) -> Model:
    """One that makes a ball, in the front upper left, of any seed."""
    at = np.hypot.reduce(np.indices((12, 12, 12)) - np.array(4).reshape(1, 1, 1, 1)) - 3.3

    class Ball(Tiny):
        def wild(self, x: Tensor) -> Tensor:
            return 0.02 * x - torch.from_numpy(2 * at).float()

    (made,) = exporting.write(source(Ball((1, 12, 12, 12)), shape=(1, 12, 12, 12)), ["onnx-seeded"], folder)
    return Model(made.path, made.manifest)


def heard(page: Any) -> list[tuple[float, np.ndarray]]:
    """The sounds that were started since the last call, each as the numbers of a seeded file, and its rate."""
    found = []
    for rate, channels, speed in page.evaluate("started.splice(0)"):
        samples = np.array(channels, np.float32).T
        steps = np.rint(samples * 32767)
        assert (samples == (steps.astype(np.float32) / np.float32(32767))).all()
        found.append((rate * speed, steps))
    return found


def assert_close(made: np.ndarray, wanted: np.ndarray) -> None:
    """As another build of ONNX Runtime may round."""
    assert made.shape == wanted.shape
    assert np.abs(made.astype(int) - wanted).max() <= 1


def file(page: Any, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_pads_play_the_sounds_of_the_file(stereo: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(stereo.page(tmp_path), "#seed=-7", SPY)
    settle(page)
    assert "same sounds as the exporting machine" in page.inner_text("#verdict").lower()
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")
    assert page.locator("#grid .tile").count() == 16
    wanted = stereo.images(16, seed=-7)
    for number, way in ((2, "mouse"), (5, "w"), (15, "v"), (0, "Enter"), (0, "1")):
        pad = page.locator("#grid .tile").nth(number)
        if way == "mouse":
            pad.click()
        elif way == "Enter":
            pad.press("Enter")
        else:
            page.keyboard.press(way)
        ((rate, made),) = heard(page)
        assert rate == 8000
        assert_close(made, wanted[number])
        assert page.inner_text("#enlarged-title") == f"Seed -7, sound {number}, class {number % 3}"
    page.focus("#seed")
    page.keyboard.press("1")
    assert heard(page) == []  # what is typed is no pad
    page.fill("#seed", "-7")
    page.check("#class-buttons input[value='2']", force=True)
    settle(page)
    page.keyboard.press("2")
    ((_, made),) = heard(page)
    assert_close(made, stereo.images(1, seed=-7, first=1, labels=2)[0])


# what the page plays is rendered, for a recording of its output
OFFLINE = """globalThis.AudioContext = class extends OfflineAudioContext {
  constructor() { super(2, 1000, 8000); globalThis.recorder = this; }
  get state() { return "running"; }
  resume() { return Promise.resolve(); }
};"""
RECORDING = """async () => {
  const made = await recorder.startRendering();
  return Array.from({ length: made.numberOfChannels }, (_, i) => [...made.getChannelData(i)]);
}"""


def test_a_recording_of_the_page_is_the_sound_of_the_file(stereo: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(stereo.page(tmp_path), "#seed=3", OFFLINE)
    settle(page)
    page.locator("#grid .tile").nth(6).click()
    recording = np.array(page.evaluate(RECORDING)).T
    assert_close(np.rint(recording[:300] * 32767), stereo.images(1, seed=3, first=6)[0])
    assert not recording[300:].any()


@pytest.mark.slow
def test_saved_sounds_are_those_of_the_file(stereo: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(stereo.page(tmp_path, provenance=False), "#seed=9007199254740993&open=4", SPY)
    settle(page)
    name, data = file(page, "#save-image")
    assert name == "tiny-seed9007199254740993-4.wav"
    wanted = stereo.images(16, seed=2**53 + 1)
    assert len(data) == len(wav(wanted[4], 8000))
    page.click("#hear")
    ((_, made),) = heard(page)
    assert_close(made, wanted[4])
    assert data == wav(made.astype(np.int16), 8000)  # to the byte
    _, data = file(page, "#save-grid")
    (tmp_path / "all.wav").write_bytes(data)
    with wave.open(str(tmp_path / "all.wav")) as opened_file:
        made = np.frombuffer(opened_file.readframes(16 * 300), "<i2").reshape(16, 300, 2)
    assert_close(made, wanted)
    page = opened(stereo.page(tmp_path), "#open=4&label=1")
    settle(page)
    found = chunks(file(page, "#save-image")[1])
    assert list(found) == ["fmt ", "_PMX", "gant", "data"]
    assert found["_PMX"].decode() == xmp(f"gantool {stereo.manifest.gantool}")
    assert json.loads(found["gant"]) == json.loads(of(stereo.manifest, 0, 4, label=1).to_json())


@pytest.mark.slow
def test_between_two_sounds(stereo: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(stereo.page(tmp_path), "#a=3:1&b=4:2&at=0", SPY)
    settle(page)
    page.click("#play")
    page.click("#row button:last-child")
    settle(page)
    page.click("#play")
    (_, first), (_, strip), (_, last) = heard(page)
    assert_close(first, stereo.images(1, 3, 1)[0])
    for made in (strip, last):
        assert_close(made, stereo.images(1, 4, 2)[0])
    page.fill("#at", "0.5")
    page.dispatch_event("#at", "change")
    page.wait_for_function("started.length > 0")
    assert np.abs(heard(page)[0][1] - first).max() > 1
    page.locator("#grid .tile").nth(3).click()
    page.click("#use-a")
    page.fill("#at", "0")
    settle(page)
    heard(page)
    page.click("#play")
    assert_close(heard(page)[0][1], stereo.images(1, 0, 3)[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sounds", "volumes"])
def test_a_phone_needs_no_sideways_scrolling(
    stereo: Model, boxes: Model, opened: Open, tmp_path: Path, kind: str
) -> None:
    model = stereo if kind == "sounds" else boxes
    page = opened(model.page(tmp_path), script=SPY, viewport={"width": 360, "height": 760}, has_touch=True)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#grid .tile").nth(6).tap()
    if kind == "sounds":
        ((_, made),) = heard(page)
        assert_close(made, stereo.images(1, first=6)[0])
    else:
        assert page.is_visible("#enlarged-canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# the context that views are drawn with, or none
WEBGL = """const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...options) {
  if (kind === "webgl2" && WITHOUT) return null;
  const context = get.call(this, kind, ...options);
  if (kind === "webgl2") globalThis.webgl = context;
  return context;
};"""
RESTED = "new Promise((resolve) => setTimeout(resolve, 400))"  # after a turn, views get sharp


def open_volumes(boxes: Model, opened: Open, folder: Path, webgl: bool = True, **options: Any) -> Any:
    page = opened(boxes.page(folder), script=WEBGL.replace("WITHOUT", str(not webgl).lower()), **options)
    settle(page)
    if webgl and not page.evaluate("Boolean(globalThis.webgl)"):
        pytest.skip("this browser has no WebGL 2")
    return page


@pytest.mark.parametrize("webgl", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_volumes_turn_and_are_cut(boxes: Model, opened: Open, tmp_path: Path, webgl: bool) -> None:
    page = open_volumes(boxes, opened, tmp_path, webgl)
    assert page.inner_text("#verdict").startswith("Same volumes as the exporting machine")
    tiles = page.query_selector_all("#grid canvas")

    def turned(before: list[np.ndarray]) -> bool:
        page.evaluate(RESTED)
        return all((shown(tile) != view).any() for tile, view in zip(tiles, before, strict=True))

    first = [shown(tile) for tile in tiles]
    assert all(len(np.unique(view)) > 20 for view in first)  # shaded
    assert {view.shape[0] for view in first} == {tiles[0].evaluate("c => c.clientWidth") if webgl else 96}
    box = tiles[0].bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    page.mouse.up()
    page.wait_for_function("document.querySelector('output[for=turn]').textContent === '15°'")
    assert not page.is_visible("#enlarged")  # a drag is no click
    assert turned(first)
    dragged = [shown(tile) for tile in tiles]
    page.locator("#grid .tile").first.focus()
    page.keyboard.press("Shift+ArrowUp")
    assert turned(dragged)
    page.keyboard.press("Shift+ArrowRight")
    assert page.input_value("#turn") == "10"
    assert page.locator("#grid .tile").first.evaluate("tile => tile === document.activeElement")
    page.fill("#slice", "2")
    page.evaluate(RESTED)
    side = shown(tiles[3]).shape[0]
    rows = np.floor((np.arange(side) + 0.5 - (side - 0.6 * side) / 2) * 10 / side).astype(int)
    columns = np.floor((np.arange(side) + 0.5) * 10 / side).astype(int)
    inside = (rows >= 0) & (rows < 6)
    wanted = boxes.images(1, first=3)[0, 2, ..., 0][rows[inside]][:, columns]
    assert_close(shown(tiles[3])[inside, :, 0], wanted)
    assert (shown(tiles[3])[~inside] == 16).all()


def test_both_views_show_the_same_shape(tmp_path: Path, opened: Open) -> None:
    """A ball in a corner, from its side: WebGL's smooth view and the voxels of the other."""
    model = ball(tmp_path)
    views = []
    for webgl in (True, False):
        page = open_volumes(model, opened, tmp_path, webgl, device_scale_factor=2)
        page.fill("#turn", "90")
        page.evaluate(RESTED)
        view = Image.fromarray(shown(page.query_selector("#grid canvas"))[..., 0])
        assert view.width == (2 * page.evaluate("document.querySelector('#grid canvas').clientWidth") if webgl else 96)
        views.append(np.array(view.resize((96, 96), Image.Resampling.BOX), float))
    one, other = views
    assert np.mean((one > 40) != (other > 40)) < 0.02  # where it is
    inside = (one > 40) & (other > 40)
    assert np.corrcoef(one[inside], other[inside])[0, 1] > 0.8  # and how it is lit


def test_views_outlive_their_context(boxes: Model, opened: Open, tmp_path: Path) -> None:
    page = open_volumes(boxes, opened, tmp_path)
    tile = page.query_selector("#grid canvas")
    before = shown(tile)
    page.evaluate("lost = webgl.getExtension('WEBGL_lose_context'), lost.loseContext()")
    page.fill("#turn", "50")
    page.evaluate(RESTED)
    assert shown(tile).shape[0] == 96  # without WebGL
    page.evaluate("lost.restoreContext()")
    page.fill("#turn", "35")
    page.wait_for_function("document.querySelector('#grid canvas').width !== 96")
    page.evaluate(RESTED)
    np.testing.assert_array_equal(shown(tile), before)


@pytest.mark.slow
def test_saved_volumes_are_those_of_the_file(boxes: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(boxes.page(tmp_path))
    settle(page)
    page.locator("#grid .tile").nth(5).click()
    name, data = file(page, "#save-image")
    assert name == "tiny-seed0-5.binvox"
    assert data == volumes.binvox(boxes.images(1, first=5)[0, ..., 0] >= 128)
    name, data = file(page, "#save-surface")
    assert name == "tiny-seed0-5.glb"
    (tmp_path / name).write_bytes(data)
    (tmp_path / "python.glb").write_bytes(volumes.glb(boxes.images(1, first=5)[..., 0]))
    made, wanted = (trimesh.load(tmp_path / each, force="mesh") for each in (name, "python.glb"))
    assert made.volume == pytest.approx(wanted.volume, rel=0.15)  # two ways to lay a surface through few voxels
    np.testing.assert_allclose(made.bounds, wanted.bounds, atol=0.05)
    page.fill("#slice-large", "1")
    assert page.input_value("#slice") == "1"
    page.click("#close")
    views = saved(page, "#save-grid")
    assert views.size == (4 * 98 + 2, 4 * 98 + 2)
    assert Generator(boxes.path).manifest.output.kind == "volume"
