"""Generators exported to C, built with gcc and called."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantool import __version__, exporting
from gantool.artifact import manifest
from gantool.plugin import registry
from gantool.plugin.architecture import Recipe
from gantool.training.state import build_game
from support.trainings import dataset, small_config

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-ffp-contract=fast")
FROM_SEEDS = ("cgan", "dcgan", "gan3d", "mlp", "projected", "r3gan", "sngan", "stylegan2", "wavegan", "wgan")


def source_of(name: str, example: int = 1, *, small: bool = True) -> exporting.Source:
    """An installed architecture with the first weights of seed 0, for one of its examples."""
    made = registry.find(name).architecture
    assert made is not None
    spec = made.examples[example]
    game = build_game(made, small_config(made) if small else made.config(), spec, Recipe(), seed=0)
    about = {"name": name, "plugin": "gantool", "plugin_version": __version__, "config": {}}
    arrays = {name: dataset(8, shape).images for name, shape in spec.arrays.items()}  # of what takes pictures
    pictures = replace(data := dataset(8, spec.shape), arrays={**data.arrays, **arrays})
    return exporting.from_game(game, architecture=about, training={}, data={"name": "none"}, dataset=pictures)


def plain(source: exporting.Source, folder: Path, precision: str = "float32") -> Path:
    """Its generator.onnx, as `write_c` takes it."""
    (made,) = exporting.write(source, ["onnx"], folder, exporting.Options((precision,)))
    return made.path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` in a folder of C."""
    return subprocess.run(["make", "-s", "-C", str(folder), *arguments], capture_output=True, text=True)


class Library:
    """The functions of generator.h, from a shared library."""

    def __init__(self, folder: Path, *flags: str) -> None:
        built = folder.parent / f"{folder.name}{''.join(flags)}.so"
        command = ["gcc", *STRICT, "-O1", *flags, "-shared", "-fPIC", "-o", built, folder / "generator.c", "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.loaded = ctypes.CDLL(str(built))
        self.folder, self.about = folder, manifest.from_json((folder / "manifest.json").read_bytes(), folder)
        self.state = (ctypes.c_void_p * 6)()
        self.loaded.generator_error.restype = ctypes.c_char_p
        assert self.open(folder / "generator.bin") == ""

    def open(self, file: Path) -> str:
        """The error; "": none."""
        error = self.loaded.generator_open(self.state, str(file).encode())
        return self.loaded.generator_error(error).decode() if error else ""

    def sample(self, seed: int, index: int, *arguments: Any) -> np.ndarray | int:
        """A sample in whole numbers, channels last; or the error's number."""
        output = self.about.output
        made = np.zeros(output.channels_last, output.levels)
        error: int = self.loaded.generator_sample(
            self.state, ctypes.c_int64(seed), ctypes.c_uint64(index), *arguments, ctypes.c_void_p(made.ctypes.data)
        )
        return error or made

    def run(self, latents: np.ndarray, *arguments: Any) -> np.ndarray:
        """float32, channels first, of latents in a row."""
        assert latents.size == sum(math.prod(item.shape) for item in self.about.latents)
        own, made = np.ascontiguousarray(latents, np.float32), np.zeros(self.about.output.shape, np.float32)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (own, made))
        assert self.loaded.generator_run(self.state, next(pointers), *arguments, next(pointers)) == 0
        return made
