"""benchmarks/road.py says yes for what was done and compared, and NO for each thing that may go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import environment
from support.distributions import make_distribution
from support.scripts import script
from support.trainings import architecture, tiny_game

from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "road.py"


@pytest.fixture(scope="module")
def road() -> ModuleType:
    return script("benchmarks/road.py")


def a_walk(road: ModuleType, folder: Path) -> Any:
    return road.Walk(architecture(tiny_game), folder, 80, 16, None)


def test_a_training_is_of_the_size_that_the_examples_have(road: ModuleType) -> None:
    def side(*shapes: tuple[int, ...]) -> int:
        return int(road.side_of(architecture(tiny_game, examples=tuple(map(SampleSpec, shapes)))))

    assert side((3, 16, 16), (1, 28, 28)) == 28
    assert side((3, 64, 64), (1, 32, 32), (1, 16, 24)) == 32
    assert side((1, 512), (1, 8, 8, 8)) == 28


def test_weights_are_compared_bit_by_bit(road: ModuleType) -> None:
    state = {"step": 4, "modules": {"generator": {"weight": torch.ones(3)}}}
    road.compare_states(state, {**state, "seconds": 2.0})
    off = torch.ones(3)
    off[1] = torch.nextafter(off[1], torch.tensor(2.0))
    with pytest.raises(road.NotSo, match=r"1 values differ: modules\.generator\.weight"):
        road.compare_states(state, {**state, "modules": {"generator": {"weight": off}}})
    with pytest.raises(road.NotSo, match="step"):
        road.compare_states(state, {**state, "step": 5})


def test_samples_are_compared_with_torch(road: ModuleType) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4, 1, 8, 8)).astype(np.float32)
    road.compare_samples(samples, samples + 1e-5)
    with pytest.raises(road.NotSo, match=r"off torch's by 0\.001"):
        road.compare_samples(samples, samples + np.float32(1e-3))
    with pytest.raises(road.NotSo, match="off torch's by nan"):
        road.compare_samples(np.where(samples > 0.9, np.nan, samples), samples)
    with pytest.raises(road.NotSo, match="the same samples"):
        road.compare_samples(samples[[0, 1, 1, 2]], samples[[0, 1, 1, 2]])
    with pytest.raises(road.NotSo, match="of shape"):
        road.compare_samples(samples[:3], samples)


def test_pixels_are_compared(road: ModuleType) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 1), np.uint8)
    one = images.copy()
    one[2, 3, 4] += 1
    road.compare_pixels(images, images, exact=True)
    road.compare_pixels(images, one)
    with pytest.raises(road.NotSo, match="1 of 16384 values are off, by up to 1 levels"):
        road.compare_pixels(images, one, exact=True)
    with pytest.raises(road.NotSo, match="16384 of 16384"):
        road.compare_pixels(images, images + 1)


@pytest.mark.parametrize(
    "cells",
    [[], [{"error": "it crashed"}], [{"proof": None}], [{"proof": {"golden": None}}]],
    ids=["none", "an error", "no proof", "no golden images"],
)
def test_a_bench_without_a_proof_is_none(road: ModuleType, cells: list[dict[str, Any]]) -> None:
    road.check_report({"cells": [{"proof": {"golden": {"exact": True}}}]})
    with pytest.raises(road.NotSo):
        road.check_report({"cells": cells})


def test_a_failed_step_is_told_and_the_next_ones_are_tried(
    road: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(error: Exception) -> Any:
        def step(walk: Any) -> None:
            raise error

        return step

    steps = {
        "fine": lambda walk: None,
        "not so": fails(road.NotSo("off by 3")),
        "refused": fails(GantoolError("It can't.", "Try that.")),
        "broken": fails(KeyError("cells")),
        "last": lambda walk: None,
    }
    answers = road.walked(a_walk(road, tmp_path), steps)
    assert answers == {
        "fine": "yes",
        "not so": "NO: off by 3",
        "refused": "NO: It can't. Try that.",
        "broken": "NO: KeyError: 'cells'",
        "last": "yes",
    }
    assert "planted, not so: NO: off by 3" in capsys.readouterr().err
    assert road.table({"planted": answers}, tuple(steps)).splitlines()[2:4] == [
        "| `planted` | yes | **NO** | **NO** | **NO** | yes |",
        "",
    ]


def test_a_command_that_fails_is_told_with_its_last_words(road: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(road.NotSo, match="gantool train exits with 1: Error: There is no architecture 'planted'"):
        a_walk(road, tmp_path).gantool("train", "planted")


@pytest.mark.parametrize("answer", ["yes", "NO: off by 3"])
def test_all_that_are_installed_have_a_row_and_one_no_is_a_failure(
    road: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    translators = {"cyclegan", "pix2pix"}  # the digits are no pairs of pictures
    names = [name for name in registry.architecture_names("image") if name not in translators]
    report = tmp_path / "new" / "road.json"
    monkeypatch.setattr(
        road, "walked", lambda walk: dict.fromkeys(road.ROAD, answer if walk.architecture.name == names[-1] else "yes")
    )
    monkeypatch.setattr(sys, "argv", ["road.py", "--json", str(report)])
    code: object = 0
    try:
        road.main()
    except SystemExit as leaving:
        code = leaving.code
    assert code == (answer != "yes")
    results = json.loads(report.read_text())["results"]
    assert [result["architecture"] for result in results] == names
    assert set(results[-1]["answers"].values()) == {answer}


# real runs


def run(folder: Path, *arguments: str, site: Path | None = None) -> tuple[int, str, dict[str, Any]]:
    report = folder / "road.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--json", str(report)],
        env=environment(*([site] if site else [])), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    (result,) = json.loads(report.read_text())["results"]
    return done.returncode, done.stdout + done.stderr, result


@pytest.mark.slow
def test_a_sound_architecture(tmp_path: Path) -> None:
    code, said, result = run(tmp_path, "--architectures", "mlp")
    assert code == 0, said
    assert set(result["answers"].values()) == {"yes"}
    assert "| `mlp` | yes | yes | yes | yes | yes | yes | yes |" in said
    assert result["notes"]["app kit"].startswith("Python")


FORGETFUL = dedent(
    '''
    """A generator whose scale is an attribute of Python: no checkpoint has it, and a trace freezes it."""
    from pydantic import BaseModel
    from torch import nn
    from gantool.plugin import Architecture, SampleSpec, hookimpl, objectives, two_player

    class Config(BaseModel):
        pass

    class Generator(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.layer, self.shape, self.calls = nn.Linear(4, spec.elements), spec.shape, 0

        def forward(self, z):
            self.calls += self.training
            return (self.layer(z) / (1 + self.calls)).tanh().unflatten(1, self.shape)

    def build(config, spec, recipe):
        judge = nn.Sequential(nn.Flatten(), nn.Linear(spec.elements, 1), nn.Flatten(0))
        return two_player(Generator(spec), judge, objectives.Hinge(), spec=spec, latent_dim=4)

    @hookimpl
    def gantool_architectures():
        return [Architecture("forgetful", "x", Config, build, examples=(SampleSpec((1, 8, 8)),))]
    '''
)


@pytest.mark.slow
def test_an_architecture_that_forgets_is_found_out(tmp_path: Path) -> None:
    site = make_distribution(tmp_path / "site", "forgetful-gan", "1", FORGETFUL, {"forgetful": "forgetful_gan"})
    code, said, result = run(tmp_path, "--architectures", "forgetful", site=site)
    assert code == 1, said
    assert result["side"] == 8
    assert result["answers"]["trains"] == "yes"
    assert "values differ" in result["answers"]["resumes exactly"]
