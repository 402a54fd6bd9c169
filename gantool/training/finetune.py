"""Start from the weights of another training: what fits is taken, what does not is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin.game import Game
from gantool.run import checkpoint, rundir

if TYPE_CHECKING:
    from gantool.training.state import State

LISTED = 5  # tensors that a note names


def read(source: str, runs: Path) -> dict[str, Any]:
    """The checkpoint of a run (its newest sound one) or of a file; GantoolError when there is neither."""
    path = Path(source)
    if path.is_file():
        return checkpoint.load(path)
    _, saved, _ = checkpoint.load_newest(rundir.find(runs, source))
    return saved


@torch.no_grad()
def take(state: State, saved: Mapping[str, Any], source: str) -> str:
    """Give the state's networks, and their average, the saved tensors of the same name and shape; a note about it.

    Optimizers begin anew. GantoolError when nothing fits.
    """
    game, taken, left = state.game, 0, list[str]()
    generator = "" if game.others else next((n for n, module in game.modules().items() if module is game.generator), "")
    for name, module in game.modules().items():
        fits, others = _fitting(module, saved["modules"].get(name, {}))
        module.load_state_dict(fits, strict=False)
        taken, left = taken + len(fits), left + [f"{name}.{key}" for key in others]
    if not taken:
        raise GantoolError(
            f"Nothing of {source!r} fits: no tensor has the name and the shape of one of this architecture.",
            "Give a run or a checkpoint of the same architecture.",
        )
    if game.begin:
        game.begin(state.sampler.rows)
        for module in game.modules().values():
            state.group.copy(module.buffers())  # other processors may have rounded otherwise
    if state.ema:
        fits, _ = _fitting(state.ema.module, saved["ema"] or saved["modules"].get(generator, {}))
        state.ema.module.load_state_dict({**game.generators.state_dict(), **fits})
        state.ema.copy_buffers(state.generators)
    more = f" and {len(left) - LISTED} more" if len(left) > LISTED else ""
    new = f"; these begin anew: {', '.join(left[:LISTED])}{more}" if left else ""
    return f"{taken} of {taken + len(left)} tensors come from {source}{new}"


def _fitting(module: nn.Module, saved: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The saved tensors that fit a module, and the names of those of its own that have none."""
    own = module.state_dict()
    fits = {key: saved[key] for key, tensor in own.items() if key in saved and saved[key].shape == tensor.shape}
    return fits, [key for key in own if key not in fits]


def freeze(game: Game, count: int) -> None:
    """Freeze the first `count` layers of each discriminator, in the order in which its module has them.

    Freeze-D (Mo, Cho & Shin 2020, arXiv:2002.10964): a layer is a module with parameters of its own. GantoolError when
    a discriminator would have none left.
    """
    for player in game.players if count else ():
        if player.role != "discriminator" or player.shares:  # a regulariser has the layers of another player
            continue
        layers = [
            layer
            for module in player.modules.values()
            for layer in module.modules()
            if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        ]
        if count >= len(layers):
            raise GantoolError(
                f"--freeze-d {count} leaves nothing to train: player {player.name} has {len(layers)} layers.",
                f"Give at most {len(layers) - 1}.",
            )
        for layer in layers[:count]:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
