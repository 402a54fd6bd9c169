"""`gantool data fetch`: every way in which a mirror, a connection or a disk fails, and what then lies in the cache."""

from __future__ import annotations

import gzip
import hashlib
import json
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.disks import file_limit
from support.inprocess import Run
from support.mirrors import Mirror, serving

from gantool.data import download, load
from gantool.data.catalog import FETCHABLE, IMAGES, LABELS, RemoteFile
from gantool.data.fetch import fetch
from gantool.errors import GantoolError

ROWS = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8), np.uint8)
DIGITS = (np.arange(ROWS) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


FILES = {IMAGES: idx(PIXELS), LABELS: idx(DIGITS)}
WRONG = idx(255 - PIXELS)


def remote(name: str, body: bytes) -> RemoteFile:
    return RemoteFile(name, len(body), hashlib.sha256(body).hexdigest())


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """A mirror of a tiny `mnist`, which the table names; a cache and a working folder of their own; no pauses."""
    with serving(FILES) as served:
        files = tuple(remote(name, body) for name, body in FILES.items())
        tiny = replace(FETCHABLE["mnist"], count=ROWS, shape=(1, 8, 8), files=files, mirrors=(served.url,))
        monkeypatch.setitem(FETCHABLE, "mnist", tiny)
        alone(monkeypatch, tmp_path)
        yield served


def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "PAUSE", 0.0)


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: list[int] = []

    def start(self, label: str, total: int) -> None:
        self.counts.clear()

    def update(self, done: int) -> None:
        self.counts.append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)


def in_cache(tmp_path: Path) -> set[str]:
    """Every file there but locks."""
    cache = tmp_path / "cache"
    files = (path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())
    return {name for name in files if not name.endswith(".lock")}


# the way it should go


def test_fetched_listed_loaded(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    code, out, err = cli("data", "fetch", "mnist")
    assert code == 0, err
    assert f"mnist: {ROWS} images of 8×8×1 pixels, 10 classes, in {tmp_path / 'cache' / 'data' / 'mnist'}" in out
    assert "Licence: MNIST digits, Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0" in out
    assert f"downloading {IMAGES}" in err
    assert "gantool train dcgan --data mnist" in out
    data = load("mnist")
    assert (data.name, data.source, data.notes) == ("mnist", "mnist", ())
    assert data.class_names == tuple("0123456789")
    assert "CC BY-SA 3.0" in data.licence
    assert np.array_equal(data.images[:, 0], PIXELS)
    assert data.labels is not None
    assert np.array_equal(data.labels, DIGITS)
    assert load("mnist", 16).images.shape == (ROWS, 1, 16, 16)
    assert not [name for name in in_cache(tmp_path) if name.startswith("downloads")]
    listed = {row["name"]: row for row in json.loads(cli("data", "list", "--json")[1])}
    assert (listed["mnist"]["state"], listed["cifar10"]["state"]) == ("in the cache", "to fetch")
    assert listed["mnist"]["path"] == str(tmp_path / "cache" / "data" / "mnist")


def test_what_is_there_is_not_loaded_again(mirror: Mirror, cli: Run) -> None:
    assert json.loads(cli("data", "fetch", "mnist", "--json")[1])["fetched"] is True
    asked = len(mirror.requests)
    told = json.loads(cli("data", "fetch", "mnist", "--json")[1])
    assert (told["fetched"], told["images"], len(mirror.requests)) == (False, ROWS, asked)
    assert "already in" in cli("data", "fetch", "mnist")[1]
    assert json.loads(cli("data", "fetch", "mnist", "--force", "--json")[1])["fetched"] is True
    assert len(mirror.requests) == 2 * asked
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_an_old_pack_stays_when_it_can_not_be_made_anew(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    cli("data", "fetch", "mnist")
    before = in_cache(tmp_path)
    mirror.files.clear()
    code, _, err = cli("data", "fetch", "mnist", "--force")
    assert code == 1
    assert "it answers 404" in err
    assert in_cache(tmp_path) == before
    assert len(load("mnist")) == ROWS


def test_another_cache_is_named_in_what_to_type(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    _, out, _ = cli("data", "fetch", "mnist", "--cache", tmp_path / "else where")
    folder = tmp_path / "else where" / "data" / "mnist"
    assert f"--data '{folder}'" in out
    assert len(load(str(folder))) == ROWS
    listed = json.loads(cli("data", "list", "--json", "--cache", tmp_path / "else where")[1])
    assert next(row for row in listed if row["name"] == "mnist")["state"] == "in the cache"


def test_not_fetched_yet(mirror: Mirror) -> None:
    with pytest.raises(GantoolError, match="'mnist' is not in the cache") as caught:
        load("mnist")
    assert caught.value.hint == "Type: gantool data fetch mnist (or give ./mnist for a folder of that name)"


def test_a_damaged_pack_is_to_be_fetched_again(mirror: Mirror) -> None:
    folder, _ = fetch("mnist", Notes())
    (folder / "images.npy").write_bytes(b"x")
    with pytest.raises(GantoolError, match="gantool data fetch mnist --force"):
        load("mnist")
    fetch("mnist", Notes(), force=True)
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_no_such_set(cli: Run) -> None:
    code, _, err = cli("data", "fetch", "MNIST")
    assert code == 1
    assert "There is no data set 'MNIST' to fetch" in err
    assert "These can be fetched: mnist, fashion-mnist, cifar10, noto-emoji," in err


# connections


@pytest.mark.parametrize(
    ("plans", "ranges"),
    [
        ([("drop", 100), ("drop", 50)], [None, "bytes=100-", "bytes=150-"]),
        ([("length", 10**15)], [None]),  # a wrong Content-Length
    ],
)
def test_a_connection_that_ends_early_is_taken_up_where_it_stopped(
    mirror: Mirror, plans: list[object], ranges: list[str | None]
) -> None:
    mirror.plans[IMAGES] = plans
    fetch("mnist", notes := Notes())
    assert mirror.ranges(IMAGES)[: len(ranges)] == ranges
    assert notes.counts == sorted(notes.counts)
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_an_interrupted_download_is_taken_up_by_the_next_command(mirror: Mirror, tmp_path: Path) -> None:
    mirror.plans[IMAGES] = [("drop", 100), 404]
    with pytest.raises(GantoolError, match="it answers 404"):
        fetch("mnist", Notes())
    assert (tmp_path / "cache" / "downloads" / "mnist" / f"{IMAGES}.part").stat().st_size == 100
    fetch("mnist", Notes())
    assert mirror.ranges(IMAGES) == [None, "bytes=100-", "bytes=100-"]
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


@pytest.mark.parametrize(
    ("plans", "ranges"),
    [
        pytest.param(["whole"], ["bytes=9-"], id="ignored"),
        pytest.param(["shifted"], ["bytes=9-", None], id="another-range"),
        pytest.param([416], ["bytes=9-", None], id="not-satisfiable"),
        pytest.param([503, 429], ["bytes=9-", "bytes=9-", "bytes=9-"], id="busy"),
    ],
)
def test_servers_and_ranges(mirror: Mirror, tmp_path: Path, plans: list[object], ranges: list[str | None]) -> None:
    folder = tmp_path / "cache" / "downloads" / "mnist"
    folder.mkdir(parents=True)
    (folder / f"{IMAGES}.part").write_bytes(FILES[IMAGES][:9])
    mirror.plans[IMAGES] = plans
    fetch("mnist", Notes())
    assert mirror.ranges(IMAGES) == ranges
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


@pytest.mark.parametrize("extra", [-30, -1, 0, 500])
def test_what_lies_there_is_not_believed(mirror: Mirror, tmp_path: Path, extra: int) -> None:
    """A part of another file, shorter, as long, or longer: loaded anew from the same mirror, which is not to blame."""
    folder = tmp_path / "cache" / "downloads" / "mnist"
    folder.mkdir(parents=True)
    (folder / f"{IMAGES}.part").write_bytes(bytes(len(FILES[IMAGES]) + extra))
    (folder / LABELS).write_bytes(b"not what it was")
    fetch("mnist", Notes())
    assert mirror.ranges(IMAGES)[-1] is None
    assert mirror.ranges(LABELS) == [None]
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_what_a_mirror_sends_beyond_is_not_read(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[IMAGES] = FILES[IMAGES] + bytes(1_000_000)
    fetch("mnist", notes := Notes())
    assert max(notes.counts) < 1_000_000
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_redirects(mirror: Mirror) -> None:
    with serving(FILES) as other:
        mirror.plans[IMAGES] = [f"{other.url}{IMAGES}"]
        fetch("mnist", Notes())
        assert other.ranges(IMAGES) == [None]


@pytest.mark.parametrize(
    ("target", "message"),
    [("ftp://127.0.0.1/x", "is not allowed"), ("file:///etc/hostname", "is not allowed"), ("", "infinite loop")],
)
def test_redirects_to_elsewhere_or_without_end_are_refused(mirror: Mirror, target: str, message: str) -> None:
    mirror.plans[IMAGES] = [target or f"{mirror.url}{IMAGES}"] * 100
    with pytest.raises(GantoolError, match=message):
        fetch("mnist", Notes())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["drop", "length"]), st.integers(1, 400)) | st.just("whole"), max_size=6))
def test_however_it_comes_it_is_whole(mirror: Mirror, tmp_path: Path, plans: list[object]) -> None:
    mirror.requests.clear()
    mirror.plans[IMAGES] = list(plans)
    folder, made = fetch("mnist", Notes(), force=True)
    assert made
    assert np.array_equal(load(str(folder)).images[:, 0], PIXELS)


# mirrors


def test_a_wrong_file_then_the_next_mirror(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    with serving({**FILES, IMAGES: WRONG + bytes(len(FILES[IMAGES]) - len(WRONG))}) as bad:
        assert len(bad.files[IMAGES]) == len(FILES[IMAGES])
        code, _, err = cli("data", "fetch", "mnist", "--mirror", bad.url, "--mirror", mirror.url)
    assert code == 0
    found, expected = remote("", bad.files[IMAGES]).sha256, remote("", FILES[IMAGES]).sha256
    assert f"{bad.url}: its {IMAGES} has the wrong SHA-256 {found}, expected {expected}" in err
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_a_wrong_file_everywhere(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    mirror.files[IMAGES] = bytes(len(FILES[IMAGES]))
    code, out, err = cli("data", "fetch", "mnist")
    assert (code, out) == (1, "")
    found, expected = remote("", mirror.files[IMAGES]).sha256, remote("", FILES[IMAGES]).sha256
    error = err[err.index("Error: ") :]
    for part in (IMAGES, found, expected, mirror.url):
        assert part in error
    assert in_cache(tmp_path) == set()
    with pytest.raises(GantoolError, match="is not in the cache"):
        load("mnist")


def test_a_file_cut_short_at_a_mirror(mirror: Mirror, tmp_path: Path) -> None:
    with serving({**FILES, IMAGES: FILES[IMAGES][:200]}) as short:
        fetch("mnist", notes := Notes(), mirrors=(short.url, mirror.url))
    assert any(f"{short.url}: its file has no more than 200 bytes; 200 of" in note for note in notes.notes)
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_a_mirror_that_falls_silent(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with serving(FILES) as silent:
        silent.plans[IMAGES] = [("stall", 60), ("stall", 0), ("stall", 0), ("stall", 0)]
        fetch("mnist", notes := Notes(), mirrors=(silent.url, mirror.url))
        assert silent.ranges(IMAGES) == [None, "bytes=60-", "bytes=60-", "bytes=60-"]
    assert any(f"{silent.url}: it sent nothing for 0.2 s; 60 of" in note for note in notes.notes)
    assert mirror.ranges(IMAGES) == ["bytes=60-"], "what one mirror sent is not loaded again from the next"


def test_a_mirror_that_trickles(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    with serving(FILES) as slow:
        slow.plans[IMAGES] = [("trickle", 50)] * 9
        fetch("mnist", notes := Notes(), mirrors=(slow.url, mirror.url))
        assert len(slow.ranges(IMAGES)) == download.MAX_FRUITLESS, "three times, although each brought some bytes"
    assert any(f"{slow.url}: it sent only" in note for note in notes.notes)
    assert mirror.ranges(IMAGES)[0] is not None, "what it sent is not loaded again from the next"


@pytest.mark.parametrize("kind", ["headers", "chunks"])
def test_a_mirror_whose_answer_never_begins(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    with serving(FILES) as slow:
        slow.plans[IMAGES] = [(kind, 50)] * 9
        fetch("mnist", notes := Notes(), mirrors=(slow.url, mirror.url))
        assert len(slow.ranges(IMAGES)) == download.MAX_FRUITLESS
    assert any(f"{slow.url}: it sent too little for 0.3 s; 0 of" in note for note in notes.notes)
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_a_mirror_that_is_not_there(mirror: Mirror) -> None:
    with serving({}) as gone:
        pass
    with pytest.raises(GantoolError) as caught:
        fetch("mnist", Notes(), mirrors=(gone.url,))
    assert f"{gone.url}: " in caught.value.message
    assert "refused" in caught.value.message
    assert "--mirror URL" in caught.value.hint
    fetch("mnist", Notes(), mirrors=(gone.url, mirror.url))


@pytest.mark.parametrize("url", ["file:///etc/", "ftp://host/", "nonsense", "http://", "http://[", ""])
def test_an_address_that_is_none(mirror: Mirror, cli: Run, url: str) -> None:
    code, _, err = cli("data", "fetch", "mnist", "--mirror", url)
    assert code == 1
    assert f"{url!r} is no address of a mirror" in err
    assert mirror.requests == []


# interrupts, disks, and two at once


def test_ctrl_c_and_on(mirror: Mirror, tmp_path: Path) -> None:
    """A process of its own, whose table names the tiny set; what came before Ctrl-C is not loaded again."""
    mirror.plans[IMAGES] = [("stall", 700)]
    code = dedent(
        f"""
        import sys
        from dataclasses import replace
        from gantool.cli import main
        from gantool.data.catalog import FETCHABLE, RemoteFile
        tiny = {{"files": {FETCHABLE["mnist"].files!r}, "mirrors": {FETCHABLE["mnist"].mirrors!r}}}
        FETCHABLE["mnist"] = replace(FETCHABLE["mnist"], **tiny)
        sys.argv = ["gantool", "data", "fetch", "mnist"]
        main()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    part = tmp_path / "cache" / "downloads" / "mnist" / f"{IMAGES}.part"
    while process.poll() is None and not (part.is_file() and part.stat().st_size == 700):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith("interrupted; the same command continues\n")
    fetch("mnist", Notes())
    assert mirror.ranges(IMAGES) == [None, "bytes=700-"]
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_a_cache_that_can_not_be_one(mirror: Mirror, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    code, _, err = cli("data", "fetch", "mnist", "--cache", tmp_path / "file")
    assert code == 1
    assert "can't be written" in err
    assert "--cache DIR" in err


def test_a_full_disk(mirror: Mirror, tmp_path: Path) -> None:
    """The disk's error is not taken for the connection's: no other mirror is asked, and what came is kept."""
    with serving(FILES) as other:
        with file_limit(1000), pytest.raises(GantoolError, match=r"\.part can't be written: File too large") as caught:
            fetch("mnist", Notes(), mirrors=(mirror.url, other.url))
        assert other.requests == []
    assert caught.value.hint.startswith("Free space")
    fetch("mnist", Notes())
    assert mirror.ranges(IMAGES) == [None, "bytes=1000-"]
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_two_at_once_load_it_once(mirror: Mirror) -> None:
    mirror.plans[IMAGES] = [("stall", 10)]
    results: list[bool] = []
    notes = [Notes(), Notes()]
    threads = [threading.Thread(target=lambda n=n: results.append(fetch("mnist", n)[1])) for n in notes]
    for thread in threads:
        thread.start()
    while not any("waiting for it" in note for each in notes for note in each.notes):
        threading.Event().wait(0.01)
    mirror.closing.set()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [False, True]
    assert mirror.ranges(LABELS) == [None]
    assert np.array_equal(load("mnist").images[:, 0], PIXELS)


def test_what_a_killed_process_left_is_swept(mirror: Mirror, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "downloads" / "mnist" / "pack" / "new"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    fetch("mnist", Notes())
    assert all(name.startswith("data/mnist/") for name in in_cache(tmp_path))
    assert len(load("mnist")) == ROWS


# the table


@pytest.mark.parametrize("name", FETCHABLE)
def test_the_table(name: str) -> None:
    known = FETCHABLE[name]
    assert known.name == name
    assert known.licence
    assert len(set(known.class_names)) == (9 if known.drawn else 10)
    assert len(known.mirrors) >= 2 or all(file.package for file in known.files)
    assert all(url.startswith("https://") and url.endswith("/") for url in known.mirrors)
    for file in known.files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.size > 10_000
