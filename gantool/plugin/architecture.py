"""What a plugin declares: the shape of a sample, the inputs of a game, a recipe, an architecture. No torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from gantool.artifact.manifest import MAX_BATCH, MAX_VALUE, NOUNS
from gantool.plugin.train_options import CHANGEABLE

if TYPE_CHECKING:
    from gantool.plugin.game import Game

MAX_STEPS = 10**9
Role = Literal["generator", "discriminator"]
Kind = Literal["audio", "image", "point", "volume"]
KINDS: dict[int, Kind] = {0: "point", 1: "audio", 2: "image", 3: "volume"}  # by the number of spatial axes


@dataclass(frozen=True)
class SampleSpec:
    """The shape of one sample, without the batch, and what else the data has.

    Image (C, H, W), audio (C, T), volume (C, D, H, W), or point (2,). Inside gantool samples are float32 in [-1, 1].
    `classes`: of the labels; 0 without labels. `arrays`: name → shape of a row of the data's other arrays, such as
    paired images. `rate`: of audio, in samples a second; 0 where it is not known.
    """

    shape: tuple[int, ...]
    classes: int = 0
    arrays: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    rate: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) - 1 not in KINDS or min(self.shape) < 1 or (len(self.shape) == 1 and self.shape != (2,)):
            raise ValueError(
                f"a sample has a channel and one to three spatial axes, all ≥ 1, or is a point (2,); got {self.shape}"
            )
        if self.rate < 0 or (self.rate and self.kind != "audio"):
            raise ValueError(f"a rate is positive, and of audio; got {self.rate} for {self.shape}")

    @property
    def kind(self) -> Kind:
        """What a sample is, by its axes."""
        return KINDS[len(self.shape) - 1]

    @property
    def noun(self) -> str:
        """What messages call a sample: image, sound, volume or point."""
        return NOUNS[self.kind]

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def sides(self) -> tuple[int, ...]:
        """The spatial axes: (H, W) for an image, () for a point."""
        return self.shape[1:]

    @property
    def is_image(self) -> bool:
        return self.kind == "image"

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return "×".join(map(str, self.shape)) if self.sides else str(self.shape)


@dataclass(frozen=True)
class Optimizer:
    """A player's own optimizer, in place of the recipe's. `betas` are Adam's.

    The recipe's schedule of rates applies to it, that of β₂ does not.
    """

    learning_rate: float
    kind: Literal["adam", "rmsprop"] = "adam"
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        if self.kind not in ("adam", "rmsprop"):
            raise ValueError(f"an optimizer is 'adam' or 'rmsprop', not {self.kind!r}")
        if not 0 < self.learning_rate <= 1 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"an optimizer's rate is in (0, 1] and its betas in [0, 1); got {self.learning_rate}, {self.betas}"
            )


@dataclass(frozen=True)
class Input:
    """One named tensor of a batch, drawn by the loop; the generator's own are also the inputs of the exported file.

    - `normal`: float32 (N, *shape), standard normal: a latent or noise.
    - `label`: int64 (N,), uniform over `classes`, or with `like_data` with the frequencies of the data's labels.
    - `data`: rows of the data set's `array`, in the epoch's order. With `label` only rows of that class, which is how
      two unpaired domains are drawn. The `data` inputs of a batch that name the same `label` (or none) get the same
      rows, so paired arrays stay paired.
    - `value`: float32 (N,), a number from `low` to `high` by which a user changes samples, such as the truncation of
      StyleGAN. It is `default` while training; the exported file takes one for each sample, and kits show a slider.
    - `progress`: float32 (), the share of the training that is over, for schedules inside a loss; not for a generator.

    `multiple`: of a picture that a generator takes, such as `data` of shape (3, 64, 64): files that are exported take
    pictures whose sides are any multiples of it, as a fully convolutional network can. 0: only the sides of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    distribution: Literal["normal", "label", "data", "value", "progress"]
    classes: int = 0
    array: str = "images"
    label: int | None = None
    like_data: bool = False
    default: float = 0.0
    low: float = 0.0
    high: float = 1.0
    multiple: int = 0

    def __post_init__(self) -> None:
        if self.distribution == "label" and (self.classes < 1 or self.shape != ()):
            raise ValueError(f"input {self.name!r}: a label has shape () and at least one class")
        if self.distribution == "progress" and self.shape != ():
            raise ValueError(f"input {self.name!r}: the progress of a training has shape ()")
        if self.distribution == "value" and not (
            self.shape == () and -MAX_VALUE < self.low <= self.default <= self.high < MAX_VALUE and self.low < self.high
        ):
            raise ValueError(f"input {self.name!r}: a value has shape () and a default between low and high")
        fits = self.is_picture and self.multiple > 0 and not any(side % self.multiple for side in self.shape[1:])
        if self.multiple and not fits:
            raise ValueError(f"input {self.name!r}: a picture from data whose sides are multiples of {self.multiple}")

    @property
    def is_picture(self) -> bool:
        """Whether it is an image of the data (C, H, W)."""
        return self.distribution == "data" and len(self.shape) == 3

    @property
    def dtype(self) -> Literal["float32", "int64"]:
        integral = self.distribution == "label" or (self.distribution == "data" and self.array == "labels")
        return "int64" if integral else "float32"


class ObjectiveOptions(BaseModel, frozen=True, extra="forbid"):
    """Options --objective and --label-smoothing: inherit them, and call `gantool.plugin.objectives.make` in `build`."""

    objective: Literal["nonsaturating", "lsgan", "hinge"] = Field("nonsaturating", description="pair of losses")
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="one-sided: the target of reals is 1 minus this (nonsaturating only)",
    )

    @model_validator(mode="after")
    def _smoothing_fits(self) -> Self:
        if self.label_smoothing and self.objective != "nonsaturating":
            raise ValueError(f"--label-smoothing belongs to --objective nonsaturating, not to {self.objective}")
        return self


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """Training defaults that belong to an architecture; each field is also an option of `gantool train NAME`."""

    steps: int = Field(
        10_000, ge=1, le=MAX_STEPS, description="iterations; each steps every player", json_schema_extra=CHANGEABLE
    )
    batch_size: int = Field(64, ge=1, le=MAX_BATCH, description="samples a batch", json_schema_extra=CHANGEABLE)
    optimizer: Literal["adam", "rmsprop"] = Field("adam", description="optimizer of every player")
    learning_rate: float = Field(
        2e-4, gt=0, le=1, description="step size of the generator", json_schema_extra=CHANGEABLE
    )
    discriminator_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="step size of the discriminator, when it is to differ",
        json_schema_extra=CHANGEABLE,
    )
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's decay rates")
    discriminator_steps: int = Field(1, ge=1, description="discriminator (critic) steps an iteration")
    updates: Literal["alternating", "simultaneous"] = Field(
        "alternating",
        description="players move one after the other, or at once from one pass (another algorithm, a little faster)",
    )
    ema_decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="decay of the generator's weight average, used for samples and export; 0: off",
    )
    ema_half_life: float | None = Field(
        None, gt=0, description="half-life of that average in samples seen, in place of a decay an iteration"
    )
    ema_ramp: float | None = Field(
        None, gt=0, le=1, description="most that this half-life may be, as a share of the samples seen so far"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how step sizes, and β₂ with --final-beta2, change while training"
    )
    schedule_from: float = Field(0.0, ge=0, lt=1, description="share of the training after which they begin to change")
    schedule_until: float = Field(1.0, gt=0, le=1, description="share of the training after which they stay")
    final_rate: float = Field(0.0, ge=0, le=1, description="step sizes at the end, as a share of those at the start")
    final_beta2: float | None = Field(None, ge=0, lt=1, description="Adam's second decay rate at the end")

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        if self.schedule_from >= self.schedule_until:
            raise ValueError("--schedule-from must be less than --schedule-until")
        if self.final_beta2 is not None and (self.schedule == "constant" or self.optimizer != "adam"):
            raise ValueError("--final-beta2 needs --schedule linear or cosine, and --optimizer adam")
        if self.ema_ramp and not self.ema_half_life:
            raise ValueError("--ema-ramp needs --ema-half-life")
        return self

    @field_validator("betas")
    @classmethod
    def _decay_rates(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and less than 1")
        return betas

    def learning_rate_of(self, role: Role) -> float:
        if role == "discriminator" and self.discriminator_rate is not None:
            return self.discriminator_rate
        return self.learning_rate

    def scheduled(self, start: float, end: float, progress: float) -> float:
        """A value that goes from `start` to `end` by the schedule, when a share `progress` of the training is over."""
        if self.schedule == "constant":
            return start
        done = (progress - self.schedule_from) / (self.schedule_until - self.schedule_from)
        done = min(max(done, 0.0), 1.0)
        if self.schedule == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return start + (end - start) * done


@dataclass(frozen=True)
class Architecture:
    """What a plugin provides: a name, its options, its recipe, and how to build the game.

    `build(config, spec, recipe)` imports torch inside, and raises GantoolError for a sample spec that it can't serve.
    Its modules depend on config and spec alone: a resumed run may have another batch size or rate. `recipe`: a Recipe,
    or a function of the config that returns one. `examples`: the sample specs that
    `gantool.testing.check_architecture` tries. `presets`: name → values of options of the config and the recipe, which
    `--preset NAME` gives at once, such as sizes for other machines.
    """

    name: str
    summary: str
    config: type[BaseModel]
    build: Callable[[Any, SampleSpec, Recipe], Game]
    recipe: Recipe | Callable[[Any], Recipe] = field(default_factory=Recipe)
    examples: tuple[SampleSpec, ...] = (SampleSpec((1, 28, 28)), SampleSpec((3, 32, 32)))
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            inspect.signature(self.build).bind(None, None, None)
        except TypeError as error:
            raise ValueError(
                f"the build function of {self.name!r} must take (config, spec, recipe): {error}"
            ) from error

    def recipe_for(self, config: BaseModel) -> Recipe:
        return self.recipe if isinstance(self.recipe, Recipe) else self.recipe(config)
