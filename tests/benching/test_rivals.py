"""The same generator through torch, in turns with ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gantool import exporting
from gantool.benching import rivals
from gantool.benching.rivals import OURS, ROUNDS, WARM_ROUNDS, compare, contest, parse
from gantool.errors import GantoolError
from gantool.run.rundir import RunDir


class Field:
    """Contenders at known rates, which get faster by the round; keeps who was asked for what."""

    def __init__(self, rates: dict[str, float], fail: dict[str, int] | None = None) -> None:
        self.rates, self.fail = rates, fail or {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, way: str, message: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((way, message))
        turns = sum(1 for name, sent in self.asked if name == way and sent)
        if way in self.fail and turns >= self.fail[way]:
            raise GantoolError(f"{way} fell over.")
        return {"rate": self.rates[way] * turns, "runs": 1} if message else {"ready": True}


def same(way: str) -> str:
    return "the same"


def test_rounds_are_interleaved_and_their_order_turns() -> None:
    field = Field({OURS: 300.0, "torch": 100.0, "compile": 150.0})
    ours, torch, compiled = contest(["torch", "compile"], field, [8], 0.7, same)
    turns = [way for way, message in field.asked if message]
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert len(rounds) == WARM_ROUNDS + ROUNDS
    for number, order in enumerate(rounds):
        assert sorted(order) == sorted(field.rates)
        assert order != rounds[number - 1] or number == 0
    # all of a round at the same speed of the machine: the ratio is theirs alone
    assert torch["batches"][0]["ratio"] == pytest.approx(3)
    assert compiled["batches"][0]["ratio"] == pytest.approx(2)
    assert ours["batches"][0]["ratio"] == 1
    assert len(torch["batches"][0]["rates"]) == ROUNDS
    # the median round's, the warm ones not among them
    assert torch["batches"][0]["images_per_second"] == 100 * (WARM_ROUNDS + (ROUNDS + 1) // 2)
    assert all(message["seconds"] == pytest.approx(0.1) for _, message in field.asked if message)


@pytest.mark.parametrize("turn", [0, 1, 5])
def test_one_that_fails_is_a_row_and_the_others_go_on(turn: int) -> None:
    field = Field({OURS: 300.0, "torch": 100.0, "compile": 150.0}, fail={"compile": turn})
    ours, torch, compiled = contest(["torch", "compile"], field, [1, 8], 0.7, same)
    assert compiled == {"name": rivals.WAYS["compile"], "way": "compile", "cause": "compile fell over."}
    assert [row["batch"] for row in torch["batches"]] == [1, 8]
    assert len(ours["batches"][1]["rates"]) == ROUNDS


def test_ours_may_not_fail() -> None:
    with pytest.raises(GantoolError, match="gantool fell over"):
        contest(["torch"], Field({OURS: 1.0, "torch": 1.0}, fail={OURS: 3}), [1], 0.7, same)


def test_other_images_are_no_comparison() -> None:
    def proof(way: str) -> str:
        if way == "torch":
            raise GantoolError("Its images are not ours.")
        return "the golden ones"

    ours, torch = contest(["torch"], Field({OURS: 1.0, "torch": 1.0}), [1], 0.7, proof)
    assert torch["cause"] == "Its images are not ours."
    assert ours["proof"] == "the golden ones"


def test_what_there_is_not() -> None:
    with pytest.raises(GantoolError, match="'jax'"):
        parse(["torch", "jax"])


def test_torchscript_is_loaded_only_when_its_file_is_named() -> None:
    assert parse(["torch", "torchscript=a.pt"]) == {"torch": None, "torchscript": Path("a.pt")}
    with pytest.raises(GantoolError, match="runs the code in it, so the file has to be named") as caught:
        parse(["torch", "torchscript"])
    assert "--compare torchscript=generator.torchscript.pt" in caught.value.hint


@pytest.fixture
def alone(exported_run: RunDir, tmp_path: Path) -> Path:
    """A file with nothing beside it."""
    path = tmp_path / "generator.onnx"
    path.write_bytes((exported_run.export / "generator.onnx").read_bytes())
    return path


@pytest.mark.parametrize(
    ("code", "says"), [("raise SystemExit('the reason')", "the reason"), ("import time; time.sleep(60)", "silent for")]
)
def test_a_contender_that_crashes_or_hangs(alone: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str) -> None:
    monkeypatch.setattr(rivals, "COMMAND", (sys.executable, "-S", "-c", code))
    with pytest.raises(GantoolError, match=says):
        compare(alone, ["torch"], [1], 0.0, 1.0)


def test_no_file_beside_is_loaded(alone: Path) -> None:
    alone.with_name("generator.pt2").write_bytes(b"anything")
    with pytest.raises(GantoolError, match="in no run: torch has no checkpoint to load") as caught:
        rivals.contender("torch", alone, None, "cpu")
    assert "--compare torch=generator.pt2" in caught.value.hint


@pytest.mark.slow
def test_a_contender_that_has_no_file_says_why(alone: Path) -> None:
    missing = alone.with_name("generator.torchscript.pt")
    ours, scripted, eager = compare(alone, [f"torchscript={missing}", "torch"], [1], 0.0, 120)["contenders"]
    assert ours["proof"] == "the golden ones"
    assert f"{missing} can't be read" in scripted["cause"]
    assert "in no run: torch has no checkpoint to load" in eager["cause"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generator.onnx", "generator.seeded.onnx"])
@pytest.mark.parametrize("named", [False, True])
def test_the_same_images_through_torch(exported_run: RunDir, name: str, named: bool, tmp_path: Path) -> None:
    path, way = exported_run.export / name, "torch"
    if named:
        exporting.write(exporting.source_of(exported_run), ["pt2"], tmp_path / "made")
        way = f"torch={tmp_path}/made/generator.pt2"
    found = compare(path, [way, f"torchscript={path.with_name('generator.torchscript.pt')}"], [1, 8], 0.01, 300)
    assert [who["way"] for who in found["contenders"]] == [OURS, "torch", "torchscript"]
    for who in found["contenders"]:
        assert "cause" not in who
        assert [row["batch"] for row in who["batches"]] == [1, 8]
        assert who["proof"].startswith(("the ", "within 1 on"))


@pytest.mark.slow
def test_the_same_images_compiled(exported_run: RunDir) -> None:
    _, compiled = compare(exported_run.export / "generator.onnx", ["compile"], [8], 0.01, 300)["contenders"]
    if "cause" in compiled and "ompiler" in compiled["cause"]:
        pytest.skip(compiled["cause"][:200])
    assert compiled["proof"].startswith(("the ", "within 1 on"))
