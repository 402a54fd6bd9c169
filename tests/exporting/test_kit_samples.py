"""App kits of sounds and volumes in their hosts: all make what gantool.runtime makes, and write the same files."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trimesh
from support import hosts
from support.exports import sounds
from support.wavs import chunks

from gantool import exporting
from gantool.artifact import inspection, volumes
from gantool.artifact.provenance import of
from gantool.artifact.sounds import wav
from gantool.exporting.app import write_app
from gantool.exporting.source import Artifact
from gantool.runtime import Generator

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CALLS = [[70, 2**53 + 1, 5], [3, -7, 2**47 - 3]]


@pytest.fixture(scope="module")
def kits(
    tmp_path_factory: pytest.TempPathFactory, tiny_export: Callable[..., Path], browser_runtime: None
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    exporting.write(sounds(), ["onnx-seeded"], folder / "export")
    # of an unknown rate; of a label and a known one; of three different sides
    made = {"mono": tiny_export(1, 400), "stereo": folder / "export", "volume": tiny_export(1, 8, 6, 10)}
    for name, exported in made.items():
        path = exported / "generator.seeded.onnx"
        write_app(Artifact(path, inspection.inspect(path).manifest, ()), None, None, folder / name, playground=False)
    return {name: folder / name for name in made}


@pytest.fixture(params=[pytest.param("mono", marks=pytest.mark.slow), "stereo", "volume"])
def app(request: pytest.FixtureRequest, kits: dict[str, Path], tmp_path: Path) -> Path:
    """A kit alone in a folder, as a developer gets it."""
    shutil.copytree(kits[request.param], tmp_path / "app")
    return tmp_path / "app"


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("app", kinds, indirect=True)


@pytest.fixture
def node(app: Path) -> Path:
    (app / "node" / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    return app / "node"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hosts.bare_python(tmp_path_factory.mktemp("bare"))


def runtime(app: Path) -> Generator:
    return Generator(app / "generator.seeded.onnx")


def blocks(app: Path, language: str) -> list[str]:
    text = (app / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PYTHON = """
import json, sys
sys.path.insert(0, "python")
import numpy as np
from generator import Generator

generator = Generator()
np.savez("made.npz", *(generator.sample(*call) for call in json.loads(sys.argv[1])))
print(generator.kind, generator.rate, *generator.shape, *generator.self_test())
generator.manifest["golden"][0]["pixels"][1][-1][0] ^= 64
try:
    generator.self_test()
except RuntimeError as error:
    print(error)
"""


def test_python_makes_the_same_samples(app: Path, python: Path) -> None:
    generator = runtime(app)
    calls = [*CALLS, *([[3, 7, 0, [2, 0, 1]]] if generator.manifest.classes else [])]
    said, other = hosts.run(python, "-I", "-c", PYTHON, json.dumps(calls), cwd=app).splitlines()
    output = generator.manifest.output
    rate = (output.rate or 16_000) if output.kind == "audio" else 0
    assert said.split() == [output.kind, str(rate), *map(str, output.shape), "True", "12", "0"]
    assert other == "samples differ by up to 64 levels in 12 tested; allowed: 1"
    made = np.load(app / "made.npz")
    for number, call in enumerate(calls):
        np.testing.assert_array_equal(made[f"arr_{number}"], generator.sample(*call), strict=True)


NODE = """
import { writeFileSync } from "node:fs";
import { Generator } from "./generator.mjs";

const generator = await Generator.open();
for (const [i, [count, seed, first, labels]] of JSON.parse(process.argv[2]).entries()) {
  const { data, shape } = await generator.sample({ count, seed: BigInt(seed), first, labels });
  writeFileSync(`${i}.bin`, new Uint8Array(data.buffer));
  writeFileSync(`${i}.json`, JSON.stringify([data.constructor.name, shape]));
}
console.log(JSON.stringify([generator.kind, generator.rate, generator.shape, await generator.selfTest()]));
generator.manifest.golden[0].pixels[1].at(-1)[0] ^= 64;
console.log(await generator.selfTest().catch((error) => error.message));
"""


def test_node_makes_the_same_samples(app: Path, node: Path) -> None:
    generator = runtime(app)
    calls = [*CALLS, *([[3, 7, 0, [2, 0, 1]]] if generator.manifest.classes else [])]
    asked = json.dumps([[count, str(seed), *others] for count, seed, *others in calls])  # type: ignore[misc]
    (node / "program.mjs").write_text(NODE)
    said, other = hosts.run(hosts.node(), "program.mjs", asked, cwd=node).splitlines()
    output = generator.manifest.output
    rate = (output.rate or 16_000) if output.kind == "audio" else 0
    test = {"exact": True, "images": 12, "worst": 0}
    assert json.loads(said) == [output.kind, rate, list(output.shape), test]
    assert other == "Samples differ by up to 64 levels from the exporting machine's; allowed: 1."
    for number, call in enumerate(calls):
        wanted = generator.sample(*call)
        kind, shape = json.loads((node / f"{number}.json").read_text())
        assert (kind, tuple(shape)) == ({"int16": "Int16Array", "uint8": "Uint8Array"}[wanted.dtype.name], wanted.shape)
        made = np.fromfile(node / f"{number}.bin", wanted.dtype.newbyteorder("<")).reshape(shape)
        np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("app", [pytest.param("mono", marks=pytest.mark.slow), "stereo"], indirect=True)
def test_the_programs_write_the_same_sounds(app: Path, node: Path, python: Path) -> None:
    generator, given = runtime(app), ("--seed", "-7", "-n", "3", "--first", "2", "-o", "s.wav")
    label = ("--label=1",) if generator.manifest.classes else ()
    said = hosts.run(python, "generator.py", *given, *label, cwd=app / "python")
    assert said == hosts.run(hosts.node(), "example.mjs", *given, *label, cwd=node) == "s.wav: 3 sounds of seed -7\n"
    labels = 1 if label else None
    rate, all_three = generator.manifest.output.rate, generator.sample(3, -7, 2, labels)
    plain = chunks(wav(all_three.reshape(-1, all_three.shape[-1]), rate))
    about = of(generator.manifest, -7, 2, 3, labels)
    for folder in (app / "python", node):
        found = chunks((folder / "s.wav").read_bytes())
        assert list(found) == ["fmt ", "_PMX", "gant", "data"]
        assert (found["fmt "], found["data"]) == (plain["fmt "], plain["data"])
        assert b"digitalsourcetype/trainedAlgorithmicMedia" in found["_PMX"]
        assert json.loads(found["gant"]) == json.loads(about.to_json())
    hosts.run(python, "generator.py", cwd=app / "python")
    with wave.open(str(app / "python" / "sounds.wav")) as file:
        assert file.getnframes() == generator.manifest.output.shape[0]


@only("volume")
def test_the_programs_write_the_same_volume(app: Path, node: Path, python: Path) -> None:
    given = ("--seed", 2**63 - 1, "--first", 5)
    hosts.run(python, "generator.py", *given, cwd=app / "python")
    hosts.run(hosts.node(), "example.mjs", *given, cwd=node)
    wanted = volumes.binvox(runtime(app).sample(1, 2**63 - 1, 5)[0, ..., 0] >= 128)
    assert (app / "python" / "volume.binvox").read_bytes() == (node / "volume.binvox").read_bytes() == wanted


@only("volume")
def test_the_surface_of_a_volume(app: Path, node: Path) -> None:
    given = ("--seed", 2**63 - 1, "--first", 5, "-o", "volume.glb")
    hosts.run(hosts.node(), "example.mjs", *given, cwd=node)
    (node / "python.glb").write_bytes(volumes.glb(runtime(app).sample(1, 2**63 - 1, 5)[..., 0]))
    made, wanted = (trimesh.load(node / name, force="mesh") for name in ("volume.glb", "python.glb"))
    edges = np.unique(made.edges_sorted, axis=0, return_counts=True)[1]
    assert (edges % 2 == 0).all()  # closed
    assert made.volume == pytest.approx(wanted.volume, rel=0.15)  # two ways to lay a surface through few voxels
    assert (made.vertex_normals * (made.vertices - made.center_mass)).sum(1).mean() > 0
    ball = np.hypot.reduce(np.indices((12, 10, 14)) - np.array([6, 5, 7]).reshape(3, 1, 1, 1)) - 4
    (node / "ball.bin").write_bytes((255 / (1 + np.exp(2 * ball))).astype(np.uint8).tobytes())
    (node / "ball.mjs").write_text(BALL)
    hosts.run(hosts.node(), "ball.mjs", cwd=node)
    made = trimesh.load(node / "ball.glb", force="mesh")
    assert made.is_watertight
    assert made.is_winding_consistent
    assert made.volume == pytest.approx(4 / 3 * np.pi * (4 / 14) ** 3, rel=0.1)
    np.testing.assert_allclose(made.center_mass, np.array([0.5, -0.5, -0.5]) / 14, atol=1e-3)
    assert not trimesh.load(node / "empty.glb").geometry
    text = (node / "volume.glb").read_bytes()
    assert b'"seed":9223372036854775807' in text.replace(b" ", b"")
    assert b'"architecture"' in text


BALL = """
import { readFileSync, writeFileSync } from "node:fs";
import { glb } from "./files.mjs";
writeFileSync("ball.glb", glb(new Uint8Array(readFileSync("ball.bin")), [12, 10, 14]));
writeFileSync("empty.glb", glb(new Uint8Array(8), [2, 2, 2]));
"""
RUNS = """
import { binvox } from "./files.mjs";
const data = new Uint8Array(8 * 8 * 32).fill(200, 0, 765);
for (const shape of [[32, 8, 8], [8, 8, 32]]) console.log(Buffer.from(binvox(data, shape)).toString("base64"));
"""


@pytest.mark.slow
@only("volume")
def test_long_runs_of_a_binvox(app: Path, node: Path) -> None:
    (node / "runs.mjs").write_text(RUNS)
    for text, shape in zip(
        hosts.run(hosts.node(), "runs.mjs", cwd=node).split(), ((32, 8, 8), (8, 8, 32)), strict=True
    ):
        assert base64.b64decode(text) == volumes.binvox((np.arange(2048) < 765).reshape(shape))


@pytest.mark.slow
@only("mono", "volume")
def test_the_readme_works_as_it_is_pasted(app: Path, node: Path, python: Path) -> None:
    output = runtime(app).manifest.output
    sides = ", ".join(map(str, output.shape))
    for block, wanted in zip(
        blocks(app, "python"), (f"(16, {sides}) SelfTest", "(8, 6, 10)" if output.kind == "volume" else ""), strict=True
    ):
        (app / "python" / "pasted.py").write_text(block)
        assert hosts.run(python, "pasted.py", cwd=app / "python").startswith(wanted)
    for block in blocks(app, "js"):
        (node / "pasted.mjs").write_text(block)
        hosts.run(hosts.node(), "pasted.mjs", cwd=node)
    one = runtime(app).sample(1, 7)[0]
    if output.kind == "audio":
        assert (app / "python" / "sound.wav").read_bytes() == (node / "sound.wav").read_bytes() == wav(one)
    else:
        assert (node / "volume.binvox").read_bytes() == volumes.binvox(one[..., 0] >= 128)
    for language, program in (("python", python), ("node", hosts.node())):
        lines = [line for block in blocks(app, "sh") for line in block.splitlines()]
        command = next(line for line in lines if line.startswith(f"{language} ") and " -o " in line).split()
        hosts.run(program, *command[1:], cwd=app / language)
        assert (app / language / command[-1]).is_file()


def test_the_readme_says_what_it_makes(app: Path) -> None:
    text = (app / "README.md").read_text(encoding="utf-8")
    output = runtime(app).manifest.output
    assert "%%{" not in text
    assert "image" not in text.replace("- **Is", "")
    assert {"audio": "WAV files", "volume": "have no place for it"}[output.kind] in text
    assert {
        (400, 1): "400 samples, mono, int16",
        (300, 2): "300 samples, 0.0375 s, stereo, int16",
        (8, 6, 10, 1): "8 × 6 × 10 voxels, uint8",
    }[output.shape] in text


PLAYED = """() => {
  const of = (buffer) => Array.from({ length: buffer.numberOfChannels }, (_, i) => [...buffer.getChannelData(i)]);
  return started.map(({ buffer }) => [buffer.sampleRate, of(buffer)]);
}"""
SPY = """globalThis.started = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) { started.push(this); return start.apply(this, when); };"""


@pytest.mark.slow
def test_the_demo_page(app: Path, browser: Browser) -> None:
    generator = runtime(app)
    noun = {"audio": "Sound", "volume": "Volume"}[generator.manifest.output.kind]
    with hosts.served(app) as address, hosts.page(browser, address, width=360) as page:
        page.add_init_script(SPY)
        page.goto(f"{address}web/")
        page.wait_for_function(f"document.getElementById('status').textContent.startsWith('{noun}s 0 to 15 of seed 7')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        if noun == "Sound":
            page.get_by_role("button", name="Sound 3 of seed 7").click()
            ((rate, channels),) = page.evaluate(PLAYED)
            wanted = generator.sample(1, 7, 3)[0]
            assert rate == (generator.manifest.output.rate or 16_000)
            close(np.rint(np.array(channels).T * 32767), wanted)
        else:
            canvas = page.get_by_role("img", name="Volume 3 of seed 7, the slice in the middle")
            shown = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
            close(np.array(shown).reshape(6, 10, 4)[..., 0], generator.sample(1, 7, 3)[0, 4, ..., 0])


@pytest.mark.slow
@only("mono", "volume")
def test_the_readmes_page(app: Path, browser: Browser) -> None:
    (block,) = blocks(app, "html")
    (app / "web" / "pasted.html").write_text(block)
    (app / "favicon.ico").touch()  # browsers ask for it
    with hosts.served(app) as address, hosts.page(browser, address) as page:
        page.add_init_script(SPY)
        page.goto(f"{address}web/pasted.html")
        if runtime(app).manifest.output.kind == "audio":
            page.click("#play:not([disabled])")
            ((_, channels),) = page.evaluate(PLAYED)
            close(np.rint(np.array(channels).T * 32767), runtime(app).sample(1, 7)[0])
        else:
            page.wait_for_function("document.querySelector('canvas').width === 10")


TYPED = """
import { Generator, Sounds } from "./generator.mjs";
import { audioBuffer, binvox, wav } from "./files.mjs";

const generator = await Generator.open();
const kind: "image" | "audio" | "volume" = generator.kind;
const sounds = await generator.sample<Sounds>({ seed: 7n, count: 2 });
const numbers: Int16Array = sounds.data;
const file: Uint8Array = wav(numbers, sounds.shape[2], generator.rate, { gant: "{}" });
const buffer: AudioBuffer = audioBuffer(numbers, 1, generator.rate);
const shape: Uint8Array = binvox(new Uint8Array(8), [2, 2, 2, 1]);
console.log(kind, file, buffer, shape);
"""
TYPED_WEB = "const played: AudioBuffer = sounds.toAudioBuffer(1);\nconsole.log(played, sounds.toWav());\n"


@pytest.mark.slow
@only("stereo")
def test_the_types(app: Path, node: Path) -> None:
    compiler = hosts.node_modules("typescript") / "typescript" / "bin" / "tsc"
    (node / "use.mts").write_text(TYPED)
    (app / "web" / "use.mts").write_text(TYPED + TYPED_WEB)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    options += ["--lib", "es2022,dom", "--typeRoots", "none"]
    hosts.run(hosts.node(), compiler, *options, "node/use.mts", "web/use.mts", cwd=app)


def close(made: np.ndarray, wanted: np.ndarray) -> None:
    """As another build of ONNX Runtime may round."""
    assert made.shape == wanted.shape
    assert np.abs(made.astype(int) - wanted).max() <= 1


@pytest.mark.slow
@only("stereo")
def test_without_provenance_a_wav_is_that_of_the_standard_library(
    app: Path, kits: dict[str, Path], python: Path, tmp_path: Path
) -> None:
    model = app / "generator.seeded.onnx"
    made = Artifact(model, inspection.inspect(model).manifest, ())
    write_app(made, None, None, tmp_path / "plain", playground=False, provenance=False)
    node = tmp_path / "plain" / "node"
    (node / "node_modules").symlink_to(hosts.node_modules("onnxruntime-node"))
    hosts.run(python, "generator.py", "-o", "s.wav", "--seed=7", cwd=tmp_path / "plain" / "python")
    hosts.run(hosts.node(), "example.mjs", "-o", "s.wav", cwd=node)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(runtime(app).sample(1, 7)[0].tobytes())
    written = [(tmp_path / "plain" / language / "s.wav").read_bytes() for language in ("python", "node")]
    assert written == [buffer.getvalue()] * 2
