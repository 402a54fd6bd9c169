"""The vectors that decide a generator's samples: its latent, or what a mapping network makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.exporting import Source
from gantool.exporting.edits import changed
from gantool.plugin.architecture import Input

PROBES = 4  # latents that a mapping network is looked for with
CLOSE = 1e-4  # relative, of sums in float32
BATCH = 128

Inputs = Mapping[str, Tensor]
Seen = Callable[[str, Tensor, Tensor], None]  # (module, its first input, its output)


@dataclass(frozen=True)
class Space:
    """Points (N, size) from which samples are made.

    `place`: the module whose output they are; "": they are the latent `input` itself, flattened.
    """

    source: Source
    input: Input
    place: str

    @property
    def size(self) -> int:
        return math.prod(self.input.shape)

    def inputs(self, seed: int, index: np.ndarray, label: int | None = None) -> dict[str, Tensor]:
        """The inputs of the samples `index` of `seed`; `label`: the class of all of them."""
        drawn = self.source.drawn(seed, index)
        for item in self.source.inputs:
            if item.distribution == "label" and label is not None:
                drawn[item.name] = torch.full((len(index),), label)
        return drawn

    def same(self, count: int) -> dict[str, Tensor]:
        """The inputs of sample 0 of seed 0, `count` times."""
        drawn = self.inputs(0, np.arange(1, dtype=np.int64))
        return {name: tensor.repeat_interleave(count, 0) for name, tensor in drawn.items()}

    @torch.no_grad()
    def points(self, inputs: Inputs) -> Tensor:
        """The points of latents (and labels)."""
        if not self.place:
            return inputs[self.input.name].flatten(1)
        made: list[Tensor] = []
        for part in parts(inputs):
            with changed(self.source.generator.get_submodule(self.place), lambda w: made.append(w) or w):  # type: ignore[func-returns-value]
                self.source.generator(*part.values())
        return torch.cat(made)

    def samples(self, inputs: Inputs, points: Tensor | None = None, see: Seen | None = None) -> Tensor:
        """The samples of `inputs`, with `points` (N, size) in place of theirs: float32 (N, *shape) in [-1, 1].

        Gradients pass. `see` is called with every module's first input and output.
        """
        generator = self.source.generator
        with ExitStack() as hooks:
            given = dict(inputs)
            if points is not None and self.place:
                hooks.enter_context(changed(generator.get_submodule(self.place), lambda w: points.to(w.dtype)))
            elif points is not None:
                given[self.input.name] = points.reshape(-1, *self.input.shape)
            if see is not None:
                hooks.enter_context(seeing(generator, see))
            made: Tensor = generator(*given.values())
        return made

    @torch.no_grad()
    def batches(self, inputs: Inputs, points: Tensor | None = None) -> Iterator[Tensor]:
        """As `samples`, a batch at a time."""
        for start, part in zip(range(0, 2**62, BATCH), parts(inputs), strict=False):
            yield self.samples(part, None if points is None else points[start : start + BATCH])


def parts(inputs: Inputs, batch: int = BATCH) -> Iterator[dict[str, Tensor]]:
    """The rows of `inputs`, a batch at a time."""
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, batch):
        yield {name: tensor[start : start + batch] for name, tensor in inputs.items()}


@contextmanager
def seeing(module: nn.Module, see: Seen) -> Iterator[None]:
    """A context in which `see` is called whenever a part of `module` was: its name, first input and output.

    Parts whose input or output is no float tensor are left out.
    """

    def hook_of(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_part: nn.Module, given: tuple[object, ...], made: object) -> None:
            first = next((g for g in given if isinstance(g, Tensor) and g.is_floating_point()), None)
            if first is not None and isinstance(made, Tensor):
                see(name, first, made)

        return hook

    handles = [part.register_forward_hook(hook_of(name)) for name, part in module.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def space_of(source: Source) -> Space:
    """The space of a generator: of its first latent, or of the last module through which all of that latent passes.

    Such a module has an output (N, D), D the latent's size, not affine in it, which put in place of another sample's
    gives that sample: it is found by trying. So StyleGAN's w is found without knowing StyleGAN. GantoolError for a
    generator without a latent, or one that makes pictures of pictures.
    """
    if source.picture is not None or not source.normals:
        raise GantoolError(
            "This generator makes a picture of a picture: no latent decides what is in it."
            if source.picture
            else "This generator takes no latent.",
            "Directions are of generators that make samples from noise.",
        )
    item = next((i for i in source.normals if len(i.shape) == 1), source.normals[0])
    space = Space(source, item, "")
    inputs = space.same(PROBES)
    base, one, two = space.inputs(0, np.arange(3, dtype=np.int64))[item.name]
    inputs[item.name] = torch.stack([base, one, two, one + two - base])
    calls: Counter[str] = Counter()
    made: dict[str, Tensor] = {}

    def see(name: str, _first: Tensor, output: Tensor) -> None:
        calls[name] += 1
        made[name] = output

    with torch.no_grad():
        wanted = space.samples(inputs, see=see).roll(1, 0)
        for name, output in reversed(made.items()):
            if calls[name] != 1 or output.shape != (PROBES, space.size):
                continue
            bent = output[3] - output[1] - output[2] + output[0]
            if bent.norm() > CLOSE * output.norm():  # else the latent itself does as well
                other = replace(space, place=name)
                if torch.allclose(other.samples(inputs, output.roll(1, 0)), wanted, atol=CLOSE):
                    return other
    return space
