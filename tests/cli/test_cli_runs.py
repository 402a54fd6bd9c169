"""`gantool runs`: the list, two runs side by side, and deletion that can't go wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.inprocess import Run
from support.trainings import run_until, save_npz, start

from gantool.run import curves, metrics_log
from gantool.run.rundir import RunDir


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with 0001-mlp-noise (finished) and 0002-wide (interrupted at 20 of 40)."""
    folder = tmp_path_factory.mktemp("trained")
    run_until(start("mlp", folder, tick=20))
    run_until(start("mlp", folder, tick=20, widths=(9,), learning_rate=1e-3, name="wide"), stop=20)
    return folder / "runs"


@pytest.fixture
def runs(trained: Path, here: Path) -> Path:
    shutil.copytree(trained, here / "runs")
    for path in (here / "runs").glob("*/.lock"):
        path.unlink()
    return here / "runs"


def _change(run: Path, **values: Any) -> None:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _listed(cli: Run, *arguments: object) -> list[dict[str, Any]]:
    code, out, err = cli("runs", *arguments, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def _row(out: str, name: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.strip().startswith(name))


# --- list


def test_the_list_says_what_each_run_is_and_how_far_it_came(cli: Run, runs: Path) -> None:
    for name, hours in (("0001-mlp-noise", 50), ("0002-wide", 3)):  # ages that no second changes
        _change(runs / name, created=(datetime.now(UTC) - timedelta(hours=hours)).isoformat())
    code, out, err = cli("runs")
    assert (code, err) == (0, "")
    first, second = _row(out, "0001"), _row(out, "0002")
    assert first[:4] == ["0001-mlp-noise", "40", "finished", "2d"]
    assert second[:6] == ["0002-wide:", "mlp", "on", "noise", "20/40", "stopped"]
    assert "3h" in second
    last = metrics_log.read_metrics(RunDir(runs / "0001-mlp-noise"))[-1]
    assert first[-1] == f"{last['diversity']:.3g}"
    assert out.index("0001") < out.index("0002")  # the newest last
    assert cli("runs", "list") == (code, out, err)


def test_the_list_for_programs(cli: Run, runs: Path) -> None:
    first, second = _listed(cli)
    last = metrics_log.read_metrics(RunDir(runs / "0001-mlp-noise"))[-1]
    assert first == {
        "run": "0001-mlp-noise",
        "path": "runs/0001-mlp-noise",
        "status": "finished",
        "error": None,
        "architecture": "mlp",
        "data": "noise",
        "step": 40,
        "steps": 40,
        "created": first["created"],
        "images_per_second": last["images_per_second"],
        "diversity": last["diversity"],
        "frechet": None,
        "evaluated": {},
    }
    assert (second["status"], second["step"]) == ("interrupted", 20)
    assert _listed(cli, "list", "--runs", "runs") == [first, second]


def test_the_list_fits_80_columns(cli: Run, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _change(runs / "0002-wide", step=100_000, steps=2_000_000)
    with (runs / "0001-mlp-noise/metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "images_per_second": 123456.7, "diversity": 0.1234567, "frechet": 12.34567}))
    out = cli("runs")[1]
    assert max(map(len, out.splitlines())) <= 80
    assert _row(out, "0001")[-3:] == ["123,457", "0.123", "12.3"]
    assert "100k/2000k" in out


@pytest.mark.parametrize(
    ("by", "wanted"), [("run", [1, 2, 3]), ("step", [3, 1, 2]), ("diversity", [3, 1, 2]), ("speed", [3, 2, 1])]
)
def test_the_list_is_sorted_and_what_has_no_figure_comes_first(
    by: str, wanted: list[int], cli: Run, runs: Path
) -> None:
    shutil.copytree(runs / "0002-wide", runs / "0003-empty")
    (runs / "0003-empty/metrics.jsonl").unlink()
    for number, figures in enumerate([{"diversity": 0.2, "images_per_second": 9}, {"diversity": 0.3}], 1):
        (path,) = runs.glob(f"000{number}-*")
        line = {"step": number, "images_per_second": 5, **figures}
        (path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    found = _listed(cli, "--sort", by)
    assert [int(one["run"][:4]) for one in found] == wanted


def test_a_run_marked_running_that_no_one_holds_was_killed(cli: Run, runs: Path) -> None:
    run = RunDir(runs / "0001-mlp-noise")
    _change(run.path, status="running")
    assert _listed(cli)[0]["status"] == "killed"  # there is no lock file
    assert not run.lock.exists()  # and looking makes none
    held = run.hold()
    text = run.lock.read_text()
    assert _listed(cli)[0]["status"] == "running"
    assert run.lock.read_text() == text
    held.release()
    assert _listed(cli)[0]["status"] == "killed"
    assert run.hold().is_locked  # looking keeps no one from training it


def test_broken_runs_are_listed_as_such(cli: Run, runs: Path) -> None:
    (runs / "0003-empty").mkdir()
    shutil.copytree(runs / "0001-mlp-noise", runs / "0004-newer")
    _change(runs / "0004-newer", schema_version=99)
    (runs / "0005-torn").mkdir()
    (runs / "0005-torn/run.json").write_text('{"status": ')
    code, out, err = cli("runs")
    assert (code, err) == (0, "")
    assert _row(out, "0003-empty")[:2] == ["0003-empty", "–"]
    assert "0003-empty is broken: runs/0003-empty/run.json can't be read: No such file" in out
    assert "0004-newer is broken: runs/0004-newer/run.json has schema 99" in out
    assert "0005-torn is broken: runs/0005-torn/run.json does not hold valid JSON" in out
    assert [one["status"] for one in _listed(cli)[2:]] == ["broken"] * 3


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"step": 10**60}, "broken"),
        ({"steps": 10**400}, "broken"),
        ({"config": {"widths": json.loads("[" * 400 + "]" * 400)}}, "broken"),
        ({"created": "0001-01-01T00:00:00+14:00"}, "finished"),
        ({"created": "9999-12-31T23:59:59-14:00"}, "finished"),
    ],
)
def test_extreme_values_in_one_run_cost_no_other(cli: Run, runs: Path, values: dict[str, Any], status: str) -> None:
    _change(runs / "0001-mlp-noise", **values)
    with (runs / "0001-mlp-noise/metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10**60}) + "\n" + json.dumps({"step": 40, "diversity": 10**400}) + "\n")
    assert [one["status"] for one in _listed(cli, "--sort", "diversity")] == [status, "interrupted"]
    code, out, err = cli("runs")
    assert (code, err) == (0, "")
    assert "20/40" in _row(out, "0002-wide")


def test_figures_that_are_no_numbers_are_valid_json(cli: Run, runs: Path) -> None:
    (runs / "0001-mlp-noise/metrics.jsonl").write_text('{"step": 1, "diversity": NaN, "images_per_second": Infinity}\n')
    assert (_listed(cli)[0]["diversity"], _listed(cli)[0]["images_per_second"]) == (None, None)
    assert "nan" in cli("runs")[1]


def test_no_runs(cli: Run, here: Path) -> None:
    assert cli("runs")[:2] == (0, "There is no run in runs. Train one: gantool train mlp\n")
    assert _listed(cli) == []


def test_neither_help_nor_the_list_loads_torch(runs: Path) -> None:
    code = """
import contextlib, sys
from gantool.cli import main
for arguments in (["--help"], [], ["compare", "1", "2"]):
    sys.argv = ["gantool", "runs", *arguments]
    with contextlib.suppress(SystemExit):
        main()
print({"torch", "matplotlib", "onnx"} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=runs.parent)
    assert (done.returncode, done.stderr) == (0, "set()\n")


# --- compare


def test_compare_shows_what_differs_and_the_last_figures(cli: Run, runs: Path) -> None:
    code, out, err = cli("runs", "compare", 1, "0002-wide")
    assert (code, err) == (0, "")
    assert _row(out, "config.widths") == ["config.widths", "16,24", "9"]
    assert _row(out, "recipe.learning_rate") == ["recipe.learning_rate", "0.0007", "0.001"]
    assert "seed" not in out
    assert _row(out, "step") == ["step", "40", "20"]
    last = [metrics_log.read_metrics(RunDir(run))[-1]["diversity"] for run in sorted(runs.iterdir())]
    assert _row(out, "diversity") == ["diversity", *(f"{value:.3g}" for value in last)]
    assert out.index("config.widths") < out.index("recipe.learning_rate") < out.index("diversity")


def test_compare_for_programs(cli: Run, runs: Path) -> None:
    found = json.loads(cli("runs", "compare", 1, 2, "--json")[1])
    assert [one["run"] for one in found["runs"]] == ["0001-mlp-noise", "0002-wide"]
    assert found["settings"] == {"config.widths": [[16, 24], [9]], "recipe.learning_rate": [7e-4, 1e-3]}
    assert found["figures"]["step"] == [40, 20]
    assert all(len(values) == 2 for values in found["figures"].values())


def test_compare_of_a_run_with_itself_has_no_differences(cli: Run, runs: Path) -> None:
    assert json.loads(cli("runs", "compare", 1, 1, "--json")[1])["settings"] == {}
    code, out, _ = cli("runs", "compare", 1, 1)
    assert code == 0
    assert "options differs." in out
    assert "Options that differ" not in out


def test_compare_after_epochs_shows_the_steps_that_they_became(cli: Run, here: Path) -> None:
    save_npz(here / "noise.npz")
    for epochs in (1, 2):
        run_until(start("mlp", here, epochs=epochs, steps=40))
    assert json.loads(cli("runs", "compare", 1, 2, "--json")[1])["settings"] == {"steps": [7, 13]}


def test_compare_and_list_show_what_evaluate_found(cli: Run, run: RunDir) -> None:
    found = json.loads(cli("evaluate", run.path, "-n", 64, "--json")[1])["figures"]
    (distance,) = [figure for figure in found.values() if figure["name"].startswith("Fréchet")]
    compared = json.loads(cli("runs", "compare", 1, 1, "--json")[1])["figures"]
    assert compared[f"evaluate: {distance['name']}"] == [distance["value"]] * 2
    (listed,) = json.loads(cli("runs", "--json")[1])
    assert listed["evaluated"][distance["name"]] == distance["value"]
    assert f"{distance['value']:.3g}" in cli("runs")[1]


def test_compare_draws_samples_and_curves(cli: Run, runs: Path) -> None:
    sizes = []
    for names in ((1, 2), (1, 2, 1)):
        code, out, err = cli("runs", "compare", *names, "-o", "both.png")
        assert code == 0, err
        assert "picture  both.png" in out
        with Image.open("both.png") as picture:
            assert picture.format == "PNG"
            sizes.append(picture.size)
            # what is drawn below the grids is not empty
            below = picture.convert("L").crop((0, picture.height * 2 // 3, *picture.size))
            assert len(below.getcolors(256) or []) > 5
    assert sizes[1][0] > sizes[0][0]


def test_a_picture_of_runs_without_samples_or_ticks(runs: Path) -> None:
    shutil.rmtree(runs / "0001-mlp-noise/samples")
    for run in runs.iterdir():
        (run / "metrics.jsonl").unlink()
    curves.compare([RunDir(run) for run in sorted(runs.iterdir())], Path("none.png"))
    with Image.open("none.png") as picture:
        picture.load()


def test_compare_refuses_one_run_and_broken_ones(cli: Run, runs: Path) -> None:
    code, _, err = cli("runs", "compare", 1)
    assert code == 2
    assert "two runs or more" in err
    (runs / "0003-empty").mkdir()
    code, _, err = cli("runs", "compare", 1, 3)
    assert code == 1
    assert "runs/0003-empty/run.json can't be read" in err


# --- delete


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_delete_removes_the_whole_run_and_says_how_much(cli: Run, runs: Path) -> None:
    run = runs / "0001-mlp-noise"
    freed = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    os.link(run / "curves.png" if (run / "curves.png").exists() else run / "run.json", run / "twin")  # one file
    code, out, err = cli("runs", "delete", 1, "--yes")
    assert (code, err) == (0, "")
    assert out.startswith("deleted runs/0001-mlp-noise: ")
    said, unit = out.split()[2:4]
    # the lock file that deleting makes is some bytes more
    assert float(said) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(freed, abs=6e4)
    assert [path.name for path in runs.iterdir()] == ["0002-wide"]


def test_delete_asks_first(cli: Run, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    before = _tree(runs)
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        code, out, _ = cli("runs", "delete", 1, 2)
        assert code == 1
        assert "runs/0001-mlp-noise" in out
        assert "Delete these 2 runs for good? [y/N]" in out
        assert _tree(runs) == before
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli("runs", "delete", 1, "runs/0002-wide", "0001-mlp-noise")[0] == 0
    assert _tree(runs) == []


def test_a_run_that_is_being_trained_is_not_deleted_nor_any_named_with_it(cli: Run, runs: Path) -> None:
    run = RunDir(runs / "0002-wide")
    held = run.hold()
    before = _tree(runs)
    code, _, err = cli("runs", "delete", 1, 2, "--yes")
    assert code == 1
    assert f"runs/0002-wide is being trained (pid {os.getpid()}" in err
    assert _tree(runs) == before
    held.release()
    assert cli("runs", "delete", 1, 2, "--yes")[0] == 0


def test_links_are_not_followed(cli: Run, runs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(runs / "0002-wide", outside / "run")
    (runs / "0003-link").symlink_to(outside / "run")
    (runs / "0001-mlp-noise/far").symlink_to(outside)
    before = _tree(outside)
    code, _, err = cli("runs", "delete", 3, "--yes")
    assert code == 1
    assert "runs/0003-link is a link to" in err
    assert cli("runs", "delete", 1, "--yes")[0] == 0
    assert _tree(outside) == before
    assert sorted(path.name for path in runs.iterdir()) == ["0002-wide", "0003-link"]


def test_a_broken_run_can_be_deleted_by_name_or_number(cli: Run, runs: Path) -> None:
    for name in ("0003-empty", "0004-torn"):
        (runs / name).mkdir()
    assert cli("runs", "delete", "0003-empty", 4, "--yes")[0] == 0
    assert [one["run"] for one in _listed(cli)] == ["0001-mlp-noise", "0002-wide"]


def test_an_unknown_run_deletes_nothing(cli: Run, runs: Path) -> None:
    before = _tree(runs)
    code, _, err = cli("runs", "delete", 1, 9, "--yes")
    assert code == 1
    assert "There is no run '9'" in err
    assert _tree(runs) == before


def test_a_half_deleted_run_is_not_listed(cli: Run, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, ignore_errors: bool = False) -> None:
        (path / "run.json").unlink(missing_ok=True)
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", half)
        code, _, err = cli("runs", "delete", 1, "--yes")
        assert code == 1
        assert "can't be deleted" in err
        assert "The next `gantool runs` removes the rest" in err
        assert [one["run"] for one in _listed(cli)] == ["0002-wide"]
    assert len(list(runs.iterdir())) == 2
    assert [one["run"] for one in _listed(cli)] == ["0002-wide"]
    assert [path.name for path in runs.iterdir()] == ["0002-wide"]


def test_a_real_training_is_seen_and_protected(cli: Run, runs: Path) -> None:
    from support.commands import start_gantool

    data = RunDir(runs / "0001-mlp-noise").read().data.source
    process = start_gantool("train", "mlp", "--data", data, "--widths", 8, "--steps", 10**7, "--tick", 50, cwd=Path())
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        assert _listed(cli)[-1]["status"] == "running"
        assert "is being trained" in cli("runs", "delete", 3, "--yes")[2]
    finally:
        process.kill()
        process.communicate()
    assert _listed(cli)[-1]["status"] == "killed"
    assert cli("runs", "delete", 3, "--yes")[0] == 0
