"""Adaptive discriminator augmentation: the discriminator sees transformed images, more of them the more it overfits.

Karras et al. 2020, arXiv:2006.06676: transformations, ranges and order are those of its set "bgc" (appendix B). Its
measure of overfitting is r_t = E[sign(D(x))] of the reals x. `Ada.p`, the probability of each transformation, rises
while r_t is above 0.6, and falls below. A relativistic loss has no score of a real alone: r_t is
E[sign(D(x) - D(G(z)))] there.

As there, a gradient penalty is of the discriminator with its augmentation, with respect to the image before it. What is
different: an image that no transformation was drawn for stays as it is, bit by bit, and is not filtered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gantool.plugin.game import Loss, Player
from gantool.training.distributed import ALONE, Group

TARGET = 0.6  # of r_t
INTERVAL = 4  # iterations from one change of p to the next
IMAGES = 500_000  # reals that a discriminator is shown while p goes from 0 to 1

# the orthogonal lowpass filter of the symlet with 6 vanishing moments (Daubechies 1992, Ten Lectures on Wavelets)
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
UNIFORMS, NORMALS = 21, 7  # random numbers for an image


def share_of_reals(player: Player, loss: Loss) -> Tensor | None:
    """The share of reals (in a relativistic loss: of pairs) that a discriminator judges rightly; None: it does not say.

    It is (r_t + 1) / 2, and what the objectives measure as `accuracy_real`, or `accuracy`.
    """
    if player.role != "discriminator":
        return None
    return loss.measures.get("accuracy_real", loss.measures.get("accuracy"))


class Ada:
    """The augmentation of a training, and its state. `sides`: (H, W) of the images; `batch_size`: of the global batch.

    p is a tensor that stays the same, on the device, so that a captured or compiled step need not be made anew.
    """

    def __init__(self, sides: tuple[int, ...], batch_size: int, device: torch.device, group: Group = ALONE) -> None:
        self.p = torch.zeros((), device=device)
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)  # of r_t, and how often it was measured
        self._step = batch_size / group.size / IMAGES  # of p, for one measurement of one process
        self._group = group
        self._resampling = _Resampling(sides, device)

    def measure(self, player: Player, loss: Loss) -> Loss:
        """Add up r_t. Returns the loss, with p among the measures where the player is a discriminator with an r_t."""
        share = share_of_reals(player, loss)
        if share is None:
            return loss
        share = share.detach().double()
        self._sums += torch.stack((2 * share - 1, torch.ones_like(share)))
        return Loss(loss.terms, {**loss.measures, "augment_p": self.p})

    def adapt(self, step: int) -> None:
        """Change p after every INTERVAL-th iteration (0, 1, …). Never waits for the device."""
        if (step + 1) % INTERVAL:
            return
        self._group.sum(self._sums)
        signs, count = self._sums.unbind()
        self.p.add_((signs - TARGET * count).sign() * count * self._step).clamp_(0, 1)
        self._sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        """All processes of a group call it together."""
        return {"p": float(self.p), "sums": self._group.everyones(self._sums.tolist())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.p.fill_(state["p"])
        sums = torch.tensor(state["sums"], dtype=torch.float64)
        if len(sums) != self._group.size:  # another number of processes saved it: the leader takes all
            sums = torch.zeros(self._group.size, 2, dtype=torch.float64).index_fill(0, torch.tensor(0), 1) * sums.sum(0)
        self._sums.copy_(sums[self._group.rank])

    def __call__(self, images: list[Tensor]) -> list[Tensor]:
        """Images of one call of a discriminator, each (N, C, H, W): the i-th of each are transformed alike."""
        with torch.autocast(images[0].device.type, enabled=False):
            return self.transform(images)

    def transform(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Transform images around [-1, 1], in float32 at least; each in its own random way.

        Draws from torch's default generator; can be captured in a CUDA graph, compiled, and differentiated twice.
        """
        halves = (torch.float16, torch.bfloat16)  # their rounding would tell transformed images from others
        images = [image.float() if image.dtype in halves else image for image in images]
        shape, device, dtype = (len(images[0]), 1, 1, 1), images[0].device, images[0].dtype
        uniform = iter(torch.rand(UNIFORMS, *shape, dtype=dtype, device=device).unbind())
        normal = iter(torch.randn(NORMALS, *shape, dtype=dtype, device=device).unbind())
        for change in (blit, self._resampling, color):
            images = change(images, self.p, uniform, normal)
        return images


Numbers = Iterator[Tensor]  # random ones, each (N, 1, 1, 1)


def blit(images: list[Tensor], p: Tensor, uniform: Numbers, normal: Numbers) -> list[Tensor]:
    """Mirror, turn by a multiple of 90° and shift by whole pixels (an eighth of the side at most): copies pixels."""
    high, wide = images[0].shape[2:]
    flips = (next(uniform) < p) & (next(uniform) < 0.5)
    turned, turns = next(uniform) < p, (4 * next(uniform)).floor()
    cos, sin = ((turns == quarter).int() - (turns == quarter + 2).int() for quarter in (0, 1))
    cos, sin = cos.where(turned, 1), sin.where(turned, 0)
    shifted = next(uniform) < p
    right, down = (((next(uniform) - 0.5) / 4 * side).round().int() * shifted for side in (wide, high))
    # of each pixel the one that it comes from, in halves of pixels from the centre
    x = 2 * (torch.arange(wide, device=p.device) - right) - (wide - 1)
    y = 2 * (torch.arange(high, device=p.device)[:, None] - down) - (high - 1)
    x, y = cos * x + sin * y, cos * y - sin * x
    x = x.where(~flips, -x)
    column, row = (_inside((along + side - 1) // 2, side) for along, side in ((x, wide), (y, high)))
    index = (row * wide + column).flatten(2)
    return [image.flatten(2).gather(2, index.expand(image.flatten(2).shape)).view(image.shape) for image in images]


def _inside(index: Tensor, side: int) -> Tensor:
    """Whole numbers, mirrored at the border as often as needed, into 0 … side-1."""
    index = index % (2 * side)
    return torch.minimum(index, 2 * side - 1 - index)


def color(images: list[Tensor], p: Tensor, uniform: Numbers, normal: Numbers) -> list[Tensor]:
    """Brightness, contrast, luma flip, hue and saturation. Grey has no hue and no saturation; hue is of RGB only."""
    picked = [next(uniform) < p for _ in range(5)]
    bright = (0.2 * next(normal)).where(picked[0], 0)
    contrast = torch.exp2(0.5 * next(normal)).where(picked[1], 1)
    flip = picked[2] & (next(uniform) < 0.5)
    angle = ((2 * next(uniform) - 1) * math.pi).where(picked[3], 0)
    saturation = torch.exp2(next(normal)).where(picked[4], 1)
    changed = torch.stack(picked).any(0)
    made = []
    for image in images:
        luma = image.mean(1, keepdim=True)
        result = (luma + bright) * contrast.where(~flip, -contrast)
        if image.shape[1] > 1:
            chroma = image - luma
            if image.shape[1] == 3:  # a rotation about the grey axis
                crossed = (chroma.roll(1, 1) - chroma.roll(-1, 1)) / math.sqrt(3)
                chroma = angle.cos() * chroma + angle.sin() * crossed
            result = result + contrast * saturation * chroma
        made.append(torch.where(changed, result, image))
    return made


class _Resampling:
    """Scale, rotate, stretch and shift by parts of pixels, all in one resampling of twice the resolution.

    An orthogonal wavelet filter goes to that resolution and back: without a transformation the image would stay the
    same. Beyond the border the image is mirrored. `sides`: (H, W). On a CPU only the images that are changed are
    resampled; elsewhere, and compiled, all are, so that shapes do not depend on values.
    """

    def __init__(self, sides: tuple[int, ...], device: torch.device) -> None:
        self.sides = sides
        pairs = [_filters(side) for side in sides]
        self.up, self.down = ([matrix.to(device) for matrix in matrices] for matrices in zip(*pairs, strict=True))

    def __call__(self, images: list[Tensor], p: Tensor, uniform: Numbers, normal: Numbers) -> list[Tensor]:
        high, wide = self.sides
        scaled, stretched, shifted = (next(uniform) < p for _ in range(3))
        one, other = (next(uniform) < 1 - (1 - p).sqrt() for _ in range(2))  # together: p
        scale = torch.exp2(0.2 * next(normal)).where(scaled, 1)
        first, last = (((2 * next(uniform) - 1) * math.pi).where(turned, 0) for turned in (one, other))
        stretch = torch.exp2(0.2 * next(normal)).where(stretched, 1)
        right, down = ((next(normal) * (side / 8)).where(shifted, 0) for side in (wide, high))
        changed = scaled | stretched | shifted | one | other
        drawn = scale, first, stretch, last, right, down
        if p.device.type != "cpu" or torch.compiler.is_compiling():
            grid = self._grid(*drawn)
            return [torch.where(changed, self._resampled(image, grid), image) for image in images]
        rows = changed.flatten().nonzero().squeeze(1)  # a CPU need not wait to know which these are
        if not len(rows):
            return images
        grid = self._grid(*(number[rows] for number in drawn))
        return [image.index_copy(0, rows, self._resampled(image[rows], grid)) for image in images]

    def _grid(self, scale: Tensor, first: Tensor, stretch: Tensor, last: Tensor, right: Tensor, down: Tensor) -> Tensor:
        """From where each point of the images comes, as grid_sample takes it: (N, points, points, 2)."""
        high, wide = self.sides
        # in pixels from the centre: undo the shift, then the others from last to first
        y, x = (_points(side, right) for side in (high, wide))
        x, y = x - right, y[:, None] - down
        x, y = last.cos() * x + last.sin() * y, last.cos() * y - last.sin() * x
        x, y = x / stretch, y * stretch
        x, y = first.cos() * x + first.sin() * y, first.cos() * y - first.sin() * x
        return torch.stack([_place(along / scale, side) for along, side in ((x, wide), (y, high))], -1).squeeze(1)

    def _resampled(self, image: Tensor, grid: Tensor) -> Tensor:
        return _between(_sampled(_between(image, self.up), grid), self.down)


def _between(image: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Apply a matrix to the columns of an image, and one to its rows."""
    columns, rows = (matrix.to(image.dtype) for matrix in matrices)
    return ((image @ rows.T).transpose(2, 3) @ columns.T).transpose(2, 3)


CENTRE = sum(number * value for number, value in enumerate(SYM6)) / sum(SYM6)  # of the filter: its delay
MARGIN = 3  # mirrored pixels around the image, which the filter needs at the border
FIRST = math.floor(CENTRE - 2 * MARGIN)  # the first fine point


def _filters(side: int) -> tuple[Tensor, Tensor]:
    """Matrices of the filter: `side` pixels → fine points, twice as many, margins included; and fine points → pixels.

    Pixel n lies at 2n + CENTRE of the fine points. Those of the first matrix begin at FIRST, of the second at 0.
    """
    count, taps = 2 * (side + 2 * MARGIN), len(SYM6)
    up = torch.zeros(count, side, dtype=torch.float64)
    for row in range(count):
        for pixel in range(-taps, side + taps):
            tap = row + FIRST - 2 * pixel
            if 0 <= tap < taps:
                up[row, int(_inside(torch.tensor(pixel), side))] += math.sqrt(2) * SYM6[tap]
    down = torch.zeros(side, 2 * (side - 1) + taps, dtype=torch.float64)
    for pixel in range(side):
        down[pixel, 2 * pixel : 2 * pixel + taps] = torch.tensor(SYM6, dtype=torch.float64) / math.sqrt(2)
    return up, down


def _points(side: int, like: Tensor) -> Tensor:
    """Where the fine points are that go back to pixels: in pixels from the centre of the image."""
    count = 2 * (side - 1) + len(SYM6)
    return (torch.arange(count, device=like.device, dtype=like.dtype) - CENTRE) / 2 - (side - 1) / 2


def _place(along: Tensor, side: int) -> Tensor:
    """Pixels from the centre → a place among the fine points, as grid_sample takes it; mirrored beyond the margin."""
    mirrored = side - ((along + side / 2) % (2 * side) - side).abs() - side / 2
    along = along.where(along.abs() < side / 2 + MARGIN - 0.5, mirrored)
    point = 2 * (along + (side - 1) / 2) + CENTRE - FIRST
    return point * (2 / (2 * (side + 2 * MARGIN) - 1)) - 1


def _sampled(image: Tensor, grid: Tensor) -> Tensor:
    """Bilinear `grid_sample`, which can be differentiated twice."""
    # compiled, functions of ours lose part of the second derivative of a penalty (torch 2.13, with torch.func.grad)
    sample = _grid_sample if torch.compiler.is_compiling() else _Sample.apply
    made: Tensor = sample(image, grid)
    return made


def _grid_sample(image: Tensor, grid: Tensor) -> Tensor:
    return torch.grid_sampler(image, grid, 0, 1, True)  # bilinear, up to the border, corners aligned


class _Sample(torch.autograd.Function):
    """`_grid_sample`, differentiated by the image alone: older versions of torch have no second derivative of it."""

    @staticmethod
    def forward(image: Tensor, grid: Tensor) -> Tensor:
        return _grid_sample(image, grid)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        image, grid = inputs
        ctx.save_for_backward(grid)
        ctx.sides = image.shape[2:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _SampleGradient.apply(gradients[0], grid, ctx.sides), None  # type: ignore[no-untyped-call]


class _SampleGradient(torch.autograd.Function):
    """The gradient of `_Sample` by its image: linear in that of its output."""

    @staticmethod
    def forward(gradient: Tensor, grid: Tensor, sides: tuple[int, int]) -> Tensor:
        image = gradient.new_zeros(*gradient.shape[:2], *sides)  # only its shape counts
        made: Tensor = torch.ops.aten.grid_sampler_2d_backward(gradient, image, grid, 0, 1, True, [True, False])[0]
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, tuple[int, int]], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Sample.apply(gradients[0], ctx.saved_tensors[0]), None, None  # type: ignore[no-untyped-call]
