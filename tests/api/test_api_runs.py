"""`gantool.Run`, `gantool.runs`, `gantool.export` and `gantool.evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.trainings import run_until, start

import gantool
from gantool.run.rundir import RunDir


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with two runs of two ticks. Tests only read it."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("first", "second"):
        run_until(start("mlp", folder, steps=6, tick=3, keep=2, name=name))
    return folder / "runs"


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path


def test_the_runs_of_a_folder_come_newest_last(trained: Path) -> None:
    assert [run.name for run in gantool.runs(trained)] == ["0001-first", "0002-second"]
    assert gantool.runs(trained / "nothing") == []


def test_a_run_says_what_it_is(trained: Path) -> None:
    run = gantool.Run(trained / "0001-first")
    assert repr(run) == f"<Run '{run.path}': mlp on noise, step 6 of 6, finished>".replace("finished", run.status)
    assert "no-such" in repr(gantool.Run(trained / "no-such"))
    with pytest.raises(gantool.GantoolError, match="no-such"):
        gantool.Run(trained / "no-such").info  # noqa: B018


def test_a_notebook_shows_the_newest_samples(trained: Path) -> None:
    html = gantool.Run(trained / "0001-first")._repr_html_()
    assert "mlp on noise" in html
    assert '<img alt="samples" src="data:image/png;base64,' in html


def test_samples_are_pictures(trained: Path) -> None:
    run = gantool.Run(trained / "0001-first")
    for step, path in ((None, "step-00000006.png"), (3, "step-00000003.png")):
        with Image.open(run.path / "samples" / path) as wanted:
            assert np.array_equal(np.asarray(run.samples(step)), np.asarray(wanted))
    with pytest.raises(ValueError, match=r"has no samples of step 4\. The newest are of 3, 6\."):
        run.samples(4)


def test_metrics_are_arrays(trained: Path) -> None:
    run = gantool.Run(trained / "0001-first")
    metrics = run.metrics()
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert metrics["step"].tolist() == [3, 6]
    assert metrics["loss.generator.adversarial"].tolist() == [r["loss.generator.adversarial"] for r in records]
    assert {array.shape for array in metrics.values()} == {(2,)}


def test_what_a_tick_did_not_record_is_nan(here: Path) -> None:
    run = gantool.Run(here / "runs/0001-first")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "new": 1.5}\n')
    metrics = run.metrics()
    assert np.isnan(metrics["new"]).tolist() == [True, True, False]
    assert np.isnan(metrics["diversity"]).tolist() == [False, False, True]


def test_curves_are_a_picture_of_all_ticks(here: Path) -> None:
    run = gantool.Run(here / "runs/0001-first")
    assert not (run.path / "curves.png").exists()  # it was stopped before the end
    first = run.curves()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 90, "diversity": 1.5}\n')
    assert np.asarray(first).tobytes() != np.asarray(run.curves()).tobytes()


def test_a_run_that_has_not_ticked_says_so(here: Path) -> None:
    run = gantool.Run(start("mlp", here).run.path)
    for ask in (run.samples, run.curves):
        with pytest.raises(gantool.GantoolError, match=r"has no (samples|metrics) yet"):
            ask()
    assert run.metrics() == {}


def test_a_run_is_exported_by_name_number_or_itself(here: Path) -> None:
    run = gantool.Run("runs/0001-first")
    for given in (run, "0001-first", 1, here / "runs/0001-first"):
        (file,) = gantool.export(given, "onnx-seeded", folder=here / "made", step=3)
        assert file.manifest.training["step"] == 3
        assert file.manifest.training["run"] == "0001-first"
    assert gantool.Generator(file.path).sample(2, seed=1).shape == (2, 16, 16, 1)
    assert gantool.export(formats=["onnx"])[0].path == Path("runs/0002-second/export/generator.onnx")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"formats": "onx"}, "There is no format 'onx'. Did you mean 'onnx'?"),
        ({"precision": "float16"}, "There is no precision float16."),
        ({"opset": 3}, "Opset 3 can't be written."),
        ({"batch": 0}, "A batch of 0 can't be fixed."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_of_an_export_is_a_value_error(wrong: dict[str, object], message: str, here: Path) -> None:
    with pytest.raises(gantool.ArgumentError) as caught:
        gantool.export(**wrong)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, gantool.GantoolError)


@pytest.mark.slow
def test_a_run_is_evaluated_as_the_command_does_it(here: Path) -> None:
    from support.commands import gantool as command

    run = RunDir(here / "runs/0001-first")
    report = gantool.Run(run.path).evaluate(samples=20, device="cpu", extractor="pixels", progress=False)
    assert report["subject"] == {"kind": "run", "path": str(run.path), "step": 6}
    assert json.loads((run.path / "evaluation/step-00000006/evaluation.json").read_text()) == report
    done = command(
        "evaluate", run.path, "--samples", 20, "--device", "cpu", "--extractor", "pixels", "--json", cwd=here
    )
    assert json.loads(done.stdout) == report


def test_two_evaluations_at_once_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="are two evaluations"):
        gantool.evaluate(floor=True, ceiling=True)


def test_a_run_is_measured(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = gantool.Run("runs/0001-first")
    run.export("onnx-seeded")
    capfd.readouterr()
    report = gantool.bench(run, batches=(1, 2), seconds=0.01, provider="cpu", progress=False)
    (cell,) = report["cells"]
    assert (cell["status"], cell["file"]["path"]) == ("measured", "runs/0001-first/export/generator.seeded.onnx")
    assert [batch["batch"] for batch in cell["batches"]] == [1, 2]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(gantool.GantoolError, match="is not exported yet"):
        gantool.bench(["runs/0001-first", "runs/0002-second"])
