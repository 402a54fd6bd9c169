"""Watches the quality of a training: an alarm with advice when it goes wrong, and the Fréchet distance if wanted.

Alarms are cheap: they judge the fixed samples that a tick draws anyway, and the losses that it has read. They remember
nothing but metrics.jsonl, so that a resumed run raises the same alarms as one that never stopped.

Each alarm needs a stretch of at least TICKS ticks and STEPS (or RECENT) iterations. Those, some thresholds and the rule
by which a discriminator wins are in `run/verdict.py`, for the end of a run needs them, too. Thresholds come from
trainings on the digits. In good ones (mlp, dcgan, wgan) diversity exceeds 0.08 by iteration 300 and ends between 0.4
and 1, samples change by at least 0.07 a tick, the adversarial loss stays below 6, and a discriminator that was right
about everything for 600 iterations could still lose its lead. For bad ones see each threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.run import verdict
from gantool.run.rundir import RunInfo
from gantool.run.verdict import COLLAPSED, RECENT, STEPS, Record
from gantool.training.state import State

FELL = 0.5  # of the best diversity after the first STEPS (in them the noise of untrained generators is diverse)
STILL = 0.005  # sum of the changes in a stretch; a learning rate of 1e-8 gives 0.0006, good trainings more than 0.2
SIDE = 32  # cells a side to compare: single pixels average out, and large samples cost no more than small ones
FAKES, REALS, BATCH = 1000, 5000, 250  # of the Fréchet distance: enough to compare ticks; `gantool evaluate` takes more


class Watch:
    """The alarms of one training. `before`: the fixed samples at the last of `records`, if there are any."""

    def __init__(self, state: State, info: RunInfo, records: list[Record], before: np.ndarray | None) -> None:
        reals = _reals(state, 64)
        self._scale = 0.0 if reals is None else _spread(_pooled(reals))
        self._before = None if before is None else _pooled(torch.from_numpy(before))
        self._options = {**info.config, **info.recipe}
        self._records = list(records)
        self._active = {name for name, _ in self._wrong()}

    def measure(self, samples: np.ndarray) -> Record:
        """Measure the fixed samples (N, *shape) of a tick; the unit is the mean distance of reals from each other.

        `diversity`: their mean distance from each other; `change`: from the samples of the tick before. Either is left
        out when it is not finite, both when there are no reals to compare with.
        """
        now, before = _pooled(torch.from_numpy(samples)), self._before
        self._before = now
        if not self._scale:
            return {}
        found = {"diversity": _spread(now) / self._scale}
        if before is not None:
            found["change"] = float((now - before).norm(dim=1).mean()) / self._scale
        return {name: round(value, 6) for name, value in found.items() if math.isfinite(value)}

    def judge(self, record: Record) -> list[Record]:
        """Events for metrics.jsonl: the alarms that hold now and did not at the tick before, with their `text`."""
        self._records.append(record)
        wrong = dict(self._wrong())
        new = [name for name in wrong if name not in self._active]
        self._active = set(wrong)
        return [{"event": "alarm", "step": record["step"], "alarm": name, "text": wrong[name]} for name in new]

    def _wrong(self) -> Iterator[tuple[str, str]]:
        """The name and the text of every alarm that holds at the last record."""
        long, recent = verdict.stretch(self._records, STEPS), verdict.stretch(self._records, RECENT)
        for name, rule in (("stall", self._stall), ("collapse", self._collapse), ("discriminator", self._lost)):
            if text := rule(long, recent):
                yield name, text
                if name == "stall":  # it explains the others
                    return

    def _collapse(self, long: list[Record], recent: list[Record]) -> str:
        earlier = [r.get("diversity", 0.0) for r in self._records[: -len(recent)] if r["step"] >= STEPS]
        best = min(1.0, max(earlier, default=0.0))
        for stretch, limit in ((long, COLLAPSED), (recent, FELL * best)):
            low = [record.get("diversity", math.nan) < limit for record in stretch]  # NaN: never
            if low and all(low):
                fell = f", {best:.0%} at best" if best > COLLAPSED else ""
                return (
                    f"mode collapse: the samples differ by {stretch[-1]['diversity']:.0%} of what reals do "
                    f"(since step {stretch[0]['step']}{fell}); "
                    f"{self._advice('learning_rate', 'label_smoothing', 'objective')}"
                )
        return ""

    def _lost(self, long: list[Record], recent: list[Record]) -> str:
        for won in verdict.victories_of(self._records):
            return (
                f"the {won.name} wins (since step {won.since}): the generator's adversarial loss is {won.loss:.3g} and "
                f"does not recover; {self._advice('discriminator_rate', 'label_smoothing', 'objective')}"
            )
        return ""

    def _stall(self, long: list[Record], recent: list[Record]) -> str:
        changes = [record["change"] for record in long if "change" in record]
        # the first tick of all knows of no change
        if not long or len(changes) < len(long) - 1 or sum(changes) >= STILL:
            return ""
        return (
            f"the generator stands still: since step {long[0]['step']} its samples have changed by "
            f"{sum(changes):.2%} of what reals differ; {self._advice('learning_rate', 'objective', still=True)}"
        )

    def _advice(self, *names: str, still: bool = False) -> str:
        """`start a new run with …`: those options in `names` that this run has, and whose change may help."""
        options, ways = self._options, []
        for name in names:
            value = options.get(name)
            if name == "learning_rate":
                ways.append(f"{'another' if still else 'a smaller'} --learning-rate (now {value:g})")
            elif name == "discriminator_rate":
                ways.append(f"a smaller --discriminator-rate (now {value or options['learning_rate']:g})")
            elif name == "label_smoothing" and value == 0 and options.get("objective") == "nonsaturating":
                ways.append("--label-smoothing 0.1")
            elif name == "objective" and value is not None:
                ways.append("another --objective")
        return f"start a new run with {', '.join(ways[:-1])}{' or ' if ways[1:] else ''}{ways[-1]}."


def _pooled(samples: Tensor) -> Tensor:
    """Samples (N, C, …) → vectors (N, D): means over cells, at most about SIDE a side and at least 2 pixels wide."""
    if samples.dim() == 2:
        return samples.float()  # points
    kernel = [min(side, max(2, -(-side // SIDE))) for side in samples.shape[2:]]
    pool: Callable[[Tensor, list[int]], Tensor] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    return pool(samples.float(), kernel).flatten(1)


def _spread(vectors: Tensor) -> float:
    """The mean distance between any two of the N vectors."""
    return float(F.pdist(vectors).mean())


def _reals(state: State, count: int) -> Tensor | None:
    """`count` rows of what the generator is to make, on the CPU; None when no data of the game has that shape."""
    reals = state.game.compared
    # in the order of training: rows in the order of a file are often all of one class
    return state.sampler.shuffled(reals, count).float().cpu() if reals else None


class Frechet:
    """Fréchet distance of the averaged generator's samples to the data, for `--keep-best frechet`.

    `name`: the extractor; None: the one for this data.
    """

    def __init__(self, state: State, data: Dataset, name: str | None = None) -> None:
        from gantool.metrics import default_extractor, load_extractor
        from gantool.metrics.distances import FrechetReference

        if state.game.output.shape != data.spec.shape:
            raise GantoolError(
                f"--keep-best frechet compares samples with the data, but the generator makes {state.game.output} "
                f"and the data are {data.spec}.",
                "Use --keep-best diversity or a loss.",
            )
        self.name = name or default_extractor(data)
        self.reference = FrechetReference(load_extractor(self.name, data.spec, state.device), data, REALS)

    @torch.no_grad()
    def measure(self, state: State) -> dict[str, float]:
        """`frechet` → the distance now; nothing when the samples are not finite."""
        # the same inputs at every tick, so that only the generator makes a difference
        generator, inputs = state.sampling_generator(), [torch.split(i, BATCH) for i in state.fixed_inputs(FAKES)]
        samples = torch.cat([generator(*part).float() for part in zip(*inputs, strict=True)])
        return {"frechet": round(self.reference.distance(samples), 6)} if bool(samples.isfinite().all()) else {}
