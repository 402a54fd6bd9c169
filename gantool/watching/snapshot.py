"""What the page shows of a run now, read from its files."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from gantool.errors import GantoolError, excerpt
from gantool.run import curves, metrics_log, verdict
from gantool.run.rundir import RunDir, RunInfo

MAX_LOG = 32 * 2**20  # bytes of metrics.jsonl, the newest: some 100,000 ticks
MAX_TICKS = 2000  # of samples to choose from
ALARMS = 20  # the newest
MAX_SHARE = 10  # a look takes at most one part in so many of the time
SAMPLE = re.compile(r"step-(\d{8})\.(png|wav|json)")


class Look:
    """Reads a run again when its files have changed."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._seen: tuple[float, ...] = ()
        self._read: dict[str, Any] = {}
        self._next = 0.0
        self._free: float | None = None  # when the lock file was changed, at which nobody held the lock

    def now(self) -> dict[str, Any]:
        """What page/watch.js shows, as JSON has it."""
        began, seen = time.monotonic(), tuple(map(_changed, (self.run.metrics, self.run.path / "run.json")))
        if began >= self._next and seen != self._seen:
            self._read, self._seen = self._files(), seen
            self._next = time.monotonic() + MAX_SHARE * (time.monotonic() - began)
        return {**self._read, "holder": self._holder()}

    def _holder(self) -> str:
        # to ask takes the lock for a moment, in which no training could begin: so only when the file was written to
        changed = _changed(self.run.lock)
        if changed == self._free:
            return ""
        who = self.run.holder()
        self._free = None if who else _changed(self.run.lock)
        return excerpt(who)

    def _files(self) -> dict[str, Any]:
        try:
            info = self.run.read()
        except GantoolError as error:
            return {"name": self.run.name, "error": str(error)}
        lines = metrics_log.newest(self.run, MAX_LOG)
        records = [_numbers(line) for line in lines if "event" not in line]
        return {
            "name": self.run.name,
            "path": str(self.run.path.absolute()),
            "about": f"{excerpt(info.architecture)} on {excerpt(info.data.name)}, {excerpt(info.device)}",
            "status": info.status,
            "step": info.step,
            "steps": info.steps,
            "speed": _finite(records[-1].get("images_per_second")) if records else None,
            "seconds": _finite(records[-1].get("seconds")) if records else None,
            "left": _left(records, info),
            "curves": curves.panels(records),
            "samples": self._samples(),
            "alarms": [
                {"step": line["step"], "text": excerpt(str(line.get("text") or line.get("cause")), 600)}
                for line in lines
                if line.get("event") in ("alarm", "rollback")
            ][-ALARMS:],
            "verdict": verdict.of(records) if records else [],
        }

    def _samples(self) -> list[dict[str, Any]]:
        """Steps of which there are samples, and the suffixes of their files."""
        found: dict[int, list[str]] = {}
        for path in sorted(self.run.sample(0).parent.glob("step-*")):
            if name := SAMPLE.fullmatch(path.name):
                found.setdefault(int(name[1]), []).append(name[2])
        return curves.spread([{"step": step, "files": files} for step, files in found.items()], MAX_TICKS)


def _changed(path: Any) -> float:
    """When a file was changed; 0 where there is none."""
    try:
        return float(path.stat().st_mtime_ns)
    except OSError:
        return 0.0


def _numbers(line: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl without what is no number."""
    return {name: value for name, value in line.items() if type(value) in (int, float)}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _left(records: list[dict[str, Any]], info: RunInfo) -> float | None:
    """Seconds to the end, by the speed between the newest two ticks."""
    if len(records) < 2:
        return None
    before, last = records[-2:]
    steps, seconds = last["step"] - before["step"], last.get("seconds", math.nan) - before.get("seconds", math.nan)
    return _finite((info.steps - last["step"]) * seconds / steps) if steps > 0 and seconds > 0 else None
