"""Call the exporters of torch and ONNX: quietly, and with their errors cut down to a line."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gantool.errors import GantoolError
from gantool.exporting.onnx_files.seeds import BATCH
from gantool.plugin.architecture import Input

ROWS, COLUMNS = "rows", "columns"  # how often a picture's sides have their multiple


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


@contextlib.contextmanager
def refusing(what: str, hint: str) -> Iterator[None]:
    """An error of a library inside becomes a GantoolError: `what`, with the first line of its cause."""
    try:
        yield
    except GantoolError:
        raise
    except Exception as error:
        raise GantoolError(f"{what}: {first_line(error)}", hint) from error


def first_line(error: BaseException) -> str:
    """The first 300 characters of the innermost cause: the libraries wrap it in words of their own, in colour."""
    while error.__cause__ is not None:
        error = error.__cause__
    first, _, rest = str(error).strip().partition("\n")
    if "TorchScript interpreter" in first:  # its traceback follows, and then what happened
        first = rest.rpartition("\n")[2]
    elif first.endswith(":"):  # what it announces comes next
        first = f"{first} {rest.strip().partition(chr(10))[0]}"
    return first[:300] or type(error).__name__


def example(inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    """A batch of two of each input, to export with; torch takes batches of 0 and 1 for special.

    So it does sides that are once their multiple, and equal ones: pictures of any sides are larger, and not square.
    """
    return tuple(
        torch.zeros(2, *i.shape, dtype=torch.int64) if i.dtype == "int64" else torch.randn(2, *_example_shape(i))
        for i in inputs
    )


def _example_shape(item: Input) -> tuple[int, ...]:
    if not item.multiple:
        return item.shape
    channels, height, width = item.shape
    return channels, height + item.multiple, height + width + item.multiple


def any_size(generator: nn.Module, inputs: Sequence[Input], arguments: tuple[Tensor, ...]) -> Any:
    """The `dynamic_shapes` of torch's exporters: every argument's first axis is the batch, those of `*args` too.

    The sides of a picture with a `multiple` are any multiples of it.
    """
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for item, argument in zip(inputs, arguments, strict=True):
        shapes[argument] = {0: torch.export.Dim(BATCH)}
        if item.multiple:
            sides = enumerate((ROWS, COLUMNS), start=2)
            shapes[argument] |= {axis: item.multiple * torch.export.Dim(name) for axis, name in sides}
    return shapes.dynamic_shapes(generator, arguments)  # type: ignore[no-untyped-call]


def exportable(generator: nn.Module) -> nn.Module:
    """The same generator as torch's exporters take it; it is changed.

    Parametrized weights become plain ones. Where a tensor has a name that the exporters use themselves, such as
    `code`, the generator is put into another module.
    """
    for module in generator.modules():
        for name in list(getattr(module, "parametrizations", {})):
            parametrize.remove_parametrizations(module, name)
    taken = torch.fx.GraphModule(nn.Module(), torch.fx.Graph())
    names = [*dict(generator.named_parameters(recurse=False)), *dict(generator.named_buffers(recurse=False))]
    return _Held(generator) if any(hasattr(taken, name) for name in names) else generator


class _Held(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *inputs: Tensor) -> Tensor:
        made: Tensor = self.generator(*inputs)
        return made
