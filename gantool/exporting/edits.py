"""Changes to a generator's modules: named directions as `value` inputs, the strengths with which they are added.

And factors of a layer's units, for `gantool dissect`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from gantool.artifact.manifest import InputInfo
from gantool.errors import GantoolError
from gantool.exporting.source import Source
from gantool.plugin.architecture import Input
from gantool.run.directions import Direction

FEW = 2  # directions that are added one by one


class Edited(nn.Module):
    """A generator that takes a strength (N,) for each of `directions` after its other inputs `inputs`.

    Strength 0 adds zeros, which leaves every sample as it is, bit for bit.
    """

    def __init__(self, generator: nn.Module, inputs: Sequence[Input], directions: Sequence[Direction]) -> None:
        super().__init__()
        self.generator = generator
        self.taken = len(inputs)
        self.targets: list[tuple[str, int, list[int]]] = []  # place, number of the input, strengths
        names = [item.name for item in inputs]
        for target in dict.fromkeys((d.place, d.input) for d in directions):
            own = [k for k, d in enumerate(directions) if (d.place, d.input) == target]
            vectors = torch.tensor([directions[k].vector for k in own])  # (directions, D)
            self.register_buffer(f"vectors_{len(self.targets)}", vectors, persistent=False)
            self.targets.append((target[0], names.index(target[1]), own))

    def forward(self, *given: Tensor) -> Tensor:
        inputs, strengths = list(given[: self.taken]), given[self.taken :]
        with ExitStack() as moved:
            for number, (place, item, own) in enumerate(self.targets):
                shift = _shift([strengths[k] for k in own], getattr(self, f"vectors_{number}"))
                if place:
                    moved.enter_context(changed(self.generator.get_submodule(place), _adding(shift)))
                else:
                    inputs[item] = _adding(shift)(inputs[item])
            made: Tensor = self.generator(*inputs)
        return made


class Scaled(nn.Module):
    """A generator that takes factors (N, C) for each of `layers`, after its other inputs: its units are multiplied.

    `layers`: names of modules with an output (N, C, …). Factors of 1 leave every sample as it is, bit for bit.
    """

    def __init__(self, generator: nn.Module, layers: Iterable[str]) -> None:
        super().__init__()
        self.generator = generator
        self.layers = tuple(layers)

    def forward(self, *given: Tensor) -> Tensor:
        inputs, factors = given[: -len(self.layers)], given[-len(self.layers) :]
        with ExitStack() as scaled:
            for name, factor in zip(self.layers, factors, strict=True):
                scaled.enter_context(changed(self.generator.get_submodule(name), self.times(factor)))
            made: Tensor = self.generator(*inputs)
        return made

    @staticmethod
    def times(factor: Tensor) -> Callable[[Tensor], Tensor]:
        """Multiplies values (N, C, …) by `factor` (N, C)."""
        return lambda values: values * factor.reshape(*factor.shape, *[1] * (values.dim() - 2)).to(values.dtype)


def _shift(strengths: Sequence[Tensor], vectors: Tensor) -> Tensor:
    """The sum of vectors (K, D), each times a strength (N,) of its own: (N, D).

    No matrix product, which int8 files would quantise; and the fewest nodes, as each costs time in a batch of one.
    """
    if len(strengths) > FEW:
        return (torch.stack(list(strengths), 1)[:, :, None] * vectors).sum(1)
    shift, *others = (strength[:, None] * vector for strength, vector in zip(strengths, vectors.unbind(), strict=True))
    for other in others:
        shift = shift + other
    return shift


def _adding(shift: Tensor) -> Callable[[Tensor], Tensor]:
    """Adds `shift` (N, D) to values of any shape of N · D elements."""
    return lambda values: values + shift.reshape(values.shape).to(values.dtype)


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """A context in which `change` is applied to what `module` returns."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def with_directions(source: Source, directions: Sequence[Direction]) -> Source:
    """The generator with an input more for each of `directions`; `source` itself without any.

    GantoolError for a direction of another generator: its input, module or length is not there.
    """
    if not directions:
        return source
    sizes = {i.name: math.prod(i.shape) for i in source.normals}
    places = dict(source.generator.named_modules())
    for direction in directions:
        fits = sizes.get(direction.input) == len(direction.vector) or direction.place
        taken = direction.name in {item.name for item in source.inputs}
        if direction.input not in sizes or direction.place not in places or not fits or taken:
            raise GantoolError(
                f"The direction {direction.name!r} does not fit this generator: "
                + (f"it has an input {direction.name!r}." if taken else "it was found for another."),
                f"Remove it: gantool directions remove {direction.name}",
            )
    inputs = tuple(Input(d.name, (), "value", default=0.0, low=d.low, high=d.high) for d in directions)
    infos = tuple(InputInfo(i.name, (), i.dtype, "value", 0, i.default, i.low, i.high) for i in inputs)
    about = replace(source.about, inputs=(*source.about.inputs, *infos))
    generator = Edited(source.generator, source.inputs, directions).eval()
    return replace(source, generator=generator, inputs=(*source.inputs, *inputs), about=about)


def notes(directions: Sequence[Direction], step: int) -> list[str]:
    """What to know before the generator of `step` is exported with them."""
    older = [d.name for d in directions if d.step != step]
    if not older:
        return []
    verb = "was" if len(older) == 1 else "were"
    steps = ", ".join(map(str, sorted({d.step for d in directions} - {step})))
    return [f"{', '.join(older)} {verb} found at step {steps}, this is step {step}: find them again if they are off"]
