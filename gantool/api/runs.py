"""`gantool.Run`: a training on disk; `gantool.train` makes one, and `gantool.runs` lists those of a folder."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import ArgumentError, GantoolError, printable
from gantool.run import metrics_log, rundir
from gantool.run.rundir import RunDir, RunInfo, Status

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from gantool.api.session import Callback
    from gantool.exporting import Artifact


class Run:
    """A training: a folder with checkpoints, samples, metrics and exports.

    Nothing is kept in memory; what a method gives is what lies on disk now, so a run that another process trains can be
    watched. `path`: the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._folder = RunDir(self.path)

    @property
    def name(self) -> str:
        """The folder's name, such as `0001-mlp-digits`."""
        return self.path.name

    @property
    def info(self) -> RunInfo:
        """run.json: all options, what was trained on what, the versions; GantoolError when it can't be read."""
        return self._folder.read()

    @property
    def status(self) -> Status:
        """`running` (or killed), `interrupted`, `failed` or `finished`."""
        return self.info.status

    @property
    def step(self) -> int:
        """The step of the newest checkpoint that was logged."""
        return self.info.step

    def samples(self, step: int | None = None) -> Image:
        """The picture of samples that a tick drew, the newest or that of `step`; a notebook shows it."""
        pictures = sorted(self._folder.sample(0).parent.glob("step-*.png"))
        if not pictures:
            raise GantoolError(f"The run {self.path} has no samples yet.", "The first tick draws them.")
        if step is None:
            return _open(pictures[-1])
        if self._folder.sample(step) not in pictures:
            known = ", ".join(str(int(path.stem[5:])) for path in pictures[-8:])
            raise ArgumentError(f"The run {self.path} has no samples of step {step}.", f"The newest are of {known}.")
        return _open(self._folder.sample(step))

    def metrics(self) -> dict[str, np.ndarray]:
        """metrics.jsonl as arrays (ticks,) by name: `step`, `loss.generator.adversarial`, `diversity` …

        NaN where a tick did not record the value.
        """
        import numpy as np

        records = metrics_log.read_metrics(self._folder)
        names = dict.fromkeys(name for record in records for name in record)
        return {name: np.array([record.get(name, np.nan) for record in records]) for name in names}

    def curves(self) -> Image:
        """The losses and figures against the steps, as a picture."""
        from gantool.run import curves

        records = metrics_log.read_metrics(self._folder)
        if not records:
            raise GantoolError(f"The run {self.path} has no metrics yet.", "The first tick writes them.")
        drawn = self._folder.curves
        if not drawn.is_file() or drawn.stat().st_mtime < self._folder.metrics.stat().st_mtime:
            curves.draw(self._folder, records)
        return _open(drawn)

    def resume(
        self, *, progress: bool = True, callback: Callable[[dict[str, float]], object] | None = None, **changes: Any
    ) -> Run:
        """Train on, from the newest checkpoint; `changes`: options that may change, such as `steps=8000`.

        On the same CPU it gives the weights of a run that was never stopped; on CUDA up to rounding. `progress`,
        `callback` and Ctrl-C: as in `gantool.train`.
        """
        from gantool.api.session import resume

        resume(self._folder, progress, callback, **changes)
        return self

    def export(self, formats: str | Sequence[str] | None = None, **options: Any) -> list[Artifact]:
        """Verified files of the generator: `gantool.export(run, formats, **options)`."""
        from gantool.api.export import export

        return export(self, formats, **options)

    def evaluate(self, **options: Any) -> dict[str, Any]:
        """How its generator compares with the data: `gantool.evaluate(run, **options)`."""
        from gantool.api.evaluate import evaluate

        return evaluate(self, **options)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        try:
            info = self.info
        except GantoolError as error:
            return f"<Run {str(self.path)!r}: {error.message}>"
        return (
            f"<Run {str(self.path)!r}: {printable(info.architecture)} on {printable(info.data.name)}, "
            f"step {info.step} of {info.steps}, {info.status}>"
        )

    def _repr_html_(self) -> str:
        text = f"<code>{html.escape(repr(self))}</code>"
        pictures = sorted(self._folder.sample(0).parent.glob("step-*.png"))
        if not pictures:
            return text
        data = base64.b64encode(pictures[-1].read_bytes()).decode()
        return f'{text}<br><img alt="samples" src="data:image/png;base64,{data}">'


def train(
    architecture: str,
    *,
    resume: str | None = None,
    progress: bool = True,
    callback: Callback | None = None,
    **options: Any,
) -> Run:
    """Train an architecture; the run comes back when it has ended.

        run = gantool.train("dcgan", data="pets", size=64, steps=4000)

    `options`: those of `gantool train NAME --help`, with underscores, checked in the same way. `resume`: the number,
    name or path of a run to go on with, or `auto`: the newest unfinished one of these options, else a new run.
    `progress`: show a bar. `callback(record)`: called after every tick with its line of metrics.jsonl.

    Ctrl-C (in a notebook: interrupt) ends the step and saves; the run then comes back with the status `interrupted`,
    and `run.resume()` goes on. A second one raises KeyboardInterrupt at once. A callback that raises KeyboardInterrupt
    stops the training like the first. In another thread than the main one, only a callback can stop it.

    Raises ArgumentError (a GantoolError and a ValueError) for an option that there is not, or that is out of bounds;
    GantoolError for what else can't be done.
    """
    from gantool.api.session import display_of, run_session
    from gantool.plugin import registry
    from gantool.plugin.options import all_options, parse
    from gantool.training import distributed, session

    found = registry.find(architecture)
    assert found.architecture is not None
    given = parse(all_options(found.architecture), options)
    with distributed.joined() as group:
        opened = session.open_session(architecture, given, resume, group)
        run_session(opened, display_of(opened, progress, callback))
    return Run(opened.run.path)


def runs(folder: str | os.PathLike[str] = "runs") -> list[Run]:
    """The runs in a folder, the newest last."""
    return [Run(run.path) for run in rundir.list_runs(Path(folder))]


def _open(path: Path) -> Image:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        return picture.copy()
