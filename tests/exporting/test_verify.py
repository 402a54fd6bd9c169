"""What export refuses: planted faults, each found by the measure that is for it; a faulty file is never written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support.exports import Tiny, Z, source
from torch import Tensor, nn

from gantool import exporting
from gantool.artifact.manifest import Golden
from gantool.errors import GantoolError
from gantool.exporting import verify
from gantool.exporting.onnx_files import graph, write
from gantool.exporting.torch_files import torchscript
from gantool.exporting.verify import Check
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game


class BatchMean(Tiny):
    """Each image depends on its neighbours."""

    def wild(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Normalised(nn.Module):
    """A BatchNorm whose statistics can be spoiled after they were estimated."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 64), nn.BatchNorm2d(1)

    def forward(self, z: Tensor) -> Tensor:
        return self.norm(self.linear(z).unflatten(1, (1, 8, 8))).tanh()


def with_weights(change: Callable[[Tiny], object]) -> exporting.Source:
    generator = Tiny()
    with torch.no_grad():
        change(generator)
    return source(generator)


def spoiled_statistics() -> exporting.Source:
    made = source(Normalised())
    made.generator.norm.running_mean.add_(5)
    return made


def one_weight_nan(generator: Tiny) -> None:
    generator.linear.weight[3, 1] = torch.nan


def saturated(generator: Tiny) -> None:
    generator.linear.bias.fill_(50)


def blank(generator: Tiny) -> None:
    generator.linear.weight.zero_()


GENERATORS = {
    "share of finite values": lambda: with_weights(one_weight_nan),
    "share of saturated pixels": lambda: with_weights(saturated),
    "deviation between samples": lambda: with_weights(blank),
    "eval against train drift": spoiled_statistics,
}


TORCH = ["torchscript", "torchscript-seeded", "pt2"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    exporting.write(source(Tiny()), ["onnx", "torchscript"], folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """An export of before, which a failing one must not touch."""
    return Path(shutil.copytree(exported, tmp_path / "export"))


def refused(made: exporting.Source, kinds: list[str], folder: Path, *, written: Sequence[str] = ()) -> GantoolError:
    """The error of an export that must fail, and leave every file as it was but those of the kinds `written`."""
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    with pytest.raises(GantoolError) as error:
        exporting.write(made, kinds, folder)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    new = {exporting.FILES[kind] + end for kind in written for end in ("", ".json")}
    assert {name for name in after if after[name] != before.get(name)} == new
    assert before.keys() <= after.keys()
    if written:
        assert isinstance(error.value, exporting.PartialExport)
        assert [artifact.manifest.kind for artifact in error.value.artifacts] == list(written)
    return error.value


@pytest.mark.parametrize("measure", GENERATORS)
def test_a_generator_without_images(measure: str, folder: Path) -> None:
    error = refused(GENERATORS[measure](), list(exporting.FILES), folder)
    assert f"generator: {measure} is" in error.message
    assert error.hint


def test_images_that_depend_on_their_neighbours(folder: Path) -> None:
    error = refused(source(BatchMean()), list(exporting.FILES), folder)
    assert "alone to batch" in error.message


class Noisy(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Frozen(Tiny):
    def wild(self, x: Tensor) -> Tensor:
        return x + torch.arange(int(x.shape[0])).reshape(2, 1, 1, 1) if len(x) == 2 else x


@pytest.mark.parametrize(("faulty", "message"), [(Noisy, "draws random numbers"), (Frozen, "frozen at 2|can't export")])
def test_graphs_that_no_seed_or_batch_fits(faulty: type[Tiny], message: str, folder: Path) -> None:
    assert re.search(message, str(refused(source(faulty()), list(exporting.FILES), folder)))


def tamper(model: onnx.ModelProto, by: float) -> onnx.ModelProto:
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2 and not t.name.startswith("latents/"))
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0, 0] += by
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


@pytest.mark.parametrize("kinds", [["onnx"], list(exporting.FILES)])
def test_weights_changed_on_the_way_to_onnx(kinds: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = graph.to_onnx
    monkeypatch.setattr(graph, "to_onnx", lambda *arguments: tamper(honest(*arguments), 0.01))
    error = refused(source(Tiny()), kinds, folder, written=[kind for kind in TORCH if kind in kinds])
    assert "onnx: max abs difference to torch, batch 64 is" in error.message


@pytest.mark.parametrize(("kind", "other"), [("seeded", "portable"), ("portable", "seeded")])
def test_weights_changed_on_the_way_to_a_seeded_file(
    kind: str, other: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = getattr(write, f"{kind}_model")
    monkeypatch.setattr(write, f"{kind}_model", lambda *given, **named: tamper(honest(*given, **named), 0.5))
    error = refused(source(Tiny()), list(exporting.FILES), folder, written=["onnx", f"onnx-{other}", *TORCH])
    assert f"onnx-{kind}: levels off torch, batch 64 is" in error.message
    assert "values different to generator.onnx" in error.message


def test_weights_changed_on_the_way_to_torchscript(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = torchscript.to_torchscript

    def changed(generator: nn.Module, example: list[Tensor]) -> torch.jit.ScriptModule:
        other = Tiny()
        with torch.no_grad():
            other.linear.bias += 0.01
        return honest(other.eval(), example)

    monkeypatch.setattr(torchscript, "to_torchscript", changed)
    others = [kind for kind in exporting.FILES if kind != "torchscript"]
    error = refused(source(Tiny()), list(exporting.FILES), folder, written=others)
    assert "generator.torchscript.pt could not be written" in error.message
    assert "torchscript: max abs difference to torch" in error.message


def test_golden_images_that_the_shipped_file_does_not_make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = verify.goldens

    def other(*arguments: Any) -> tuple[Golden, ...]:
        first, *rest = honest(*arguments)
        (image, row, column, (value,)), *pixels = first.pixels
        return (replace(first, pixels=((image, row, column, (value ^ 16,)), *pixels)), *rest)

    monkeypatch.setattr(verify, "goldens", other)
    error = refused(source(Tiny()), ["onnx"], folder)
    assert "makes other images here" in error.message


class Bessel(Tiny):
    """Uses an operator that torch has and ONNX has not."""

    def wild(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_torch_files_do_not_depend_on_onnx(folder: Path) -> None:
    """What ONNX can't hold costs the ONNX files alone; files for torch are then without golden images."""
    error = refused(source(Bessel()), list(exporting.FILES), folder, written=TORCH)
    assert "generator.onnx could not be written: torch can't export this generator to ONNX" in error.message
    notes: list[str] = []
    (made,) = exporting.write(source(Bessel()), ["torchscript"], folder, say=notes.append)
    assert made.manifest.golden == ()
    assert "without golden samples" in notes[0]


def test_a_failing_first_export_leaves_no_file(tmp_path: Path) -> None:
    refused(with_weights(blank), list(exporting.FILES), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), 2.0])
def test_a_check_fails_above_its_limit_and_for_nan(value: float) -> None:
    assert not Check("a", "b", value, 1.0).passed
    assert not Check("a", "b", -value, -1.0, least=True).passed
    with pytest.raises(GantoolError, match="a: b is"):
        verify.demand([Check("a", "good", 0.0, 1.0), Check("a", "b", value, 1.0)])


def test_a_check_passes_at_its_limit() -> None:
    assert Check("a", "b", 1.0, 1.0).passed
    assert Check("a", "b", 1.0, 1.0, least=True).passed
    verify.demand([])


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_an_infinite_image_is_no_parity() -> None:
    """Infinity minus infinity is NaN, which must fail."""
    infinite = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        infinite[0].bias.fill_(torch.inf)
    inputs = {"z": np.zeros((64, 4), np.float32)}
    checks = verify.check_float("onnx", infinite, lambda part: verify.run_torch(infinite, part), inputs)
    assert not any(check.passed for check in checks)


class Shifted(Tiny):
    """Each class has a mean of its own before a BatchNorm, whose statistics are those of the mixture."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.norm(self.linear(z) + 8 * label[:, None]).unflatten(1, self.shape).tanh()


def test_batch_statistics_are_checked_on_the_classes_that_training_draws(tmp_path: Path) -> None:
    game = Game(Shifted(), (), (Z, Input("label", (), "label", 2, like_data=True)), (), SampleSpec((1, 8, 8)))
    about = {"name": "tiny", "plugin": "tests", "plugin_version": "1", "config": {}}
    rare = exporting.from_game(game, architecture=about, training={}, data={}, class_counts=(950, 50))
    assert exporting.write(rare, ["onnx"], tmp_path)
