"""One exported generator makes the same images in every host, each in a process of its own: counted pixel by pixel.

What else the kits do (labels, errors, pictures, pages) is in test_kit_hosts.py, test_playground_page.py, test_cpp.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support import image_hosts
from support.exports import Conditional, Z, source, source_of
from support.image_hosts import FEW, Difference, Files, Hosts, difference

from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.runtime import Generator

# (count, seed, first): across a chunk; a seed and indices above 32 bits, of which OpenVINO would keep the lower ones
ASKED = [(66, 7, 0), (9, 2**40 + 7, 2**40 + 3)]
EQUAL = 0.0  # share of the values that may differ, by one level
# ONNX Runtime runs the same kernels in Python and in Node; all others add up in another order
LIMITS = {
    "kit": EQUAL,
    "node": EQUAL,
    "reference": FEW,
    "openvino": FEW,
    "web": FEW,
    "playground": FEW,
    "cpp": FEW,
    "torchscript": FEW,
    "pt2": FEW,
    "float64": FEW,
    "c": FEW,
    "runtime-portable": FEW,
    "openvino-portable": FEW,
    "tract": FEW,
}
SLOW = {"web", "playground", "cpp", "torchscript", "pt2", "float64", "c", "tract"}
ALIKE = {"cgan", "sngan", "wgan", "gan3d", "wavegan"}  # of the layers of dcgan and label
FEW_STEPS = 0.001  # of sounds, whose steps are 257 times as fine
SOURCES = {
    "mlp": lambda: source_of("mlp", 28, widths=(32, 64), latent_dim=16),
    "dcgan": lambda: source_of("dcgan", 16, width=4, max_width=8, latent_dim=5),
    "cgan": lambda: source_of("cgan", 16, body="dcgan", width=4, max_width=8, latent_dim=5),
    "sngan": lambda: source_of("sngan", 16, width=4, max_width=8, latent_dim=5),
    "wgan": lambda: source_of("wgan", 16, width=4, max_width=8, latent_dim=5),
    "gan3d": lambda: source_of("gan3d", 16, width=8, latent_dim=5),
    "wavegan": lambda: source_of("wavegan", 4096, width=4, max_width=32, latent_dim=5),
    "label": lambda: source(Conditional(), Z, Input("label", (), "label", classes=3)),
}


class Exports:
    """Kits of the generators in SOURCES, exported when first asked for, and the images that gantool.runtime makes.

    `complete`: with the files for torch and the playground, which the slow hosts need.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[tuple[str, bool], Files] = {}

    def of(self, name: str, complete: bool = False) -> Files:
        key = name, complete
        if key not in self._made:
            folder = self.folder / f"{name}-{complete}"
            self._made[key] = image_hosts.export(SOURCES[name](), folder, complete=complete)
        return self._made[key]


def wanted(files: Files) -> np.ndarray:
    """What gantool.runtime makes of ASKED."""
    return np.concatenate([Generator(files.seeded, threads=1).sample(*asked) for asked in ASKED])


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory, browser_runtime: None) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(tmp_path_factory.mktemp("hosts")) as opened:
        yield opened


def made(here: Hosts, name: str, files: Files) -> np.ndarray:
    with here.open(name, files) as host:
        return np.concatenate([host.make(*asked) for asked in ASKED])


CASES = [
    pytest.param(host, name, marks=[pytest.mark.slow] * (host in SLOW or name in ALIKE))
    for host in LIMITS
    for name in SOURCES
]


@pytest.mark.parametrize(("host", "name"), CASES)
def test_the_same_pixels(exports: Exports, here: Hosts, host: str, name: str) -> None:
    files = exports.of(name, complete=host in SLOW)
    off = difference(made(here, host, files), wanted(files))
    assert off.worst <= 1
    share = LIMITS[host] and max(LIMITS[host], FEW_STEPS * (name == "wavegan"))
    assert off.different <= (max(1, share * off.values) if share else 0), off


def test_every_host_is_held_to_a_limit() -> None:
    # the reference; 16 bits where the processor has them, so no promise; below; in tests/artifact/test_host_rules.py
    beyond = {"runtime", "openvino-default", "openvino-seeded", "ncnn"}
    precisions = {name for name in image_hosts.ROWS if name.endswith(("-float32", "-int8"))}
    assert {*LIMITS, *beyond, *precisions} == set(image_hosts.ROWS)


def test_openvino_gets_no_seeded_file_for_it_makes_one_image_over_and_over(
    exports: Exports, here: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says nothing. When this fails, OpenVINO keeps 64-bit integers: then it may have seeded files."""
    files = exports.of("mlp")
    images = made(here, "openvino-seeded", files)
    assert difference(images, wanted(files)).share > 0.5
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) < len(images) / 4
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider"])
    with pytest.raises(GantoolError, match=r"seeded\.onnx draws its latents with 64-bit integers; OpenVINO") as error:
        Generator(files.seeded, "openvino")
    assert "generator.portable.onnx" in error.value.hint


def test_differences_are_counted() -> None:
    a = np.array([[0, 255, 7, 7]], np.uint8)
    assert difference(a, a) == Difference(0, 4, 0)
    assert difference(a, np.array([[255, 0, 7, 8]], np.uint8)) == Difference(3, 4, 255)
    with pytest.raises(AssertionError):
        difference(a, a[:, :3])
