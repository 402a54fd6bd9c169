"""What is exported (`Source`), how (`Options`), and what comes out (`Artifact`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from gantool import __version__
from gantool.artifact import latents
from gantool.artifact.manifest import FILES, PRECISIONS, SEEDED, InputInfo, Manifest, OutputInfo, drawn_inputs
from gantool.data import Dataset, load
from gantool.errors import ArgumentError, excerpt
from gantool.exporting import verify
from gantool.exporting.libraries import exportable
from gantool.exporting.onnx_files import graph, precision
from gantool.exporting.onnx_files.seeds import OPSET, OPSETS
from gantool.exporting.verify import Check
from gantool.plugin.architecture import Input, SampleSpec
from gantool.plugin.game import Game
from gantool.run import best, checkpoint, verdict
from gantool.run.rundir import RunDir
from gantool.system.files import sha256_of
from gantool.system.terminal import megabytes
from gantool.training.sampler import Sampler, class_ends, labels_of, noise
from gantool.training.session import definition_of, misfit
from gantool.training.state import build_game, ready

MAX_PICTURES = 7  # that files are compared with PyTorch on, at each size
MIN_STATISTICS, STATISTIC_PIXELS = 16, 2**20
MAX_FIXED = 1024  # a fixed batch is computed whole, however few images are asked for, in every check too


@dataclass(frozen=True)
class Source:
    """A generator ready to export, with the manifest that its files start from."""

    generator: nn.Module
    inputs: tuple[Input, ...]
    output: SampleSpec
    about: Manifest
    rows: Callable[[Input, int], np.ndarray]  # the first rows of an input that is data
    class_counts: tuple[int, ...] = ()  # of the data that it was trained on
    reals: Input | None = None  # the data that figures compare its samples with
    names: tuple[str, ...] = ()  # of all generators, where its game has several

    @property
    def normals(self) -> list[Input]:
        return [i for i in self.inputs if i.distribution == "normal"]

    @property
    def picture(self) -> Input | None:
        """The picture that it makes another of; None: it makes samples of seeds, or takes other data, too."""
        data = [i for i in self.inputs if i.distribution == "data"]
        return data[0] if len(data) == 1 and data[0].is_picture and self.output.is_image else None

    @property
    def seedable(self) -> bool:
        """Whether a seed and an index, or a picture with them, decide an image: no other input comes from data.

        Not of points: seeded files make whole numbers, which are too coarse for them.
        """
        if self.output.kind == "point":
            return False
        data = [i for i in self.inputs if i.distribution == "data"]
        return self.picture is not None or (bool(self.normals) and not data)

    @property
    def kinds(self) -> list[str]:
        """The kinds of files that can be made of it: seeded ones where seeds decide, portable ones without pictures."""
        left_out = () if self.seedable else SEEDED
        return [kind for kind in FILES if kind not in left_out and not (kind == "onnx-portable" and self.picture)]

    @property
    def verified(self) -> int:
        """Rows of the inputs that files are compared with PyTorch on."""
        return max(verify.BATCHES) if self.picture is None else MAX_PICTURES

    @property
    def statistics(self) -> int:
        """Samples that drift, saturation and spread are measured on: fewer of large pictures."""
        if self.picture is None:
            return verify.STATISTICS
        pixels = max(math.prod(self.picture.shape[1:]), math.prod(self.output.sides))
        return min(verify.STATISTICS, max(MIN_STATISTICS, STATISTIC_PIXELS // pixels))

    def drawn(
        self,
        seed: int,
        index: np.ndarray,
        class_counts: Sequence[int] = (),
        pictures: Callable[[int, int], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The inputs of the samples `index` of `seed`, by name: those of `gantool generate`.

        Each class comes as often as in data with these `class_counts`. `pictures`: what it is to translate,
        (first, count) → (count, C, H, W); None: the first rows of the data that it was trained on. Values are defaults.
        """
        arrays: dict[str, np.ndarray | Tensor] = dict(
            latents.draw({item.name: item.shape for item in self.normals}, seed, index)
        )
        start, count = (int(index[0]), len(index)) if len(index) else (0, 0)
        for item in self.inputs:
            if item.distribution == "label":
                arrays[item.name] = labels_of(index, item.classes, class_counts)
            elif item.distribution == "value":
                arrays[item.name] = np.full(count, item.default, np.float32)
            elif item.is_picture and pictures:
                arrays[item.name] = pictures(start, count)
            elif item.distribution == "data":
                arrays[item.name] = self.rows(item, start + count)[start:]
        return {item.name: torch.as_tensor(arrays[item.name]) for item in self.inputs}

    def rounded(self) -> Source:
        """The same with weights of 16 bits, as the ONNX files of `half-weights` have them."""
        about = replace(self.about, precision="half-weights")
        return replace(self, generator=precision.rounded(self.generator), about=about)


@dataclass(frozen=True)
class Options:
    """How ONNX files are written; ArgumentError for what can't be.

    - `precisions`: of `gantool.artifact.manifest.PRECISIONS`; a file each.
    - `optimize`: clean the graph and rewrite layers by fixed rules (`onnx_files.optimize`); else it stays torch's.
    - `opset`: 13 to 25. `batch`: the one batch that the files take; None: any.
    - `force`: write an int8 file though its images are further from float32 than its limits allow.
    - `hosts`: names of `gantool.artifact.hosts` that must take every ONNX file.
    """

    precisions: tuple[str, ...] = ("float32",)
    optimize: bool = True
    opset: int = OPSET
    batch: int | None = None
    force: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def torch(self) -> str:
        """The precision of the weights in files for torch: 16 bits where all ONNX files have them, for equal pixels."""
        return "half-weights" if self.precisions == ("half-weights",) else "float32"

    def __post_init__(self) -> None:
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown or not self.precisions:
            given = ", ".join(unknown) or "none"
            raise ArgumentError(f"There is no precision {given}.", f"Use {', '.join(PRECISIONS)}.")
        if self.opset not in OPSETS:
            raise ArgumentError(f"Opset {self.opset} can't be written.", f"Give one from {OPSETS[0]} to {OPSETS[-1]}.")
        if self.batch is not None and not 1 <= self.batch <= MAX_FIXED:
            raise ArgumentError(f"A batch of {self.batch} can't be fixed.", f"Give 1 to {MAX_FIXED}.")


@dataclass(frozen=True)
class Artifact:
    path: Path
    manifest: Manifest
    checks: tuple[Check, ...]

    def __repr__(self) -> str:
        size = megabytes(self.path.stat().st_size) if self.path.is_file() else "gone"
        return f"<Artifact {str(self.path)!r}: {size}, verified by {len(self.checks)} checks>"


def source_of(
    run: RunDir, say: Callable[[str], None] = lambda note: None, step: str | None = None, which: str = ""
) -> Source:
    """The generator of a run's newest sound checkpoint (or that of `step`) on the CPU, its BatchNorm ready.

    `which`: its name, when the game has several; "": the first.
    """
    info = run.read()
    plugin, recipe, config = definition_of(info)
    assert plugin.architecture is not None
    if step is None:
        path, state, notes = checkpoint.load_newest(run)
        for note in notes:
            say(note)
    else:  # no other checkpoint is used in its place
        path = best.path_of(run, step)
        state = checkpoint.load(path)
    for text in verdict.at(run, int(state["step"])):
        say(f"step {state['step']}: {text}")
    spec = SampleSpec(info.data.shape, info.data.classes, info.data.arrays, info.data.rate)
    with torch.random.fork_rng(devices=[]):  # the caller's stream stays where it is
        game = build_game(plugin.architecture, config, spec, recipe, info.seed)
    try:
        for name, module in game.modules().items():
            module.load_state_dict(state["modules"][name])
        if state["ema"] is not None:
            game.generators.load_state_dict(state["ema"])
    except (RuntimeError, KeyError) as error:
        raise misfit(path, info, plugin, error) from error
    game = game.of(_named(game, which))
    game.generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    needs_data = any(i.distribution == "data" for i in game.inputs)
    return from_game(
        game,
        architecture={
            "name": info.architecture,
            "plugin": plugin.distribution,
            "plugin_version": plugin.version,
            "config": info.config,
        },
        training={
            "run": run.name,
            "step": int(state["step"]),
            "seed": info.seed,
            "ema_decay": recipe.ema_decay,
            "recipe": info.recipe,
            "precision": info.precision,
            "checkpoint": {"file": path.name, "sha256": sha256_of(path)},
        },
        data={
            "name": info.data.name,
            "fingerprint": info.data.fingerprint,
            "count": info.data.count,
            "class_names": list(info.data.class_names),
        },
        licence=info.data.licence,
        dataset=load(*info.request()) if needs_data else None,
        class_counts=info.data.class_counts,
    )


def _named(game: Game, which: str) -> str:
    if which and which not in game.exports:
        known = ", ".join(filter(None, game.exports)) or "it has one, without a name"
        raise ArgumentError(f"There is no generator {excerpt(which)!r} in this run: {known}.", "Leave --which out.")
    return which or game.name


def from_game(
    game: Game,
    *,
    architecture: dict[str, object],
    training: dict[str, object],
    data: dict[str, object],
    licence: str = "",
    dataset: Dataset | None = None,
    class_counts: Sequence[int] = (),
) -> Source:
    """A game's generator, made ready. `dataset` is needed when the generator takes data.

    `class_counts`: how many samples of each class it was trained on: its BatchNorm statistics are for that mixture.
    """
    stream = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    ends = class_ends(class_counts, cpu)

    def rows(item: Input, count: int) -> np.ndarray:
        assert dataset is not None
        first: np.ndarray = Sampler({item.name: item}, dataset, 1, 0, cpu).first(item, count).numpy()
        return latents.floats(latents.pixels(first)) if item.is_picture else first  # as a file takes pictures: in bytes

    def draw(count: int) -> list[Tensor]:
        return [
            torch.from_numpy(rows(i, count)) if i.distribution == "data" else noise(i, count, stream, cpu, ends)
            for i in game.inputs
        ]

    return Source(
        generator=exportable(ready(game.generator.cpu(), draw)),
        inputs=game.inputs,
        output=game.output,
        about=_about(game, architecture, training, data, licence),
        rows=rows,
        class_counts=tuple(class_counts),
        reals=game.compared,
        names=tuple(sorted(game.exports)) if game.others else (),
    )


def _about(
    game: Game, architecture: dict[str, object], training: dict[str, object], data: dict[str, object], licence: str
) -> Manifest:
    inputs = tuple(
        InputInfo(i.name, i.shape, i.dtype, i.distribution, i.classes, i.default, i.low, i.high, i.multiple)
        for i in game.inputs
    )
    return Manifest(
        kind="onnx",
        gantool=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=architecture,
        training=training,
        data=data,
        inputs=inputs,
        latents=tuple(item for item in inputs if item.distribution == "normal"),
        output=OutputInfo(
            graph.output_name(game.output),
            game.output.shape,
            "float32",
            {"image": "CHW", "audio": "CT", "volume": "CDHW", "point": "C"}[game.output.kind],
            game.output.rate,
        ),
        rng=latents.RNG_NAME,
        opset=OPSET,
        exporter=f"torch.onnx.export (dynamo), torch {torch.__version__}",
        licence=licence,
        weights_sha256="",
        versions={
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        which=game.name if game.others else "",
    )


def as_seeded(plain: Manifest, kind: str) -> Manifest:
    """The manifest of a seeded file: seed and index in place of the latents, samples and pictures in whole numbers.

    Those of a portable file are of other dtypes: see `onnx_files.portable`.
    """
    portable = kind == "onnx-portable"
    drawn = drawn_inputs(kind) if plain.latents else ()
    others = tuple(as_bytes(i) if i.is_picture else i for i in plain.inputs if i.distribution != "normal")
    if portable:
        others = tuple(replace(i, dtype="int32") if i.dtype == "int64" else i for i in others)
    made = plain.output
    return replace(
        plain,
        kind=kind,
        inputs=drawn + others,
        output=OutputInfo(
            made.name, made.channels_last, "float32" if portable else made.levels, f"{made.layout[1:]}C", made.rate
        ),
    )


def as_bytes(picture: InputInfo) -> InputInfo:
    """A picture as a seeded file takes it: uint8 (H, W, C)."""
    return replace(picture, shape=(*picture.sides, picture.channels), dtype="uint8")


def parity(checks: Sequence[Check]) -> dict[str, object]:
    return {check.measure: {"value": check.value, "limit": check.limit} for check in checks}
