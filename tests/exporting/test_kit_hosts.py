"""App kits in their hosts: Python without gantool, Node, a browser. All make the images that gantool.runtime makes."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support import hosts
from support.exports import Conditional, Z, sliders, source, source_of

from gantool import __version__, exporting
from gantool.artifact import inspection, provenance
from gantool.exporting.app import playground, write_app
from gantool.exporting.source import Artifact
from gantool.plugin.architecture import Input
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCRIPT = "</script><img src=x onerror=\"document.title='attacked'\">`"
# (count, seed, first): across chunks, negative, above what a double holds, and the last images that there are
ASKED = [(70, 7, 0), (3, -5, 1000), (2, 2**63 - 1, 5), (1, -(2**63), 2**40), (2, 2**53 + 1, 2**47 - 2), (0, 1, 4)]


@pytest.fixture(scope="module")
def kits(
    tmp_path_factory: pytest.TempPathFactory,
    exported_run: RunDir,
    tiny_export: Callable[..., Path],
    browser_runtime: None,
) -> dict[str, Path]:
    """Kits of: a trained mlp; a colour generator, higher than wide; convolutions; a label, with hostile names."""
    label = Input("label", (), "label", classes=3)
    conditional = source(Conditional(), Z, label)
    about = dataclasses.replace(
        conditional.about,
        architecture={**conditional.about.architecture, "name": SCRIPT},
        data={"name": SCRIPT, "class_names": [SCRIPT, "dog", "cat"]},
    )
    sources = {
        "dcgan": source_of("dcgan", 16, width=4, max_width=8, latent_dim=5),
        "label": dataclasses.replace(conditional, about=about),
        "value": sliders(),
    }
    folder = tmp_path_factory.mktemp("kits")
    made = {"trained": exported_run.export, "colour": tiny_export(3, 8, 6)}
    paths = {name: path / "generator.seeded.onnx" for name, path in made.items()}
    artifacts = {name: Artifact(path, inspection.inspect(path).manifest, ()) for name, path in paths.items()}
    for name, each in sources.items():
        (artifacts[name],) = exporting.write(each, ["onnx-seeded"], folder / f"export-{name}")
    for name, item in artifacts.items():
        write_app(item, None, None, folder / name, playground=False)
    return {name: folder / name for name in artifacts}


@pytest.fixture(params=["trained", "colour", "dcgan", "label"])
def app(request: pytest.FixtureRequest, kits: dict[str, Path], tmp_path: Path) -> Path:
    """A kit alone in a folder, as a developer gets it."""
    shutil.copytree(kits[request.param], tmp_path / "app")
    return tmp_path / "app"


SOME = pytest.mark.parametrize("app", ["colour", "label"], indirect=True)  # of three channels; of one, with labels


def expected(app: Path, count: int, seed: int, first: int = 0, labels: int | list[int] | None = None) -> np.ndarray:
    return Generator(app / "generator.seeded.onnx").sample(count, seed, first, labels)


def conditional(app: Path) -> bool:
    return Generator(app / "generator.seeded.onnx").manifest.input("label") is not None


def sheet(images: np.ndarray) -> np.ndarray:
    """16 images as the programs lay them out: four rows of four."""
    return np.concatenate([np.concatenate(row, axis=1) for row in images.reshape(4, 4, *images.shape[1:])])


def check_picture(path: Path, images: np.ndarray, told: provenance.Provenance) -> None:
    with Image.open(path) as picture:
        shown = np.asarray(picture)
        xmp = picture.info["xmp"] if "xmp" in picture.info else picture.text["XML:com.adobe.xmp"].encode()
        assert set(picture.text) == {provenance.XMP_KEY, provenance.KEY}
        assert json.loads(picture.text[provenance.KEY]) == json.loads(told.to_json())
    np.testing.assert_array_equal(shown.reshape(sheet(images).shape), sheet(images))
    assert xmp.decode() == provenance.xmp(f"gantool {__version__}")
    (source_type,) = ET.fromstring(xmp).iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source_type.text == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def origin(app: Path, seed: int, first: int = 0, count: int = 16, label: int | None = None) -> provenance.Provenance:
    """What a picture of the kit's model is to say."""
    return provenance.of(Generator(app / "generator.seeded.onnx").manifest, seed, first, count, label)


def blocks(app: Path, language: str) -> list[str]:
    text = (app / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# --- Python


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hosts.bare_python(tmp_path_factory.mktemp("bare"))


PYTHON_PROGRAM = """
import json, sys
sys.path.insert(0, "python")
import numpy as np
from generator import Generator

generator = Generator()
asked = json.loads(sys.argv[1])
images = [generator.sample(*call) for call in asked]
np.savez("images.npz", *images)
print(*generator.self_test())
for name in ("torch", "gantool", "onnx", "PIL"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is there")
"""


def test_python_makes_the_same_images(app: Path, python: Path) -> None:
    asked: list[list[object]] = [list(call) for call in ASKED]
    if conditional(app):
        asked += [[3, 7, 0, 2], [3, 7, 1, [2, 0, 1]]]
    said = hosts.run(python, "-I", "-c", PYTHON_PROGRAM, json.dumps(asked), cwd=app)
    assert said.split() == ["True", "12", "0"]
    made = np.load(app / "images.npz")
    for number, call in enumerate(asked):
        np.testing.assert_array_equal(made[f"arr_{number}"], expected(app, *call))  # type: ignore[arg-type]


@SOME
def test_python_writes_a_picture(app: Path, python: Path) -> None:
    said = hosts.run(python, "generator.py", "--seed", "7", "-n", "16", "--first", 3, "-o", "g.png", cwd=app / "python")
    assert said == "g.png: 16 images of seed 7\n"
    check_picture(app / "python" / "g.png", expected(app, 16, 7, 3), origin(app, 7, 3))
    if conditional(app):
        hosts.run(python, "generator.py", "--seed", 2**63 - 1, "--label", 2, "-o", "l.png", cwd=app / "python")
        images = expected(app, 16, 2**63 - 1, labels=2)
        check_picture(app / "python" / "l.png", images, origin(app, 2**63 - 1, label=2))
    assert "exact=True" in hosts.run(python, "generator.py", "--self-test", cwd=app / "python")


PYTHON_REFUSED = [
    ("generator.sample(1, 2**63)", "ValueError", "does not fit 64 bits"),
    ("generator.sample(-1)", "ValueError", "no samples"),
    ("generator.sample(2, 0, 2**47 - 1)", "ValueError", "no samples"),
    ("generator.sample(1.5)", "TypeError", "integer"),
    ("generator.sample(1, 0, 0, 3)", "ValueError", "there is no class 3: they are 0 to 2"),
    ("generator.sample(1, labels='none')", "ValueError", "there is no class 'none': they are "),
    ("generator.sample(1, 0, 0, [0, 1])", "ValueError", "give one whole number, or 1"),
    ("generator.sample(1, 0, 0, 0.5)", "", "give one whole number, or 1"),
    ("Generator('node/package.json')", "", ""),
    ("generator.self_test()", "RuntimeError", "samples differ by up to 64 levels"),
]
PYTHON_REFUSING = """
import json, sys
sys.path.insert(0, "python")
from generator import Generator

generator = Generator()
generator.manifest["golden"][1]["pixels"][0][3][0] ^= 64
said = []
for call in json.loads(sys.argv[1]):
    try:
        said.append(["", str(eval(call))])
    except Exception as error:
        said.append([type(error).__name__, str(error)])
print(json.dumps(said))
"""


BY_NAME = """
import sys
sys.path.insert(0, "python")
from generator import Generator

generator = Generator()
name = generator.class_names[1]
for labels in (name, [name, 1, "1"]):
    assert (generator.sample(3, labels=labels) == generator.sample(3, labels=1)).all()
print(name)
"""


def test_python_takes_classes_by_name(kits: dict[str, Path], python: Path) -> None:
    kit = kits["label"]
    name = hosts.run(python, "-I", "-c", BY_NAME, cwd=kit).rstrip("\n")
    for label, file in ((name, "named.png"), (1, "numbered.png")):
        hosts.run(python, "generator.py", f"--label={label}", "-o", file, cwd=kit / "python")
    assert (kit / "python" / "named.png").read_bytes() == (kit / "python" / "numbered.png").read_bytes()


def test_python_refuses(kits: dict[str, Path], python: Path) -> None:
    calls = [call for call, _, _ in PYTHON_REFUSED]
    said = json.loads(hosts.run(python, "-I", "-c", PYTHON_REFUSING, json.dumps(calls), cwd=kits["label"]))
    for (call, kind, message), (name, text) in zip(PYTHON_REFUSED, said, strict=True):
        assert name, (call, text)  # raised
        assert kind in name, (call, name)
        assert message in text, (call, text)
    call = json.dumps(["generator.sample(1, labels=0)"])
    ((name, text),) = json.loads(hosts.run(python, "-I", "-c", PYTHON_REFUSING, call, cwd=kits["colour"]))
    assert (name, text.partition(":")[0]) == ("ValueError", "this generator takes no labels")


@SOME
def test_the_readmes_python(app: Path, python: Path) -> None:
    (block,) = blocks(app, "python")
    (app / "python" / "pasted.py").write_text(block)
    said = hosts.run(python, "pasted.py", cwd=app / "python")
    height, width, channels = expected(app, 1, 0).shape[1:]
    assert said == f"(16, {height}, {width}, {channels}) SelfTest(exact=True, images=12, worst=0)\n"
    command = next(line for line in blocks(app, "sh")[0].splitlines() if line.startswith("python "))
    hosts.run(python, *command.split()[1:], cwd=app / "python")
    check_picture(app / "python" / "grid.png", expected(app, 16, 7), origin(app, 7))


def failing(*command: object, cwd: Path) -> tuple[int, str]:
    """The exit code and what is printed to stderr; no traceback, no file."""
    before = set(cwd.rglob("*"))
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=hosts.TIMEOUT)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not re.search(r"^\s+at ", done.stderr, re.MULTILINE), done.stderr  # a stack of Node
    assert {path for path in cwd.rglob("*") if path.name != "__pycache__" and path.suffix != ".pyc"} <= before
    return done.returncode, done.stderr


# of both programs: options, exit code, the last line but for "Try: …"
WRONG: list[tuple[list[object], int, str]] = [
    (["-n", 0], 2, "a file holds 1 to 10000 images, not 0"),
    (["-n", -1], 2, "a file holds 1 to 10000 images, not -1"),
    (["-n", 10**15], 2, f"a file holds 1 to 10000 images, not {10**15}"),
    (["--seed", 2**63], 1, "does not fit 64 bits"),
    (["--first", -1], 1, "-1"),
    (["--first", 2**47], 1, str(2**47)),
    (["--label", 3], 1, "takes no labels"),
    (["-o", "missing/grid.png"], 1, "missing/grid.png"),
    (["-o", "."], 1, "directory"),
    (["--sede", 1], 2, "--sede"),
    (["--seed"], 2, "--seed"),
]


PYTHONS = [
    *WRONG,
    (["--seed", "1e3"], 2, "argument --seed: invalid int value: '1e3'"),
    (["-n", "1.5"], 2, "argument -n/--count: invalid int value: '1.5'"),
    (["--model", "none.onnx"], 1, "there is no file none.onnx"),
    (["--model", "requirements.txt"], 1, "requirements.txt can't be loaded"),
    (["--model", "none.onnx", "--self-test"], 1, "there is no file none.onnx"),
]


def test_pythons_program_says_in_a_line_what_is_wrong_and_has_help(
    kits: dict[str, Path], python: Path, tmp_path: Path
) -> None:
    shutil.copytree(kits["colour"], tmp_path / "app")
    folder = tmp_path / "app" / "python"
    for options, code, said in PYTHONS:
        left, errors = failing(python, "generator.py", *options, cwd=folder)
        assert left == code, options
        assert errors.splitlines()[-1].startswith("generator.py: error: ")
        assert said in errors.splitlines()[-1]
        assert code == 2 or len(errors.splitlines()) == 1  # with 2, argparse shows the usage above it
    assert "-n COUNT, --count COUNT" in hosts.run(python, "generator.py", "--help", cwd=folder)


# --- where the model lies: beside the module, or one folder up

PICTURE = {
    "Python": "\nfrom pathlib import Path\nPath('made.bin').write_bytes(image.tobytes())\n",
    "Node": "\n(await import('node:fs')).writeFileSync('made.bin', data);\n",
}


def pasted(
    language: str, seed: int, first: int, label: int | None, values: dict[str, float] | None = None, noun: str = "image"
) -> str:
    """The code that the playground shows of an image, and a line that writes its bytes to made.bin."""
    code = (Path(playground.ASSETS).parent / "templates" / "playground" / "code.js").read_text(encoding="utf-8")
    given = f"Object.entries({json.dumps(values or {})})"
    call = f"codeFor({language!r}, {str(seed)!r}, {first}, {json.dumps(label)}, {given})"
    script = f"const NOUN = {json.dumps(noun)}, LABEL = {{ classes: 3 }};{code};process.stdout.write({call});"
    done = subprocess.run([hosts.node(), "-e", script], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(#|//) generator\.seeded\.onnx lies beside generator\..*, or one folder up$", done.stdout, re.M)
    return done.stdout + PICTURE[language]


@pytest.mark.parametrize("language", ["Python", "Node"])
@pytest.mark.parametrize("flat", [False, True], ids=["in the kit", "in a new project"])
@SOME
def test_code_from_the_playground_works_as_it_is_pasted(
    app: Path, python: Path, tmp_path: Path, language: str, flat: bool
) -> None:
    folder = app / language.lower()
    if flat:
        folder = tmp_path / "flat"
        shutil.copytree(app / language.lower(), folder)
        shutil.copy(app / "generator.seeded.onnx", folder)
        (tmp_path / "generator.seeded.onnx").write_bytes(b"not this one")
    if language == "Node":
        (folder / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    label = 2 if conditional(app) else None
    name = "pasted.py" if language == "Python" else "pasted.mjs"
    (folder / name).write_text(pasted(language, 2**53 + 1, 3, label), encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"  # nor does it matter where one stands
    elsewhere.mkdir()
    hosts.run(python if language == "Python" else hosts.node(), folder / name, cwd=elsewhere)
    wanted = expected(app, 1, 2**53 + 1, 3, label)
    assert (elsewhere / "made.bin").read_bytes() == wanted.tobytes()


@pytest.mark.parametrize("app", ["value"], indirect=True)
@pytest.mark.parametrize("language", ["Python", "Node"])
def test_kits_take_values(app: Path, python: Path, language: str) -> None:
    program, folder = (python if language == "Python" else hosts.node()), app / language.lower()
    script, pasting = ("generator.py", "pasted.py") if language == "Python" else ("example.mjs", "pasted.mjs")
    if language == "Node":
        (folder / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    wanted = Generator(app / "generator.seeded.onnx").sample(16, 7, values={"light": 0.25})
    hosts.run(program, script, "--seed", 7, "--value", "light=0.25", "-o", "g.png", cwd=folder)
    check_picture(folder / "g.png", wanted, dataclasses.replace(origin(app, 7), values={"light": 0.25}))
    (folder / pasting).write_text(pasted(language, 7, 3, None, {"light": 0.25}), encoding="utf-8")
    hosts.run(program, pasting, cwd=folder)
    assert (folder / "made.bin").read_bytes() == wanted[3:4].tobytes()
    for strength in (-2.0, 0.5, 3.0):  # of a named direction
        values = {"light": 1.0, "lean": strength}
        wanted = Generator(app / "generator.seeded.onnx").sample(16, 7, values=values)
        given = [part for name, value in values.items() for part in ("--value", f"{name}={value}")]
        hosts.run(program, script, "--seed", 7, *given, "-o", "g.png", cwd=folder)
        check_picture(folder / "g.png", wanted, dataclasses.replace(origin(app, 7), values=values))
    for value, said in (("light=1.6", "light "), ("dark=1", "dark"), ("light", "light"), ("light=x", "x")):
        code, errors = failing(program, script, "--value", value, cwd=folder)
        assert code in (1, 2)
        assert said in errors
    assert "| light | -0.5 to 1.5 | 1 |\n| lean | -2 to 3 | 0 |" in (app / "README.md").read_text()


@pytest.mark.parametrize("app", ["value"], indirect=True)
def test_kits_take_a_value_for_each_image(app: Path, python: Path, node: Path) -> None:
    each = [-0.5, 0.0, 1.5]
    wanted = Generator(app / "generator.seeded.onnx").sample(3, 7, values={"light": each})
    (app / "python" / "each.py").write_text(
        f"from generator import Generator\nGenerator().sample(3, 7, values={{'light': {each}}}).tofile('made.bin')\n"
    )
    hosts.run(python, "each.py", cwd=app / "python")
    assert (app / "python" / "made.bin").read_bytes() == wanted.tobytes()
    (node / "each.mjs").write_text(
        "import { writeFileSync } from 'node:fs';\nimport { Generator } from './generator.mjs';\n"
        f"const made = await (await Generator.open()).sample({{ seed: 7, count: 3, values: {{ light: {each} }} }});\n"
        "writeFileSync('made.bin', made.data);\n"
    )
    hosts.run(hosts.node(), "each.mjs", cwd=node)
    assert (node / "made.bin").read_bytes() == wanted.tobytes()


@pytest.mark.parametrize("app", ["colour"], indirect=True)
def test_without_the_model_both_places_are_named(app: Path, node: Path, python: Path) -> None:
    (app / "generator.seeded.onnx").unlink()
    code, errors = failing(python, "generator.py", cwd=app / "python")
    where = f"there is no generator.seeded.onnx in {app / 'python'} nor in {app}: put it there, or give its path"
    assert (code, errors) == (1, f"generator.py: error: {where}\n")
    code, errors = failing(hosts.node(), "example.mjs", cwd=node)
    where = f"There is no generator.seeded.onnx in {node}/ nor in {app}/: put it there, or give its path."
    assert (code, errors) == (1, f"example.mjs: {where}\n")


# --- Node


@pytest.fixture
def node(app: Path) -> Path:
    """The kit's node/, its one dependency installed."""
    (app / "node" / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    return app / "node"


NODE_PROGRAM = """
import { writeFileSync } from "node:fs";
import { Generator } from "./generator.mjs";

const generator = await Generator.open();
const asked = JSON.parse(process.argv[2]);
for (const [i, [count, seed, first, labels]] of asked.entries()) {
  const { data, shape } = await generator.sample({ count, seed: BigInt(seed), first, labels });
  writeFileSync(`${i}.bin`, data);
  writeFileSync(`${i}.json`, JSON.stringify(shape));
}
const { imageShape, classes, classNames } = generator;
console.log(JSON.stringify([await generator.selfTest(), imageShape, classes, classNames]));
await generator.close();
"""


def test_node_makes_the_same_images(app: Path, node: Path) -> None:
    asked: list[list[object]] = [[count, str(seed), first] for count, seed, first in ASKED]
    if conditional(app):
        asked += [[3, "7", 0, 2], [3, "7", 1, [2, 0, 1]]]
    (node / "program.mjs").write_text(NODE_PROGRAM)
    test, shape, classes, names = json.loads(hosts.run(hosts.node(), "program.mjs", json.dumps(asked), cwd=node))
    assert test == {"exact": True, "images": 12, "worst": 0}
    assert tuple(shape) == Generator(app / "generator.seeded.onnx").shape
    assert (classes, names) == ((3, [SCRIPT, "dog", "cat"]) if conditional(app) else (0, []))
    for number, (count, seed, *rest) in enumerate(asked):
        wanted = expected(app, count, int(str(seed)), *rest)  # type: ignore[arg-type]
        assert tuple(json.loads((node / f"{number}.json").read_text())) == wanted.shape
        assert (node / f"{number}.bin").read_bytes() == wanted.tobytes()


@SOME
def test_node_writes_a_picture(app: Path, node: Path) -> None:
    hosts.run(hosts.node(), "example.mjs", "--seed", "-5", "-n", "16", "--first", "3", "-o", "g.png", cwd=node)
    check_picture(node / "g.png", expected(app, 16, -5, 3), origin(app, -5, 3))
    if conditional(app):
        hosts.run(hosts.node(), "example.mjs", f"--seed={2**63 - 1}", "--label", 2, "-o", "l.png", cwd=node)
        check_picture(node / "l.png", expected(app, 16, 2**63 - 1, labels=2), origin(app, 2**63 - 1, label=2))


NODES = [
    *WRONG,
    (["--seed", "1e3"], 2, "--seed takes a whole number, not '1e3'"),
    (["-n", "1.5"], 2, "--count takes a whole number, not '1.5'"),
    (["--first", ""], 2, "--first takes a whole number, not ''"),
    (["grid.png"], 2, "'grid.png'"),
]


@pytest.mark.parametrize("app", ["colour"], indirect=True)
def test_nodes_program_says_in_a_line_what_is_wrong(node: Path) -> None:
    for options, code, said in NODES:
        left, errors = failing(hosts.node(), "example.mjs", *options, cwd=node)
        first, *rest = errors.splitlines()
        assert (left, rest) == (code, ["Try: node example.mjs --help"] if code == 2 else []), options
        assert first.startswith("example.mjs: ")
        assert said in first


def test_nodes_program_has_help_and_names_what_is_missing(kits: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(kits["colour"], tmp_path / "app")
    node = tmp_path / "app" / "node"  # without node_modules
    assert "-n, --count N" in hosts.run(hosts.node(), "example.mjs", "--help", cwd=node)
    code, errors = failing(hosts.node(), "example.mjs", cwd=node)
    assert (code, errors) == (1, "example.mjs: onnxruntime-node is not installed: npm i --ignore-scripts\n")


def test_pictures_can_be_without_provenance(kits: dict[str, Path], python: Path, tmp_path: Path) -> None:
    model = kits["colour"] / "generator.seeded.onnx"
    made = Artifact(model, inspection.inspect(model).manifest, ())
    write_app(made, None, None, tmp_path / "app", playground=False, provenance=False)
    hosts.run(python, "generator.py", "-o", "g.png", cwd=tmp_path / "app" / "python")
    node = tmp_path / "app" / "node"
    (node / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    hosts.run(hosts.node(), "example.mjs", "-o", "g.png", cwd=node)
    for picture in (tmp_path / "app" / "python" / "g.png", node / "g.png"):
        assert b"iTXt" not in picture.read_bytes()
        with Image.open(picture) as opened:
            opened.load()
    assert "--no-provenance" in (tmp_path / "app" / "README.md").read_text(encoding="utf-8")


REFUSED = [
    ("{ seed: 2 ** 53 }", "RangeError", "write a BigInt"),
    ("{ seed: 1.5 }", "RangeError", "write a BigInt"),
    ("{ seed: NaN }", "RangeError", "write a BigInt"),
    ("{ seed: 2n ** 63n }", "RangeError", "does not fit 64 bits"),
    ("{ seed: -(2n ** 63n) - 1n }", "RangeError", "does not fit 64 bits"),
    ("{ seed: '7' }", "TypeError", "give a number or a BigInt"),
    ("{ count: -1 }", "RangeError", "take one from 0"),
    ("{ count: 1.5 }", "RangeError", "not a whole number"),
    ("{ first: 2 ** 47 }", "RangeError", "take one from 0 to 140737488355327"),
    ("{ first: -1n }", "RangeError", "take one from 0"),
    ("{ labels: 3 }", "RangeError", "take one from 0 to 2"),
    ("{ labels: 1.5 }", "RangeError", "not a whole number"),
    ("{ labels: 'none' }", "RangeError", "There is no class 'none': they are "),
    ("{ count: 3, labels: [0, 1] }", "RangeError", "2 labels for 3 samples"),
]
REFUSING_PROGRAM = """
import { Generator } from "./generator.mjs";
const generator = await Generator.open();
const said = [];
for (const call of [%s]) said.push(await generator.sample(call).catch((error) => [error.name, error.message]));
generator.manifest.golden[1].pixels[0][3][0] ^= 64;
said.push(await generator.selfTest().catch((error) => [error.name, error.message]));
said.push(await Generator.open("package.json").catch((error) => [error.name, error.message]));
console.log(JSON.stringify(said));
"""


@pytest.mark.parametrize("app", ["label"], indirect=True)
def test_node_refuses(node: Path) -> None:
    (node / "program.mjs").write_text(REFUSING_PROGRAM % ", ".join(call for call, _, _ in REFUSED))
    *said, test, other = json.loads(hosts.run(hosts.node(), "program.mjs", cwd=node))
    for (call, name, message), answer in zip(REFUSED, said, strict=True):
        assert answer[0] == name, (call, answer)
        assert message in answer[1], (call, answer)
    assert test[1].startswith("Samples differ by up to 64 levels")
    assert other[1].startswith("This is no whole ONNX file")


@pytest.mark.parametrize("app", ["colour"], indirect=True)
def test_node_refuses_labels_and_files_of_no_use(app: Path, node: Path) -> None:
    model = (app / "generator.seeded.onnx").read_bytes()
    (node / "half.onnx").write_bytes(model[: len(model) // 2])
    (node / "none.onnx").write_bytes(b"\x08\x0a")
    (node / "program.mjs").write_text(
        'import { Generator } from "./generator.mjs";\n'
        "const told = (promise) => promise.then(() => 'fine', (error) => error.message);\n"
        "const generator = await Generator.open();\n"
        "console.log(await told(generator.sample({ labels: 0 })));\n"
        "for (const name of ['half', 'none', 'absent']) console.log(await told(Generator.open(`${name}.onnx`)));\n"
    )
    label, half, none, absent = hosts.run(hosts.node(), "program.mjs", cwd=node).splitlines()
    assert label == "This generator takes no labels."
    assert half == "This is no whole ONNX file (it ends too early)."
    assert none.startswith("This ONNX file has no gantool manifest")
    assert "ENOENT" in absent


@SOME
def test_the_readmes_node(app: Path, node: Path) -> None:
    (block,) = blocks(app, "js")
    (node / "pasted.mjs").write_text(block)
    said = hosts.run(hosts.node(), "pasted.mjs", cwd=node)
    shape = ", ".join(map(str, expected(app, 16, 7).shape))
    assert said == f"[ {shape} ] {{ exact: true, images: 12, worst: 0 }}\n"
    commands = blocks(app, "sh")[1].splitlines()
    assert commands[:2] == ["cd node", "npm i --ignore-scripts"]
    hosts.run(hosts.node(), *commands[2].split()[1:], cwd=node)
    check_picture(node / "grid.png", expected(app, 16, 7), origin(app, 7))


TYPED = """
import { Generator, type SelfTest } from "%s";

const generator: Generator = await Generator.open();
const { data, shape } = await generator.sample({ seed: 7n, first: 2, count: 16, labels: new Uint8Array(16) });
const bytes: Uint8Array = data;
const height: number = shape[1];
const test: SelfTest = await generator.selfTest();
export const used = [bytes.length, height, test.exact, generator.imageShape[0], generator.manifest.licence];
// @ts-expect-error a seed is no text
await generator.sample({ seed: "7" });
// @ts-expect-error generators are opened
new Generator();
"""
TYPED_WEB = """
const picture: ImageData = (await generator.sample()).toImageData(0);
export const width: number = picture.width;
"""


@pytest.mark.slow
@pytest.mark.parametrize("app", ["colour"], indirect=True)
def test_the_types(app: Path, node: Path) -> None:
    """From a file beside the module; and from a package that has the kit's as a dependency."""
    compiler = hosts.node_modules("typescript") / "typescript" / "bin" / "tsc"
    (node / "use.mts").write_text(TYPED % "./generator.mjs")
    (app / "web" / "use.mts").write_text(TYPED % "./generator.mjs" + TYPED_WEB)
    name = json.loads((node / "package.json").read_text())["name"]
    (app / "node_modules").mkdir()
    (app / "node_modules" / name).symlink_to(node)
    (app / "use.mts").write_text(TYPED % name)
    options = [
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom",
        "--typeRoots",
        "none",
    ]
    hosts.run(hosts.node(), compiler, *options, "use.mts", "node/use.mts", "web/use.mts", cwd=app)


# --- browsers


SAMPLES = """async (asked) => {
  const { Generator } = await import("./generator.mjs");
  const generator = await Generator.open();
  const text = (bytes) => { let s = ""; for (const b of bytes) s += String.fromCharCode(b); return btoa(s); };
  const made = [];
  for (const [count, seed, first, labels] of asked) {
    const images = await generator.sample({ count, seed: BigInt(seed), first, labels });
    const rgba = count ? images.toImageData(count - 1) : null;
    made.push([text(images.data), images.shape, rgba && [text(rgba.data), rgba.width, rgba.height]]);
  }
  const wrong = await generator.sample({ count: 2 }).then((i) => i.toImageData(2)).catch((error) => error.name);
  return [made, await generator.selfTest(), wrong];
}"""


def close(made: np.ndarray, wanted: np.ndarray) -> None:
    """WebAssembly rounds some sums in another order: by a level, in one pixel of 5,000."""
    assert made.shape == wanted.shape
    off = np.abs(made.astype(int) - wanted.astype(int))
    assert off.max(initial=0) <= 1
    assert np.count_nonzero(off) <= max(1, 0.0002 * off.size)


def test_a_browser_makes_the_same_images(app: Path, browser: Browser) -> None:
    asked: list[list[object]] = [[count, str(seed), first] for count, seed, first in ASKED]
    if conditional(app):
        asked += [[3, "7", 0, 2], [3, "7", 1, [2, 0, 1]]]
    (app / "web" / "empty.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/empty.html")
        made, test, wrong = page.evaluate(SAMPLES, asked)
    assert (test["images"], test["worst"] <= 1, wrong) == (12, True, "RangeError")
    for (data, shape, rgba), (count, seed, *rest) in zip(made, asked, strict=True):
        wanted = expected(app, count, int(str(seed)), *rest)  # type: ignore[arg-type]
        images = np.frombuffer(base64.b64decode(data), np.uint8).reshape(shape)
        close(images, wanted)
        if rgba is not None:
            _, height, width, channels = wanted.shape
            assert rgba[1:] == [width, height]
            shown = np.frombuffer(base64.b64decode(rgba[0]), np.uint8).reshape(height, width, 4)
            np.testing.assert_array_equal(shown[..., :3], np.broadcast_to(images[-1], (height, width, 3)))
            assert (shown[..., 3] == 255).all()
            assert channels in (1, 3)


CANVASES = """() => [...document.querySelectorAll("canvas")].map((canvas) =>
  [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data])"""


def canvases(page: object, wanted: np.ndarray) -> None:
    """What the page's canvases show is `wanted` (n, H, W, C)."""
    n, height, width, _ = wanted.shape
    shown = np.array(page.evaluate(CANVASES), np.uint8).reshape(n, height, width, 4)  # type: ignore[attr-defined]
    close(shown[..., :3], np.broadcast_to(wanted, (n, height, width, 3)))


PAGES = [("trained", False), ("colour", False), ("dcgan", False), ("label", False), ("label", True)]


@pytest.mark.parametrize(
    ("app", "dark"), PAGES, indirect=["app"], ids=[f"{name}-{'dark' if dark else 'light'}" for name, dark in PAGES]
)
def test_the_demo_page(app: Path, browser: Browser, dark: bool) -> None:
    with hosts.served(app) as address, hosts.page(browser, address, width=360, dark=dark) as page:
        page.goto(f"{address}web/")
        status = page.get_by_role("status")
        ready = re.compile(r"Images \d+ to \d+ of seed 7, in")
        page.wait_for_function("document.getElementById('status').textContent.startsWith('Images 0')")
        assert ready.match(status.inner_text())
        canvases(page, expected(app, 16, 7))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert (
            page.evaluate("getComputedStyle(document.body).color") == f"rgb({', '.join(['255' if dark else '0'] * 3)})"
        )

        page.get_by_role("textbox", name="Seed").fill("-9007199254740993")
        page.get_by_role("button", name="Draw").click()
        page.wait_for_function("document.getElementById('status').textContent.includes('of seed -9007199254740993')")
        canvases(page, expected(app, 16, -(2**53) - 1))
        page.get_by_role("button", name="Next 16").click()
        page.wait_for_function("document.getElementById('status').textContent.startsWith('Images 16')")
        canvases(page, expected(app, 16, -(2**53) - 1, 16))

        assert page.get_by_role("combobox", name="Class").is_visible() == conditional(app)
        if conditional(app):
            assert page.get_by_role("option").all_inner_texts() == ["each in turn", SCRIPT, "dog", "cat"]
            page.get_by_role("combobox", name="Class").select_option("cat")
            page.get_by_role("button", name="Draw").click()
            page.wait_for_function("document.getElementById('status').textContent.startsWith('Images 0')")
            canvases(page, expected(app, 16, -(2**53) - 1, 0, 2))
            assert page.title() == f"{SCRIPT}: {SCRIPT}"
            assert page.locator("img").count() == 0

        page.get_by_role("textbox", name="Seed").fill("seven")
        page.get_by_role("button", name="Draw").click()
        page.wait_for_function("document.getElementById('status').textContent.startsWith('A seed is a whole number')")
        page.get_by_role("textbox", name="Seed").fill(str(2**63))
        page.get_by_role("button", name="Draw").click()
        page.wait_for_function("document.getElementById('status').textContent.includes('does not fit 64 bits')")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("fetch('http://127.0.0.1:9/x').catch(() => {})", "asked for http://127.0.0.1:9/x"),
        ("fetch('/absent').catch(() => {})", "404"),
        ("setTimeout(() => { throw new Error('boom'); })", "boom"),
    ],
    ids=["another server", "no such file", "an error"],
)
def test_the_watch_over_pages(tmp_path: Path, browser: Browser, script: str, message: str) -> None:
    """What the tests of pages rely on: that a page which does something wrong fails them."""
    (tmp_path / "page.html").write_text(
        f'<!doctype html><link rel="icon" href="data:,"><script>{script}</script>', encoding="utf-8"
    )
    with pytest.raises(AssertionError, match=message), hosts.served(tmp_path) as address:
        with hosts.page(browser, address) as page:
            page.goto(f"{address}page.html", wait_until="networkidle")


@SOME
def test_the_readmes_page(app: Path, browser: Browser) -> None:
    (block,) = blocks(app, "html")
    (app / "web" / "pasted.html").write_text(block)
    (app / "favicon.ico").touch()  # browsers ask for it
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/pasted.html")
        page.wait_for_function("document.querySelector('canvas').width !== 300")
        canvases(page, expected(app, 1, 7))


WORKER = """
import { Generator } from "./generator.mjs";
const generator = await Generator.open();
postMessage([...(await generator.sample({ seed: 7, count: 2 })).data]);
"""


@pytest.mark.parametrize("app", ["colour"], indirect=True)
def test_in_a_worker_under_the_policy_that_the_readme_names(app: Path, browser: Browser) -> None:
    (policy,) = re.findall(r"`(script-src [^`]*)`", (app / "README.md").read_text(encoding="utf-8"))
    (app / "web" / "worker.mjs").write_text(WORKER)
    (app / "web" / "main.mjs").write_text(
        'import { Generator } from "./generator.mjs";\n'
        "const here = [...(await (await Generator.open()).sample({ seed: 7, count: 2 })).data];\n"
        'const worker = new Worker("./worker.mjs", { type: "module" });\n'
        'const shown = document.querySelector("output");\n'
        "worker.onmessage = ({ data }) => { shown.textContent = JSON.stringify([here, data]); };\n"
    )
    (app / "web" / "page.html").write_text(
        f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{policy}"><link rel="icon" href="data:,">'
        '<output></output><script type="module" src="main.mjs"></script>'
    )
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.goto(f"{address}web/page.html")
        answer = page.locator(
            "output", has_text="["
        )  # the policy forbids the page's own eval, and with it Playwright's
        answer.wait_for()
        here, there = json.loads(answer.inner_text())
    assert here == there
    close(np.array(here, np.uint8).reshape(2, 8, 6, 3), expected(app, 2, 7))


@pytest.mark.parametrize("app", ["trained"], indirect=True)
def test_without_a_server_the_page_says_so(app: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto((app / "web" / "index.html").as_uri())
    assert "python -m http.server" in page.get_by_role("status").inner_text()
    page.close()


@pytest.mark.slow  # Chromium takes ten seconds to end after it
@pytest.mark.parametrize("app", ["trained"], indirect=True)
def test_without_its_model_the_page_says_so(app: Path, browser: Browser) -> None:
    (app / "generator.seeded.onnx").unlink()
    with hosts.served(app) as address:
        page = browser.new_page()
        page.goto(f"{address}web/")
        page.wait_for_function("document.getElementById('status').textContent.includes('404')")
        page.close()
