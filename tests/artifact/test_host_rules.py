"""gantool.artifact.hosts: each rule refuses what it is about, and files that keep them all run in the real host."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.exports import source_of
from support.hosts import node_modules, served
from support.inprocess import Run

import gantool
from gantool import exporting
from gantool.artifact import hosts, latents
from gantool.artifact.hosts import BY_NAME, HOSTS, RUN
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting.source import Options, Source
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hosts.md"
RULES = ("opsets", "missing", "operators", "wrong", "dtypes", "batch", "axes", "fixed", "ir", "forms", "precisions")
DCGAN = {"width": 4, "max_width": 8, "latent_dim": 5}
ARCHITECTURES: dict[str, Callable[[], Source]] = {
    "mlp": lambda: source_of("mlp", 16, widths=(8,), latent_dim=5),
    "dcgan": lambda: source_of("dcgan", 16, **DCGAN),
    "cgan": lambda: source_of("cgan", 16, body="dcgan", **DCGAN),
    "wgan": lambda: source_of("wgan", 16, **DCGAN),
    "sngan": lambda: source_of("sngan", 16, **DCGAN),
    "r3gan": lambda: source_of("r3gan", 16),
    "stylegan2": lambda: source_of("stylegan2", 16),
    "projected": lambda: source_of("projected", 16),
}
# embeddings of labels are a Gather, which neither has; onnx2tf 1.29 gives other pixels of transposed convolutions
REFUSED = {("coreml", "cgan"): "Gather", ("ncnn", "cgan"): "Gather"} | {
    ("litert", name): "ConvTranspose" for name in ("dcgan", "cgan", "wgan", "stylegan2")
}


def model(*nodes: onnx.NodeProto, opset: int = 18, batch: int | None = 1, **values: np.ndarray) -> onnx.ModelProto:
    """x float32 (batch, 3, 4, 4) → y, of these nodes and constants."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch or "batch", 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(list(nodes), "planted", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(operator: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs or ("x",), ["y"], name=f"at/{operator}", **attributes)


def reasons(name: str, planted: onnx.ModelProto, kind: str = "") -> list[tuple[str, str]]:
    host = BY_NAME[name]
    return [(each.node, each.reason) for each in hosts.problems(host, planted, kind or host.forms[0])]


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_an_honest_file_and_sourced_rules(host: hosts.Host) -> None:
    opset = min(18, host.opsets[-1])
    assert reasons(host.name, model(node("Tanh"), opset=opset)) == []
    plain = hosts.Host("", "", {"dtypes": ""})
    for rule in RULES:
        if getattr(host, rule) != getattr(plain, rule):
            assert host.source(rule) == RUN or host.source(rule).startswith("https://"), rule


def test_opset_format_and_batch() -> None:
    assert reasons("unity", model(node("Tanh"))) == [("the file", "has opset 18; read are 7 to 15")]
    newer = model(node("Tanh"), opset=17)
    newer.ir_version = 10
    assert reasons("unreal", newer) == [("the file", "has the format IR 10; the newest is 8")]
    free = model(node("Tanh"), batch=None)
    assert reasons("ncnn", free) == [("input x", "has any batch: export with --batch 1")]
    assert reasons("tract", free) == []
    seeded = reasons("coreml", model(node("Tanh")), "onnx-seeded")
    assert seeded == [("the file", "is of kind onnx-seeded; it takes onnx")]


@pytest.mark.parametrize("host", [host for host in HOSTS if host.operators or host.missing], ids=lambda host: host.name)
def test_planted_operators(host: hosts.Host) -> None:
    for operator in sorted(host.missing) or ["NonMaxSuppression" if host.name != "tract" else "Unique"]:
        found = hosts.problems(host, model(node(operator), opset=host.opsets[-1]), host.forms[0])
        assert (f"node at/{operator}", f"is {operator}, which it lacks") in [(p.node, p.reason) for p in found]
        assert found[0].source == host.source("operators" if host.operators else "missing")
    for operator in host.operators or ():
        assert onnx.defs.has(operator) or operator == "Swish"  # a misspelt one would refuse what is there


def test_planted_dtypes() -> None:
    cast = helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.UINT64)
    wide = model(cast, node("Cast", "wide", to=TensorProto.FLOAT), opset=15)
    for host in HOSTS:
        found = [reason for _, reason in reasons(host.name, wide)]
        assert ("is uint64" in found) == (host.name not in ("unreal", "godot")), host.name
    double = model(node("Mul", "x", "w"), w=np.ones(1))
    assert all(("constant w", "is double") in reasons(host.name, double) for host in HOSTS)


def test_planted_axes_and_attributes() -> None:
    solid = model(node("Conv", "v", "w"), w=np.zeros((1, 1, 1, 1, 1), np.float32))
    solid.graph.input[0].name = "v"
    solid.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 4
    for name in ("webgpu", "coreml"):
        assert ("node at/Conv", "is Conv of 3 axes") in reasons(name, solid)
    smooth = model(node("Resize", "x", "", "s", antialias=1, mode="cubic"), s=np.ones(4, np.float32))
    assert ("node at/Resize", "is Resize with antialias 1") in reasons("openvino", smooth)
    assert ("node at/Resize", "is Resize with mode cubic") in reasons("tensorrt", smooth)
    other = model(helper.make_node("FusedConv", ["x"], ["y"], name="n", domain="com.microsoft"))
    assert reasons("tract", other)[0] == ("node n", "is no operator of ONNX, but of com.microsoft")


def test_a_refused_file_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GantoolError) as error:
        exporting.write(ARCHITECTURES["cgan"](), ["onnx"], tmp_path, Options(batch=1, hosts=("ncnn",)))
    assert "ncnn by pnnx can't take generator.onnx: node node_embedding is Gather" in error.value.message
    assert hosts.NCNN in error.value.message
    assert list(tmp_path.iterdir()) == []


def test_options_that_contradict() -> None:
    assert hosts.settle(["unity"], None, None, (), ()) == (15, None)
    assert hosts.settle(["unity-2.6", "ncnn"], None, None, (), ()) == (18, 1)
    assert hosts.settle(["unity", "tract"], 13, 4, (), ("onnx",)) == (13, 4)
    assert hosts.settle([], None, 4, (), ()) == (None, 4)
    for names, given, text in (
        (["unity"], (18, None, (), ()), "Opset 18 contradicts --for unity: it takes opsets 7 to 15"),
        (["ncnn"], (None, 4, (), ()), "Batch 4 contradicts --for ncnn: it takes a batch of 1"),
        (["unity"], (None, None, ("int8",), ()), "Precision int8 contradicts --for unity: it takes float32"),
        (["coreml"], (None, None, (), ("onnx-portable",)), "Kind onnx-portable contradicts --for coreml"),
        (["unityy"], (None, None, (), ()), "no rules for the host 'unityy'"),
    ):
        with pytest.raises(ArgumentError, match=text):
            hosts.settle(names, *given)


# commands


def test_export_for_a_host(cli: Run, run: RunDir) -> None:
    code, _, err = cli("export", "--for", "unity", "--for", "tract", "-o", "out")
    assert (code, "for unity, tract: generator.portable.onnx, opset 15" in err) == (0, True)
    assert [path.name for path in Path("out").iterdir() if path.suffix == ".onnx"] == ["generator.portable.onnx"]
    file = Path("out", "generator.portable.onnx")
    assert Generator(file).manifest.opset == 15
    code, out, _ = cli("inspect", file, "--hosts")
    assert code == 0
    verdicts = dict(re.findall(r"^(\S+) +(yes|no)\b", out, re.MULTILINE))
    assert {name: verdicts[name] for name in ("unity", "tract", "ncnn", "unreal")} == {
        "unity": "yes", "tract": "yes", "ncnn": "no", "unreal": "no",
    }  # fmt: skip
    code, out, _ = cli("inspect", file, "--hosts", "--json")
    found = json.loads(out)["hosts"]
    assert found.keys() == BY_NAME.keys()
    assert found["unity"] == []
    assert {"node", "reason", "source"} == found["ncnn"][0].keys()
    code, _, err = cli("inspect", "out/generator.portable.onnx.json", "--hosts")
    assert (code, "is no ONNX file" in err) == (1, True)


@pytest.mark.slow
def test_the_format_that_old_runtimes_read(run: RunDir) -> None:
    (made,) = gantool.export(run.path, hosts="unreal", folder="out", progress=False, say=lambda text: None)
    assert (made.path.name, made.manifest.opset) == ("generator.seeded.onnx", 17)
    assert onnx.load(made.path).ir_version == 8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--for", "unity", "--opset", "18"], "Opset 18 contradicts --for unity"),
        (["--for", "unity", "--seeded"], "Kind onnx-seeded contradicts --for unity"),
        (["--for", "ncnn", "--half"], "Precision half contradicts --for ncnn"),
        (["--for", "unity", "--app", "kit"], "--for is for ONNX files"),
    ],
)
def test_flags_that_contradict(cli: Run, run: RunDir, flags: list[str], message: str) -> None:
    code, _, err = cli("export", *flags)
    assert code
    assert message in " ".join(err.replace("│", " ").split())
    assert not run.export.exists()


# the page


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [_row(host) for host in HOSTS]
    assert re.findall(r"^\| `.*", text, re.MULTILINE)[: len(rows)] == rows, "\n".join(rows)


def _row(host: hosts.Host) -> str:
    links = {}
    for rule in RULES:
        if host.source(rule) != RUN:
            links.setdefault(host.source(rule), len(links) + 1)
    sources = " ".join(f"[{number}]({link})" for link, number in links.items())
    first = exporting.FILES[host.forms[0]].removeprefix("generator.").removesuffix(".onnx")
    opsets = f"{host.opsets[0]}–{host.opsets[-1]}"
    form = {"onnx": "plain"}.get(first, first) + (f", batch {host.batch}" if host.batch else "")
    return f"| `{host.name}` | {host.title} | {form} | {opsets} | {', '.join(host.precisions)} | {sources} |"


# every architecture, and the hosts themselves


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_for_every_host(architecture: str, tmp_path: Path) -> None:
    made = ARCHITECTURES[architecture]()
    for host in HOSTS:
        opset, batch = hosts.settle([host.name], None, None, (), ())
        assert opset == min(18, host.opsets[-1])
        options = Options(opset=opset or 18, batch=batch, hosts=(host.name,))
        operator = REFUSED.get((host.name, architecture))
        if operator:
            with pytest.raises(GantoolError, match=f"is {operator}, which it (lacks|computes otherwise)"):
                exporting.write(made, [host.forms[0]], tmp_path / host.name, options)
            continue
        (file,) = exporting.write(made, [host.forms[0]], tmp_path / host.name, options)
        assert hosts.of_file(file.path)[host.name] == []


SEED, COUNT = 2**40 + 7, 5
ASKED = np.arange(COUNT) + 2**40


def exported(name: str, host: str, folder: Path) -> Generator:
    opset, batch = hosts.settle([host], None, None, (), ())
    options = Options(opset=opset or 18, batch=batch, hosts=(host,))
    (file,) = exporting.write(ARCHITECTURES[name](), [BY_NAME[host].forms[0]], folder, options)
    return Generator(file.path)


def check(made: np.ndarray, generator: Generator) -> None:
    labels = 1 if generator.manifest.classes else None
    off = np.abs(made.astype(float) - generator.sample(index=ASKED, seed=SEED, labels=labels))
    assert made.std() > 1
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


def limbs(generator: Generator) -> list[np.ndarray]:
    label = [np.ones(COUNT, np.int32)] if generator.manifest.classes else []
    return [latents.limbs([SEED]), latents.limbs(ASKED), *label]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "cgan", "r3gan", "stylegan2", "projected"])
def test_openvino_runs_it(name: str, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    generator = exported(name, "openvino", tmp_path)
    compiled = ov.Core().compile_model(str(generator.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [item.name for item in generator.manifest.inputs]
    given = [*limbs(generator), *(np.ones(COUNT, np.float32) for _ in generator.manifest.values)]
    check(compiled(dict(zip(names, given, strict=True)))[0], generator)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "dcgan", "cgan", "sngan", "r3gan", "stylegan2", "projected"])
def test_tract_runs_it(name: str, tmp_path: Path) -> None:
    tract = pytest.importorskip("tract", reason="tract is not installed: pip install tract")
    generator = exported(name, "tract", tmp_path)
    runnable = tract.onnx().load(str(generator.path)).into_model().into_runnable()
    given = [*limbs(generator), *(np.ones(COUNT, np.float32) for _ in generator.manifest.values)]
    check(runnable.run(given)[0].to_numpy(), generator)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "dcgan", "wgan", "sngan", "r3gan", "projected", "stylegan2"])
def test_ncnn_runs_it(name: str, tmp_path: Path) -> None:
    ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed: pip install ncnn pnnx")
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        pytest.skip("pnnx is not installed: pip install pnnx")
    generator = exported(name, "ncnn", tmp_path)
    inputs = generator.manifest.inputs
    shapes = ",".join(f"[{','.join(map(str, (1, *item.shape)))}]f32" for item in inputs)
    converter = [str(Path(found.origin).with_name("pnnx")), generator.path.name, f"inputshape={shapes}", "fp16=0"]
    subprocess.run(converter, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    assert net.load_param(str(tmp_path / "generator.ncnn.param")) == 0
    assert net.load_model(str(tmp_path / "generator.ncnn.bin")) == 0
    drawn = latents.draw({item.name: item.shape for item in generator.manifest.latents}, SEED, ASKED)
    made = []
    for image in range(COUNT):
        with net.create_extractor() as extractor:
            for number, item in enumerate(inputs):
                given = drawn[item.name][image] if item.name in drawn else np.array([item.default], np.float32)
                extractor.input(f"in{number}", ncnn.Mat(np.ascontiguousarray(given)).clone())
            made.append(np.array(extractor.extract("out0")[1]).reshape(generator.manifest.output.shape))
    check(latents.levels(np.stack(made).astype(np.float32)), generator)


PAGE_OF_WEBGPU = """<!doctype html><script type="module">
import * as ort from "./ort/ort.webgpu.bundle.min.mjs";
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create("./generator.portable.onnx", { executionProviders: ["webgpu"] });
globalThis.make = async ([seed, index, label]) => {
  const four = (rows) => new ort.Tensor("float32", Float32Array.from(rows.flat()), [rows.length, 4]);
  const feeds = { seed: four(seed), index: four(index) };
  if (label.length) feeds.label = new ort.Tensor("int32", Int32Array.from(label), [label.length]);
  return [...await Object.values(await session.run(feeds))[0].getData()];
};
globalThis.ready = Boolean(await navigator.gpu?.requestAdapter()) || "none";
</script>"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "cgan", "r3gan", "projected"])
def test_webgpu_runs_it(name: str, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("there is no chromium")
    generator = exported(name, "webgpu", tmp_path)
    (tmp_path / "ort").symlink_to(node_modules("onnxruntime-web") / "onnxruntime-web" / "dist")
    (tmp_path / "index.html").write_text(PAGE_OF_WEBGPU)
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--no-sandbox"]
    with sync_api.sync_playwright() as play, served(tmp_path) as address:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto(f"{address}index.html")
        page.wait_for_function("globalThis.ready", timeout=60_000)
        if page.evaluate("ready") == "none":
            pytest.skip("this chromium has no WebGPU adapter")
        seed, index, *label = (array.tolist() for array in limbs(generator))
        made = page.evaluate("given => make(given)", [seed, index, label[0] if label else []])
        browser.close()
    check(np.array(made).reshape(COUNT, *generator.shape), generator)


LITERT = """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
made = []
for row in np.load("z.npy"):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
    interpreter.invoke()
    made.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
np.save("made.npy", made)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "sngan", "r3gan", "projected"])
def test_litert_runs_it(name: str, tmp_path: Path) -> None:
    converter = shutil.which("onnx2tf") or pytest.skip("onnx2tf is not on the path: pip install onnx2tf")
    python = Path(converter).with_name(Path(sys.executable).name)
    generator = exported(name, "litert", tmp_path)
    shutil.copy(generator.path, tmp_path / "copy.onnx")  # the converter writes to its input
    shapes = {item.name: item.shape for item in generator.manifest.latents}
    np.save(tmp_path / "z.npy", latents.draw(shapes, SEED, ASKED)["z"])
    for command in (
        [converter, "-i", "copy.onnx", "-o", "lite", "-n"],
        [python, "-c", LITERT, "lite/copy_float32.tflite"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    made = np.load(tmp_path / "made.npy")
    if name != "mlp":  # convolutions are channels last there, and so is what they make
        made = np.moveaxis(made, -1, 1)
    check(latents.levels(made), generator)
