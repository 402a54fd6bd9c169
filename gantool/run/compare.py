"""Runs at a glance: how far each came, and in what several differ. No torch, so that it is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gantool.errors import GantoolError
from gantool.run import metrics_log, rundir
from gantool.run.rundir import RunDir, RunInfo
from gantool.system.files import read_json, reading

# in run.json, but not settings
_OUTCOMES = {"schema_version", "created", "status", "step", "rollbacks", "plugin_version"}
# in metrics.jsonl, but not figures to compare: the amount of work, which the step says, too
_WORK = {"epoch", "images", "seconds"}


@dataclass(frozen=True)
class Summary:
    """A run at a glance. `info` is None, and `error` says why, when its run.json can't be read."""

    run: RunDir
    info: RunInfo | None
    status: str
    last: dict[str, Any] = field(default_factory=dict)  # the last line of metrics.jsonl
    evaluated: dict[str, float | None] = field(default_factory=dict)  # figures of the newest `gantool evaluate`
    error: str = ""

    @property
    def age(self) -> float | None:
        """Seconds since the run was started; None when that is not known."""
        try:
            began = datetime.fromisoformat(self.info.created if self.info else "")
            return max(
                0.0, (datetime.now(UTC) - (began if began.tzinfo else began.replace(tzinfo=UTC))).total_seconds()
            )
        except (ValueError, OverflowError):  # in the year 1 or 9999 another time zone may be out of range
            return None

    def figure(self, name: str) -> float | None:
        """A number of the last tick."""
        value = self.last.get(name)
        return float(value) if isinstance(value, int | float) else None


def summaries(runs: Path) -> list[Summary]:
    """Every run in `runs`, in order of their numbers; broken ones, too."""
    return [summary(run) for run in rundir.list_runs(runs)]


def summary(run: RunDir) -> Summary:
    """The status is that of run.json; `killed` when that says running and no process trains it; or `broken`."""
    try:
        info = run.read()
        with reading(run.metrics):
            records = metrics_log.read_metrics(run)
    except GantoolError as error:
        return Summary(run, None, "broken", error=error.message)
    status = "killed" if info.status == "running" and not run.holder() else info.status
    return Summary(run, info, status, records[-1] if records else {}, _evaluated(run))


def _evaluated(run: RunDir) -> dict[str, float | None]:
    """The figures of the evaluation of the latest step, by their names; {}: there is none that can be read."""
    reports = sorted((run.path / "evaluation").glob("step-*/evaluation.json"))
    try:
        figures = read_json(reports[-1])["figures"] if reports else {}
        return {str(entry["name"]): entry["value"] for entry in figures.values()}
    except (GantoolError, KeyError, TypeError, AttributeError):
        return {}


def settings(info: RunInfo) -> dict[str, Any]:
    """Everything that decides a run, by dotted name: `config.latent_dim`, `recipe.steps`, `data.name`, `seed` …"""
    found: dict[str, Any] = {}
    for key, value in info.model_dump(mode="json").items():
        if isinstance(value, dict):
            found |= {f"{key}.{inner}": entry for inner, entry in value.items()}
        elif key not in _OUTCOMES:
            found[key] = value
    found.pop("recipe.steps", None)  # `steps` are those of the run, after --epochs and --minutes, too
    return found


def differences(infos: list[RunInfo]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs: name → the value in each run, None where it is missing.

    Config and recipe come first, as they are varied most.
    """
    each = [settings(info) for info in infos]
    names = sorted(dict.fromkeys(name for one in each for name in one), key=_rank)
    table = {name: [one.get(name) for one in each] for name in names}
    return {name: values for name, values in table.items() if any(value != values[0] for value in values)}


def figures(all_of: list[Summary]) -> dict[str, list[float | None]]:
    """The numbers of each run's last tick: name → the value in each run, None where it is missing."""
    names = dict.fromkeys(name for one in all_of for name in one.last if name not in _WORK)
    evaluated = dict.fromkeys(name for one in all_of for name in one.evaluated)
    return {name: [one.figure(name) for one in all_of] for name in names} | {
        f"evaluate: {name}": [one.evaluated.get(name) for one in all_of] for name in evaluated
    }


def _rank(name: str) -> int:
    order = ("architecture", "config.", "recipe.", "data.")
    return next((i for i, start in enumerate(order) if name.startswith(start)), len(order))
