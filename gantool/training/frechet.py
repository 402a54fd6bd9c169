"""The Fréchet distance at every tick, for `--keep-best frechet`."""

from __future__ import annotations

import torch

from gantool.data import Dataset
from gantool.errors import GantoolError
from gantool.metrics.extractors import default_extractor, load_extractor
from gantool.metrics.frechet import FrechetReference
from gantool.training.state import State

FAKES, REALS, BATCH = 1000, 5000, 250  # enough to compare the ticks of one run; `gantool evaluate` takes more


class Frechet:
    """Distance of the averaged generator's samples to the data, by the extractor `name` (None: the data's own)."""

    def __init__(self, state: State, data: Dataset, name: str | None = None) -> None:
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
        # always the same inputs: what differs between two ticks is then the generator alone
        generator, inputs = state.sampling_generator(), [torch.split(i, BATCH) for i in state.fixed_inputs(FAKES)]
        samples = torch.cat([generator(*part).float() for part in zip(*inputs, strict=True)])
        return {"frechet": round(self.reference.distance(samples), 6)} if bool(samples.isfinite().all()) else {}
