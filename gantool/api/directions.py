"""`gantool.directions`: find directions of a run's latents; name one, so that exports have it as an input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gantool.api import Named, name_of
from gantool.api.export import note
from gantool.artifact import pictures
from gantool.control import bounds, find
from gantool.control.space import Space, space_of
from gantool.data import load
from gantool.errors import ArgumentError, excerpt
from gantool.exporting import source_of
from gantool.filming import keys
from gantool.filming.keys import Key
from gantool.metrics import default_extractor, load_extractor
from gantool.metrics.extractors import Extractor
from gantool.metrics.samples import gather, pick
from gantool.run import directions as stored
from gantool.run import rundir
from gantool.run.directions import Direction, Method
from gantool.run.rundir import RunDir
from gantool.system import terminal

if TYPE_CHECKING:
    from PIL.Image import Image


METHODS: tuple[Method, ...] = ("sefa", "pca", "measures", "labels", "examples")
STRENGTHS = 7  # columns of a sheet
ROWS = 6  # samples of the sheet of one direction


@dataclass(frozen=True)
class Found:
    """Directions of a run, and a sheet of samples moved along them, from the lowest strength to the highest."""

    directions: tuple[Direction, ...]
    sheet: Image


def directions(
    run: Named | None = None,
    by: str = "sefa",
    *,
    n: int = 8,
    these: str | Sequence[Key] = (),
    those: str | Sequence[Key] = (),
    extractor: str | None = None,
    step: int | str | None = None,
    which: str = "",
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> Found:
    """Find directions of a run's latents, along which its samples change in one way. The run keeps them, numbered.

        gantool.directions(run, "measures").sheet
        gantool.name_direction(3, "slant", run)

    `by`:

    - `sefa`: those that move the first layers most (Shen & Zhou 2021, arXiv:2007.06600).
    - `pca`: principal components (Härkönen et al. 2020, GANSpace, arXiv:2004.02546).
    - `measures`: along which brightness, slant, warmth … grow.
    - `labels`: towards each class, by `extractor` (default: that of `gantool.evaluate`).
    - `examples`: from the samples `those` to the samples `these`: pairs (seed, index), .npz files or arrays of latents
      `z` float32 (n, …), or a text such as "0:3,0:17".

    `n`: how many at most. `step`, `which`, `runs`: as in `gantool.export`. `seed`: of the samples that are looked at.
    The vectors are moved in the latent, or in what a mapping network makes of it, which is found by trying.

    GantoolError for a generator without a latent, and where a method finds nothing; ArgumentError for what can't be.
    """
    if by not in METHODS:
        raise ArgumentError(f"There is no way {excerpt(str(by))!r} to find directions.", f"Use {', '.join(METHODS)}.")
    if (these or those) and by != "examples":
        raise ArgumentError("These and those are examples.", "Add --by examples.")
    folder, space = opened(run, step, which, runs)
    with terminal.bars(progress and by not in ("sefa", "examples")) as bars:
        advance = bars(f"looking for directions by {by}", find.SAMPLES)
        if by == "sefa":
            vectors, about = find.sefa(space, n)
        elif by == "pca":
            vectors, about = find.pca(space, n, seed, advance)
        elif by == "measures":
            vectors, about = find.measures(space, n, seed, judge_of(folder, extractor)[0], advance)
        elif by == "labels":
            vectors, about = find.labels(space, n, seed, judge_of(folder, extractor)[0], advance)
        else:
            vectors, about = find.examples(space, _points(space, these), _points(space, those))
    vectors = vectors * _deviation(space, vectors, seed)
    made = tuple(
        Direction(
            vector=tuple(vector.tolist()),
            input=space.input.name,
            place=space.place,
            method=by,
            about=text,
            step=int(space.source.about.training["step"]),
            which=which,
        )
        for vector, text in zip(vectors, about, strict=True)
    )
    stored.write(folder, stored.read(folder).model_copy(update={"found": made}))
    titles = [f"{number}  {d.about}" for number, d in enumerate(made, 1)]
    return Found(made, _sheet(space, made, titles, np.full(len(made), seed), np.zeros(len(made), np.int64)))


def name_direction(
    number: int,
    name: str,
    run: Named | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    extractor: str | None = None,
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> Found:
    """Give direction `number` of the last search a name: the run's exports then have an input of that name.

    `low`, `high`: the bounds of its strength, in standard deviations; by default those within which samples stay like
    the data by `extractor` (`control.bounds`). The sheet shows some samples within them.

    GantoolError when the run's data, which bounds are measured with, is not there.
    """
    folder = _run(run, runs)
    known = stored.read(folder)
    chosen = known.number(number)
    # refused before what takes long
    known.with_name(chosen.model_copy(update={"name": name, "low": -1.0, "high": 1.0}))
    _, space = opened(os.fspath(folder.path), None, chosen.which, runs)
    if name in {item.name for item in space.source.inputs}:
        raise ArgumentError(f"The generator has an input {name!r} already.", "Use another name.")
    if low is None or high is None:
        lowest, highest = _bounds(folder, space, chosen, extractor, seed, progress)
        low, high = lowest if low is None else low, highest if high is None else high
    if not -1000 <= low < 0 < high <= 1000:
        raise ArgumentError(f"The bounds {low:g} and {high:g} don't fit.", "0 must lie between them.")
    named = chosen.model_copy(update={"name": name, "low": low, "high": high})
    stored.write(folder, stored.read(folder).with_name(named))
    rows = np.arange(ROWS, dtype=np.int64)
    return Found((named,), _sheet(space, [named] * ROWS, [f"{seed}:{row}" for row in rows], np.full(ROWS, seed), rows))


def remove_direction(name: str, run: Named | None = None, *, runs: str | os.PathLike[str] = "runs") -> None:
    """Take a direction's name away: exports made from now on don't have it."""
    folder = _run(run, runs)
    stored.write(folder, stored.read(folder).without(name))


def _run(run: Named | None, runs: str | os.PathLike[str]) -> RunDir:
    return rundir.find_or_newest(Path(runs), None if run is None else name_of(run))


def opened(run: Named | None, step: int | str | None, which: str, runs: str | os.PathLike[str]) -> tuple[RunDir, Space]:
    folder = _run(run, runs)
    return folder, space_of(source_of(folder, note, None if step is None else str(step), which))


def judge_of(folder: RunDir, name: str | None) -> tuple[Extractor, np.ndarray]:
    """The extractor, and the reals that it is to look at."""
    data = load(*folder.read().request()).centred()
    made = load_extractor(name or default_extractor(data), data.spec, torch.device("cpu"))
    return made, data.images[pick(len(data), bounds.REALS, 0)]


def _bounds(
    folder: RunDir, space: Space, chosen: Direction, extractor: str | None, seed: int, progress: bool
) -> tuple[float, float]:
    with terminal.bars(progress) as bars:
        judge, reals = judge_of(folder, extractor)
        return bounds.bounds(
            space,
            torch.tensor(chosen.vector),
            judge,
            gather(judge, reals).features,
            seed=seed,
            keep_classes=chosen.method != "labels",
            advance=bars("strengths within which samples stay like the data", bounds.TRIALS),
        )


def _deviation(space: Space, vectors: Tensor, seed: int) -> Tensor:
    """How much points vary along each of the unit `vectors`: (n, 1)."""
    if not space.place:
        return torch.ones(len(vectors), 1)
    points = space.points(space.inputs(seed, np.arange(find.SAMPLES // 4, dtype=np.int64)))
    return (points @ vectors.T).std(0)[:, None].clamp(min=1e-6)


def _points(space: Space, given: str | Sequence[Key]) -> Tensor:
    """The points of examples: pairs seed:index, or the rows of .npz files of latents."""
    made = []
    for key in keys.parse(given) if isinstance(given, str) and given else given:
        if isinstance(key, tuple):
            made.append(space.points(space.inputs(key[0], np.array([key[1]], np.int64))))
        else:
            rows = torch.from_numpy(keys.latents_of(key, space.input)[0])
            made.append(space.points(space.same(len(rows)) | {space.input.name: rows}))
    return torch.cat(made) if made else torch.empty(0, space.size)


@torch.no_grad()
def _sheet(
    space: Space, made: Sequence[Direction], titles: Sequence[str], seeds: np.ndarray, rows: np.ndarray
) -> Image:
    """A row for each direction: sample `rows[k]` of `seeds[k]` at strengths in its bounds."""
    pieces = []
    for direction, seed, row in zip(made, seeds.tolist(), rows.tolist(), strict=True):
        one = space.inputs(seed, np.array([row], np.int64))
        inputs = {name: tensor.repeat_interleave(STRENGTHS, 0) for name, tensor in one.items()}
        points = space.points(one) + torch.tensor(_strengths(direction), dtype=torch.float32)[:, None] * torch.tensor(
            direction.vector
        )
        samples = space.samples(inputs, points).numpy()
        pieces.append(pictures.to_pictures(samples, space.source.output.rate))
    heads = [f"{strength:+.2g}" for strength in _strengths(made[0])]
    return pictures.with_titles(pictures.grid(np.concatenate(pieces), STRENGTHS), titles, heads)


def _strengths(direction: Direction) -> list[float]:
    """As many below 0, which is in the middle, as above."""
    half = STRENGTHS // 2
    return [*np.linspace(direction.low, 0, half, endpoint=False), *np.linspace(0, direction.high, half + 1)]
