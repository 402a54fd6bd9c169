"""Sounds and volumes on the command line: each command calls them by their name, and none calls them images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.inprocess import Run

from gantool.runtime import Generator

SOUNDS = np.random.default_rng(0).integers(-9000, 9000, (40, 1, 64)).astype(np.int16)
VOLUMES = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (40, 1, 8, 8, 8))
Says = Callable[..., str]


@pytest.fixture(params=["sound", pytest.param("volume", marks=pytest.mark.slow)])
def noun(request: pytest.FixtureRequest, cli: Run, here: Path) -> str:
    """Of a run in runs/, which is exported."""
    made = {"sound": {"sounds": SOUNDS, "rate": np.int64(8000)}, "volume": {"volumes": VOLUMES}}[request.param]
    np.savez("data.npz", labels=np.arange(40) % 2, **made)
    training = ("train", "cgan", "--data", "data.npz", "--steps", 12, "--width", 4, "--latent-dim", 4)
    code, _, err = cli(*training, "--device", "cpu")
    assert code == 0, err
    assert re.search(rf" {request.param}s/s ", err)
    assert "image" not in err.lower()
    return str(request.param)


@pytest.fixture
def says(cli: Run, noun: str) -> Says:
    """says("export", …): what the command prints, which must not speak of images or pictures."""

    def run(*arguments: object, code: int = 0) -> str:
        got, out, err = cli(*arguments)
        assert got == code, err
        said = re.sub(r"\S+\.[a-z]{2,5}\b", "", out + err)  # names of files
        assert not re.search(r"(?i)\b(images?|pictures?|pixels different|grey)\b", said), said
        return said

    return run


def test_no_command_calls_them_images(says: Says, noun: str, here: Path) -> None:
    says("export")
    assert "golden" in says("inspect", "runs/0001-cgan-data/export/generator.seeded.onnx")
    assert f"3 {noun}s (0 … 2 of seed 0)" in says("generate", "-n", 3, "-o", "samples.png")
    assert f"1 {noun} (0 of seed 0)" in says("generate", "-n", 1, "-o", "samples.npz")
    asked = ("generate", "--count", 30, "--shard-size", 20, "--workers", 1)
    assert f"{noun}s/s" in says(*asked)
    assert f"30 {noun}s" in says(*asked)  # all were there
    assert f"no {noun} {2**47}" in says("generate", "--first", 2**47, "-n", 1, code=1)
    assert f"no {noun} {2**47}" in says("generate", "--first", 2**47, "--count", 1, "--out", "more", code=1)
    says("generate", "-n", 10**9, "-o", "many.npz", code=1)
    says("generate", "-o", "samples.jpg", code=1)
    says("generate", "--count", 3, "--format", "png-tar", "--out", "pngs", code=1)
    says("evaluate", "--samples", 20)
    says("card")


@pytest.mark.slow
def test_the_bench_and_the_kit(says: Says, noun: str, here: Path) -> None:
    says("export")
    shown = says("bench", "--batches", 1, "--seconds", 0.01)
    for part in (f"{noun}s/s", f"first {noun}", f"golden {noun}s equal the exporter's"):
        assert part in shown
    says("bench", "--full", "--batches", 1, "--seconds", 0.01, "--html", "report.html")
    assert f"{noun}s/s" in Path("report.html").read_text()
    says("export", "--app", "kit")
    assert Generator("kit/generator.seeded.onnx").manifest.precision == "float32"
    says("export", "--app", "kit", "--half-weights")
    assert Generator("kit/generator.seeded.onnx").manifest.precision == "half-weights"
