"""benchmarks/throughput.py: rivals make equal images, wrong ones are found, and a machine without CUDA says so."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def contenders(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("contenders")


@pytest.fixture
def cuda(contenders: ModuleType) -> ModuleType:
    return importlib.import_module("throughput_cuda")


@pytest.fixture
def cpu(contenders: ModuleType) -> ModuleType:
    return importlib.import_module("throughput")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "throughput.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize("name", ["dcgan 32", "dcgan 64"])
def test_the_layout_of_the_tutorial_makes_the_same_images(contenders: ModuleType, name: str) -> None:
    ours = contenders.game(name).generator.eval()
    theirs = contenders.tutorial(ours, 100)
    first = theirs[1]
    assert isinstance(first, torch.nn.ConvTranspose2d)
    assert (first.in_channels, first.kernel_size, first.stride, first.padding) == (100, (4, 4), (1, 1), (0, 0))
    assert first.weight.is_contiguous()
    z = torch.randn(5, 100, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.double()(z), ours.double()(z), rtol=0, atol=1e-12)


def test_reading_is_measured(contenders: ModuleType) -> None:
    assert 1e8 < contenders.reading(6_000_000, 0.05) < 1e13


def row(batch: int, contender: str, speeds: list[float], **rest: Any) -> dict[str, Any]:
    middle = sorted(speeds)[len(speeds) // 2]
    return {
        "generator": "dcgan 32", "batch": batch, "contender": contender, "speeds": speeds,
        "images_per_second": middle, "of_gemm": 0.5,
    } | rest  # fmt: skip


def test_ratios_to_ours_and_to_the_tutorials_layout_stand_side_by_side(cpu: ModuleType) -> None:
    rows = [
        row(1, cpu.EAGER, [100, 100, 100]), row(1, cpu.TUTORIAL, [60, 60, 60]),
        row(1, cpu.PLAIN, [200, 200, 200]), row(1, cpu.SEEDED, [300, 270, 330]),
    ]  # fmt: skip
    found = {t["what"]: (t["measured"], t["wanted"]) for t in cpu.targets(rows)}
    assert found[f"dcgan 32 at 1, {cpu.SEEDED} / {cpu.EAGER}"] == (3.0, 4.5)
    assert found[f"dcgan 32 at 1, {cpu.SEEDED} / {cpu.TUTORIAL}"] == (5.0, 4.5)
    assert found["dcgan 32 at 1, gantool / torch eager, the quickest of torch"][0] == 3.0


def test_the_weights_are_the_bound_of_one_image(cpu: ModuleType) -> None:
    shares = {cpu.EAGER: 0.5, cpu.PLAIN: 0.625, cpu.SEEDED: 0.75}
    rows = [row(1, c, [1.0], of_reading=s, weight_bytes=6e6, read_bytes_per_second=4e10) for c, s in shares.items()]
    assert cpu.reading_line(rows) == (
        "Limit at batch 1: reading 6.0 MB of weights at 40 GB/s. Share reached: "
        "torch eager 50%, gantool 62%, gantool, seeded 75%."
    )


# CUDA


def images(change: int = 0, values: int = 0) -> list[np.ndarray]:
    """Two batches; `values` of their 2 × 8 × 100 are off by `change`."""
    made = np.arange(2 * 8 * 100).reshape(2, 8, 10, 10, 1) % 199
    made.reshape(-1)[:values] += change
    return [made[0], made[1]]


@pytest.mark.parametrize(
    ("precision", "change", "values", "right"),
    [
        ("fp32", 0, 0, True), ("fp32", 1, 1, True), ("fp32", 1, 2, False), ("fp32", 2, 1, False),
        ("tf32", 2, 80, True), ("tf32", 2, 81, False), ("tf32", 3, 1, False),
        ("fp16", 3, 320, True), ("fp16", 4, 1, False),
    ],
)  # fmt: skip
def test_images_are_held_to_what_their_arithmetic_allows(
    cuda: ModuleType, precision: str, change: int, values: int, right: bool
) -> None:
    made = images(change, values)
    if right:
        assert cuda.proven(made, images(), precision) == (change, values / 1600)
    else:
        with pytest.raises(ValueError, match=f"by up to {change} levels; {precision} may"):
            cuda.proven(made, images(), precision)


def test_images_shown_twice_are_found(cuda: ModuleType) -> None:
    first, second = images()
    with pytest.raises(ValueError, match="other latents give the same images"):
        cuda.proven([first, first], [first, second], "fp16")
    with pytest.raises(ValueError, match="levels"):
        cuda.proven([second, first], [first, second], "fp16")


def test_the_roofline_is_the_lower_of_arithmetic_and_memory(cuda: ModuleType) -> None:
    peaks = {"fp32": 1e12, "tf32": 4e12, "fp16": 8e12, "bandwidth": 1e11}
    job = {"flops": 1e6, "activation_bytes": 1e4, "weight_bytes": 1e6}
    assert cuda.bound(job, 10**9, "fp32", peaks) == pytest.approx(1e6)
    assert cuda.bound(job, 10**9, "tf32", peaks) == pytest.approx(4e6)
    assert cuda.bound(job, 1, "tf32", peaks) == pytest.approx(1e11 / (2e4 + 1e6))
    assert cuda.bound(job, 1, "fp16", peaks) == pytest.approx(2e11 / (2e4 + 1e6))


def test_a_target_compares_the_same_arithmetic(cuda: ModuleType) -> None:
    rows = [
        row(64, "torch eager", [10.0]), row(64, "torch eager, TF32", [20.0]),
        row(64, "gantool, seeded, CUDA graph, no TF32", [14.0]), row(64, "gantool, seeded, no TF32", [12.0]),
        row(64, "gantool, seeded, CUDA graph", [40.0]), row(1024, "torch eager, TF32", [30.0]),
        row(1024, "gantool, seeded", [33.0]), row(1024, "torch.compile max-autotune, TF32", [40.0]),
    ]  # fmt: skip
    assert [(t["what"], round(t["measured"], 3), t["wanted"]) for t in cuda.targets(rows)] == [
        ("dcgan 32 at 64, best / torch eager", 1.4, 1.5),
        ("dcgan 32 at 64, best / torch eager, TF32", 2.0, 1.5),
        ("dcgan 32 at 1024, best / torch eager, TF32", 1.1, 1.0),
        ("dcgan 32 at 1024, best / torch.compile max-autotune, TF32", 0.825, 0.95),
    ]


def test_a_contender_that_ends_stops_no_other(cuda: ModuleType) -> None:
    class Stub:
        def __init__(self, dies_at: int) -> None:
            self.dies_at, self.asked = dies_at, 0

        def ask(self, **command: Any) -> float:
            self.asked += 1
            if self.asked == self.dies_at:
                raise RuntimeError("a contender's process ended; its error is above")
            return 200.0 if command["stay"] else 100.0

    failed: dict[str, str] = {}
    workers = {"a": Stub(0), "b": Stub(12), "c": Stub(1)}
    rates = cuda.timed(workers, list(workers), 64, 3, 0.1, lambda c, cause: failed.update({c: str(cause)}), 1e18)
    assert rates == {"a": ([100.0] * 3, [200.0] * 3)}
    assert set(failed) == {"b", "c"}
    assert failed["b"].startswith("at batch 64: a contender's process ended")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_cuda_says_so(tmp_path: Path) -> None:
    done = run("--device", "cuda", "--json", tmp_path / "x.json")
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
    assert not (tmp_path / "x.json").exists()


def test_a_contender_that_there_is_not(cuda: ModuleType) -> None:
    done = run("--contenders", "torch egaer")
    assert done.returncode == 2
    assert "no contender 'torch egaer'; there are: 'torch eager'" in done.stderr
    given = SimpleNamespace(dry_run=True, minutes=1, contenders=["torch egaer"])
    assert cuda.main(given) == 2


@pytest.mark.slow
def test_the_cuda_contenders_on_the_cpu(tmp_path: Path) -> None:
    """A dry run: all but the device."""
    report = tmp_path / "made" / "dry.json"
    ways = [
        "torch eager, fp16 channels_last",
        "gantool, seeded, CUDA graph",
        "gantool half, seeded",
        "gantool, CUDA graph",
    ]
    done = run("--device", "cuda", "--dry-run", "--quick", "--contenders", *ways, "--json", report)
    assert done.returncode == 0, done.stderr
    assert "no figure means anything" in done.stdout
    found = json.loads(report.read_text())
    assert found["device"] == "cpu"
    assert (found["failed"], found["dropped"]) == ({}, [])
    assert {r["contender"] for r in found["results"]} == {"torch eager", *ways}
    for r in found["results"]:
        assert r["images_per_second"] > 0
        assert r["on_device_per_second"] > 0
        assert r["of_roofline"] > 0
    assert {t["what"] for t in found["targets"]} >= {"mlp 28 at 1, best / torch eager, fp16 channels_last"}
    done = run("--device", "cuda", "--dry-run", "--quick", "--contenders", *ways[1:2], "--minutes", "0")
    assert done.returncode == 0, done.stderr
    assert "0 minutes were over before: mlp 28" in done.stdout
