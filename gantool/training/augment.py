"""Augments all that a discriminator sees, reals and fakes, and lets gradients through; and DiffAugment.

DiffAugment: Zhao et al. 2020, arXiv:2006.10738. Ranges, order and padding (zeros, which are grey) are those of the
authors' code, https://github.com/mit-han-lab/data-efficient-gans. As there, a gradient penalty (R1) is of the
discriminator with its augmentation, with respect to the image before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin.game import Game


def parse(text: str) -> tuple[str, ...]:
    """The policies in a text such as `cutout,color`, in the order of POLICIES; () for `none` and "".

    GantoolError names an unknown one.
    """
    names = [] if text.strip() == "none" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in POLICIES:
            raise GantoolError(
                f"There is no DiffAugment policy {name!r}.", f"Use some of {','.join(POLICIES)}, separated by commas."
            )
    return tuple(name for name in POLICIES if name in names)


Change = Callable[[list[Tensor]], list[Tensor]]  # the images of one call of a discriminator → the same, augmented


def attach(game: Game, policies: Sequence[str]) -> None:
    """`hook` DiffAugment to the discriminators of `game`. Several images of one call are augmented as one image is."""
    if policies:
        hook(game, partial(_together, policies), "--diffaugment")


def hook(game: Game, change: Change, flag: str) -> None:
    """Make the discriminators of `game` see augmented images whenever they are called in training mode.

    It is done by hooks on the modules of all players in the role of a discriminator, except those that a generator
    uses; loss functions need not know. `flag`: the option that wants it. GantoolError when the game has no images or no
    discriminator.
    """
    require_images(game, flag)
    theirs = [m for p in game.players if p.role == "generator" for m in p.modules.values()] + [game.generators]
    spared = {id(inner) for module in theirs for inner in module.modules()}
    judges = {
        id(module): module
        for player in game.players
        if player.role == "discriminator"
        for module in player.modules.values()
        if id(module) not in spared
    }
    if not judges:
        raise GantoolError(
            f"{flag} augments what discriminators see, and this architecture has none of its own.",
            f"Leave {flag} out.",
        )
    changing = _Hook(change, game.output.sides)
    for module in judges.values():
        module.register_forward_pre_hook(changing, with_kwargs=True)


def require_images(game: Game, flag: str) -> None:
    if not game.output.is_image:
        raise GantoolError(
            f"{flag} is for images, and the samples of this architecture have shape {game.output}.",
            f"Leave {flag} out: it is for samples of channels×height×width.",
        )


class _Hook:
    """Augments the arguments of a module's call that are images: (N, C, H, W) with the sides of a sample.

    Several images of one call belong together (as a picture and what it was made of): they are augmented alike.
    """

    def __init__(self, change: Change, sides: tuple[int, ...]) -> None:
        self.change, self.sides = change, sides

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        images = [value for value in (*args, *kwargs.values()) if self._is_image(value)]
        if not images or not module.training:
            return None
        changed = self.change(images)
        args = tuple(changed.pop(0) if self._is_image(value) else value for value in args)
        return args, {key: changed.pop(0) if self._is_image(value) else value for key, value in kwargs.items()}

    def _is_image(self, value: object) -> bool:
        return (
            isinstance(value, Tensor)
            and value.dim() == 4
            and value.is_floating_point()
            and tuple(value.shape[2:]) == self.sides
        )


def _together(policies: Sequence[str], images: list[Tensor]) -> list[Tensor]:
    if len(images) == 1:
        return [augment(images[0], policies)]
    whole = augment(torch.cat(images, 1), policies)
    return list(torch.split(whole, [image.shape[1] for image in images], 1))


def augment(images: Tensor, policies: Sequence[str]) -> Tensor:
    """Augment images (N, C, H, W) around [-1, 1], each in its own random way; in float32 at least.

    Draws from torch's default generator and never waits for the device: it can be captured in a CUDA graph, compiled,
    and differentiated twice.
    """
    if images.dtype in (torch.float16, torch.bfloat16):  # their rounding would tell augmented images from others
        images = images.float()
    for name in policies:
        images = POLICIES[name](images)
    return images


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """A random number for each image, (N, 1, 1, 1)."""
    drawn = torch.rand(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
    return drawn * (high - low) + low


def color(images: Tensor) -> Tensor:
    """Brightness by up to ±0.5, saturation times 0 to 2, contrast times 0.5 to 1.5."""
    images = images + _uniform(images, -0.5, 0.5)
    if images.shape[1] > 1:  # a single channel is grey
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * _uniform(images, 0.0, 2.0)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * _uniform(images, 0.5, 1.5)


def translation(images: Tensor) -> Tensor:
    """Shift by whole pixels, by up to an eighth of the side each way; fill with zeros."""
    moved = images
    for axis in (2, 3):
        side = images.shape[axis]
        most = side // 8
        by = _whole(images, -most, most)
        source = _along(images, axis) - by
        index = source.clamp(0, side - 1)
        moved = moved.gather(axis, index.expand(images.shape)).masked_fill(source != index, 0.0)
    return moved


def cutout(images: Tensor) -> Tensor:
    """Zero a rectangle of half the sides. Its centre is anywhere in the image, so that a part may lie outside."""
    cut: Tensor | None = None
    for axis in (2, 3):
        side = images.shape[axis]
        size = side // 2
        first = _whole(images, 0, side - size % 2) - size // 2
        inside = (_along(images, axis) >= first) & (_along(images, axis) < first + size)
        cut = inside if cut is None else cut & inside
    assert cut is not None
    return images.masked_fill(cut, 0.0)


def _whole(images: Tensor, low: int, high: int) -> Tensor:
    """A random whole number for each image, `low` to `high` inclusive: (N, 1, 1, 1)."""
    return torch.randint(low, high + 1, (len(images), 1, 1, 1), device=images.device)


def _along(images: Tensor, axis: int) -> Tensor:
    """0 … side-1 along an axis, to broadcast against the images."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return torch.arange(images.shape[axis], device=images.device).view(shape)


POLICIES: dict[str, Callable[[Tensor], Tensor]] = {"color": color, "translation": translation, "cutout": cutout}
