"""Generator.translate: pictures in, pictures out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantool.artifact.cards import card, cards
from gantool.errors import ArgumentError
from gantool.runtime import Generator, scheduling


@pytest.fixture(scope="module", params=["generator.onnx", "generator.seeded.onnx"])
def unet(translator: Callable[[str], Path], request: pytest.FixtureRequest) -> Generator:
    return Generator(translator("unet") / request.param)


@pytest.fixture(scope="module")
def convolutions(translator: Callable[[str], Path]) -> Generator:
    """Without norms: what it makes of a place depends on its surroundings alone."""
    return Generator(translator("unnormed") / "generator.seeded.onnx")


def test_a_picture_is_padded_by_its_edge_and_the_result_cropped(unet: Generator) -> None:
    picture = card(0, 37, 45, 3)
    by_hand = np.pad(picture, ((0, 3), (0, 3), (0, 0)), "edge")
    made = unet.translate(picture, seed=4)
    assert made.shape == (1, 37, 45, 3)
    np.testing.assert_array_equal(made, unet.translate(by_hand, seed=4)[:, :37, :45])


def test_the_noise_of_a_picture_is_that_of_its_number(unet: Generator) -> None:
    picture = card(0, 32, 32, 3)
    three = unet.translate([picture] * 3, seed=9, first=5)
    assert not np.array_equal(three[0], three[1])
    np.testing.assert_array_equal(three[1:], unet.translate([picture] * 2, seed=9, first=6))
    np.testing.assert_array_equal(unet.translate(picture), unet.translate(picture, seed=0, first=0))


def test_pictures_of_several_sizes_are_made_together_and_come_back_in_order(unet: Generator) -> None:
    sizes = [(32, 32), (40, 24), (31, 30), (40, 24), (64, 32)]
    pictures = [card(i, *sides, 3) for i, sides in enumerate(sizes)]
    made = unet.translate(pictures, seed=2, first=3)
    assert [image.shape[:2] for image in made] == sizes
    for number, (picture, image) in enumerate(zip(pictures, made, strict=True)):
        alone = unet.translate(picture, seed=2, first=3 + number)[0]
        assert np.abs(image.astype(int) - alone).max() <= 1


def test_values_and_labels_are_for_all_or_for_each(unet: Generator) -> None:
    pictures = cards(0, 2, 32, 32, 3)
    both = unet.translate(pictures, values={"strength": [0.0, 1.5]})
    assert (both[0] == 128).all()  # nothing but grey
    np.testing.assert_array_equal(both[1], unet.translate(pictures, values={"strength": 1.5})[1])
    with pytest.raises(ArgumentError, match=r"strength is 2: it goes from 0 to 1\.5"):
        unet.translate(pictures, values={"strength": 2.0})
    with pytest.raises(ArgumentError, match="takes no labels"):
        unet.translate(pictures, labels=1)


def test_pictures_of_pillow(unet: Generator) -> None:
    colours = card(3, 40, 32, 3)
    wanted = unet.translate(colours)
    np.testing.assert_array_equal(unet.translate(Image.fromarray(colours)), wanted)

    transparent = Image.fromarray(np.concatenate([colours, np.full((40, 32, 1), 255, np.uint8)], 2))
    transparent.paste((1, 2, 3, 0), (8, 8, 16, 16))
    white = colours.copy()
    white[8:16, 8:16] = 255
    np.testing.assert_array_equal(unet.translate(transparent), unet.translate(white))

    grey = Image.fromarray(colours[:, :, 0])
    np.testing.assert_array_equal(unet.translate(grey), unet.translate(colours[:, :, :1].repeat(3, 2)))
    np.testing.assert_array_equal(unet.translate(colours[:, :, 0]), unet.translate(grey))

    deep = Image.fromarray(colours[:, :, 0].astype(np.uint16) * 257)  # 16 bits
    np.testing.assert_array_equal(unet.translate(deep), unet.translate(grey))

    turned = Image.fromarray(np.rot90(colours).copy())
    turned.getexif()[0x0112] = 6  # to be turned clockwise
    np.testing.assert_array_equal(unet.translate(turned), wanted)


def test_an_enlarging_generator(translator: Callable[[str], Path]) -> None:
    generator = Generator(translator("enlarging") / "generator.seeded.onnx")
    picture = card(0, 33, 21, 3)
    made = generator.translate(picture)
    assert made.shape == (1, 66, 42, 1)
    tiled = generator.translate(picture, tile=16)
    assert np.abs(tiled.astype(int) - made).max() <= 1


@pytest.mark.parametrize("sides", [(150, 70), (64, 200), (97, 101)])
def test_tiles_of_a_generator_without_norms_are_the_whole(convolutions: Generator, sides: tuple[int, int]) -> None:
    picture = card(0, *sides, 3)
    whole = convolutions.translate(picture)
    for tile in (32, 50, 64):
        tiled = convolutions.translate(picture, tile=tile)
        assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_no_seam_is_seen_between_tiles(translator: Callable[[str], Path]) -> None:
    """InstanceNorm looks at a whole tile, so tiles differ: the step across a border is no larger than elsewhere."""
    generator = Generator(translator("residual") / "generator.seeded.onnx")
    y, x = np.mgrid[:128, :256]
    smooth = np.stack([x / 2, y, (x + y) / 3], 2).astype(np.uint8)
    tiled = generator.translate(smooth, tile=64)[0].astype(float)
    steps = np.abs(np.diff(tiled, axis=1)).mean((0, 2))
    whole = np.abs(np.diff(generator.translate(smooth)[0].astype(float), axis=1)).mean((0, 2))
    assert steps[2:-2].max() <= 1.5 * whole[2:-2].max()
    assert np.abs(tiled - generator.translate(smooth)[0]).max() > 1  # it is not the same picture


def test_large_pictures_are_tiled_by_themselves(convolutions: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = card(0, 96, 130, 3)
    whole = convolutions.translate(picture)
    calls = []
    honest = convolutions._run

    def counted(feeds: dict[str, np.ndarray], *rest: object) -> np.ndarray:
        calls.append(feeds["photo"].shape)
        return honest(feeds, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scheduling, "TILE_BYTES", 64 * 64 * 3 * 4 * scheduling.ACTIVATIONS)
    monkeypatch.setattr(convolutions, "_run", counted)
    tiled = convolutions.translate(picture)
    assert len(calls) > 1
    assert all(np.prod(shape[:3]) <= 64 * 64 for shape in calls)
    assert np.abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), r"A picture is float32 \(32, 32, 3\); wanted: uint8 \(H, W, 3\)"),
        (np.zeros((32, 32, 7), np.uint8), "A picture has 7 channels; wanted: 3"),
        (np.zeros((0, 32, 3), np.uint8), r"A picture is uint8 \(0, 32, 3\)"),
        ("photo.png", "A picture is 'photo.png'; wanted"),
    ],
)
def test_what_is_no_picture(unet: Generator, pictures: np.ndarray, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        unet.translate(pictures)


def test_wrong_requests(unet: Generator) -> None:
    picture = card(0, 32, 32, 3)
    with pytest.raises(ArgumentError, match="Tiles of 0 pixels"):
        unet.translate(picture, tile=0)
    with pytest.raises(ArgumentError, match="does not fit 64 bits"):
        unet.translate(picture, seed=2**64)
    assert unet.translate([]).shape == (0, 32, 32, 3)
    with pytest.raises(ArgumentError, match=r"makes images of pictures") as caught:
        unet.sample(2)
    assert "translate" in caught.value.hint


def test_run_says_that_translate_takes_bytes(translator: Callable[[str], Path]) -> None:
    plain, seeded = (Generator(translator("residual") / name) for name in ("generator.onnx", "generator.seeded.onnx"))
    with pytest.raises(
        ArgumentError, match=r"photo is uint8 \(1, 3, 32, 32\); wanted: float32 \(n, 3, k·2, k·2\)"
    ) as caught:
        plain.run({"photo": np.zeros((1, 3, 32, 32), np.uint8)})
    assert "translate" in caught.value.hint
    with pytest.raises(ArgumentError, match=r"photo is float32 \(1, 3, 33, 32\)"):
        plain.run({"photo": np.zeros((1, 3, 33, 32), np.float32)})
    with pytest.raises(ArgumentError, match=r"wanted: uint8 \(n, k·2, k·2, 3\)"):
        seeded.run({"photo": np.zeros((1, 32, 32, 3), np.int64)})
    assert seeded.run({"photo": np.zeros((2, 34, 48, 3), np.uint8)}).shape == (2, 34, 48, 3)
    assert plain.run({"photo": np.zeros((2, 3, 34, 48))}).shape == (2, 3, 34, 48)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("picture.png", "Open the file first: PIL.Image.open"),
        (None, "Open the file first"),
        ([[[1, 2], [3]]], "Open it anew, or mend it"),
        (np.zeros((32, 32, 3)), "Give bytes from 0 to 255"),
        (Image.new("RGB", (0, 5)), "Open it anew, or mend it"),
    ],
    ids=["path", "none", "ragged", "floats", "empty"],
)
def test_what_is_no_picture_is_refused_with_what_to_give(unet: Generator, given: Any, fault: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        unet.translate(given)
    assert fault in caught.value.hint


def test_a_picture_that_was_cut_short_is_refused(unet: Generator, tmp_path: Path) -> None:
    path = tmp_path / "short.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ArgumentError, match=r"A picture can't be used: .*truncated"):
        unet.translate(Image.open(path))


@pytest.mark.parametrize(("values", "fault"), [(3, "The values are 3"), ({"strength": "a"}, "strength is 'a'")])
def test_values_that_are_none_are_refused(unet: Generator, values: Any, fault: str) -> None:
    with pytest.raises(ArgumentError, match=fault):
        unet.translate(np.zeros((32, 32, 3), np.uint8), values=values)
