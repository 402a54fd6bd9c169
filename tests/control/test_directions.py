"""Directions: found by each method, named, and inputs of every exported file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.exports import source
from support.inprocess import Run
from support.trainings import SMALL, run_until, start
from torch import Tensor, nn

import gantool
from gantool import exporting
from gantool.control import find
from gantool.control.measures import measured
from gantool.control.space import space_of
from gantool.errors import ArgumentError, GantoolError
from gantool.exporting.edits import with_directions
from gantool.metrics.extractors import Pixels
from gantool.plugin import registry
from gantool.plugin.architecture import Input, SampleSpec
from gantool.run import directions as stored
from gantool.run.directions import Direction, Directions
from gantool.run.rundir import RunDir
from gantool.runtime import Generator

FROM_NOISE = sorted(set(SMALL) - {"cyclegan", "pix2pix", "projected"})  # projected: its weights are slow to load
ALIKE = ("gan3d", "sngan", "wavegan", "wgan")  # their latents are met as those of others are
SPEC = SampleSpec((1, 16, 16))


class Leaning(nn.Module):
    """z (N, 6) → a bar (N, 1, 16, 16): z[0] makes it brighter, z[1] leans it; the others do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Linear(6, 6, bias=False)  # the axes of z are not the directions
        nn.init.orthogonal_(self.turn.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, z: Tensor) -> Tensor:
        brighter, leaning, *_ = self.turn(z)[:, :, None, None].unbind(1)
        rows, columns = torch.arange(16.0)[:, None] - 7.5, torch.arange(16.0) - 7.5
        bar = torch.exp(-((columns + 0.3 * leaning.tanh() * rows) ** 2) / 4) * torch.exp(-(rows**2) / 30)
        return (2 * bar * torch.sigmoid(brighter) - 1)[:, None]


def leaning() -> exporting.Source:
    return source(Leaning(), Input("z", (6,), "normal"), shape=SPEC.shape)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    opened = start("mlp", tmp_path_factory.mktemp("directions"), steps=2, widths=(8,))
    run_until(opened)
    return opened.run


def edited(made: exporting.Source, *vectors: Tensor, **fields: object) -> exporting.Source:
    space = space_of(made)
    named = [
        Direction(
            vector=tuple(v.tolist()),
            input=space.input.name,
            place=space.place,
            method="sefa",
            about="",
            step=0,
            name=f"edit_{k}",
            **fields,
        )
        for k, v in enumerate(vectors)
    ]
    return with_directions(made, named)


# the space, for every architecture


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in FROM_NOISE])
def test_every_architecture_has_a_space_and_directions(name: str) -> None:
    architecture = registry.find(name).architecture
    assert architecture is not None
    spec = architecture.examples[0]
    config = architecture.config(**{k: v for k, v in SMALL[name].items() if k in architecture.config.model_fields})
    recipe = architecture.recipe(config) if callable(architecture.recipe) else architecture.recipe
    torch.manual_seed(0)
    made = exporting.from_game(architecture.build(config, spec, recipe), architecture={}, training={"step": 0}, data={})
    space = space_of(made)
    assert space.place == ("mapping" if name == "stylegan2" else "")
    vectors, about = find.sefa(space, 3)
    assert len(vectors) == len(about) == min(3, space.size)
    assert torch.allclose(vectors @ vectors.T, torch.eye(len(vectors)), atol=1e-4)
    # at strength 0 every sample is the same, bit for bit; elsewhere it is that of the moved points
    inputs = space.inputs(0, np.arange(5))
    zeros = torch.zeros(5)
    for strengths in ((0.7, -2.0), (0.7, -2.0, 0.3)):  # few are added one by one
        own = vectors[: len(strengths)]
        changed = edited(made, *own).generator
        with torch.no_grad():
            assert torch.equal(changed(*inputs.values(), *[zeros for _ in own]), space.samples(inputs))
            moved = space.points(inputs) + torch.tensor(strengths[: len(own)]) @ own
            given = changed(*inputs.values(), *[zeros + strength for strength in strengths[: len(own)]])
            assert torch.allclose(given, space.samples(inputs, moved), atol=1e-5)


def test_a_generator_without_a_latent_has_none() -> None:
    takes = source(nn.Identity(), Input("picture", (1, 16, 16), "data"), shape=SPEC.shape)
    with pytest.raises(GantoolError, match="makes a picture of a picture"):
        space_of(takes)


# the methods


def test_sefa_is_the_closed_form_of_the_first_layer() -> None:
    layer = nn.Linear(4, 9)
    made = source(
        nn.Sequential(layer, nn.Tanh(), nn.Unflatten(1, (1, 3, 3))), Input("z", (4,), "normal"), shape=(1, 3, 3)
    )
    vectors, _ = find.sefa(space_of(made), 4)
    right = torch.linalg.svd(layer.weight.detach()).Vh
    assert torch.allclose((vectors @ right.T).abs(), torch.eye(4), atol=1e-3)


def test_sefa_needs_an_affine_layer() -> None:
    class Bent(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.sin()[:, None, None]

    made = source(nn.Sequential(Bent()), Input("z", (8,), "normal"), shape=(1, 1, 8))
    with pytest.raises(GantoolError, match="no affine layer") as told:
        find.sefa(space_of(made), 3)
    assert "--by pca" in told.value.hint


def test_measures_find_what_was_planted() -> None:
    made = leaning()
    vectors, about = find.measures(space_of(made), 8, 0, Pixels(SPEC, torch.device("cpu")), lambda count: None)
    turn = dict(made.generator.named_parameters())["turn.weight"].detach()
    found = dict(zip(about, vectors, strict=True))
    assert found["brightness"] @ turn[0] > 0.99
    assert found["slant"] @ turn[1] > 0.99
    assert "contrast" not in found  # the same as brightness here


def test_pca_finds_the_plane_that_matters() -> None:
    made = leaning()
    vectors, _ = find.pca(space_of(made), 2, 0, lambda count: None)
    turn = dict(made.generator.named_parameters())["turn.weight"].detach()
    assert torch.linalg.svdvals(vectors @ turn[:2].T).min() > 0.97


def test_examples_and_a_measure_agree() -> None:
    made = leaning()
    space = space_of(made)
    inputs = space.inputs(0, np.arange(64))
    slant = measured(space.samples(inputs).detach(), SPEC)["slant"]
    points = space.points(inputs)
    (vector,), _ = find.examples(space, points[slant > slant.median()], points[slant <= slant.median()])
    turn = dict(made.generator.named_parameters())["turn.weight"].detach()
    assert vector @ turn[1] > 0.8
    with pytest.raises(ArgumentError, match="are the same"):
        find.examples(space, points, points)


def test_labels_behind_a_mapping_network() -> None:
    """Towards a class: points of that class lie further along its direction than all others do."""
    spec = SampleSpec((1, 16, 16), classes=3)
    architecture = registry.find("stylegan2").architecture
    assert architecture is not None
    config = architecture.config(**SMALL["stylegan2"])
    torch.manual_seed(0)
    game = architecture.build(config, spec, gantool.plugin.Recipe())
    space = space_of(exporting.from_game(game, architecture={}, training={"step": 0}, data={}))
    extractor = Pixels(spec, torch.device("cpu"))
    vectors, about = find.labels(space, 8, 0, extractor, lambda count: None)
    assert about == ["class 0", "class 1", "class 2"]
    inputs = space.inputs(1, np.arange(300))
    along = space.points(inputs) @ vectors.T
    for number in range(3):
        own = inputs["label"] == number
        assert along[own, number].mean() > along[~own, number].mean() + along[:, number].std()


def test_labels_need_verdicts() -> None:
    with pytest.raises(GantoolError, match="No classes are known"):
        find.labels(space_of(leaning()), 8, 0, Pixels(SPEC, torch.device("cpu")), lambda count: None)


# from a run to its files, by the command line


def test_from_search_to_slider(run: RunDir, tmp_path: Path, cli: Run) -> None:
    exporting.export_run(run, folder=tmp_path / "before")
    code, out, _ = cli("directions", run.path, "--by", "measures", "-n", "2", "--json", "-o", tmp_path / "sheet.png")
    found = json.loads(out)["directions"]
    assert code == 0
    assert [d["number"] for d in found] == [1, 2]
    assert (tmp_path / "sheet.png").stat().st_size > 500
    code, out, _ = cli("directions", "name", "1", "light", run.path)
    assert code == 0
    named = stored.read(run).named[0]
    assert (f"strengths {named.low:g} to {named.high:g}" in out, named.low < 0 < named.high) == (True, True)
    cli("directions", "name", "2", "other", run.path, "--low", "-2", "--high", "1.5")
    code, out, _ = cli("directions", "list", run.path)
    assert "light" in out
    assert "-2 to 1.5" in out
    exporting.export_run(run, folder=tmp_path / "after")

    for file in ("generator.onnx", "generator.seeded.onnx"):
        old, new = (Generator(tmp_path / folder / file) for folder in ("before", "after"))
        assert [(v.name, v.default) for v in new.manifest.values] == [("light", 0), ("other", 0)]
        assert np.array_equal(old.sample(70, seed=3), new.sample(70, seed=3))
        moved = new.sample(70, seed=3, values={"other": 1.5})
        vector = np.float32(stored.read(run).named[1].vector)
        wanted = Generator(tmp_path / "before" / "generator.onnx")
        floats = wanted.from_latents(wanted.latents(70, 3) + np.float32(1.5) * vector)
        assert np.abs(moved.astype(int) - np.floor(floats * 127.5 + 128).clip(0, 255).transpose(0, 2, 3, 1)).max() <= 1
        assert (moved != new.sample(70, seed=3)).any()
    code, _, err = cli(
        "generate", tmp_path / "after" / "generator.seeded.onnx", "--value", "other=2", "-o", tmp_path / "x.png"
    )
    assert (code, "from -2 to 1.5" in err) == (1, True)
    assert "light" in cli("directions", tmp_path / "after" / "generator.onnx")[1]
    code, _, err = cli("directions", "name", "1", "other", run.path)
    assert (code, "There is a direction 'other' already" in err) == (1, True)
    cli("directions", "remove", "other", run.path)
    assert [d.name for d in stored.read(run).named] == ["light"]


def test_the_same_search_again_finds_the_same(run: RunDir) -> None:
    first = gantool.directions(run.path, "pca", progress=False).directions
    assert gantool.directions(run.path, "pca", progress=False).directions == first


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (["--by", "magic"], "no way 'magic'", "sefa, pca"),
        (["--these", "0:1"], "are examples", "--by examples"),
        (["--by", "examples"], "--these names no example", "seed:index"),
        (["--by", "examples", "--these", "cat", "--those", "0:1"], "'cat' names no sample", "0:17"),
        (["--by", "labels"], "No classes are known", "--by measures"),
    ],
)
def test_what_can_not_be_found(run: RunDir, cli: Run, line: list[str], message: str, hint: str) -> None:
    code, _, err = cli("directions", run.path, *line)
    assert (code, message in err, hint in err) == (1, True, True), err


@pytest.mark.parametrize(
    ("number", "name", "more", "message"),
    [
        (99, "far", [], "no direction 99"),
        (1, "Bad name", [], "'Bad name' can't be the name"),
        (1, "z", [], "has an input 'z' already"),
        (1, "seed", [], "'seed' means something else"),
        (1, "class", [], "'class' means something else"),
        (1, "image", [], "'image' means something else"),
        (1, "wide", ["--low", "1", "--high", "2"], "bounds 1 and 2 don't fit"),
    ],
)
def test_names_that_can_not_be_given(
    run: RunDir, cli: Run, number: int, name: str, more: list[str], message: str
) -> None:
    gantool.directions(run.path, progress=False)
    code, _, err = cli("directions", "name", number, name, run.path, *more)
    assert (code, message in err) == (1, True), err


def test_latents_from_a_file_are_examples(run: RunDir, tmp_path: Path, cli: Run) -> None:
    z = np.random.default_rng(0).standard_normal((8, SMALL["mlp"]["latent_dim"]), np.float32)
    np.savez(tmp_path / "these.npz", z=z[:4])
    np.savez(tmp_path / "those.npz", z=z[4:])
    np.savez(tmp_path / "wrong.npz", z=z[:, :2])
    names = ["--these", tmp_path / "these.npz", "--those", tmp_path / "those.npz"]
    assert cli("directions", run.path, "--by", "examples", *names)[0] == 0
    code, _, err = cli("directions", run.path, "--by", "examples", *names[:3], tmp_path / "wrong.npz")
    assert (code, "wanted: float32 (n, 5)" in err) == (1, True)


def test_a_direction_of_another_generator_is_refused(run: RunDir, tmp_path: Path) -> None:
    strange = Direction(vector=(1.0, 0.0), input="z", method="sefa", about="", step=1, name="strange")
    before = stored.read(run)
    stored.write(run, Directions(named=(strange,)))
    try:
        with pytest.raises(GantoolError, match="'strange' does not fit this generator"):
            exporting.export_run(run, folder=tmp_path)
    finally:
        stored.write(run, before)


@pytest.mark.parametrize("text", ["{}]", '{"found": [{"vector": []}]}', '{"named": 3}', '{"schema_version": 2}'])
def test_a_damaged_file_is_named(run: RunDir, text: str) -> None:
    path = run.path / stored.FILE
    before = path.read_bytes() if path.exists() else b"{}"
    path.write_text(text)
    try:
        with pytest.raises(GantoolError, match=r"directions\.json"):
            stored.read(run)
    finally:
        path.write_bytes(before)


def test_int8_files_move_as_far(tmp_path: Path) -> None:
    """Strengths are 0 in most of what int8 files are calibrated with."""
    made = edited(leaning(), torch.eye(6)[0] * 2, low=-3.0, high=3.0)
    made = dataclasses.replace(made, about=dataclasses.replace(made.about, training={"step": 0}))
    options = exporting.Options(precisions=("float32", "int8"), force=True)
    exporting.write(made, ["onnx"], tmp_path, options)
    exact, small = (Generator(tmp_path / f"generator{part}.onnx") for part in ("", ".int8"))
    moved = [g.sample(32, values={"edit_0": 3.0}).astype(int) for g in (exact, small)]
    assert np.abs(moved[0] - moved[1]).mean() < 4
    assert np.abs(moved[0] - exact.sample(32)).mean() > 8


def test_many_names_of_one_direction_can_be_exported(tmp_path: Path) -> None:
    """Each within its bounds; all at once would be far from the data."""
    made = edited(leaning(), *[torch.eye(6)[0]] * 12, low=-3.0, high=3.0)
    exporting.write(made, ["onnx"], tmp_path)
    assert len(Generator(tmp_path / "generator.onnx").manifest.values) == 12


def test_points_have_measures() -> None:
    samples = torch.tensor([[0.5, -1.0], [0.0, 1.0]])
    found = measured(samples, SampleSpec((2,)))
    assert {name: value.tolist() for name, value in found.items()} == {"x": [0.5, 0.0], "y": [-1.0, 1.0]}
