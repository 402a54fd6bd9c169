"""Call the exporters of torch and ONNX: quietly, and with their errors cut down to a line."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gantool.plugin.architecture import Input


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Hide warnings, what is printed, and the `loggers`' records below errors: none of it is news to a user."""
    named = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in named]
    for logger in named:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(named, levels, strict=True):
            logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """The first 300 characters of the innermost cause: the libraries wrap it in words of their own, in colour."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def example(inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    """A batch of two of each input, to export with; torch takes batches of 0 and 1 for special."""
    return tuple(torch.zeros(2, dtype=torch.int64) if i.dtype == "int64" else torch.randn(2, *i.shape) for i in inputs)
