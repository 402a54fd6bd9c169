"""The zoo: generators as public code has them. Each exported file is right, or refused in words; nothing crashes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.zoo import MEMBERS
from support.zoo.examine import ALL
from support.zoo.keeper import Keeper

ONNX = [file for file in ALL if file.endswith(".onnx")]
TORCH = [file for file in ALL if file not in ONNX]
HALF = ["generator.half.onnx", "generator.half.seeded.onnx"]

ANY, OF_ONNX, SCRIPT = "", r"\.onnx$", "torchscript"
RANDOM, MIXED = "repeated call is .* draws random numbers", "alone to batch 7 is .* mixes the samples of a batch"
# what is refused, by generator: files as a pattern, and words of the message; every other file is right
REFUSED: dict[str, dict[str, str]] = {
    "batch-norm-no-statistics": {ANY: MIXED},
    "minibatch-std": {ANY: MIXED},
    "batch-mean": {ANY: MIXED},
    "by-item": {ANY: MIXED},
    "by-value": {ANY: MIXED},
    "dropout-alive": {ANY: RANDOM},
    "live-noise": {ANY: RANDOM},
    "numpy-noise": {ANY: RANDOM},
    "python-noise": {ANY: RANDOM},
    "frozen-batch": {ANY: "batch of 'z' was frozen at 2"},
    "bfloat16": {OF_ONNX: "computes in bfloat16"},
    "autocast-bfloat16": {OF_ONNX: "computes in bfloat16"},
    "float16": {OF_ONNX: "computes in float16"},
    "autocast-float16": {OF_ONNX: "computes in float16"},
    "linalg": {OF_ONNX: "No ONNX function found for .*linalg_inv"},
    "erfinv": {OF_ONNX: "No ONNX function found for .*erf_inv"},
    "complex": {OF_ONNX: "No ONNX function found for .*complex"},
    "lstm-projected": {OF_ONNX: r"^generator\.onnx failed to run: .* LSTM node"},
    "attention-fused": {OF_ONNX: "only 4D query, key, and value are supported"},
    "tuple": {ANY: "returns a tuple"},
    "scripted": {OF_ONNX: "layer.inner.0.weight is not", "pt2": "layer.inner.0.weight is not"},
    "modulated-grouped": {OF_ONNX: "torch can't export this generator", SCRIPT: "does not run: .*RuntimeError"},
    "own-gradient": {SCRIPT: "Could not export Python function call 'OwnGradient'"},
}
QUICK = {
    "parameter-called-code": ["generator.onnx", *TORCH],
    "stars": ["generator.onnx", "generator.pt2"],
    "float64": ["generator.onnx"],
    "bfloat16": ["generator.onnx", "generator.torchscript.pt"],
    "numpy-noise": ALL,
    "batch-mean": ALL,
}


@pytest.fixture(scope="session")
def keeper() -> Iterator[Keeper]:
    with Keeper() as keeper:
        yield keeper


def check(keeper: Keeper, name: str, files: list[str]) -> None:
    cells = keeper.examine(name, files)
    assert set(cells) == set(files)
    refused = REFUSED.get(name, {})
    for file, (outcome, why) in cells.items():
        words = next((words for files, words in refused.items() if re.search(files, file)), None)
        if words is None:
            assert outcome == "right", f"{name}, {file}: {why}"
        else:
            assert outcome == "refused", f"{name}, {file}: {outcome} {why}"
            assert re.search(words, why)


@pytest.mark.parametrize("name", QUICK)
def test_some_of_the_zoo(keeper: Keeper, name: str) -> None:
    check(keeper, name, QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_the_whole_zoo(keeper: Keeper, name: str) -> None:
    check(keeper, name, ALL)
