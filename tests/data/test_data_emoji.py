"""The emoji sets: packages of vector drawings, brought by npm or by a mirror, drawn at the size that is asked for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.inprocess import Run
from support.mirrors import serving

from gantool.data import load
from gantool.data.catalog import FETCHABLE, RemoteFile
from gantool.data.readers.emoji import GROUPS, load_emoji
from gantool.errors import GantoolError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="npm is a shell script here")

RED = '<path fill="#f00" d="M0 0h4v4H0z"/>'
BLUE = '<path fill="#00f" d="M0 0h4v8H0z"/>'
ICONS = {
    "width": 4,
    "height": 4,
    "icons": {
        "square": {"body": RED},
        "half": {"body": '<path fill="#0f0" d="M0 0h2v4H0z"/>'},
        "tall": {"body": BLUE, "height": 8},
        "old": {"body": RED, "hidden": True},
    },
}
GROUPED = {"categories": {"Food Drink": ["half", "tall"], "Activities": ["square"], "Extras": ["old"]}}


def package(**files: Any) -> bytes:
    """A tar.gz of `package/NAME.json`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}.json")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return gzip.compress(buffer.getvalue(), mtime=0)


GOOD = package(icons=ICONS, metadata=GROUPED)


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Names a tiny set `openmoji`; the function it gives installs an `npm` that runs a line of shell."""
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.tgz").write_bytes(GOOD)
    file = RemoteFile("openmoji-1.tgz", len(GOOD), hashlib.sha256(GOOD).hexdigest(), "@some/openmoji@1")

    def read(folder: Path, side: int) -> Any:
        return load_emoji([folder / file.name], side)

    monkeypatch.setitem(FETCHABLE, "openmoji", replace(FETCHABLE["openmoji"], count=3, files=(file,), read=read))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def install(line: str) -> Path:
        (folder / "npm").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{line}\n')
        (folder / "npm").chmod(0o755)
        return tmp_path / "calls"

    return install


def test_drawings_by_npm_are_packed_at_the_size_that_is_asked_for(cli: Run, npm: Callable[[str], Path]) -> None:
    calls = npm(f"cp {Path.cwd()}/good.tgz some-openmoji-1.tgz")
    code, out, _ = cli("data", "fetch", "openmoji", "--size", 8)
    assert code == 0
    assert "3 images of 8×8×3 pixels" in out
    assert calls.read_text().split() == ["pack", "-s", "@some/openmoji@1"]
    data = load("openmoji")
    assert data.class_names == GROUPS
    assert [GROUPS[label] for label in data.labels] == ["Food & Drink", "Food & Drink", "Activities"]
    half, tall, square = (image.transpose(1, 2, 0) for image in data.images)
    white, red, green, blue = [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]
    assert (square == red).all()
    assert (half[:, :4] == green).all()
    assert (half[:, 4:] == white).all()  # nothing is drawn there
    assert (tall[:, 2:6] == blue).all()  # twice as high as wide: in the middle of a square
    assert (tall[:, [0, 1, 6, 7]] == white).all()

    assert cli("data", "fetch", "openmoji")[0] == 0  # whatever its size
    assert len(calls.read_text().splitlines()) == 1
    assert cli("data", "fetch", "openmoji", "--size", 16)[0] == 0  # drawn again
    assert load("openmoji").images.shape == (3, 3, 16, 16)
    listed = next(each for each in json.loads(cli("data", "list", "--json")[1]) if each["name"] == "openmoji")
    assert listed["shape"] == [3, 16, 16]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (None, "@some/openmoji@1 is downloaded by npm, which is not installed. Install Node.js."),
        ("echo 'E404 no such package' >&2; exit 1", "npm could not download @some/openmoji@1: E404 no such package."),
        ("exit 0", "npm could not download @some/openmoji@1: exit status 0."),
        ("echo other > a.tgz", "npm's @some/openmoji@1 has the wrong SHA-256 "),
    ],
)
def test_npm_that_fails_leaves_nothing(
    line: str | None, message: str, cli: Run, npm: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if line is None:
        monkeypatch.setenv("PATH", str(Path.cwd() / "bin"))
    else:
        npm(line)
    code, _, err = cli("data", "fetch", "openmoji")
    assert code == 1
    assert message in " ".join(err.split())
    assert "--mirror URL" in err
    assert not [path for path in Path("cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_mirror_is_asked_instead_of_npm(cli: Run, npm: Callable[[str], Path]) -> None:
    calls = npm("exit 1")
    with serving({"openmoji-1.tgz": GOOD}) as mirror:
        assert cli("data", "fetch", "openmoji", "--mirror", mirror.url)[0] == 0
    assert len(load("openmoji")) == 3
    assert not calls.exists()


def test_images_of_one_size_take_no_size(cli: Run) -> None:
    code, _, err = cli("data", "fetch", "mnist", "--size", 32)
    assert code == 1
    assert "one size, 28×28 pixels" in err
    assert "gantool train dcgan --data mnist --size 32" in err


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD[:100],
        package(icons=ICONS),
        package(icons=b"{", metadata=GROUPED),
        package(icons={}, metadata=GROUPED),
        package(icons=ICONS, metadata={"categories": {"Activities": ["none"]}}),
        package(icons=[], metadata=GROUPED),
    ],
)
def test_a_damaged_package_is_named(body: bytes, tmp_path: Path) -> None:
    path = tmp_path / "emoji.tgz"
    path.write_bytes(body)
    with pytest.raises(GantoolError, match=r"emoji\.tgz is damaged, or no package of emoji"):
        load_emoji([path], 8)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "emoji.tgz").write_bytes(GOOD)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(GantoolError) as raised:
        load_emoji([tmp_path / "emoji.tgz"], 8)
    assert 'pip install "gantool[emoji]"' in raised.value.hint
