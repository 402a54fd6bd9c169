"""Check the players: their losses, gradients and steps, and that a checkpoint holds all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor, nn

from gantool.plugin.game import Game, Loss, taking_gradients
from gantool.testing.generator import READ, NoReads, unchanged
from gantool.training.state import State
from gantool.training.step import Mover, alone, iterate

NAMED = 3  # parameters that a message lists


def check_players(game: Game, what: str) -> None:
    """Check that there are players, and that each has trainable parameters."""
    assert game.players, f"{what}: the game has no players: Game(players=(Player(…), …))"
    for player in game.players:
        assert player.parameters(), (
            f"{what}: player {player.name} owns no trainable parameter: put its networks into Player(modules={{…}})"
        )
    alone = [player for player in reversed(game.players) if player.shares is None]
    for one, two in permutations(alone, 2):
        owned = {id(parameter) for parameter in two.parameters()}
        assert any(id(p) not in owned for p in one.parameters()), (
            f"{what}: player {one.name} has parameters of player {two.name} and an optimizer of its own, which divides "
            f"a gradient by its usual size, so the weight of its loss cancels: Player(shares={two.name!r})"
        )


def check_gradients(state: State, what: str) -> None:
    """Check every player's loss: finite scalars that depend on its own parameters alone; some loss reaches each one."""
    reached: set[int] = set()
    for mover in state.movers:
        name = f"{what}: player {mover.player.name}"
        with alone(mover).gradients():
            loss = _loss(state, mover, name)
            summed = torch.stack(list(loss.terms.values())).sum()
            assert summed.requires_grad, (
                f"{name}: no term depends on its parameters: take detach() and torch.no_grad() out of the loss, "
                "the loop freezes the others' parameters itself"
            )
            constant = [term for term, value in loss.terms.items() if not value.requires_grad]
            assert not constant, (
                f"{name}: {', '.join(constant)} is minimised, but has no gradient: take the gradient of a penalty with "
                "create_graph=True, or return what is only logged among the measures"
            )
            _check_foreign(mover, summed, name)
            summed.backward()  # type: ignore[no-untyped-call]
            reached |= {id(p) for p in mover.parameters if p.grad is not None}
            finite = all(bool(p.grad.isfinite().all()) for p in mover.parameters if p.grad is not None)
            assert finite, f"{name}: a gradient is not finite: look for a root or a log at zero (add 1e-12 inside)"
        for parameter in mover.parameters:
            parameter.grad = None
    for mover in state.movers:
        _check_reached(mover, reached, f"{what}: player {mover.player.name}")


def _loss(state: State, mover: Mover, name: str) -> Loss:
    batch = state.sampler.draw(mover.player.draws)
    with unchanged(batch, f"{name}: the loss"):
        with NoReads(
            f"{name}: the loss waits for the device: {READ}. Return tensors; the loop reads them, once a tick"
        ):
            loss = mover.player.loss(batch)
    assert isinstance(loss, Loss), f"{name} returns a {type(loss).__name__}: return gantool.plugin.Loss({{name: term}})"
    assert loss.terms, f"{name} returns no loss term: Loss({{'adversarial': …}})"
    _check_values(loss, name)
    return loss


def _check_values(loss: Loss, name: str) -> None:
    for term, value in {**loss.terms, **loss.measures}.items():
        assert isinstance(value, Tensor), f"{name}: {term} is a {type(value).__name__}, not a tensor: no .item() here"
        assert value.dim() == 0, f"{name}: {term} has shape {tuple(value.shape)}, not a scalar: take its mean()"
        assert bool(value.isfinite()), (
            f"{name}: {term} is {float(value.detach())} at the first weights: look for a log, a root or a division "
            "by zero, and for scores that grow with the number of pixels"
        )


def _check_foreign(mover: Mover, loss: Tensor, name: str) -> None:
    """Check that no parameter in the loss's graph belongs to no player: those of other players are frozen."""
    own = {id(parameter) for parameter in mover.parameters}
    foreign = [tensor for tensor in _leaves(loss) if isinstance(tensor, nn.Parameter) and id(tensor) not in own]
    shapes = [str(tuple(parameter.shape)) for parameter in foreign]
    assert not foreign, (
        f"{name}: its loss uses {len(foreign)} parameters (shapes {_first(shapes)}) "
        "of a module that is in no player's modules: it would neither be trained nor saved. Add it to modules, "
        "or freeze it with requires_grad_(False) when it is meant to stay as it is"
    )


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """The tensors that a graph would write gradients to."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions]


def _check_reached(mover: Mover, reached: set[int], name: str) -> None:
    """Check that some player's loss reaches each parameter; a lazy regulariser need not reach all of its network."""
    called = {
        id(parameter): f"{key}.{path}"
        for key, module in mover.player.modules.items()
        for path, parameter in module.named_parameters()
    }
    unreached = [called[id(p)] for p in mover.parameters if id(p) not in reached]
    assert not unreached, (
        f"{name}: no gradient reaches {len(unreached)} of its {len(mover.parameters)} parameters "
        f"({_first(unreached)}): use them in the forward, or take them out"
    )


def _first(texts: list[str]) -> str:
    return ", ".join(texts[:NAMED]) + (", …" if len(texts) > NAMED else "")


def check_together(state: State, what: str) -> None:
    """Check the losses for simultaneous updates, if there are any: one for each player, finite scalars."""
    game = state.game
    if game.together is None:
        return
    batch = state.sampler.draw(dict.fromkeys(draw for player in game.players for draw in player.draws))
    with taking_gradients(p for mover in state.movers for p in mover.parameters):
        losses = game.together(batch)
        expected = {player.name for player in game.players}
        assert set(losses) == expected, (
            f"{what}: Game.together gives losses of {sorted(losses)}, not {sorted(expected)}"
        )
        for name, loss in losses.items():
            _check_values(loss, f"{what}: Game.together, player {name}")


def check_steps(state: State, what: str) -> None:
    """Check that iterations of the shared loop move every player, to finite weights."""
    before = {m.player.name: [p.detach().clone() for p in m.parameters] for m in state.movers}
    for _ in range(max(3, *(m.player.every for m in state.movers))):
        iterate(state)
    state.meter.read()
    assert state.broken_weights() is None, (
        f"{what}: the weights of {state.broken_weights()} are not finite after 3 steps: is the learning rate too high?"
    )
    for mover in state.movers:
        pairs = zip(before[mover.player.name], mover.parameters, strict=True)
        moved = any(not torch.equal(old, new) for old, new in pairs)
        assert moved, (
            f"{what}: player {mover.player.name} did not move in 3 steps: are all its gradients zero, or does its "
            "after_step undo them?"
        )


def check_resume(state: State, other: State, what: str) -> None:
    """Check that another game that loads this one's checkpoint makes the same next step, bit by bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        torch.save(state.state_dict(), path)
        other.load_state_dict(torch.load(path, weights_only=True))
    # the process has one random stream on the CPU: start both from the same state
    stream = torch.get_rng_state()
    iterate(state)
    torch.set_rng_state(stream)
    iterate(other)
    for (name, one), two in zip(_tensors(state).items(), _tensors(other).values(), strict=True):
        assert torch.equal(one, two), (
            f"{what}: after a save and a load, {name} goes another way: is it in a player's modules? What changes "
            "while training has to be a parameter or a buffer (register_buffer), no attribute of Python"
        )


def _tensors(state: State) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, module in state.game.modules().items()
        for key, value in module.state_dict().items()
    }
