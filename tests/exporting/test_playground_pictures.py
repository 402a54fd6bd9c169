"""playground.html of a generator that takes a picture, in Chromium: drawn on, given files, looked at, saved."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import translators
from support.pages import Model, Open, assert_alike, saved, settle, shown

from gantool import exporting
from gantool.artifact.provenance import xmp
from gantool.exporting.app import playground

pytestmark = pytest.mark.skipif(
    not all((playground.ASSETS / name).is_file() for name in playground.ORT_WEB),
    reason="the browser runtime is not there: make assets",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """With noise and a value, for sides of 8; for one size, of grey; twice as large, grey."""
    made = {}
    for kind in ("unet", "fixed", "enlarging"):
        folder = tmp_path_factory.mktemp(kind)
        (artifact,) = exporting.write(getattr(translators, kind)(), ["onnx-seeded"], folder)
        made[kind] = Model(artifact.path, artifact.manifest)
    return made


@pytest.fixture
def unet(models: dict[str, Model]) -> Model:
    return models["unet"]


def source(page: Any) -> np.ndarray:
    return shown(page.query_selector("#source"), 3)


def result(page: Any, channels: int = 3) -> np.ndarray:
    settle(page)
    return shown(page.query_selector("#result"), channels)


def check(page: Any, model: Model, **options: Any) -> np.ndarray:
    """The result is that of the source as it is drawn; returns it."""
    made = result(page, model.manifest.output.shape[2])
    assert_alike(made, model.results(source(page), **options)[0])
    return made


def stroke(page: Any, *points: tuple[float, float]) -> None:
    """Draw with the mouse through points in parts of the source's sides."""
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#source").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def picture(height: int, width: int) -> bytes:
    """A PNG file of noise."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as opened:
        return np.asarray(opened)


def give(page: Any, event: str, file: bytes, kind: str = "image/png") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """([event, data, type]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          transfer.items.add(new File([bytes], "given.png", { type }));
          const made = event === "drop" ? new DragEvent(event, { dataTransfer: transfer, cancelable: true })
            : new ClipboardEvent(event, { clipboardData: transfer });
          window.dispatchEvent(made);
        }""",
        [event, base64.b64encode(file).decode(), kind],
    )


def test_drawing_changes_the_result(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path))
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")
    assert page.get_attribute("html", "data-engine") == "worker"
    before = check(page, unet)
    page.click("#colours button[aria-label=Red]")
    page.fill("#brush", "4")
    stroke(page, (0.1, 0.5), (0.6, 0.2), (0.9, 0.9))
    assert tuple(source(page)[28, 28]) == (0xC1, 0x35, 0x2B)
    assert (check(page, unet) != before).any()


@pytest.mark.slow
def test_strokes_are_taken_back_and_rubbed_out(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path))
    house = source(page)
    assert page.is_disabled("#again")
    page.fill("#brush", "6")
    stroke(page, (0.5, 0.5), (0.5, 0.9))
    stroke(page, (0.2, 0.5))
    two = source(page)
    assert (two != house).any()
    page.click("#undo")
    one = source(page)
    assert ((one != house).any(), (one != two).any()) == (True, True)
    page.click("#eraser")
    page.fill("#brush", "8")
    stroke(page, (0.5, 0.3), (0.5, 1))
    assert np.abs(source(page).astype(int) - house).max() <= 2  # what is below, not white; edges are rounded
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(source(page), one)
    page.click("#again")
    np.testing.assert_array_equal(source(page), house)
    page.click("#white")
    assert (source(page) == 255).all()
    check(page, unet)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(source(page), one)
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert page.is_disabled("#undo")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "drop", "paste"])
def test_a_picture_is_given(unet: Model, opened: Open, tmp_path: Path, way: str) -> None:
    page = opened(unet.page(tmp_path))
    file = picture(21, 43)  # shown in its middle, in the size of the training
    if way == "file":
        page.set_input_files("#file", {"name": "noise.png", "mimeType": "image/png", "buffer": file})
    else:
        give(page, way, file)
    page.wait_for_selector("#size option[value=own]", state="attached")
    assert page.locator("#size option").all_inner_texts() == [
        "32 × 32, as trained",
        "64 × 64, twice that",
        "43 × 21, the picture’s own",
    ]
    assert source(page).shape == (32, 32, 3)
    check(page, unet)
    page.select_option("#size", "own")
    np.testing.assert_array_equal(source(page), pixels(file))  # no pixel is changed
    assert check(page, unet).shape == (21, 43, 3)
    assert page.inner_text("#result-size") == "43 × 21"
    page.select_option("#size", "2")
    assert check(page, unet).shape == (64, 64, 3)
    page.click("text=Cat")
    assert page.locator("#size option").count() == 2
    assert source(page).shape == (64, 64, 3)


@pytest.mark.slow
def test_what_is_no_picture_is_said(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path))
    house = source(page)
    give(page, "drop", b"no picture", "text/plain")
    page.locator("#announce", has_text="given.png is no picture").wait_for(state="attached")
    np.testing.assert_array_equal(source(page), house)


@pytest.mark.slow
def test_large_pictures_are_made_smaller(models: dict[str, Model], opened: Open, tmp_path: Path) -> None:
    page = opened(models["enlarging"].page(tmp_path))
    give(page, "drop", picture(60, 2048))
    page.wait_for_selector("#size option[value=own]", state="attached")
    page.select_option("#size", "own")
    page.locator("#result-size", has_text="2048 × 60").wait_for()
    assert page.inner_text("#source-size") == "1024 × 30"
    assert check(page, models["enlarging"]).shape == (60, 2048, 1)


@pytest.mark.slow
def test_one_size_and_grey(models: dict[str, Model], opened: Open, tmp_path: Path) -> None:
    page = opened(models["fixed"].page(tmp_path))
    assert not page.is_visible("#size")
    assert not page.is_visible("#seed")
    give(page, "drop", picture(40, 40))
    page.locator("#announce", has_text="given.png opened.").wait_for(state="attached")
    assert check(page, models["fixed"]).shape == (32, 32, 3)
    assert 'read_picture("picture.png", channels=1)' in page.inner_text("#code")
    assert saved(page, "#save-source").mode == "L"


@pytest.mark.slow
def test_noise_and_values_are_chosen(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path), "#seed=9007199254740993&values=0.5")
    check(page, unet, seed=9007199254740993, values={"strength": 0.5})
    page.fill("#value-0", "1.25")
    check(page, unet, seed=9007199254740993, values={"strength": 1.25})
    page.fill("#seed", "-3")
    page.press("#seed", "Enter")
    check(page, unet, seed=-3, values={"strength": 1.25})
    page.wait_for_url("**seed=-3**")
    for language, code in {
        "Python": 'result = generator.translate(picture, seed=-3, values={"strength": 1.25})',
        "Node": 'generator.translate(picture, { seed: -3, values: { "strength": 1.25 } });',
        "Web": '(await generator.translate(picture, { seed: -3, values: { "strength": 1.25 } })).toImageData();',
        "C++": 'generator.translate(picture, -3, 0, std::nullopt, {{"strength", 1.25}});',
    }.items():
        page.check(f"input[value='{language}']")
        assert page.inner_text("#code").endswith(code)
    page.fill("#seed", "seven")
    page.press("#seed", "Enter")
    assert "64 bits" in page.inner_text("#wrong")


@pytest.mark.slow
def test_before_and_after(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path))
    settle(page)
    np.testing.assert_array_equal(shown(page.query_selector("#before"), 3), source(page))

    def cut() -> str:
        clip: str = page.evaluate("getComputedStyle(document.getElementById('before')).clipPath")
        return clip

    assert "100%" in cut()  # nothing of it is seen
    page.focus("#compare")
    page.keyboard.press("End")
    assert page.input_value("#compare") == "100"
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#compare") == "99"
    box = page.locator("#result").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    assert page.input_value("#compare") == "25"
    assert "75%" in cut() or "25%" in cut()


@pytest.mark.slow
def test_saved_results_say_where_they_come_from(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path), "#seed=7&values=0.5")
    made = check(page, unet, seed=7, values={"strength": 0.5})
    image = saved(page, "#save-result")
    np.testing.assert_array_equal(np.asarray(image), made)
    assert image.text["XML:com.adobe.xmp"] == xmp(image.text["Software"])
    about = json.loads(image.text["gantool"])
    assert (about["seed"], about["first"], about["count"]) == (7, 0, 1)
    assert about["values"] == {"strength": 0.5}
    assert image.text["Description"].startswith("A picture made of another, seed 7, image 0, strength 0.5, made by ")
    drawn = saved(page, "#save-source")
    np.testing.assert_array_equal(np.asarray(drawn), source(page))
    assert drawn.text == {}  # a person made it


@pytest.mark.slow
def test_without_provenance_and_without_noise(models: dict[str, Model], opened: Open, tmp_path: Path) -> None:
    page = opened(models["enlarging"].page(tmp_path))
    settle(page)
    image = saved(page, "#save-result")
    assert (image.mode, image.size) == ("L", (64, 64))
    assert "seed" not in json.loads(image.text["gantool"])
    page = opened(models["enlarging"].page(tmp_path, provenance=False))
    settle(page)
    assert saved(page, "#save-result").text == {}


CAMERA = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 48];
  const context = canvas.getContext("2d");
  window.paintCamera = setInterval(() => { context.fillStyle = "#ff0000"; context.fillRect(0, 0, 64, 48); }, 20);
  return window.filmed = canvas.captureStream();
};
"""


@pytest.mark.slow
def test_the_camera(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path), script=f"if (navigator.mediaDevices) {{ {CAMERA} }}")
    if not page.is_visible("#camera"):
        pytest.skip("this browser has no cameras for files")
    page.click("#camera")
    while not page.evaluate("document.getElementById('video').videoWidth"):
        page.wait_for_timeout(20)
    page.click("#take")
    page.wait_for_selector("#size option[value=own]", state="attached")
    assert not page.is_visible("#video")
    assert page.evaluate("filmed.getTracks()[0].readyState") == "ended"
    red, green, blue = source(page)[16, 16]
    assert (red > 200, green < 60, blue < 60) == (True, True, True)
    check(page, unet)


@pytest.mark.slow
def test_everything_works_by_keyboard(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path))
    house = source(page)
    reached = []
    page.focus("#file")
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    wanted = "House Face Cat size source colour brush eraser undo white compare save-result save-source seed random"
    assert [name for name in reached if name in wanted.split()] == wanted.split()
    page.fill("#brush", "4")
    page.focus("#source")
    page.keyboard.press(" ")
    assert page.is_visible("#pen")
    dot = source(page)
    assert (dot[16, 16] == 0).all()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(source(page), dot)  # moved, not drawn
    page.keyboard.down("Shift")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    page.keyboard.up("Shift")
    drawn = source(page)
    assert (drawn[9:15, 11:13] == 0).all()
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(source(page), dot)  # a line is one stroke
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(source(page), house)
    check(page, unet)


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling_and_draws_by_touch(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    house = source(page)
    box = page.locator("#source").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert (source(page) != house).any()
    check(page, unet)
    below = page.locator("#result").bounding_box()
    assert below["y"] > box["y"] + box["height"]
    assert below["y"] < 740 + box["y"]  # the result is near what is drawn


@pytest.mark.slow
def test_without_workers_the_page_computes_itself(unet: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(unet.page(tmp_path), script="delete window.Worker")
    assert page.get_attribute("html", "data-engine") == "page"
    check(page, unet)
