"""gantool.filming.keys: key frames of seeds and of files, which anybody may have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.exports import TwoLatents, Z, source
from torch import Tensor

from gantool import exporting
from gantool.errors import ArgumentError, GantoolError
from gantool.filming import keys
from gantool.plugin.architecture import Input
from gantool.runtime import Generator


@pytest.fixture(scope="module")
def conditional(conditional_export: Path) -> Generator:
    return Generator(conditional_export / "generator.onnx")


def test_pairs_are_the_images_of_generate(conditional: Generator) -> None:
    found = keys.find(conditional, keys.parse("0:3, -7:4"))
    assert found.names == ("0:3", "-7:4")
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found.z, [*conditional.latents(1, 0, 3), *conditional.latents(1, -7, 4)])


def test_rows_of_files_arrays_and_pairs_mix(conditional: Generator, tmp_path: Path) -> None:
    z = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.savez_compressed(tmp_path / "z.npz", z=z, other="text")
    np.savez(tmp_path / "own.npz", z=z.astype(np.float64), labels=[2, 2])
    parsed = [*keys.parse(f"{tmp_path}/z.npz,0:1,{tmp_path}/own.npz"), z + 1]
    found = keys.find(conditional, parsed)
    np.testing.assert_array_equal(found.z, [*z, *conditional.latents(1, 0, 1), *z, *(z + 1)])
    assert found.z.dtype == np.float32
    assert found.labels.tolist() == [0, 1, 1, 2, 2, 0, 1]
    assert found.names[:3] == ("z.npz[0]", "z.npz[1]", "0:1")


class NoiseFirst(TwoLatents):
    def forward(self, noise: Tensor, z: Tensor) -> Tensor:
        return super().forward(z, noise)


def test_the_noise_is_that_of_the_first_key(tmp_path: Path) -> None:
    """And z moves, which may be truncated, wherever it stands."""
    (file, *_) = exporting.write(source(NoiseFirst(), Input("noise", (1, 8, 8), "normal"), Z), ["onnx"], tmp_path)
    generator = Generator(file.path)
    assert keys.main_latent(generator.manifest).name == "z"
    found = keys.find(generator, [(5, 2), (6, 0)])
    np.testing.assert_array_equal(found.noise["noise"], generator.drawn(1, 5, 2)["noise"])
    np.testing.assert_array_equal(found.z[1:], generator.drawn(1, 6, 0)["z"])
    of_file = keys.find(generator, [np.ones((1, 4), np.float32), (6, 0)], seed=9)
    np.testing.assert_array_equal(of_file.noise["noise"], generator.drawn(1, 9, 0)["noise"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.zeros((2, 4))}, "has no array z; its arrays: w"),
        ({"z": np.zeros((2, 5), np.float32)}, r"is float32 \(2, 5\); wanted: float32 \(n, 4\)"),
        ({"z": np.zeros((2, 4), np.int64)}, "is int64"),
        ({"z": np.array([None, 1])}, "is object"),
        ({"z": np.full((1, 4), np.nan)}, "NaN"),
        ({"z": np.zeros((2, 4)), "labels": [1]}, "labels is int64"),
        ({"z": np.zeros((2, 4)), "labels": [0, 3]}, "There is no class 3"),
    ],
)
def test_files_that_are_wrong(conditional: Generator, tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(GantoolError, match=message):
        keys.find(conditional, [tmp_path / "bad.npz"])


def test_a_file_that_unpacks_to_too_much_is_not_read(conditional: Generator, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", z=np.zeros((2**24 + 1, 4), np.float32))
    with pytest.raises(GantoolError, match="more than 256 MB"):
        keys.find(conditional, [tmp_path / "bomb.npz"])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "bomb.npz").read_bytes()[:900])
    with pytest.raises(GantoolError, match="damaged"):
        keys.find(conditional, [tmp_path / "cut.npz"])


def test_too_many_and_none(tiny_export: Callable[..., Path]) -> None:
    generator = Generator(tiny_export(1, 8, 8) / "generator.onnx")
    with pytest.raises(ArgumentError, match="more than 10,000"):
        keys.find(generator, [np.ones((10_001, 4), np.float32)])
    with pytest.raises(ArgumentError, match="no key frame"):
        keys.find(generator, [])
    with pytest.raises(ArgumentError, match="'0:x' names no sample"):
        keys.parse("0:1,0:x")
