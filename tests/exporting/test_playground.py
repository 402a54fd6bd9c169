"""playground.html without a browser: the cut graph, what is embedded and how, the run's history, what is refused."""

from __future__ import annotations

import dataclasses
import html.parser
import io
import json
import math
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.exports import Tiny, TwoLatents, Z, source
from torch import Tensor, nn

from gantool import exporting
from gantool.artifact import inspection
from gantool.errors import GantoolError
from gantool.exporting.app import history, playground
from gantool.exporting.app.playground import split
from gantool.plugin.architecture import Input
from gantool.run import curves, metrics_log
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

NEEDS_RUNTIME = pytest.mark.skipif(
    not all((playground.ASSETS / name).is_file() for name in playground.ORT_WEB),
    reason="the browser runtime is not there: make assets",
)


class Deconvolutions(Tiny):
    """z (N, 4) → image (N, 3, 8, 8) by a transposed convolution and a normalisation."""

    def __init__(self) -> None:
        super().__init__((3, 8, 8))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(3, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 4, 2, 1)
        )

    def wild(self, x: Tensor) -> Tensor:
        return self.up(x)  # type: ignore[no-any-return]


KINDS: dict[str, Callable[[], exporting.Source]] = {
    "two-latents": lambda: source(TwoLatents(), Z, Input("noise", (1, 8, 8), "normal")),
    "colour": lambda: source(Deconvolutions(), shape=(3, 8, 8)),
}


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, conditional_export: Path, tiny_export: Callable[..., Path]
) -> dict[str, Path]:
    """generator.seeded.onnx of each kind, generator.onnx beside it."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, make in KINDS.items():
        exporting.write(make(), ["onnx", "onnx-seeded"], folders[kind])
    folders |= {"conditional": conditional_export, "one": tiny_export(1, 8, 8)}
    return {kind: folder / "generator.seeded.onnx" for kind, folder in folders.items()}


class Unit(nn.Module):
    """z is divided by its own length, as mapping networks do first."""

    def forward(self, z: Tensor) -> Tensor:
        return z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def normalised(generator: Tiny) -> Tiny:
    generator.linear = nn.Sequential(Unit(), generator.linear)  # type: ignore[assignment]
    return generator


NOISE = Input("noise", (1, 8, 8), "normal")


@pytest.mark.parametrize(
    ("generator", "inputs", "truncation"),
    [
        (Tiny(), (Z,), "z"),
        (Tiny(), (Input("style", (4,), "normal"),), "style"),
        (TwoLatents(), (Z, NOISE), "z"),
        (TwoLatents(), (Input("one", (4,), "normal"), NOISE), ""),
        (normalised(Tiny()), (Z,), ""),
        (normalised(TwoLatents()), (Z, NOISE), ""),
    ],
    ids=["z", "the only latent", "z beside noise", "no z", "normalised", "normalised beside noise"],
)
def test_truncation_is_of_a_latent_whose_scale_matters(
    generator: nn.Module, inputs: tuple[Input, ...], truncation: str, tmp_path: Path
) -> None:
    (made,) = exporting.write(source(generator, *inputs), ["onnx-seeded"], tmp_path)
    assert inspection.inspect(made.path).manifest.truncation == truncation


def halves(path: Path) -> tuple[onnx.ModelProto, ...]:
    return split(onnx.load(path), [i.name for i in inspection.inspect(path).manifest.latents])


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("kind", [*KINDS, "conditional", "one"])
@pytest.mark.parametrize(("seed", "first", "count"), [(0, 0, 1), (2**40 + 7, 7, 4), (-1, 2**47 - 9, 9)])
def test_the_halves_composed_are_the_seeded_graph(
    files: dict[str, Path], kind: str, seed: int, first: int, count: int
) -> None:
    drawing, making = halves(files[kind])
    index = np.arange(first, first + count)
    feeds = run(drawing, {"seed": np.array([seed]), "index": index})
    assert list(feeds) == [i.name for i in inspection.inspect(files[kind]).manifest.latents]
    if kind == "conditional":
        feeds["label"] = index % 3
    assert np.array_equal(run(making, feeds)["image"], Generator(files[kind]).sample(count, seed, first))


@pytest.mark.parametrize("kind", [*KINDS, "conditional", "one"])
def test_every_weight_is_in_one_half(files: dict[str, Path], kind: str) -> None:
    drawing, making = ({tensor.name for tensor in half.graph.initializer} for half in halves(files[kind]))
    assert drawing.isdisjoint(making)
    assert drawing | making == {tensor.name for tensor in onnx.load(files[kind]).graph.initializer}
    assert "latents/table" in drawing


def test_a_file_without_latents_from_a_seed_is_refused(files: dict[str, Path]) -> None:
    plain = onnx.load(files["one"].with_name("generator.onnx"))
    with pytest.raises(GantoolError, match="no latents z drawn from seed and index"):
        split(plain, ["z"])
    with pytest.raises(GantoolError, match="no latents w drawn"):
        split(onnx.load(files["one"]), ["w"])


def test_images_that_take_more_of_the_seed_than_latents_are_refused(files: dict[str, Path]) -> None:
    model = onnx.load(files["two-latents"])
    with pytest.raises(GantoolError, match="generator part of the graph depends on the seed in another way"):
        split(model, ["z"])  # the noise is not cut: its half would draw it


@settings(max_examples=40)
@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_embedded_json_keeps_its_value_and_closes_nothing(value: object) -> None:
    text = playground.embedded_json([value, "</script><!--&\u2028\u2029"])
    assert json.loads(text)[0] == value
    assert not set("<>&\u2028\u2029") & set(text)
    text.encode()  # a lone surrogate would fail here


POINTS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000).map(lambda values: list(enumerate(values)))


@given(POINTS, st.integers(4, 50))
def test_downsampling_keeps_ends_and_extremes(points: list[tuple[int, float]], limit: int) -> None:
    thin = curves.downsample(points, limit)
    assert len(thin) <= limit
    assert thin == [point for point in points if point in set(thin)]
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    if limit <= len(points):
        inner = [value for _, value in points[1:-1]]
        assert {min(inner), max(inner)} <= {value for _, value in thin}


def picture(uri: str) -> Image.Image:
    image = Image.open(io.BytesIO(b64decode(uri.partition(",")[2])))
    image.load()
    return image


def test_the_strip_undoes_the_enlargement_of_pixels(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    small = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    run.sample(1).parent.mkdir()
    Image.fromarray(small.repeat(6, 0).repeat(6, 1)).save(run.sample(500))
    run.sample(600).write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    run.sample(700).write_bytes(run.sample(500).read_bytes()[:200])
    (shown,) = history.strip(run, 8)
    assert (shown["step"], shown["width"], shown["height"]) == (500, 20, 20)
    assert np.array_equal(np.asarray(picture(shown["uri"])), small)


def test_a_strip_of_large_noisy_samples_stays_in_its_budget(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.sample(0).parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    for step in range(20):
        side = 200 if step else 500  # whose first one has to be made smaller
        Image.fromarray(noise[:side, :side]).save(run.sample(step), compress_level=1)
    shown = history.strip(run, 64)
    assert [item["step"] for item in shown] == [0, 2, 3, 5, 7, 9, 10, 12, 14, 16, 17, 19]
    assert sum(len(item["uri"]) for item in shown) <= history.STRIP_BYTES
    assert all(picture(item["uri"]).size == (item["width"], item["height"]) for item in shown)


def test_curves_hold_finite_numbers_of_known_panels(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert curves.panels(metrics_log.read_metrics(run)) == []
    values: list[object] = [1.23456789, math.nan, math.inf, True, "x", None, 2]
    for step, value in enumerate(values):
        metrics_log.append(run, {"step": step, "seconds": 1.0, "loss.g": value, "diversity": 0.5})
    loss, diversity = curves.panels(metrics_log.read_metrics(run))
    assert loss == {"name": "loss", "lines": [{"name": "g", "steps": [0, 6], "values": [1.23457, 2.0]}]}
    assert (diversity["name"], diversity["lines"][0]["name"]) == ("diversity", "diversity")


def test_the_runtime_becomes_a_script_without_an_export() -> None:
    bundle = "var a=1,b=2;export{a as InferenceSession,b as env};\n//# sourceMappingURL=x.map\n"
    script = playground.as_script(bundle)
    assert script == "var a=1,b=2;const ort={InferenceSession:a,env:b};\n\n"
    for broken in ("var a=1;", bundle + bundle):
        with pytest.raises(GantoolError, match="export lists"):
            playground.as_script(broken)


class Outside(html.parser.HTMLParser):
    """What a page would load, and how many elements have each name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


@NEEDS_RUNTIME
def test_the_page_is_one_file_and_always_the_same(files: dict[str, Path]) -> None:
    described = inspection.inspect(files["conditional"]).manifest
    hostile = "</script><img src=x onerror=alert(1)>{{payloads}}\u2028"
    described = dataclasses.replace(described, data={"name": hostile, "class_names": [hostile]}, licence=hostile)
    page = playground.build(files["conditional"], described)
    assert page == playground.build(files["conditional"], described)
    assert page.count('id="payload-generator"') == 1  # the placeholder in the hostile name is not filled in
    outside = Outside(page)
    assert outside.links == ["data:,", "#main"]
    assert outside.counts["img"] == 1  # that of the training strip
    assert "alert(1)>" not in page
    assert "trainedAlgorithmicMedia" in page
    assert "trainedAlgorithmicMedia" not in playground.build(files["conditional"], described, provenance=False)


@NEEDS_RUNTIME
def test_what_is_no_seeded_file_of_images_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    described = inspection.inspect(files["one"]).manifest
    damaged = tmp_path / "generator.seeded.onnx"
    damaged.write_bytes(b"\xff" * 100)
    with pytest.raises(GantoolError, match=r"generator\.seeded\.onnx is not an ONNX file, or is damaged"):
        playground.build(damaged, described)
    quadro = source(Tiny((4, 64)), shape=(4, 64))
    (made,) = exporting.write(quadro, ["onnx-seeded"], tmp_path)
    with pytest.raises(GantoolError, match="has sounds of 1 or 2 channels; this generator's have 4"):
        playground.build(made.path, made.manifest)


def test_a_missing_browser_runtime_is_named(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playground, "ASSETS", tmp_path)
    with pytest.raises(GantoolError, match="not installed") as caught:
        playground.build(files["one"], inspection.inspect(files["one"]).manifest)
    assert "make assets" in caught.value.hint
