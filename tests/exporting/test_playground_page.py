"""playground.html in Chromium, opened from disk as a person does: what is seen, what is computed, what is asked of a
network (nothing)."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.exports import TwoLatents, sliders, source
from support.pages import JUDGED, Model, Open, assert_alike, saved, settle, shown

from gantool import exporting
from gantool.artifact import inspection, latents
from gantool.artifact.latents import pixels
from gantool.artifact.provenance import xmp
from gantool.exporting.app import playground
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

pytestmark = pytest.mark.skipif(
    not all((playground.ASSETS / name).is_file() for name in playground.ORT_WEB),
    reason="the browser runtime is not there: make assets",
)
HOSTILE = "</script><img src=x onerror=hacked=1>"


@pytest.fixture(scope="module")
def mlp(exported_run: RunDir) -> Model:
    path = exported_run.export / "generator.seeded.onnx"
    return Model(path, inspection.inspect(path).manifest, exported_run)


@pytest.fixture(scope="module")
def conditional(conditional_export: Path) -> Model:
    path = conditional_export / "generator.seeded.onnx"
    return Model(path, inspection.inspect(path).manifest)


@pytest.fixture(scope="module")
def two_latents(tmp_path_factory: pytest.TempPathFactory) -> Model:
    inputs = Input("z", (4,), "normal"), Input("noise", (1, 8, 8), "normal")
    made = exporting.write(source(TwoLatents(), *inputs), ["onnx-seeded"], tmp_path_factory.mktemp("two"))
    return Model(made[0].path, made[0].manifest)


@pytest.fixture(scope="module")
def colour(tiny_export: Callable[..., Path]) -> Model:
    path = tiny_export(3, 8, 8) / "generator.seeded.onnx"
    return Model(path, inspection.inspect(path).manifest)


def grid(page: Any, channels: int = 1) -> np.ndarray:
    settle(page)
    return np.stack([shown(canvas, channels) for canvas in page.query_selector_all("#grid canvas")])


def test_a_page_from_disk_makes_the_images_of_the_file(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path))
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")
    assert "exporting machine" in page.inner_text("#verdict")
    assert page.get_attribute("html", "data-engine") == "worker"
    assert "ms an image" in page.inner_text("#speed")
    assert_alike(grid(page), mlp.images(16))
    page.click("#next")
    assert page.input_value("#first") == "16"
    assert_alike(grid(page), mlp.images(16, first=16))
    page.click("#previous")
    page.fill("#seed", "-7")
    page.press("#seed", "Enter")
    assert_alike(grid(page), mlp.images(16, seed=-7))


@pytest.mark.slow
def test_without_workers_the_page_computes_itself(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path), script="delete window.Worker")
    assert page.get_attribute("html", "data-engine") == "page"
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")
    assert_alike(grid(page), mlp.images(16))


@pytest.mark.slow
def test_colours_are_colours(colour: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(colour.page(tmp_path))
    assert_alike(grid(page, channels=3), colour.images(16))


@pytest.mark.slow
def test_several_latents_are_interpolated_and_z_alone_is_truncated(
    two_latents: Model, opened: Open, tmp_path: Path
) -> None:
    page = opened(two_latents.page(tmp_path), "#a=1:0&b=2:5")
    assert_alike(grid(page), two_latents.images(16))
    assert_alike(shown(page.query_selector("#canvas-b")), two_latents.images(1, 2, 5)[0])
    page.fill("#psi", "0.5")
    noise = Input("noise", (1, 8, 8), "normal")
    (made,) = exporting.write(source(TwoLatents(), Input("z", (4,), "normal"), noise), ["onnx"], tmp_path)
    plain = Generator(made.path)
    drawn = latents.draw({"z": (4,), "noise": (1, 8, 8)}, 0, np.arange(16))
    assert_alike(grid(page), pixels(plain.run(drawn | {"z": drawn["z"] * np.float32(0.5)})))


@pytest.mark.slow
def test_values_have_sliders(opened: Open, tmp_path: Path) -> None:
    (made,) = exporting.write(sliders(), ["onnx-seeded"], tmp_path)
    model = Model(made.path, made.manifest)
    page = opened(model.page(tmp_path), "#a=0:0&b=0:0")
    shown_values = [label.inner_text().split() for label in page.query_selector_all("#values label")]
    assert shown_values == [["light", "1"], ["lean", "0"]]
    assert_alike(grid(page), model.images(16))
    for strength in (-2.0, 0.5, 3.0):  # of a named direction
        page.fill("#value-1", str(strength))
        assert_alike(grid(page), model.images(16, values={"lean": strength}))
    page.fill("#value-1", "0")
    page.fill("#value-0", "0.25")
    assert_alike(grid(page), model.images(16, values={"light": 0.25}))
    assert_alike(shown(page.query_selector("#canvas-at")), model.images(1, values={"light": 0.25})[0])
    page.click("#grid button:nth-child(2)")
    assert page.inner_text("#enlarged-title").endswith("light 0.25")
    assert 'values={"light": 0.25}' in page.inner_text("#code")
    page.wait_for_url(re.compile("values=0.25%2C0"))
    again = opened(model.page(tmp_path), page.evaluate("location.hash.replace('&open=1', '')"))
    assert again.input_value("#value-0") == "0.25"
    assert_alike(grid(again), model.images(16, values={"light": 0.25}))
    nonsense = opened(model.page(tmp_path), "#values=7")
    assert_alike(grid(nonsense), model.images(16))


@pytest.mark.slow
def test_there_is_no_slider_where_truncation_changes_nothing(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path, truncation=""), "#psi=0.5")
    assert not page.is_visible("#psi")
    assert_alike(grid(page), mlp.images(16))


@pytest.mark.slow
def test_an_enlarged_image_has_name_link_and_code(mlp: Model, opened: Open, tmp_path: Path) -> None:
    stub = "navigator.clipboard.writeText = async (text) => { window.copied = text; }"
    page = opened(mlp.page(tmp_path), "#seed=9007199254740993&first=4", stub)
    page.click("#grid button >> nth=2")
    assert page.inner_text("#enlarged-title") == "Seed 9007199254740993, image 6"
    settle(page)
    assert_alike(shown(page.query_selector("#enlarged-canvas"))[None], mlp.images(1, 9007199254740993, 6))
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#enlarged-title") == "Seed 9007199254740993, image 7"
    wanted = {
        "Python": "image = generator.sample(1, seed=9007199254740993, first=7)[0]",
        "Node": "generator.sample({ seed: 9007199254740993n, first: 7, count: 1 });",
        "Web": "generator.sample({ seed: 9007199254740993n, first: 7, count: 1 });",
        "C++": "generator.sample(1, 9007199254740993, 7)[0];",
    }
    for language, code in wanted.items():
        page.check(f"input[value='{language}']")
        page.click("#copy-code")
        assert page.evaluate("window.copied").endswith(code)
    page.click("#image-link")
    link = page.evaluate("window.copied")
    assert link.endswith("#seed=9007199254740993&first=4&open=7")
    page.keyboard.press("Escape")
    assert not page.is_visible("#enlarged")

    again = opened(tmp_path / "playground.html", "#" + link.partition("#")[2])
    assert again.inner_text("#enlarged-title") == "Seed 9007199254740993, image 7"
    settle(again)
    assert_alike(shown(again.query_selector("#enlarged-canvas"))[None], mlp.images(1, 9007199254740993, 7))


@pytest.mark.slow
def test_the_code_for_python_makes_the_image_that_is_shown(conditional: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(conditional.page(tmp_path), "#label=2&seed=3")
    page.click("#grid button >> nth=1")
    code = page.inner_text("#code")
    assert code.endswith("generator.sample(1, seed=3, first=1, labels=2)[0]")
    call = code.splitlines()[-1].partition("= ")[2]
    image = eval(call, {"generator": Generator(conditional.path)})
    settle(page)
    assert_alike(shown(page.query_selector("#enlarged-canvas")), image)
    assert "# generator.seeded.onnx lies beside generator.py, or one folder up" in code.splitlines()
    for language, labels, place in (
        ("Node", ", labels: 2 }", "// generator.seeded.onnx lies beside generator.mjs, or one folder up"),
        ("Web", ", labels: 2 }", "// generator.seeded.onnx lies one folder above generator.mjs"),
        ("C++", "(1, 3, 1, 2)[0]", "// generator.seeded.torchscript.pt lies where the program runs, or one folder up"),
    ):
        page.check(f"input[value='{language}']")
        assert labels in page.inner_text("#code")
        assert place in page.inner_text("#code").splitlines()


@pytest.mark.slow
def test_interpolation_ends_in_the_images_themselves(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path), "#a=7:3&b=8:5&row=5")
    settle(page)
    a, b = mlp.images(1, 7, 3)[0], mlp.images(1, 8, 5)[0]
    strip = [shown(canvas) for canvas in page.query_selector_all("#row canvas")]
    for end, image in (("a", a), ("b", b)):
        assert_alike(shown(page.query_selector(f"#canvas-{end}")), image)
    assert_alike(strip[0], a)
    assert_alike(strip[-1], b)

    plain = Generator(mlp.path.with_name("generator.onnx"))  # slerp by its definition, in another program
    z0, z1 = (plain.latents(1, *place)[0].astype(float) for place in ((7, 3), (8, 5)))
    angle = np.arccos(z0 @ z1 / np.linalg.norm(z0) / np.linalg.norm(z1))
    z = (np.sin(0.25 * angle) * z1 + np.sin(0.75 * angle) * z0) / np.sin(angle)
    assert_alike(strip[1], pixels(plain.from_latents(z[None].astype(np.float32)))[0])

    page.click("#row button >> nth=1")
    assert page.inner_text("#at-value") == "0.25"
    settle(page)
    assert_alike(shown(page.query_selector("#canvas-at")), strip[1])
    page.click("#swap")
    settle(page)
    assert_alike(shown(page.query_selector("#canvas-a")), b)
    page.click("#play")
    page.wait_for_selector("#row:not(:has([aria-pressed=true]))")  # it has left the place of the chosen button
    page.click("#play")
    assert page.get_attribute("#play", "aria-pressed") == "false"


@pytest.mark.slow
def test_truncation_to_nothing_gives_one_image(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path))
    page.fill("#psi", "0")
    images = grid(page)
    assert (images == images[0]).all()
    assert_alike(shown(page.query_selector("#canvas-at")), images[0])
    page.fill("#psi", "0.5")
    plain = Generator(mlp.path.with_name("generator.onnx"))
    assert_alike(grid(page), pixels(plain.from_latents(plain.latents(16) * np.float32(0.5))))
    page.fill("#psi", "1")
    assert_alike(grid(page), mlp.images(16))


@pytest.mark.slow
def test_classes_are_chosen_by_name(conditional: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(conditional.page(tmp_path, data={"name": "shapes", "class_names": ["circle", HOSTILE]}))
    names = page.locator("#class-buttons label").all_inner_texts()
    assert names == ["All", "circle", HOSTILE, "2"]
    assert_alike(grid(page), conditional.images(16))
    page.locator("#class-buttons label").nth(2).click()
    assert_alike(grid(page), conditional.images(16, labels=1))
    page.wait_for_url("**label=1")
    page.locator("#class-buttons label").nth(0).click()
    assert_alike(grid(page), conditional.images(16))


@pytest.mark.slow
def test_many_classes_are_a_list(conditional: Model, opened: Open, tmp_path: Path) -> None:
    seed, index, label = conditional.manifest.inputs
    inputs = (seed, index, dataclasses.replace(label, classes=60))
    page = opened(conditional.page(tmp_path, inputs=inputs, golden=()), "#label=1", wait="#class-list")
    assert page.locator("#class-list option").count() == 61
    assert page.input_value("#class-list") == "1"
    page.select_option("#class-list", "2")
    assert_alike(grid(page), conditional.images(16, labels=2))


@pytest.mark.slow
def test_everything_works_by_keyboard(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path))

    def focused(attribute: str) -> str | None:
        return page.evaluate(f"document.activeElement.getAttribute('{attribute}')")

    page.focus("#seed")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if focused("class") == "tile":
            break
    assert focused("aria-label") == "Seed 5, image 0"
    for key, index in (
        ("ArrowRight", 1),
        ("ArrowDown", 5),
        ("End", 15),
        ("ArrowRight", 15),
        ("ArrowUp", 11),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert focused("data-index") == str(index)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("PageDown")
    assert focused("aria-label") == "Seed 5, image 16"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    assert page.input_value("#b-index") == "17"
    page.keyboard.press("Enter")
    assert page.inner_text("#enlarged-title") == "Seed 5, image 17"
    page.keyboard.press("Escape")
    assert focused("data-index") == "17"
    page.keyboard.press("Tab")
    assert focused("class") != "tile"  # one tab stop for all tiles


@pytest.mark.slow
def test_the_hash_restores_what_was_shown(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path), "#seed=7&first=32&count=4&psi=0.5&a=1:2&b=3:4&at=0.2&row=9")
    values = {"seed": "7", "first": "32", "count": "4", "psi": "0.5", "a-index": "2", "b-seed": "3", "row-count": "9"}
    assert {name: page.input_value(f"#{name}") for name in values} == values
    assert page.inner_text("#at-value") == "0.20"
    page.evaluate("location.hash = '#seed=1&count=9'")
    page.wait_for_selector("#grid button:nth-child(10)", state="detached")
    assert_alike(grid(page), mlp.images(9, seed=1))
    page.evaluate("location.hash = '#seed=9223372036854775808&first=-1&count=7&psi=nan&label=0&a=x&at=2&open=1.5'")
    page.wait_for_selector("#grid button:nth-child(16)")
    assert page.input_value("#seed") == "0"  # nonsense is left out
    assert not page.is_visible("#enlarged")


@pytest.mark.slow
def test_what_is_typed_wrong_is_said(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path))
    for field, value, words in (("seed", "9223372036854775808", "64 bits"), ("first", str(2**47 - 3), "2^47")):
        page.fill(f"#{field}", value)
        page.press(f"#{field}", "Enter")
        assert words in page.inner_text("#wrong")
        assert page.get_attribute(f"#{field}", "aria-invalid") == "true"
    page.fill("#seed", "-9223372036854775808")
    page.press("#seed", "Enter")
    assert not page.is_visible("#wrong")
    assert_alike(grid(page), mlp.images(16, seed=-(2**63)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "colour"])
def test_saved_pictures_say_where_they_come_from(
    kind: str, request: pytest.FixtureRequest, opened: Open, tmp_path: Path
) -> None:
    model: Model = request.getfixturevalue(kind)
    page = opened(model.page(tmp_path), "#seed=9007199254740993&first=2&count=4")
    settle(page)
    sheet = saved(page, "#save-grid")
    assert sheet.size == (2 * 10 * 6 + 2 * 6, 2 * 10 * 6 + 2 * 6)
    assert sheet.text["XML:com.adobe.xmp"] == xmp(sheet.text["Software"])
    about = json.loads(sheet.text["gantool"])
    assert (about["seed"], about["first"], about["count"]) == (9007199254740993, 2, 4)
    assert about["architecture"] == model.manifest.architecture["name"]
    assert sheet.text["Description"].startswith("Images 2 to 5 of seed 9007199254740993, made by ")
    assert len(saved(page, "#save-row").text) == 4
    page.click("#grid button >> nth=1")
    image = saved(page, "#save-image")
    assert image.mode == ("L" if kind == "mlp" else "RGB")
    wanted = model.images(1, 9007199254740993, 3)[0]
    assert_alike(np.asarray(image).reshape(wanted.shape), wanted)


@pytest.mark.slow
def test_a_page_without_provenance_saves_pictures_without(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path, provenance=False))
    settle(page)
    assert saved(page, "#save-grid").text == {}


@pytest.mark.slow
@pytest.mark.parametrize("hashed", [True, False])
def test_other_pixels_are_a_clear_failure(mlp: Model, opened: Open, tmp_path: Path, hashed: bool) -> None:
    first, *others = mlp.manifest.golden
    (image, row, column, (value,)), *pixels = first.pixels
    damaged = dataclasses.replace(first, sha256="0" * 64, pixels=((image, row, column, ((value + 40) % 256,)), *pixels))
    script = "" if hashed else "Object.defineProperty(crypto, 'subtle', { value: undefined })"
    page = opened(mlp.page(tmp_path, golden=(damaged, *others)), script=script)
    assert page.get_attribute("#verdict", "data-state") == "bad"
    assert "1 of" in page.inner_text("#verdict")
    assert "(allowed: 1)" in page.inner_text("#verdict")
    near = dataclasses.replace(first, sha256="0" * 64)
    page = opened(mlp.page(tmp_path, golden=(near, *others)), script=script)
    assert page.get_attribute("#verdict", "data-state") == ("near" if hashed else "exact")


@pytest.mark.slow
def test_the_tolerance_of_the_manifest_decides(mlp: Model, opened: Open, tmp_path: Path) -> None:
    golden = tuple(
        dataclasses.replace(
            item,
            sha256="0" * 64,
            pixels=tuple(
                (*place, tuple(v - 5 if v > 100 else v + 5 for v in values)) for *place, values in item.pixels
            ),
        )
        for item in mlp.manifest.golden
    )
    page = opened(mlp.page(tmp_path, golden=golden, tolerance=6))
    assert page.get_attribute("#verdict", "data-state") == "near"
    told = page.inner_text("#verdict")  # a browser's kernels may round to one level more
    assert re.search(r"differ, by at most [56] levels \(allowed: 6\)", told), told


@pytest.mark.slow
def test_the_run_is_shown_where_there_is_one(mlp: Model, opened: Open, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "0001-shown")
    run.sample(1).parent.mkdir(parents=True)
    for step in (100, 200, 300):
        Image.new("L", (32, 32), step % 256).save(run.sample(step))
    lines = [{"step": s, "loss.generator": s / 100, f"loss.{HOSTILE}": 0.5} for s in (100, 200, 300)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = opened(dataclasses.replace(mlp, run=run).page(tmp_path))
    assert page.inner_text("#strip-step") == "300"
    page.focus("#strip-at")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#strip-step") == "200"
    assert page.locator(".chart .at").all_inner_texts() == ["step 200"]
    assert page.get_attribute("#strip-image", "alt") == "Grid of samples at training step 200"
    assert page.evaluate("document.getElementById('strip-image').naturalWidth") == 32
    assert page.locator(".chart h3").all_inner_texts() == ["Loss"]
    assert page.locator(".legend li span").all_inner_texts() == ["generator", HOSTILE]
    page.focus(".chart svg[tabindex]")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".chart .at") == "step 200"
    assert page.locator(".legend output").all_inner_texts() == ["2", "0.5"]
    assert f"Step 200: generator 2, {HOSTILE} 0.5" in page.text_content("#announce")


@pytest.mark.slow
def test_without_a_run_there_is_no_training(colour: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(colour.page(tmp_path))
    assert not page.is_visible("#training")
    assert not page.is_visible("#classes")
    assert page.is_visible("#facts")


@pytest.mark.slow
def test_hostile_names_stay_text(conditional: Model, opened: Open, tmp_path: Path) -> None:
    described = {
        "architecture": {"name": HOSTILE, "plugin": HOSTILE, "plugin_version": HOSTILE, "config": {HOSTILE: HOSTILE}},
        "training": {"run": HOSTILE, "step": HOSTILE, "seed": [HOSTILE]},
        "data": {"name": HOSTILE, "count": HOSTILE, "class_names": {"0": HOSTILE}},
        "licence": HOSTILE * 30,
    }
    page = opened(conditional.page(tmp_path, **described), viewport={"width": 360, "height": 740})
    assert page.inner_text("h1") == HOSTILE
    assert page.title() == f"{HOSTILE} · {HOSTILE} · playground"
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.get_attribute("#verdict", "data-state") in ("exact", "near")


@pytest.mark.slow
def test_a_phone_needs_no_sideways_scrolling(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path), "#count=100&row=13", viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#grid button").first.click()
    assert page.evaluate("document.getElementById('enlarged').scrollWidth") <= 360
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_dark_colours_follow_the_system_and_the_button(mlp: Model, opened: Open, tmp_path: Path) -> None:
    page = opened(mlp.page(tmp_path), color_scheme="dark")

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.strip("rgb()").split(",")[0])

    assert brightness() < 60
    page.click("#theme")
    assert brightness() > 200
    assert page.inner_text("#theme") == "Dark colours"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("delete window.WebAssembly", "WebAssembly is missing"),
        ("WebAssembly.validate = () => false", "no WebAssembly SIMD"),
        ("delete window.DecompressionStream", "DecompressionStream"),
        ("delete window.BigInt64Array", "too old"),
    ],
)
def test_what_a_browser_lacks_is_said_in_words(
    mlp: Model, opened: Open, tmp_path: Path, script: str, words: str
) -> None:
    page = opened(mlp.page(tmp_path), script=script)
    assert words in page.inner_text("#trouble")
    assert "Firefox 113" in page.inner_text("#trouble")
    assert page.inner_text("#verdict") == "Not running"


@pytest.mark.slow
def test_a_file_that_was_cut_off_is_said_in_words(mlp: Model, opened: Open, tmp_path: Path) -> None:
    path = mlp.page(tmp_path)
    text = path.read_text()
    at = text.index('id="payload-generator">') + 200
    path.write_text(text[:at] + "AAAA" + text[at + 4 :])
    page = opened(path)
    assert "damaged (generator" in page.inner_text("#trouble")


@pytest.mark.slow
def test_the_policy_of_the_page_forbids_the_network(mlp: Model, browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(mlp.page(tmp_path).as_uri())
    page.wait_for_selector(JUDGED, timeout=60_000)
    page.evaluate(
        """() => {
            window.forbidden = [];
            addEventListener("securitypolicyviolation", (event) => forbidden.push(event.effectiveDirective));
            const address = "https://example.invalid/";
            document.body.append(Object.assign(new Image(), { src: address }));
            document.body.append(Object.assign(document.createElement("script"), { textContent: "hacked = 1" }));
            document.body.append(Object.assign(document.createElement("iframe"), { src: address }));
            document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: address }));
            fetch(address).catch(() => {});
        }"""
    )
    for kind in ("img-src", "script-src-elem", "frame-src", "style-src-elem", "connect-src"):  # a moment later
        page.wait_for_function("(kind) => forbidden.includes(kind)", arg=kind)
    assert page.evaluate("typeof hacked") == "undefined"
    page.close()
