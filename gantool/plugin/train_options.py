"""The options of `gantool train` that every architecture has, each defined here and nowhere else. No torch.

From a field come the flag with its help, default and bounds, the check of a TOML file, the keyword of `gantool.train`,
and the record in run.json. `CHANGEABLE`: the option can be given again when a run is resumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

CHANGEABLE: dict[str, Any] = {"changeable": True}

Engine = Literal["auto", "eager", "rewritten", "compiled", "graph"]
OnNan = Literal["stop", "rollback"]
Place = Literal["auto", "device", "disk"]
Threads = Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
Precision = Literal["fp32", "tf32", "bf16"]
Augment = Literal["none", "ada"]


def _none_is_empty(text: str) -> str:
    return "" if text.strip() == "none" else text


TextOrNone = Annotated[str, AfterValidator(_none_is_empty)]  # `none`: the empty text


class RunOptions(BaseModel, extra="forbid"):
    """Options that run.json records under their own names (`device` and `engine`: as `auto` was resolved)."""

    data_on: Place = Field(
        "auto",
        description="where data is while training: all of it on the device, on disk (read ahead, batch by batch), "
        "or as it fits",
        json_schema_extra=CHANGEABLE,
    )
    skip_broken: bool = Field(
        False, description="leave out files that can't be decoded, of a folder or .zip, and say which"
    )
    rate: int | None = Field(
        None,
        ge=1000,
        le=768_000,
        description="sounds: samples a second to resample to; none: the commonest of the files",
    )
    flip: bool = Field(False, description="mirror half of the images, left to right, at random")
    jitter: int = Field(
        0,
        ge=0,
        le=1024,
        description="load images so many pixels larger and crop them at random, an image and its source alike",
    )
    diffaugment: TextOrNone = Field(
        "",
        description="for small data sets: color,translation,cutout, or some of them, on all that the discriminator "
        "sees",
    )
    augment: Augment = Field(
        "none",
        description="for small data sets: ada transforms what the discriminator sees (turned, scaled, recoloured), "
        "more of it the more it overfits",
    )
    init_from: TextOrNone = Field(
        "",
        description="start from the weights of a run or of a checkpoint's file (fine-tuning): what fits is taken, what "
        "does not is named",
    )
    freeze_d: int = Field(
        0, ge=0, description="freeze the discriminator's first layers, so many of them (with --init-from)"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="decides weights, order and latents")
    device: str = Field("auto", description="where to compute: auto, cpu, cuda or cuda:N", json_schema_extra=CHANGEABLE)
    precision: Precision = Field("fp32", description="arithmetic: fp32, tf32 (CUDA) or bf16 (autocast)")
    engine: Engine = Field(
        "auto",
        description="how steps are computed: eager (the reference), rewritten (for CPUs), compiled, graph (CUDA), "
        "or auto",
        json_schema_extra=CHANGEABLE,
    )
    threads: Threads = Field(
        "auto",
        description="threads of a CPU to compute on; auto: one or all, whichever is faster in the first steps. "
        "Another number rounds otherwise",
        json_schema_extra=CHANGEABLE,
    )
    tick: int = Field(
        250, ge=1, description="steps between checkpoints, samples and metrics", json_schema_extra=CHANGEABLE
    )
    keep: int = Field(2, ge=1, description="newest checkpoints to keep", json_schema_extra=CHANGEABLE)
    keep_every: int = Field(
        0, ge=0, description="keep a checkpoint of every so many steps, too; 0: none", json_schema_extra=CHANGEABLE
    )
    on_nan: OnNan = Field(
        "stop",
        description="when a loss or weight is NaN: stop, or go back to the last checkpoint at half the learning rates "
        "(3 times)",
        json_schema_extra=CHANGEABLE,
    )
    keep_best: TextOrNone = Field(
        "",
        description="keep the best checkpoint, too: by diversity, frechet, or KEY:max or KEY:min of metrics.jsonl",
        json_schema_extra=CHANGEABLE,
    )
    tensorboard: bool = Field(
        False,
        description="write scalars and samples for TensorBoard into the run's folder, too",
        json_schema_extra=CHANGEABLE,
    )


class TrainOptions(RunOptions, frozen=True):
    """All of them. Those added here are in run.json as the data's description, the steps, and the run's place."""

    data: str = Field(
        "digits",
        description="a folder of images, sounds or volumes, a pack, a .npz or IDX file, or a name of "
        "`gantool data list`",
        json_schema_extra=CHANGEABLE,
    )
    target: TextOrNone = Field(
        "",
        description="a second set of pictures: what those of --data are to become. With --pairs names their partners; "
        "without --pairs they are class 1, and --data is class 0",
        json_schema_extra=CHANGEABLE,
    )
    pairs: TextOrNone = Field(
        "",
        description="pairs of source and target: names (files of --data and --target), left-right (halves of a file), "
        "or made of each image: edges, lines, grey, mask or small:4",
    )
    size: int | None = Field(
        None,
        ge=4,
        description="side in pixels or voxels, or samples of a sound: crop, resize or cut to it; none: the data's "
        "own size",
    )
    epochs: float | None = Field(
        None, ge=1e-6, le=1e6, description="passes over the data, instead of --steps", json_schema_extra=CHANGEABLE
    )
    minutes: float | None = Field(
        None,
        gt=0,
        le=1e5,
        description="train for about so many minutes, instead of --steps: the first steps show how many fit, later "
        "ones correct it",
        json_schema_extra=CHANGEABLE,
    )
    runs: Path = Field(Path("runs"), description="folder of the runs")
    name: str | None = Field(None, description="label of the run's folder; none: NAME-DATA")
