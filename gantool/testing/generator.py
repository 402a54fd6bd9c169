"""Check the generator: its samples, what they depend on, and the files that are exported of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gantool import exporting
from gantool.data import Dataset
from gantool.errors import cause
from gantool.exporting.verify import MAX_FLOAT
from gantool.plugin.game import Game
from gantool.runtime import Generator
from gantool.training.state import State

COUNT = 3  # samples: an odd number shows a batch size folded into the shape
READ = "it reads a value back: .item(), float(), bool() or an `if` on a tensor"


class ValueReadError(AssertionError):
    """A value was read back; the traceback ends at that line."""


class NoReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which reading a tensor's value into Python raises ValueReadError(`message`)."""

    def __init__(self, message: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.message = message

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ValueReadError(self.message)
        return func(*args, **(kwargs or {}))


@contextmanager
def unchanged(tensors: Mapping[str, Tensor], what: str) -> Iterator[None]:
    """AssertionError when one of the named tensors has other values after the block."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        assert torch.equal(before[name], tensor), (
            f"{what} changes its input {name!r} in place, which others use, too: write x = x + 1, not x += 1; "
            "and no inplace=True in the first layer"
        )


def check_samples(state: State, what: str) -> None:
    """Check samples: shape, dtype, range; nothing random, changed in place, read back or mixed across the batch."""
    for which in state.game.exports:
        _check_samples(state, which, f"{what}, {which}" if which else what)


def _check_samples(state: State, which: str, what: str) -> None:
    game = state.game.of(which)
    assert game.inputs, f"{what}: the game declares no inputs of its generator: Game(inputs=(Input(…),))"
    drawn = state.fixed_inputs(COUNT, state.classes, which)
    inputs = {item.name: tensor for item, tensor in zip(game.inputs, drawn, strict=True)}
    generator, samples = _sampled(state, which, inputs, what)
    assert samples.shape == (COUNT, *game.output.shape), (
        f"{what}: {COUNT} samples have shape {tuple(samples.shape)}, declared is {game.output.shape}: "
        "does the generator make samples of spec.shape?"
    )
    assert samples.dtype == torch.float32, f"{what}: samples are {samples.dtype}, not float32: end in .float()"
    assert bool(samples.isfinite().all()), (
        f"{what}: samples of fresh weights hold NaN or infinity: look for a division, a log or a root of zero"
    )
    low, high = float(samples.min()), float(samples.max())
    assert -1.0001 <= low <= high <= 1.0001, (
        f"{what}: samples run from {low:.3g} to {high:.3g}, not within [-1, 1]: end the generator in tanh"
    )
    with torch.no_grad():
        again = generator(*inputs.values())
        assert torch.equal(samples, again), (
            f"{what}: the generator makes other samples of the same inputs, so it draws random numbers inside its "
            "forward (or keeps a state there): make the noise an input of the game, Input(name, shape, 'normal')"
        )
    _check_alone(generator, inputs, samples, what)


def _check_alone(generator: nn.Module, inputs: dict[str, Tensor], samples: Tensor, what: str) -> None:
    why = (
        "something uses statistics of the batch in eval mode (BatchNorm with track_running_stats=False, a mean over "
        "axis 0), which would make samples depend on those beside them"
    )
    try:
        with torch.no_grad():
            alone = [generator(*(t[i : i + 1] for t in inputs.values())) for i in range(COUNT)]
    except (RuntimeError, ValueError) as error:
        raise AssertionError(f"{what}: no sample alone: {cause(error)}. Perhaps {why}") from error
    difference = float((torch.cat(alone) - samples).abs().max())
    assert difference <= MAX_FLOAT, (
        f"{what}: a sample alone differs from the same among {COUNT} by {difference:.3g}: {why}"
    )


def _sampled(state: State, which: str, inputs: dict[str, Tensor], what: str) -> tuple[nn.Module, Tensor]:
    try:
        generator = state.sampling_generator(which)
        with torch.no_grad(), unchanged(inputs, f"{what}: the generator's forward"):
            with NoReads(f"{what}: the generator decides by values in its forward: {READ}. A file keeps one way only"):
                samples = generator(*inputs.values())
    except ValueReadError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise AssertionError(
            f"{what}: no {COUNT} samples: {cause(error)}. Is a batch size fixed in the forward? It gets "
            f"{', '.join(f'{name} {tuple(t.shape)}' for name, t in inputs.items())}, in this order"
        ) from error
    assert isinstance(samples, Tensor), (
        f"{what}: the generator returns a {type(samples).__name__}, not a tensor: return the samples alone"
    )
    return generator, samples


def check_inputs_matter(state: State, what: str) -> None:
    """Check that, after some steps, another value of any input makes other samples."""
    for which in state.game.exports:
        _check_inputs_matter(state, which, f"{what}, {which}" if which else what)


def _check_inputs_matter(state: State, which: str, what: str) -> None:
    taken = state.game.exports[which].inputs
    drawn = state.fixed_inputs(2 * COUNT, state.classes, which)
    inputs = {item.name: tensor for item, tensor in zip(taken, drawn, strict=True)}
    generator = state.sampling_generator(which)
    with torch.no_grad():
        samples = generator(*(tensor[:COUNT] for tensor in inputs.values()))
        for item, (name, tensor) in zip(taken, inputs.items(), strict=True):
            other = tensor[1 : COUNT + 1]
            if item.distribution == "value":
                other = torch.full_like(other, item.low if item.default == item.high else item.high)
            if torch.equal(other, tensor[:COUNT]):
                continue  # one class: there is no other
            changed = generator(*(other if n == name else t[:COUNT] for n, t in inputs.items()))
            assert not torch.equal(samples, changed), (
                f"{what}: another {name!r} makes the same samples: use it in the forward, or take it from Game.inputs"
            )


def check_files(state: State, data: Dataset, name: str) -> None:
    """Export the state's generator to every format; GantoolError where torch or a verification fails.

    Further generators, which are mostly built as the first one is, are exported as the plain ONNX file alone.
    """
    for which in state.game.exports:
        _check_files(state.game.of(which), data, name, alone=which != state.game.name)


def _check_files(game: Game, data: Dataset, name: str, alone: bool) -> None:
    source = exporting.from_game(
        game,
        architecture={"name": name, "plugin": "", "plugin_version": "", "config": {}},
        training={},
        data={},
        dataset=data,
    )
    kinds = source.kinds[: 1 if alone else None]
    with tempfile.TemporaryDirectory() as folder:
        made = exporting.write(source, kinds, Path(folder), exporting.Options(optimize=False))
        onnx = [Generator(item.path) for item in made if item.path.suffix == ".onnx"]
        if source.seedable:
            first, *rest = (generator.reference_images(5, seed=3, first=2) for generator in onnx)
            for images in rest:
                assert np.array_equal(first, images), f"{name}: two ONNX files make different samples"
