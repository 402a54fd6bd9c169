"""Kinds of GAN that gantool does not ship fit its types: the same loop, files, export and runtime serve them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny_cgan, tiny_cyclegan
from support.commands import gantool
from support.distributions import make_distribution
from support.trainings import dataset, run_until, save_npz, start

from gantool import data
from gantool.artifact import inspection, latents
from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Recipe
from gantool.plugin.registry import Plugin
from gantool.runtime import Generator
from gantool.testing import check_architecture
from gantool.training.sampler import normalised
from gantool.training.state import State
from gantool.training.step import iterate

(CYCLEGAN,) = tiny_cyclegan.gantool_architectures()
(CGAN,) = tiny_cgan.gantool_architectures()


@pytest.mark.parametrize("architecture", [CYCLEGAN, CGAN], ids=lambda a: a.name)
def test_it_keeps_the_contract(architecture: Architecture) -> None:
    check_architecture(architecture)


def test_a_cyclegan_learns_its_cycle(tmp_path: Path) -> None:
    opened = start(Plugin("tiny-cyclegan", "tests", "1", CYCLEGAN), tmp_path, steps=120, tick=20, learning_rate=5e-3)
    run_until(opened)
    lines = [json.loads(line) for line in opened.run.metrics.read_text().splitlines()]
    assert lines[-1]["loss.generators.cycle"] < 0.9 * lines[0]["loss.generators.cycle"]
    assert {"loss.discriminator_a.real", "loss.discriminator_b.fake"} <= lines[0].keys()


def test_the_two_domains_of_a_cyclegan_are_the_two_classes() -> None:
    source = dataset()
    assert source.labels is not None
    config, recipe = CYCLEGAN.config(), CYCLEGAN.recipe_for(CYCLEGAN.config())
    state = State(CYCLEGAN, config, recipe, source, seed=0, device=torch.device("cpu"), precision="fp32")
    batch = state.sampler.draw(("a", "b"))
    for name, label in (("a", 0), ("b", 1)):
        known = {row.tobytes() for row in normalised(torch.from_numpy(source.images[source.labels == label])).numpy()}
        assert all(row.contiguous().numpy().tobytes() in known for row in batch[name])


def test_all_four_networks_of_a_cyclegan_are_saved_once() -> None:
    game = CYCLEGAN.build(CYCLEGAN.config(), CYCLEGAN.examples[0], Recipe())
    assert list(game.modules()) == [
        "generators.to_b",
        "generators.to_a",
        "discriminator_a.judge",
        "discriminator_b.judge",
    ]


@pytest.mark.slow
def test_a_third_party_cyclegan_goes_from_data_to_another_program(tmp_path: Path) -> None:
    """Installed beside gantool, trained, exported and run, as its author would: by the commands alone."""
    module = Path(tiny_cyclegan.__file__)
    site = make_distribution(tmp_path / "site", "tiny-gans", "2.3", module, {"tiny-cyclegan": "tiny_cyclegan"})
    save_npz(tmp_path / "pairs.npz", channels=3)
    trained = gantool(
        *("train", "tiny-cyclegan", "--data", "pairs.npz", "--steps", 6, "--tick", 3, "--width", 4, "--cycle", 2.5),
        cwd=tmp_path,
        paths=(site,),
    )
    assert trained.returncode == 0, trained.stderr
    described = json.loads((tmp_path / "runs/0001-tiny-cyclegan-pairs/run.json").read_text())
    assert (described["plugin"], described["plugin_version"]) == ("tiny-gans", "2.3")
    assert described["config"] == {"width": 4, "cycle": 2.5, "identity": 5.0}

    exported = gantool("export", cwd=tmp_path, paths=(site,))
    assert exported.returncode == 0, exported.stderr
    folder = tmp_path / "runs/0001-tiny-cyclegan-pairs/export/to-b"
    assert inspection.inspect(folder / "generator.torchscript.pt").manifest.architecture["plugin"] == "tiny-gans"

    images = normalised(torch.from_numpy(data.load(str(tmp_path / "pairs.npz")).images[:3])).numpy()
    made = Generator(folder / "generator.onnx").run({"a": images})
    assert made.shape == (3, 3, 16, 16)
    assert np.abs(made).max() <= 1
    # made from this input, not from any: another image gives another result
    assert not np.allclose(made[0], made[1])
    translated = Generator(folder / "generator.seeded.onnx").translate(latents.pixels(images))
    assert np.abs(translated.astype(int) - latents.pixels(made)).max() <= 1


def test_sample_grids_of_a_translator_show_each_image_beside_its_translation(tmp_path: Path) -> None:
    opened = start(Plugin("tiny-cyclegan", "tests", "1", CYCLEGAN), tmp_path, steps=1, tick=1)
    run_until(opened)
    state, side, scale, gap = opened.state, 16, 3, 2
    with Image.open(opened.run.sample(1)) as picture:
        pixels = np.asarray(picture.convert("L"))[::scale, ::scale]
    source = state.fixed_inputs(1)[0][0, 0].numpy()
    shown = pixels[gap : gap + side, gap : gap + side]
    assert np.abs(shown - (source + 1) * 127.5).max() <= 1


def test_the_labels_of_a_conditional_gan_belong_to_its_images() -> None:
    source = dataset()
    config, recipe = CGAN.config(), CGAN.recipe_for(CGAN.config())
    state = State(CGAN, config, recipe, source, seed=0, device=torch.device("cpu"), precision="fp32")
    assert source.labels is not None
    images = normalised(torch.from_numpy(source.images)).numpy()
    label_of = {row.tobytes(): label for row, label in zip(images, source.labels, strict=True)}
    for _ in range(10):  # past the end of the epoch
        batch = state.sampler.draw(("real", "real_label", "z", "label"))
        rows = (row.contiguous().numpy().tobytes() for row in batch["real"])
        assert [label_of[row] for row in rows] == batch["real_label"].tolist()
    iterate(state)


def test_data_without_labels_is_refused_with_what_is_missing() -> None:
    source = dataset()
    bare = type(source)("bare", "bare", {"images": source.images})
    for architecture, words in ((CGAN, "needs labelled data"), (CYCLEGAN, r"draws from class \d")):
        config = architecture.config()
        recipe = architecture.recipe_for(config)
        with pytest.raises(GantoolError, match=words):
            State(architecture, config, recipe, bare, seed=0, device=torch.device("cpu"), precision="fp32")
