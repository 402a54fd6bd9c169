"""`--tensorboard`: scalars, sample grids and settings for TensorBoard, in the run's `tensorboard/`.

It is a listener like any other: the loop does not know of it, and TensorBoard is imported only when wanted.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gantool.artifact import sounds
from gantool.errors import GantoolError, printable
from gantool.run.rundir import RunDir, RunInfo

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from gantool.training.loop import Listener

FOLDER = "tensorboard"


def require() -> None:
    """GantoolError when TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise GantoolError(
            "--tensorboard needs TensorBoard, which is not installed.", "Install it: pip install 'gantool[tensorboard]'"
        )


@contextmanager
def listening(listener: Listener, run: RunDir, info: RunInfo) -> Iterator[Listener]:
    """`listener`, or one that also writes for TensorBoard when the run wants it."""
    if not info.tensorboard:
        yield listener
        return
    board = _Board(listener, run, info)
    try:
        yield board
    finally:
        board.writer.close()


class _Board:
    def __init__(self, listener: Listener, run: RunDir, info: RunInfo) -> None:
        self.listener, self.run, self.step = listener, run, info.step
        self.stepped = listener.stepped  # on the hot path: no call in between
        # TensorBoard forgets what a killed run wrote after its last checkpoint
        self.writer = self._open(info.step + 1 if info.step else None)
        self._write_settings(info)

    def ticked(self, record: dict[str, float]) -> None:
        from PIL import Image

        step = int(record["step"])
        with self.run.writing():
            if step <= self.step:  # after a rollback
                self.writer.close()
                self.writer = self._open(step)
            for name, value in record.items():
                if name != "step":
                    self.writer.add_scalar(name.replace(".", "/", 1), value, step)  # TensorBoard groups by the slash
            with Image.open(self.run.sample(step)) as grid:
                self.writer.add_image("samples", np.asarray(grid.convert("RGB")), step, dataformats="HWC")
            if self.run.sound(step).exists():
                sound, rate = sounds.read_wav(self.run.sound(step))
                self.writer.add_audio("samples", sound, step, rate)
            self.writer.flush()
        self.step = step
        self.listener.ticked(record)

    def noted(self, text: str) -> None:
        with self.run.writing():
            self.writer.add_text("notes", printable(text), self.step)
        self.listener.noted(text)

    def _open(self, purge_step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        with self.run.writing():
            return SummaryWriter(str(self.run.path / FOLDER), purge_step=purge_step)

    def _write_settings(self, info: RunInfo) -> None:
        """Write config and recipe as hyperparameters, to the same file (`add_hparams` would make another run)."""
        from torch.utils.tensorboard.summary import hparams

        settings: dict[str, Any] = {"architecture": info.architecture, "data": info.data.name, "seed": info.seed}
        settings |= {f"config.{name}": value for name, value in info.config.items()}
        settings |= {f"recipe.{name}": value for name, value in info.recipe.items()}
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
        metrics = {"diversity": 0.0, **({"frechet": 0.0} if info.extractor else {})}
        for summary in hparams(plain, metrics):  # type: ignore[no-untyped-call]
            self.writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
