"""App kits of generators that take a picture, in their hosts: all make what gantool.runtime makes of it."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from support import hosts, translators

from gantool import exporting
from gantool.artifact import provenance
from gantool.exporting.app import playground, write_app
from gantool.exporting.source import Artifact
from gantool.runtime import Generator

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KINDS = ("unet", "residual", "fixed", "enlarging")  # noise and a value; neither; one size and grey; twice the size
SIDES = ((32, 32), (33, 47), (1, 5), (64, 40))


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory, browser_runtime: None) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    for kind in KINDS:
        (made,) = exporting.write(getattr(translators, kind)(), ["onnx-seeded"], folder / f"export-{kind}")
        write_app(made, None, None, folder / kind, playground=False)
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def app(request: pytest.FixtureRequest, kits: dict[str, Path], tmp_path: Path) -> Path:
    """A kit alone in a folder, as a developer gets it."""
    shutil.copytree(kits[request.param], tmp_path / "app")
    (tmp_path / "app" / "node" / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    return tmp_path / "app"


def only(*kinds: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("app", kinds, indirect=True)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hosts.bare_python(tmp_path_factory.mktemp("bare"), "pillow")


def runtime(app: Path) -> Generator:
    return Generator(app / "generator.seeded.onnx")


def pictures(app: Path) -> list[np.ndarray]:
    """Of mixed sizes, where the generator takes them."""
    item, rng = runtime(app).manifest.picture, np.random.default_rng(0)
    assert item is not None
    sides = SIDES if item.multiple else SIDES[:1]
    return [rng.integers(0, 256, (*each, item.channels), dtype=np.uint8) for each in sides]


def options(app: Path) -> dict[str, object]:
    """What is asked for besides the picture: noise above what a double holds, and the value."""
    if not runtime(app).manifest.latents:
        return {}
    return {"seed": 2**53 + 1, "index": 2**47 - 1, "values": {"strength": 0.5}}


def expected(
    app: Path, picture: object, seed: int = 0, index: int = 0, values: dict[str, float] | None = None
) -> np.ndarray:
    made: np.ndarray = runtime(app).translate(picture, seed, index, values=values)[0]
    return made


def saved(picture: np.ndarray, path: Path) -> Path:
    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(path)
    return path


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


PYTHON_PROGRAM = """
import json, sys
sys.path.insert(0, "python")
import numpy as np
from generator import Generator

generator = Generator()
given = np.load("pictures.npz")
np.savez("results.npz", *(generator.translate(given[name], **json.loads(sys.argv[1])) for name in given))
print(*generator.self_test())
"""


@pytest.mark.slow
def test_python_makes_the_same_of_pictures_of_any_size(app: Path, python: Path) -> None:
    given = pictures(app)
    np.savez(app / "pictures.npz", *given)
    said = hosts.run(python, "-I", "-c", PYTHON_PROGRAM, json.dumps(options(app)), cwd=app)
    assert said.split() == ["True", "12", "0"]
    made = np.load(app / "results.npz")
    for number, picture in enumerate(given):
        np.testing.assert_array_equal(made[f"arr_{number}"], expected(app, picture, **options(app)))  # type: ignore[arg-type]


NODE_PROGRAM = """
import { readFileSync, writeFileSync } from "node:fs";
import { Generator } from "./generator.mjs";

const generator = await Generator.open();
const options = JSON.parse(process.argv[2]);
if (options.seed) options.seed = BigInt(options.seed);
for (const [i, [height, width, channels]] of JSON.parse(process.argv[3]).entries()) {
  const made = await generator.translate({ data: readFileSync(`${i}.in`), width, height, channels }, options);
  writeFileSync(`${i}.bin`, made.data);
  writeFileSync(`${i}.json`, JSON.stringify([made.height, made.width, made.channels]));
}
console.log(JSON.stringify(await generator.selfTest()));
"""


@pytest.mark.slow
def test_node_makes_the_same_of_pictures_of_any_size(app: Path) -> None:
    node, given, asked = app / "node", pictures(app), options(app)
    (node / "program.mjs").write_text(NODE_PROGRAM)
    for number, picture in enumerate(given):
        (node / f"{number}.in").write_bytes(picture.tobytes())
    if asked:
        asked["seed"] = str(asked["seed"])
    shapes = json.dumps([picture.shape for picture in given])
    test = json.loads(hosts.run(hosts.node(), "program.mjs", json.dumps(asked), shapes, cwd=node))
    assert test == {"exact": True, "images": 12, "worst": 0}
    for number, picture in enumerate(given):
        wanted = expected(app, picture, **options(app))  # type: ignore[arg-type]
        assert tuple(json.loads((node / f"{number}.json").read_text())) == wanted.shape
        assert (node / f"{number}.bin").read_bytes() == wanted.tobytes()


WEB_PROGRAM = """async ([given, options]) => {
  const { Generator } = await import("./generator.mjs");
  const generator = await Generator.open();
  if (options.seed) options.seed = BigInt(options.seed);
  const text = (bytes) => { let s = ""; for (const b of bytes) s += String.fromCharCode(b); return btoa(s); };
  const made = [];
  for (const [data, [height, width, channels]] of given) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const result = await generator.translate({ data: bytes, width, height, channels }, options);
    const shown = result.toImageData();
    made.push([text(result.data), [result.height, result.width, result.channels], [shown.width, shown.height]]);
  }
  return [made, await generator.selfTest()];
}"""


def close(made: np.ndarray, wanted: np.ndarray) -> None:
    """WebAssembly rounds some sums in another order: by a level, in one value of 5,000."""
    assert made.shape == wanted.shape
    off = np.abs(made.astype(int) - wanted.astype(int))
    assert off.max(initial=0) <= 1
    assert np.count_nonzero(off) <= max(1, 0.0002 * off.size)


@pytest.mark.slow
def test_a_browser_makes_the_same_of_pictures_of_any_size(app: Path, browser: Browser) -> None:
    (app / "web" / "empty.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    asked = options(app)
    if asked:
        asked["seed"] = str(asked["seed"])
    given = [(base64.b64encode(picture.tobytes()).decode(), picture.shape) for picture in pictures(app)]
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/empty.html")
        made, test = page.evaluate(WEB_PROGRAM, [given, asked])
    assert (test["images"], test["worst"] <= 1) == (12, True)
    for (data, shape, sides), picture in zip(made, pictures(app), strict=True):
        wanted = expected(app, picture, **options(app))  # type: ignore[arg-type]
        close(np.frombuffer(base64.b64decode(data), np.uint8).reshape(shape), wanted)
        assert sides == [wanted.shape[1], wanted.shape[0]]


# --- the programs


def modes(folder: Path) -> list[Path]:
    """PNG files of every type of colour that Node's program reads; with each of PNG's filters."""
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    waves = np.cumsum(noise // 64, axis=0).astype(np.uint8)
    paths = []
    for mode, channels in (("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)):
        for name, pixels in (("noise", noise), ("waves", waves)):
            part = np.ascontiguousarray(pixels[:, :, :channels]).squeeze()
            paths.append(folder / f"{mode}-{name}.png")
            Image.frombytes(mode, (32, 32), part.tobytes()).save(paths[-1])
    coloured = Image.frombytes("RGB", (32, 32), np.ascontiguousarray(waves[:, :, :3]).tobytes())
    paths += [folder / "palette.png", folder / "clear.png", folder / "key.png"]
    coloured.quantize(200).save(paths[-3])
    coloured.quantize(200).save(paths[-2], transparency=bytes(range(200)))
    coloured.save(paths[-1], transparency=tuple(int(level) for level in waves[3, 4, :3]))
    return paths


@only("fixed", pytest.param("residual", marks=pytest.mark.slow))
def test_the_programs_read_pictures_alike(app: Path, python: Path, tmp_path: Path) -> None:
    for path in modes(tmp_path):
        hosts.run(python, "generator.py", "--input", path, "-o", "r.png", cwd=app / "python")
        hosts.run(hosts.node(), "example.mjs", "--input", path, "-o", "r.png", cwd=app / "node")
        with Image.open(path) as picture:
            wanted = expected(app, picture)
        np.testing.assert_array_equal(opened(app / "python" / "r.png"), wanted, path.name)
        np.testing.assert_array_equal(opened(app / "node" / "r.png"), wanted, path.name)


@only("unet", "residual")
@pytest.mark.slow
def test_results_say_where_they_come_from(app: Path, python: Path, tmp_path: Path) -> None:
    path = saved(pictures(app)[1], tmp_path / "in.png")
    manifest = runtime(app).manifest
    asked = ["--seed", 7, "--first", 3, "-n", 2, "--input", path, "-o", "r.png"]
    told = provenance.of(manifest, 7, 3, 2)
    if manifest.latents:
        asked += ["--value", "strength=0.5"]
        told = dataclasses.replace(told, values={"strength": 0.5})
    else:
        told = dataclasses.replace(told, seed=None, first=None)
    values = dict(told.values)
    wanted = [expected(app, pictures(app)[1], 7, 3 + i, values or None) for i in range(2)]
    for program, script in ((python, "python/generator.py"), (Path(hosts.node()), "node/example.mjs")):
        folder = (app / script).parent
        said = hosts.run(program, Path(script).name, *asked, cwd=folder)
        assert said == f"r.png: made of {path}\n"
        np.testing.assert_array_equal(opened(folder / "r.png"), np.concatenate(wanted, axis=1))
        with Image.open(folder / "r.png") as picture:
            assert json.loads(picture.text[provenance.KEY]) == json.loads(told.to_json())  # type: ignore[attr-defined]


def failing(*command: object, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=hosts.TIMEOUT)
    (line,) = done.stderr.splitlines()
    assert not (cwd / "r.png").exists()
    return done.returncode, line.partition(": ")[2].removeprefix("error: ")


@only("fixed")
def test_what_does_not_fit_is_said_in_a_line(app: Path, python: Path, tmp_path: Path) -> None:
    large = saved(np.zeros((40, 33, 1), np.uint8), tmp_path / "large.png")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(deep)
    for program, script, wrong in (
        (python, "python/generator.py", "cannot identify image file"),
        (Path(hosts.node()), "node/example.mjs", "This is no PNG file."),
    ):
        folder, name = (app / script).parent, Path(script).name
        for given, said in (
            ([], "his generator takes a picture: --input picture.png"),
            (["--input", large], "he picture has 33 × 40 pixels: this generator takes 32 × 32"),
            (["--input", text], wrong),
            (["--input", tmp_path / "none.png"], "o such file or directory"),
        ):
            code, line = failing(program, name, *given, "-o", "r.png", cwd=folder)
            assert (code, said in line) == (1, True), (script, line)
    code, line = failing(hosts.node(), "example.mjs", "--input", deep, "-o", "r.png", cwd=app / "node")
    assert (code, "8 bits" in line) == (1, True)


REFUSED = """
import sys
sys.path.insert(0, "python")
import numpy as np
from generator import Generator

generator = Generator()
blank = np.zeros((32, 32, 3), np.uint8)
for call in (
    lambda: generator.sample(1),
    lambda: generator.translate(blank[:, :, :1]),
    lambda: generator.translate(blank / 255),
    lambda: generator.translate(blank[:0]),
    lambda: generator.translate(blank, labels=1),
    lambda: generator.translate(blank, index=2**47),
    lambda: generator.translate(blank, values={"strength": 2}),
):
    try:
        call()
    except ValueError as error:
        print(error)
"""
SAID = [
    "this generator takes a picture: call translate(picture)",
    "the picture is uint8 (32, 32, 1): give uint8 (height, width, 3)",
    "the picture is float64 (32, 32, 3): give uint8 (height, width, 3)",
    "the picture is uint8 (0, 32, 3): give uint8 (height, width, 3)",
    "this generator takes no labels",
    f"there are no samples {2**47} to {2**47}: they run from 0 to 2**47 - 1",
    "strength goes from 0 to 1.5",
]


@only("unet")
@pytest.mark.slow
def test_python_refuses(app: Path, python: Path) -> None:
    assert hosts.run(python, "-I", "-c", REFUSED, cwd=app).splitlines() == SAID


NODE_REFUSED = """
import { Generator } from "./generator.mjs";
const generator = await Generator.open();
const blank = { data: new Uint8Array(32 * 32 * 3), width: 32, height: 32, channels: 3 };
for (const call of [
  () => generator.sample(),
  () => generator.translate({ ...blank, height: 31 }),
  () => generator.translate({ ...blank, channels: undefined }),
  () => generator.translate(blank, { labels: 1 }),
  () => generator.translate(blank, { index: -1 }),
  () => generator.translate(blank, { values: { strength: 2 } }),
]) console.log(await call().then(() => "made", (error) => `${error.name}: ${error.message}`));
"""


@only("unet")
@pytest.mark.slow
def test_node_refuses(app: Path) -> None:
    (app / "node" / "refused.mjs").write_text(NODE_REFUSED)
    assert hosts.run(hosts.node(), "refused.mjs", cwd=app / "node").splitlines() == [
        "TypeError: This generator takes a picture: call translate(picture).",
        "RangeError: The picture has 3072 bytes: 32 × 31 × 3 are needed.",
        "RangeError: The picture has 3072 bytes: 32 × 32 × 4 are needed.",
        "TypeError: This generator takes no labels.",
        "RangeError: first is -1: take one from 0 to 140737488355327.",
        "RangeError: strength is 2: it goes from 0 to 1.5.",
    ]


# --- the README, the code of the page, the demo


def blocks(app: Path, language: str) -> list[str]:
    text = (app / "README.md").read_text(encoding="utf-8")
    assert "%%" not in text
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@only("unet", "fixed")
def test_the_readme_works_as_it_is_pasted(app: Path, python: Path) -> None:
    picture = pictures(app)[0]
    for folder in ("python", "node"):
        saved(picture, app / folder / "picture.png")
    (code,), (script,) = blocks(app, "python"), blocks(app, "js")
    (app / "python" / "pasted.py").write_text(code)
    (app / "node" / "pasted.mjs").write_text(script)
    height, width, channels = expected(app, picture).shape
    test = "SelfTest(exact=True, images=12, worst=0)"
    assert hosts.run(python, "pasted.py", cwd=app / "python") == f"({height}, {width}, {channels}) {test}\n"
    said = hosts.run(hosts.node(), "pasted.mjs", cwd=app / "node")
    assert said == f"{height} {width} {{ exact: true, images: 12, worst: 0 }}\n"
    for block, folder in zip(blocks(app, "sh")[:2], ("python", "node"), strict=True):
        command = block.splitlines()[-1].split()[1:]
        hosts.run(python if folder == "python" else hosts.node(), *command, cwd=app / folder)
        wanted = expected(app, picture, 0 if folder == "python" else 7)  # the programs' own
        np.testing.assert_array_equal(opened(app / folder / "result.png"), wanted)


def test_the_readme_says_what_it_takes(app: Path) -> None:
    text = (app / "README.md").read_text(encoding="utf-8")
    item = runtime(app).manifest.picture
    assert item is not None
    assert "the model: a picture in, images out" in text
    assert (
        f"| takes | 32 × 32 pixels, {'3 channels: RGB' if item.channels == 3 else '1 channel: grey'}, uint8 |" in text
    )
    assert "| generator |" not in text
    assert ("Other sizes work, too" in text) == bool(item.multiple)
    assert ("`seed` and `index` choose" in text) == bool(runtime(app).manifest.latents)
    assert ("## Values" in text) == bool(runtime(app).manifest.values)


def test_the_readme_names_one_of_several_generators(kits: dict[str, Path], tmp_path: Path) -> None:
    model = kits["residual"] / "generator.seeded.onnx"
    about = dataclasses.replace(Generator(model).manifest, which="forward")
    write_app(Artifact(model, about, ()), None, None, tmp_path / "app", playground=False)
    assert "| generator | forward |" in (tmp_path / "app" / "README.md").read_text(encoding="utf-8")


WRITTEN = {
    "Python": "\nfrom pathlib import Path\nPath('made.bin').write_bytes(result.tobytes())\n",
    "Node": "\n(await import('node:fs')).writeFileSync('made.bin', result.data);\n",
}


@pytest.mark.parametrize("language", ["Python", "Node"])
@only("unet", "fixed")
@pytest.mark.slow
def test_code_from_the_page_works_as_it_is_pasted(app: Path, python: Path, language: str) -> None:
    code = (Path(playground.ASSETS).parent / "templates" / "playground" / "code.js").read_text(encoding="utf-8")
    manifest, seeded = runtime(app).manifest, bool(runtime(app).manifest.latents)
    assert manifest.picture is not None
    source = json.dumps({"shape": manifest.picture.shape, "multiple": manifest.picture.multiple})
    values = json.dumps([["strength", 0.5]] if seeded else [])
    call = f"translateCode('{language}', '{2**53 + 1}', null, {values})"
    script = (
        f"const NOUN = 'image', LABEL = null, SOURCE = {source}, SEEDED = {str(seeded).lower()};"
        f"{code};process.stdout.write({call});"
    )
    folder, name = app / language.lower(), "pasted.py" if language == "Python" else "pasted.mjs"
    (folder / name).write_text(hosts.run(hosts.node(), "-e", script, cwd=app) + WRITTEN[language])
    picture = pictures(app)[0]
    saved(picture, folder / "picture.png")
    hosts.run(python if language == "Python" else hosts.node(), name, cwd=folder)
    wanted = expected(app, picture, 2**53 + 1, 0, {"strength": 0.5} if seeded else None)
    assert (folder / "made.bin").read_bytes() == wanted.tobytes()


CANVASES = """() => [...document.querySelectorAll("canvas")].map((canvas) =>
  [canvas.height, canvas.width, [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]])"""


@only("unet", pytest.param("fixed", marks=pytest.mark.slow))
def test_the_readmes_page(app: Path, browser: Browser) -> None:
    (block,) = blocks(app, "html")
    (app / "web" / "pasted.html").write_text(block)
    saved(pictures(app)[0], app / "web" / "picture.png")
    (app / "favicon.ico").touch()  # browsers ask for it
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/pasted.html")
        page.wait_for_function("document.querySelector('canvas').width !== 300")
        ((height, width, rgba),) = page.evaluate(CANVASES)
    seed = 7 if runtime(app).manifest.latents else 0
    close(np.array(rgba, np.uint8).reshape(height, width, 4)[:, :, :3], expected(app, pictures(app)[0], seed))


@only("unet", pytest.param("fixed", marks=pytest.mark.slow))
def test_the_demo_page(app: Path, browser: Browser, tmp_path: Path) -> None:
    picture = pictures(app)[-1]
    with hosts.served(app) as address, hosts.page(browser, address, width=360) as page:
        page.goto(f"{address}web/")
        page.wait_for_function("document.getElementById('status').textContent.startsWith('A picture of 32 × 32')")
        assert page.get_by_role("textbox", name="Seed").is_visible() == bool(runtime(app).manifest.latents)
        page.set_input_files("#file", saved(picture, tmp_path / "in.png"))
        height, width, _ = picture.shape
        said = f"A picture of {width} × {height} pixels and what becomes of it, in"
        page.wait_for_function(
            "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1).data[0] === "
            + str(picture[0, 0, 0])
        )
        assert page.get_by_role("status").inner_text().startswith(said)
        source, result = page.evaluate(CANVASES)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.set_input_files("#file", app / "README.md")
        page.wait_for_function("document.getElementById('status').textContent.includes('picture can')")
    for (high, wide, rgba), wanted in (
        (source, picture),
        (result, expected(app, picture, 7 if runtime(app).manifest.latents else 0)),
    ):
        shown = np.array(rgba, np.uint8).reshape(high, wide, 4)[:, :, :3]
        close(shown, np.broadcast_to(wanted, (*wanted.shape[:2], 3)))


TYPED = """
import { Generator, type Picture, type Source } from "%s";

const generator: Generator = await Generator.open();
const picture: Source = { data: new Uint8ClampedArray(4), width: 1, height: 1 };
const made: Picture = await generator.translate(picture, { seed: 7n, index: 2, values: { strength: 1 } });
export const used = [made.data.length, generator.source?.multiple, generator.seeded];
// @ts-expect-error a picture has sides
await generator.translate({ data: new Uint8Array(4) });
"""


@pytest.mark.slow
@only("unet")
def test_the_types(app: Path) -> None:
    compiler = hosts.node_modules("typescript") / "typescript" / "bin" / "tsc"
    (app / "node" / "use.mts").write_text(TYPED % "./generator.mjs")
    shown = "export const shown: ImageData = (await generator.translate(picture)).toImageData();\n"
    (app / "web" / "use.mts").write_text(TYPED % "./generator.mjs" + shown)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    hosts.run(hosts.node(), compiler, *options, "--typeRoots", "none", "node/use.mts", "web/use.mts", cwd=app)
