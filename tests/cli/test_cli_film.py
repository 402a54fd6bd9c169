"""gantool film: the whole way from words to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from support.exports import dimmed
from support.inprocess import Run

from gantool import exporting


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (file, *_) = exporting.write(dimmed(), ["onnx"], tmp_path_factory.mktemp("light"))
    return file.path


def test_a_film_of_a_run(cli: Run, exported_run: object, here: Path) -> None:
    np.savez(here / "z.npz", z=np.ones((1, 4), np.float32))
    run = exported_run.path  # type: ignore[attr-defined]
    words = ("film", run, "--through", "0:3,z.npz", "--seconds", 0.5, "--fps", 20, "-o", "film.webp")
    code, out, err = cli(*words)
    assert (code, err) == (0, "")
    assert out.startswith(
        f"10 frames through 2 key frames of {run}/export/generator.onnx → film.webp: 0.5 s, 512×512, "
    )
    code, out, _ = cli(*words, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["through"] == ["0:3", "z.npz[0]"]
    assert (report["frames"], report["fps"], report["seconds"]) == (10, 20, 0.5)
    assert json.loads(cli(*words, "--json")[1])["sha256"] == report["sha256"]
    assert json.loads(cli(*words, "--json", "--easing", "smooth")[1])["sha256"] != report["sha256"]


def test_values_and_songs(cli: Run, light: Path, here: Path) -> None:
    soundfile.write(here / "song.wav", np.sin(np.arange(8000.0)), 8000)
    common = ("film", light, "-n", 2, "--size", 32, "--fps", 10, "--audio", "song.wav", "--label", "2,0")
    code, out, _ = cli(*common, "--value", "light=-0.5..1.5", "--drive", "light=mid", "-o", "film.mp4")
    assert code == 0
    assert "10 frames" in out
    for wrong, message in (
        ("light", "'light' gives no value"),
        ("light=1..x", "'1..x' is no value"),
        ("dark=1", "takes no value 'dark'"),
    ):
        code, _, err = cli(*common, "--value", wrong, "-o", "film.gif")
        assert code == 1
        assert message in err


def test_a_film_says_what_made_it(cli: Run, light: Path, here: Path) -> None:
    words = ("film", light, "-n", 3, "--seconds", 0.2, "--value", "light=0.5", "-o", "film.png")
    assert cli(*words)[0] == 0
    told = json.loads(Image.open("film.png").text["gantool"])  # type: ignore[attr-defined]
    assert told["through"] == ["0:0", "0:1", "0:2"]
    assert told["values"] == {"light": 0.5}
    assert cli(*words, "--no-provenance")[0] == 0
    assert b"gantool" not in (here / "film.png").read_bytes()
