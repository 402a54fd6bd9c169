"""Everything that a step changes: what a checkpoint saves and a resume restores."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from gantool.artifact import latents
from gantool.data import Dataset
from gantool.errors import GantoolError, cause
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game, Player
from gantool.plugin.train_options import Place
from gantool.training import augment, engines
from gantool.training.ada import Ada
from gantool.training.distributed import ALONE, Group
from gantool.training.finetune import freeze
from gantool.training.optimizers import Scheduled
from gantool.training.sampler import Sampler, labels_of, seed_for
from gantool.training.step import Meter, Mover, Turn, alone, drawn_by, turns_at

PRECISIONS = ("fp32", "tf32", "bf16")
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def build_game(architecture: Architecture, config: BaseModel, spec: SampleSpec, recipe: Recipe, seed: int) -> Game:
    """Build a run's game with the default streams of torch, numpy and Python seeded by the run's seed.

    Training, resume and export all build so: what `build` draws and no checkpoint holds (a buffer that isn't
    persistent, a tensor as a plain attribute) is the same in all of them.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    game = architecture.build(config, spec, recipe)
    for name, module in game.modules().items():
        for path, parameter in module.named_parameters():
            if isinstance(parameter, nn.UninitializedParameter):
                raise GantoolError(
                    f"The parameter {name}.{path} has no shape yet.",
                    "Give the layer its sizes in place of a lazy one, or run the networks once at the end of `build`.",
                )
    return game


class State:
    """A game being trained on one device, by this process alone or by all of a group at once."""

    def __init__(
        self,
        architecture: Architecture,
        config: BaseModel,
        recipe: Recipe,
        data: Dataset,
        *,
        seed: int,
        device: torch.device,
        precision: str,
        engine: str = "eager",
        group: Group = ALONE,
        place: Place = "auto",
        flip: bool = False,
        diffaugment: Sequence[str] = (),
        ada: bool = False,
        freeze_d: int = 0,
    ) -> None:
        _check_precision(precision, device)
        self.engine = engines.make(engine, device)
        self.device = device
        self.precision = precision
        self.seed = seed
        self.group = group
        self.game: Game = build_game(architecture, config, data.spec, recipe, seed)
        freeze(self.game, freeze_d)
        augment.attach(self.game, diffaugment)
        self.ada = _ada(self.game, recipe, device, group) if ada else None
        self.sampler = Sampler(self.game.draws, data, recipe.batch_size, seed, device, group, place=place, flip=flip)
        for module in self.game.modules().values():
            module.to(device)
        if self.game.begin:
            self.game.begin(self.sampler.rows)
        for module in self.game.modules().values():
            group.copy([*module.parameters(), *module.buffers()])  # other processors may have rounded otherwise
            module.train()
            if any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in module.modules()):
                _to_channels_last(module)
                self.sampler.memory_format = torch.channels_last
        self.generators = self.game.generators
        self.ema = EMA(self.generators, recipe) if recipe.ema_decay or recipe.ema_half_life else None
        self.optimizers = {
            player.name: Scheduled(player, recipe, device, self.engine.capturable)
            for player in self.game.players
            if player.shares is None
        }
        self.movers = [_mover(player, recipe, self.optimizers) for player in self.game.players]
        self.turns = _turns(self.game, self.movers, recipe)
        for mover in self.movers:
            for parameter in mover.parameters:
                parameter.requires_grad_(False)
        self.engine.prepare(self.game)
        # leaving NCCL may hang while a graph holds its work (github.com/pytorch/pytorch/issues/115388)
        group.before_end(self.engine.reset)
        self.meter = Meter(device, group)
        self.step = 0
        self.steps = recipe.steps  # of the whole training
        self.held: float | None = None  # the progress, while nobody knows how many steps there will be
        self.rate_scale = 1.0  # rollbacks halve it
        self.seconds = 0.0
        if not group.leads:
            self._seed_own()

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def progress(self) -> float:
        """The share of the training that is over, 0 to 1."""
        return min(1.0, self.step / self.steps) if self.held is None else self.held

    def follow_schedule(self) -> None:
        """Give the sampler and the optimizers what belongs to this step. Never waits for the device."""
        self.sampler.progress = self.progress
        for optimizer in self.optimizers.values():
            optimizer.follow(self.progress, self.rate_scale)

    def data_per_step(self) -> float:
        """Rows of data that one iteration draws on average."""
        return float(max(self.rows_per_step().values(), default=0))

    def rows_per_step(self) -> dict[int | None, Fraction]:
        """Rows of data that an iteration draws on average, of each class that is drawn alone (None: of all)."""
        period = math.lcm(*(turn.every for turn in self.turns))
        rows = Counter[int | None]()
        for step in range(period):
            for names in drawn_by(turns_at(self.turns, step)):
                items = [self.game.draws[name] for name in names]
                rows.update({item.label for item in items if item.distribution == "data"})
        return {label: Fraction(count * self.sampler.batch_size, period) for label, count in rows.items()}

    def epochs_per_step(self) -> Fraction:
        """Passes over the data, as `Sampler.epoch` counts them, that an iteration makes on average."""
        rows = self.rows_per_step()
        return max((count / self.sampler.length(label) for label, count in rows.items()), default=Fraction(0))

    def sampling_generator(self, which: str = "") -> nn.Module:
        """An averaged generator (the trained one without an average), ready to sample; "": the game's first."""
        game = self.game.of(which or self.game.name)
        source = self.ema.module if self.ema else self.generators
        if isinstance(source, nn.ModuleDict) and game.others:
            source = source[game.name]
        # with a generator of its own: drawing samples must not change what training draws
        stream = torch.Generator(self.device).manual_seed(self.seed)

        def draw(count: int) -> list[Tensor]:
            return [
                self.sampler.first(i, count) if i.distribution == "data" else self.sampler.noise(i, count, stream)
                for i in game.inputs
            ]

        return ready(source, draw)

    def fixed_inputs(self, count: int, classes: Sequence[int] = (), which: str = "") -> list[Tensor]:
        """The inputs of images 0 … count-1 of seed 0, with the latents of `gantool generate`.

        `which`: of the game's generators; "": the first. Labels are `classes` in turn; without them each class comes as
        often as in the data.
        """
        index = np.arange(count, dtype=np.int64)
        taken = self.game.exports[which or self.game.name].inputs
        normal = {i.name: i.shape for i in taken if i.distribution == "normal"}
        drawn = latents.draw(normal, 0, index)
        inputs = []
        for item in taken:
            if item.distribution == "normal":
                inputs.append(torch.from_numpy(drawn[item.name]).to(self.device))
            elif item.distribution == "label":
                shares = labels_of(index, item.classes, self.sampler.class_counts)
                labels = np.resize(classes, count) % item.classes if classes else shares
                inputs.append(torch.from_numpy(labels).to(self.device))
            elif item.distribution == "value":
                inputs.append(torch.full((count,), item.default, device=self.device))
            else:
                inputs.append(self.sampler.first(item, count))
        return inputs

    @property
    def classes(self) -> list[int]:
        """The classes that the generator takes and the data has samples of; []: it takes no label."""
        number = next((i.classes for i in self.game.inputs if i.distribution == "label"), 0)
        counts = self.sampler.class_counts
        known = len(counts) == number and any(counts)
        return [label for label in range(number) if not known or counts[label]]

    def broken_weights(self) -> str | None:
        """The name of a player whose weights are not all finite. Waits for the device.

        GantoolError when the processes of a group do not have the same weights.
        """
        broken = (m for m in self.movers if not all(bool(p.isfinite().all()) for p in m.parameters))
        for name in self.group.everyones(next((mover.player.name for mover in broken), None)):
            if name:
                return name
        for mover in self.movers:
            self.group.check_weights(mover.player.name, mover.parameters)
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint saves. All processes of a group call it together, and get the leader's buffers."""
        for module in self.game.modules().values():
            self.group.copy(module.buffers())
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        rng, *others = self.group.everyones({"cpu": torch.get_rng_state(), "cuda": cuda})
        return {
            "step": self.step,
            "seconds": self.seconds,
            "modules": {name: module.state_dict() for name, module in self.game.modules().items()},
            "ema": self.ema.module.state_dict() if self.ema else None,
            "rate_scale": self.rate_scale,
            "optimizers": {name: optimizer.torch.state_dict() for name, optimizer in self.optimizers.items()},
            "sampler": self.sampler.state_dict(),
            "ada": self.ada.state_dict() if self.ada else None,
            "rng": {**rng, "others": others} if others else rng,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, module in self.game.modules().items():
            module.load_state_dict(state["modules"][name])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.ada:
            self.ada.load_state_dict(state["ada"])
        self.rate_scale = float(state["rate_scale"])
        self.engine.reset()
        self.sampler.load_state_dict(state["sampler"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.follow_schedule()
        generators = [state["rng"], *state["rng"].get("others", [])]
        if not self.group.leads and len(generators) != self.group.size:
            self._seed_own()  # another number of processes saved it
            return
        generator = generators[self.group.rank]
        torch.set_rng_state(generator["cpu"])
        if self.device.type == "cuda" and generator["cuda"] is not None:
            torch.cuda.set_rng_state(generator["cuda"], self.device)

    def _seed_own(self) -> None:
        """Give this process random numbers of its own inside a step (dropout, gradient-penalty mixing)."""
        torch.manual_seed(seed_for(self.seed, f"process {self.group.rank} from step {self.step}"))


class EMA:
    """Exponential moving average of a module's weights (Yazıcı et al. 2019, arXiv:1806.04498).

    Buffers are copied, not averaged. The decay warms up as min(decay, (1 + t) / (10 + t)), so that the first weights do
    not dominate a short run. With a half-life in samples the recipe's ramp does that (Karras et al. 2020,
    arXiv:2006.06676: at most 5 % of the samples seen).
    """

    def __init__(self, module: nn.Module, recipe: Recipe) -> None:
        self.recipe = recipe
        self.module = copied(module)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards `module` after iteration `step` (0, 1, …)."""
        weight = self._weight(step)
        averages = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(averages, [p.detach() for p in module.parameters()], weight)
        self.copy_buffers(module)

    @torch.no_grad()
    def copy_buffers(self, module: nn.Module) -> None:
        """Take the buffers of `module`, which are not averaged."""
        buffers = list(self.module.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(module.buffers()))

    def _weight(self, step: int) -> float:
        """What the newest weights count after iteration `step`."""
        recipe = self.recipe
        if recipe.ema_half_life is None:
            return 1 - min(recipe.ema_decay, (1 + step) / (10 + step))
        seen = (step + 1) * recipe.batch_size
        half_life = min(recipe.ema_half_life, seen * (recipe.ema_ramp or math.inf))
        return float(1 - 0.5 ** (recipe.batch_size / half_life))


@torch.no_grad()
def ready(module: nn.Module, draw: Callable[[int], Sequence[Tensor]], batches: int = 16, size: int = 128) -> nn.Module:
    """A copy of a generator for sampling: in eval mode, its BatchNorm statistics re-estimated on fresh inputs.

    Running statistics do not fit averaged weights, and those of a short run have not converged (arXiv:1806.04498): both
    ruin samples in eval mode. `draw(n)` gives n inputs.
    """
    made = copied(module)
    norms = [m for m in made.modules() if isinstance(m, BATCH_NORM) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    for _ in range(batches if norms else 0):
        made(*draw(size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return made


@torch.no_grad()  # parameters of scripted modules would be no leaves
def copied(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters take no gradients.

    What a forward has computed and left in an attribute is copied without its graph: torch's old `weight_norm` keeps
    its weight there. GantoolError for a module that holds what can't be copied.
    """
    computed = {id(t): t.detach().clone() for part in module.modules() for t in _computed(vars(part))}
    try:
        return copy.deepcopy(module, computed).eval().requires_grad_(False)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise GantoolError(
            f"{_uncopied(module)} can't be copied, as the average of the weights and samples need it: {cause(error)}.",
            "Keep no locks, files, generators or other objects of the process in a module's attributes.",
        ) from error


def _computed(value: object) -> Iterator[Tensor]:
    """The tensors with a graph in the attributes of a module."""
    if isinstance(value, Tensor):
        if not value.is_leaf:
            yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _computed(item)


def _uncopied(module: nn.Module) -> str:
    """The innermost part of `module` that can't be copied, by its path and class."""
    for name, part in reversed(list(module.named_modules())):
        try:
            copy.deepcopy(part)
        except Exception:  # noqa: BLE001 (whatever a plugin's objects raise)
            return f"The layer {name or 'itself'} ({type(part).__name__}) of the generator"
    return f"The generator ({type(module).__name__})"


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` → a device that is there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or name.endswith(":"):
        raise GantoolError(f"There is no device {name!r}.", "Use auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        raise GantoolError(
            f"The device {name!r} was asked for, but torch {torch.__version__} sees no CUDA device.",
            "Use --device cpu, or install a CUDA build of torch and a driver.",
        )
    if number and int(number) >= torch.cuda.device_count():
        raise GantoolError(f"The device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA device(s).")
    return torch.device(name)


@torch.no_grad()
def _to_channels_last(module: nn.Module) -> None:
    """As `module.to(memory_format=torch.channels_last)`, which refuses modules with tensors of five axes.

    And which leaves the strides of 1×1 kernels, and of those of one channel, as they are: then these layers answer in
    the layout of their input.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() == 4:
            tensor.data = torch.empty_like(tensor, memory_format=torch.channels_last).copy_(tensor)


def _check_precision(precision: str, device: torch.device) -> None:
    if precision not in PRECISIONS:
        raise GantoolError(f"There is no precision {precision!r}.", f"Use {', '.join(PRECISIONS)}.")
    if precision == "tf32" and device.type != "cuda":
        raise GantoolError("The precision 'tf32' exists on CUDA devices only.", "Use --precision fp32.")
    if device.type == "cuda":
        # set both: by default cuDNN uses TF32 even for fp32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"


def _ada(game: Game, recipe: Recipe, device: torch.device, group: Group) -> Ada:
    augment.require_images(game, "--augment ada")
    made = Ada(game.output.sides, recipe.batch_size, device, group)
    augment.hook(game, made, "--augment ada")
    return made


def _mover(player: Player, recipe: Recipe, optimizers: Mapping[str, Scheduled]) -> Mover:
    moves = player.steps or (recipe.discriminator_steps if player.role == "discriminator" else 1)
    return Mover(player, player.parameters(), optimizers[player.shares or player.name].torch, moves)


def _turns(game: Game, movers: list[Mover], recipe: Recipe) -> list[Turn]:
    if recipe.updates == "alternating":
        return [alone(mover) for mover in movers]
    if game.together is None:
        raise GantoolError(
            "This architecture's players can only alternate: it has no losses for simultaneous updates.",
            "Leave --updates simultaneous out.",
        )
    if any(mover.player.shares for mover in movers):
        raise GantoolError(
            "This architecture's players can only alternate: some share an optimizer.",
            "Leave --updates simultaneous out.",
        )
    if any(mover.moves != 1 or mover.player.every != 1 for mover in movers):
        raise GantoolError(
            "With --updates simultaneous every player moves once an iteration.", "Add --discriminator-steps 1."
        )
    draws = dict.fromkeys(name for mover in movers for name in mover.player.draws)
    return [Turn(tuple(movers), game.together, tuple(draws))]
