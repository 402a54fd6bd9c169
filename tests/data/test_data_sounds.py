"""Folders of sounds: what becomes of a file, what is refused, and packs and surveys of them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.inprocess import Run

from gantool.data import load, sounds
from gantool.data.kinds import formats
from gantool.data.pack.build import Options, Progress, pack
from gantool.data.readers import folder as folder_reader
from gantool.data.readers import sounds as reader
from gantool.data.survey import sheet, survey
from gantool.errors import GantoolError
from gantool.plugin.hookspecs import Reader, SourceFile, Wanted

RATE = 16_000


def tone(frequency: float = 440, seconds: float = 0.1, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return np.float32(level) * np.cos(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def write(path: Path, sound: np.ndarray, rate: int = RATE, **options: Any) -> Path:
    """A file of a sound (T,) or (T, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **options)
    return path


def steps(level: np.ndarray) -> np.ndarray:
    return np.rint(level * 32_768).clip(-32_767, 32_767)


SUBTYPES = [
    ("wav", "PCM_U8", 256), ("wav", "PCM_16", 0), ("wav", "PCM_24", 1), ("wav", "PCM_32", 1), ("wav", "FLOAT", 1),
    ("wav", "DOUBLE", 1), ("wav", "ULAW", 1000), ("wav", "ALAW", 1000), ("flac", "PCM_S8", 256), ("flac", "PCM_16", 0),
    ("flac", "PCM_24", 1), ("aiff", "PCM_16", 0), ("aiff", "PCM_24", 1), ("ogg", "VORBIS", 2000), ("mp3", None, 4000),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "subtype", "most"), SUBTYPES)
def test_every_kind_of_file_comes_back(suffix: str, subtype: str | None, most: int, tmp_path: Path) -> None:
    values = np.rint(tone(300, 0.128) * 32_768) / 32_768
    write(tmp_path / f"a.{suffix}", values, subtype=subtype)
    data = load(str(tmp_path), len(values))
    assert (data.images.shape, data.images.dtype, data.rate) == ((1, 1, 2048), np.int16, RATE)
    inner = slice(64, 1900) if suffix in ("mp3", "ogg") else slice(None)  # they add a little at the ends
    if suffix == "mp3":  # it begins with the decoder's delay
        spectrum = np.abs(np.fft.rfft(data.images[0, 0] * np.hanning(2048)))
        assert abs(spectrum.argmax() * RATE / 2048 - 300) < RATE / 2048
    else:
        assert np.abs(data.images[0, 0] - steps(values))[inner].max() <= most


def test_the_whole_range_of_16_bits_comes_back(tmp_path: Path) -> None:
    values = np.arange(-32_767, 32_768, dtype=np.int16)
    write(tmp_path / "a.wav", values)
    assert np.array_equal(load(str(tmp_path), len(values)).images[0, 0], values)


@pytest.mark.parametrize(("own", "asked"), [(44_100, RATE), (8_000, RATE), (22_050, 22_050)])
def test_a_tone_keeps_its_frequency(own: int, asked: int, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(1000, 0.5, own), own)
    data = load(str(tmp_path), 4096, rate=asked)
    assert data.rate == asked
    spectrum = np.abs(np.fft.rfft(data.images[0, 0] * np.hanning(4096)))
    assert abs(spectrum.argmax() * asked / 4096 - 1000) < asked / 4096
    assert np.abs(data.images[0, 0, 500:3500]).max() == pytest.approx(16_384, rel=0.02)


def test_silence_at_both_ends_goes(tmp_path: Path) -> None:
    quiet = np.full(3000, 0.0009, np.float32)
    write(tmp_path / "a.wav", np.concatenate([quiet, tone(), quiet]), subtype="FLOAT")
    found = load(str(tmp_path))
    assert found.images.shape == (1, 1, 4096)  # 1600 samples, to a power of two that networks make
    assert np.abs(found.images[0, 0, :1600] - steps(tone())).max() <= 1
    assert not found.images[0, 0, 1600:].any()


def test_what_is_too_long_is_cut_and_fades(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(5000, 0.5, np.float32), subtype="FLOAT")
    (found,) = load(str(tmp_path), 4096).images[:, 0]
    assert (found[: 4096 - sounds.FADE] == 16_384).all()
    assert found[-1] == 0
    assert (np.diff(found[-sounds.FADE :]) <= 0).all()


def test_rates_and_channels_of_most(tmp_path: Path) -> None:
    both = np.stack([tone(level=0.5), tone(level=0.25)], axis=1)
    write(tmp_path / "a.wav", both, 8_000)
    write(tmp_path / "b.flac", both)
    write(tmp_path / "c.wav", both)
    data = load(str(tmp_path))
    assert (data.rate, data.images.shape) == (RATE, (3, 2, 4096))  # a lasts twice as long at its rate
    assert np.abs(data.images[1].astype(int) - data.images[2]).max() <= 1  # they round in other ways
    write(tmp_path / "d.wav", tone(level=0.375))
    mono = load(str(tmp_path))
    assert mono.images.shape[1] == 1
    assert np.abs(mono.images[1].astype(int) - mono.images[3]).max() <= 2


def test_classes_splits_broken_files_and_others(tmp_path: Path) -> None:
    for name in ("dog/a.wav", "cat/b.flac", "cat/c.wav"):
        write(tmp_path / name, tone())
    whole = (tmp_path / "dog" / "a.wav").read_bytes()
    (tmp_path / "cat" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cat" / "empty.ogg").write_bytes(b"")
    (tmp_path / "cat" / "text.wav").write_text("hello")
    Image.new("L", (8, 8)).save(tmp_path / "cover.png")
    with pytest.raises(GantoolError, match=r"cut\.wav can't be decoded: it ends after 1,\d+ of 3,244 bytes\..*Mend"):
        load(str(tmp_path))
    data = load(str(tmp_path), skip_broken=True)
    assert (len(data), data.class_names, data.labels.tolist()) == (3, ("cat", "dog"), [0, 0, 1])  # type: ignore[union-attr]
    assert "ignored, as they are not sounds: 1 .png" in data.notes
    assert "3 of 6 files can't be decoded and are left out: cat/cut.wav, cat/empty.ogg, cat/text.wav" in data.notes


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff", "mp3"])
def test_files_that_are_cut_short(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{suffix}", np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32))
    whole = path.read_bytes()
    for length in (0, 3, 40, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        if suffix in ("wav", "flac", "aiff") or length < 4:
            with pytest.raises(GantoolError, match=rf"a\.{suffix} can't be decoded"):
                load(str(tmp_path), 32_768)
        else:  # they are streams: what is there is heard
            assert load(str(tmp_path), 32_768, skip_broken=False).images.shape[0] == 1 if length > 10_000 else True


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(2000, np.nan, np.float32), subtype="FLOAT")
    with pytest.raises(GantoolError, match=r"a\.wav can't be decoded: it holds values that are NaN or infinite"):
        load(str(tmp_path))
    write(tmp_path / "a.wav", np.zeros(0, np.float32))
    with pytest.raises(GantoolError, match=r"a\.wav can't be decoded: it holds no samples"):
        load(str(tmp_path))


def test_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(2000, 3.0, np.float32), subtype="FLOAT")
    assert (load(str(tmp_path), 1024).images[0, 0, :700] == 32_767).all()


def test_silence_is_kept_with_a_note(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.zeros(3000, np.float32))
    write(tmp_path / "b.wav", tone())
    data = load(str(tmp_path))
    assert not data.images[0].any()
    assert "1 of 2 sounds are silent" in data.notes


def header(frames: int) -> bytes:
    """A WAV file that declares `frames` of 16 bits, as a program that writes to a pipe does, and holds 2000."""
    samples = (np.sin(np.arange(2000)) * 9000).astype("<i2").tobytes()
    size = min(2 * frames, 2**32 - 1)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 2**32 - 1, b"WAVE") + form + struct.pack("<4sI", b"data", size) + samples


def test_a_header_that_declares_hours(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(header(2**31))
    assert load(str(tmp_path)).images.shape == (1, 1, 4096)
    found = survey(str(tmp_path))
    assert found.count == 1


@pytest.mark.parametrize("rate", [1, 999, 768_001])
def test_a_rate_that_is_none_of_a_sound(rate: int, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(), rate)
    with pytest.raises(GantoolError, match=rf"a\.wav can't be decoded: its rate is {rate:,} Hz"):
        load(str(tmp_path), 4096, rate=RATE)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", ">i2", "float64"])
def test_what_a_reader_of_a_plugin_returns(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.array([0, 100, -100] * 20).astype(dtype)
    mine = Reader("mine", "audio", (".wav",), lambda file, how: (samples, RATE))
    monkeypatch.setattr(formats, "reader_of", lambda suffix: mine)
    (tmp_path / "a.wav").write_bytes(b"any")
    if dtype in ("int8", "int32", "uint8"):
        with pytest.raises(GantoolError, match=rf"the reader mine returned {dtype} .*not int16 or floats"):
            load(str(tmp_path), 64)
    else:  # floats are clipped
        assert load(str(tmp_path), 64).images.max() == (32_767 if dtype == "float64" else 100)


def test_a_header_that_counts_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone())
    content, own = path.read_bytes(), load(str(tmp_path)).images
    path.write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:])
    assert np.array_equal(load(str(tmp_path)).images, own)


def test_a_flac_file_without_a_length(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.flac", tone()).read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(GantoolError, match=r"a\.flac can't be decoded: its header has no length"):
        load(str(tmp_path))


def test_hours_of_silence_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_VALUES", 2**20)
    path = write(tmp_path / "a.flac", np.concatenate([np.zeros(2**21, np.float32), tone()]))
    assert path.stat().st_size < 2**17
    file = SourceFile("a.flac", path.read_bytes(), lambda name: b"")
    samples, _ = reader.read(file, Wanted(4096, RATE))
    assert samples.shape == (1, 1)
    whole, _ = reader.read(file, Wanted())
    assert whole.shape == (1, 2**20)


def test_no_more_is_decoded_than_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.concatenate([np.zeros(9000, np.float32), tone(seconds=60)]))
    samples, rate = reader.read(SourceFile("a.wav", path.read_bytes(), lambda name: b""), Wanted(4096, 8000))
    assert (samples.shape, rate) == ((1, 2 * 4096 + 4096), RATE)
    assert np.array_equal(samples[0, :10], tone()[:10]) or np.abs(samples[0, :10] - tone()[:10]).max() < 1e-4


def test_a_length_is_asked_for_where_one_is_very_long(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(seconds=20))
    with pytest.raises(GantoolError, match=r"has 3\d\d,\d\d\d samples at 16,000 Hz .*--size 65536 is 4\.1 s"):
        load(str(tmp_path))
    assert load(str(tmp_path), 65_536).images.shape == (1, 1, 65_536)


def test_a_rate_is_for_sounds(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(GantoolError, match=r"--rate 8000 is for sounds, and the data is images"):
        load(str(tmp_path), rate=8000)
    with pytest.raises(GantoolError, match=r"--rate 8000 is for sounds"):
        load("digits", rate=8000)
    write(tmp_path / "s" / "a.wav", tone())
    with pytest.raises(GantoolError, match=r"A rate of 10 Hz is none of a sound"):
        load(str(tmp_path / "s"), rate=10)


def test_an_archive_and_a_list_of_labels(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("a/1.wav", "b/2.wav"):
            archive.write(write(tmp_path / "files" / name, tone()), name)
    (tmp_path / "sounds.zip").write_bytes(stream.getvalue())
    data = load(str(tmp_path / "sounds.zip"))
    assert (data.class_names, data.images.shape) == (("a", "b"), (2, 1, 4096))
    (tmp_path / "l.csv").write_text("file,label\na/1.wav,x\nb/2.wav,y\n")
    done = pack(str(tmp_path / "files"), tmp_path / "out", Options(labels=str(tmp_path / "l.csv")), workers=1)
    assert done.description.class_names == ["x", "y"]


def test_the_pack_that_is_recommended_keeps_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", tone())
    monkeypatch.setattr(folder_reader, "MANY_FILES", 0)
    assert "--size 4096 --rate 8000`" in " ".join(load(str(tmp_path), 4096, rate=8000).notes)


# packs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(40):
        sound = rng.uniform(-0.5, 0.5, rng.integers(500, 3000)).astype(np.float32)
        write(tmp_path / "in" / "ab"[number % 2] / f"{number}.flac", sound, [RATE, 8000][number % 3 == 0])
    (tmp_path / "in" / "a" / "bad.wav").write_text("hello")
    return tmp_path / "in"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pack_holds_what_the_folder_is_loaded_as(folder: Path, tmp_path: Path) -> None:
    made = {}
    for workers in (1, 2):
        done = pack(str(folder), tmp_path / f"out{workers}", Options(skip_broken=True), workers=workers)
        made[workers] = contents(tmp_path / f"out{workers}")
    assert made[1] == made[2]
    packed, direct = load(str(tmp_path / "out1")), load(str(folder), skip_broken=True)
    assert (
        (packed.rate, packed.fingerprint) == (direct.rate, direct.fingerprint) == (RATE, done.description.fingerprint)
    )
    described = json.loads(made[1]["pack.json"])
    assert (described["rate"], described["size"], described["broken"]) == (RATE, packed.images.shape[2], 1)
    assert described["fit"] is described["background"] is None


def test_a_pack_that_was_stopped_has_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantool.data.pack import sources, writer

    monkeypatch.setattr(writer, "COMMIT", 2048)
    monkeypatch.setattr(sources, "_BATCH_BYTES", 20_000)

    class Stop(BaseException):
        pass

    def stop(progress: Progress) -> None:
        if progress.done >= 12:
            raise Stop

    options, notes = Options(skip_broken=True, rate=8000), []
    pack(str(folder), tmp_path / "whole", options, workers=1)
    with pytest.raises(Stop):
        pack(str(folder), tmp_path / "out", options, workers=1, on_progress=stop)
    assert not (tmp_path / "out").exists()
    pack(str(folder), tmp_path / "out", options, workers=1, on_note=notes.append)
    assert "Going on after number" in notes[0]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with pytest.raises(Stop):
        pack(str(folder), tmp_path / "other", options, workers=1, on_progress=stop)
    pack(str(folder), tmp_path / "other", Options(skip_broken=True), workers=1, on_note=notes.append)
    assert "starting anew" in notes[-1]


def test_a_pack_at_another_rate_and_length(folder: Path, tmp_path: Path) -> None:
    pack(str(folder), tmp_path / "out", Options(skip_broken=True, size=2048), workers=1)
    data = load(str(tmp_path / "out"), 512, rate=4000)
    assert (data.images.shape, data.rate) == ((40, 1, 512), 4000)
    half = load(str(tmp_path / "out"), rate=8000)
    assert (half.images.shape, half.rate) == ((40, 1, 1024), 8000)
    again = pack(str(tmp_path / "out"), tmp_path / "again", Options(rate=8000, channels=2), workers=1).description
    assert (again.rate, again.arrays["images"].shape) == (8000, [40, 2, 1024])


# npz


def test_arrays_of_sounds(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-99, 99, (4, 64)).astype(np.int16)
    np.savez(tmp_path / "a.npz", sounds=values, rate=8000, labels=[0, 1, 0, 1])
    data = load(str(tmp_path / "a.npz"))
    assert (data.spec.shape, data.rate, data.spec.classes) == ((1, 64), 8000, 2)
    assert np.array_equal(data.images[:, 0], values)
    np.savez(tmp_path / "a.npz", sounds=(values / 100)[:, None].repeat(2, 1))
    assert load(str(tmp_path / "a.npz"), rate=RATE).spec.rate == RATE
    np.savez(tmp_path / "a.npz", images=values[:, None])
    assert load(str(tmp_path / "a.npz"), 32).images.shape == (4, 1, 32)
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8))
    assert load(str(tmp_path / "a.npz")).images.shape == (4, 1, 8, 8)  # grey pictures
    np.save(tmp_path / "a.npy", values[:, None])
    assert pack(str(tmp_path / "a.npy"), tmp_path / "out", Options(rate=8000)).description.rate == 8000


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sounds": np.zeros((2, 64), np.int32)}, "has dtype int32; sounds are int16"),
        ({"sounds": np.full((2, 64), 3.0)}, "has values up to 3; floats lie in"),
        ({"sounds": np.zeros((2, 4), np.int16)}, "1 channels of 4 samples"),
        ({"sounds": np.zeros((2, 1, 1, 64), np.int16)}, r"sounds are \(N, T\) or \(N, C, T\)"),
        ({"sounds": np.full((2, 64), np.nan)}, "NaN"),
        ({"sounds": np.zeros((2, 64), np.int16), "rate": 3}, "A rate of 3 Hz"),
    ],
)
def test_arrays_that_are_no_sounds(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(GantoolError, match=message):
        load(str(tmp_path / "a.npz"))


# surveys


def test_info(folder: Path, tmp_path: Path, cli: Run) -> None:
    write(folder / "b" / "loud.wav", np.full(1600, 1.0, np.float32))
    write(folder / "b" / "copy.wav", np.full(1600, 1.0, np.float32))
    write(folder / "b" / "none.wav", np.zeros((1600, 2), np.float32))
    code, out, _ = cli("data", "info", str(folder), "--json", "-o", str(tmp_path / "sheet.png"))
    assert code == 1
    found = json.loads(out)
    assert (found["samples"], found["count"], found["clipped"], found["silent"]) == ("audio", 43, 2, 1)
    assert found["rates"] == {"16000": 29, "8000": 14}
    assert found["modes"] == {"mono": 42, "stereo": 1}
    assert found["formats"] == {"FLAC": 40, "WAV": 3}
    assert found["duplicate_groups"] == [["b/copy.wav", "b/loud.wav"]]
    assert found["broken"][0][0] == "a/bad.wav"
    assert 0.03 <= found["durations"]["min"] < found["durations"]["median"] < found["durations"]["max"] < 0.38
    assert found["loudness"]["max"] == 0  # full scale
    assert found["loudness"]["median"] == pytest.approx(20 * np.log10(0.5 / 3**0.5), abs=0.2)
    code, out, _ = cli("data", "info", str(folder))
    assert "16,000 Hz: 29, 8,000 Hz: 14" in out
    assert "--skip-broken" in out.splitlines()[-1]
    picture = Image.open(tmp_path / "sheet.png")
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 50  # colours of spectrograms


@pytest.mark.parametrize(("samples", "end"), [(1500, ""), (65_000, ""), (65_537, " --size 65536")])
def test_what_is_recommended_is_what_networks_make(samples: int, end: str, tmp_path: Path, cli: Run) -> None:
    write(tmp_path / "a.wav", np.full(samples, 0.5, np.float32))
    _, out, _ = cli("data", "info", str(tmp_path), "--json")
    command = json.loads(out)["next"]
    assert command.endswith(end or f" --data {tmp_path}")
    assert load(str(tmp_path), 65_536 if end else None).images.shape[2] in (4096, 65_536)


def test_a_sheet_of_a_pack_is_that_of_the_files(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "in" / f"{number}.wav", tone(400 * (number + 1), 1024 / RATE))
    pack(str(tmp_path / "in"), tmp_path / "out", Options(size=1024), workers=1)
    assert np.array_equal(sheet(str(tmp_path / "in"), 1024), sheet(str(tmp_path / "out"), 1024))
    found = survey(str(tmp_path / "out"))
    assert (found.kind, found.samples, found.count) == ("pack", "audio", 3)
    assert "16000" in found.rates  # type: ignore[attr-defined]


def test_a_run_repeats_its_rate(folder: Path, tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ("train", "mlp", "--data", str(folder), "--skip-broken", "--size", "256", "--rate", "8000")
    code, _, err = cli(*usual, "--steps", "2", "--batch-size", "4", "--device", "cpu", "--engine", "eager")
    assert code == 0, err
    (run,) = (tmp_path / "runs").glob("*/run.json")
    info = json.loads(run.read_text())
    assert (info["rate"], info["data"]["rate"], info["data"]["shape"]) == (8000, 8000, [1, 256])


@given(st.binary(max_size=200), st.sampled_from(["wav", "flac", "ogg", "aiff", "mp3"]))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_sound_or_broken(tail: bytes, suffix: str) -> None:
    magic = {"wav": b"RIFF\x24\x00\x00\x00WAVEfmt ", "flac": b"fLaC", "ogg": b"OggS\0", "aiff": b"FORM\0\0\0\x20AIFF"}
    content = magic.get(suffix, b"\xff\xfb\x90") + tail
    try:
        samples, rate = reader.read(SourceFile(f"a.{suffix}", content, lambda name: b""), Wanted())
    except (ValueError, RuntimeError):
        return
    assert samples.ndim == 2
    assert rate > 0
