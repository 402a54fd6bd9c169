"""`gantool plugins new`: what it writes is a sound package as it stands, and what it refuses leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from support.commands import environment, gantool
from support.distributions import make_distribution
from support.inprocess import Run

from gantool import __version__
from gantool.errors import GantoolError
from gantool.plugin import registry
from gantool.scaffold import MAX_NAME, checked, create

ROOT = Path(__file__).parents[2]
LONGEST = "w" * MAX_NAME  # no wider letter in a monospaced line


def installed(folder: Path, site: Path) -> Path:
    """The package in `folder` as a distribution under `site`, without pip; `site`."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (package,) = (folder / "src").iterdir()
    return make_distribution(site, project["name"], project["version"], package, project["entry-points"]["gantool"])


# what is written


def test_the_whole_package(tmp_path: Path) -> None:
    folder = create("my-gan", tmp_path)
    assert folder == tmp_path / "gantool-my-gan"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/gantool_my_gan/__init__.py",
        "src/gantool_my_gan/networks.py",
        "src/gantool_my_gan/py.typed",
        "tests/test_my_gan.py",
    ]
    assert list(tmp_path.iterdir()) == [folder]
    read = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert read["project"]["entry-points"]["gantool"] == {"my-gan": "gantool_my_gan"}
    needed = {r.name: r for r in map(Requirement, read["project"]["dependencies"])}
    assert needed["gantool"].specifier.contains(__version__, prereleases=True)
    assert needed.keys() == {"gantool", "pydantic", "torch"}
    text = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())
    assert "%%" not in text
    assert "class MyGanConfig(" in text
    for place in ("src/gantool_my_gan/__init__.py", "src/gantool_my_gan/networks.py", "README.md"):
        assert "Change: " in (folder / place).read_text(encoding="utf-8")


def test_the_command_says_what_there_is_and_what_to_type(cli: Run, tmp_path: Path) -> None:
    code, out, err = cli("plugins", "new", "my-gan", "--dir", tmp_path / "a b")
    assert (code, err) == (0, "")
    folder = tmp_path / "a b" / "gantool-my-gan"
    listed = [line.split()[0] for line in out.split("\n\n")[0].splitlines()[1:]]
    assert all((folder / name).is_file() for name in listed)
    assert len(listed) == sum(p.is_file() for p in folder.rglob("*"))
    assert f"cd '{folder}'\n  python -m pip install -e '.[dev]'\n  python -m pytest\n  gantool train my-gan\n" in out


def test_no_torch_is_loaded_to_write_one(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['gantool', 'plugins', 'new', 'my-gan']\n"
        "from gantool.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "False\n")


@pytest.mark.parametrize("name", ["a", "class", LONGEST])
def test_it_is_tidy(tmp_path: Path, name: str) -> None:
    folder = create(name, tmp_path)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_its_types_are_right(tmp_path: Path) -> None:
    folder = create("my-gan", tmp_path)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "MYPYPATH": "src"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 source files" in done.stdout


# what is refused


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("", "''", "my-gan"),
        ("My GAN", "'My GAN'", ": my-gan."),
        ("MyGan", "'MyGan'", ": my-gan."),
        ("StyleGAN2", "'StyleGAN2'", ": stylegan2."),
        ("my_gan", "'my_gan'", ": my-gan."),
        ("2d-gan", "'2d-gan'", ": d-gan."),
        ("-gan", "'-gan'", ": gan."),
        ("a--b", "'a--b'", ": a-b."),
        ("../evil", "'../evil'", ": evil."),
        ("gän", "'gän'", ": g-n."),
        ("a\nb", r"'a\nb'", ": a-b."),
        (LONGEST + "w", "www", f"at most {MAX_NAME} "),
        ("gantool-mine", "'gantool-mine'", "gantool-: mine."),
        ("mlp", f"'mlp' is taken: the plugin mlp of gantool {__version__} is installed", "gantool plugins"),
    ],
)
def test_a_name_that_can_not_be_had(cli: Run, tmp_path: Path, name: str, message: str, hint: str) -> None:
    code, out, err = cli("plugins", "new", "--dir", tmp_path, "--", name)
    assert (code, out) == (1, "")
    assert message in err.splitlines()[0]
    assert hint in err.splitlines()[1]
    assert not list(tmp_path.iterdir())


def test_a_name_of_a_broken_plugin_is_taken_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(make_distribution(tmp_path, "their-gan", "3.1", "1 / 0", {"theirs": "their_gan"}))
    registry.discover.cache_clear()
    try:
        with pytest.raises(GantoolError, match=r"'theirs' is taken: the plugin theirs of their-gan 3\.1 is installed"):
            create("theirs", tmp_path)
    finally:
        registry.discover.cache_clear()


def test_a_name_of_a_module_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gantool_theirs.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GantoolError, match="'theirs' is taken: there is a module gantool_theirs"):
        create("theirs", tmp_path)


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_what_is_there_stays(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "gantool-my-gan"
    if kind == "folder":
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "gone")
    with pytest.raises(GantoolError, match="gantool-my-gan is there already"):
        create("my-gan", tmp_path)
    assert list(tmp_path.iterdir()) == [place]
    assert [p.name for p in place.glob("*")] == (["mine.txt"] if kind == "folder" else [])


# any name


@given(st.text(max_size=MAX_NAME + 5) | st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True))
@example("a\n")
@example("ß")
def test_any_name_is_refused_or_makes_names_that_python_and_pip_take(name: str) -> None:
    try:
        names = checked(name)
    except GantoolError as refused:
        hint = refused.hint
    else:
        hint = ""
        assert names.package.isidentifier()
        assert f"{names.prefix}Config".isidentifier()
        assert Requirement(names.distribution).name == names.distribution
        assert len(names.name) <= MAX_NAME
        assert all(".." not in path and not path.startswith("/") for path in names.files())
    near = re.search(r"gantool-: (.*)\.$", hint, re.DOTALL)
    if near:  # what is proposed is a name
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", near[1])
        assert len(near[1]) <= MAX_NAME


# it works


@pytest.mark.slow
def test_it_trains_as_another_distribution_does(tmp_path: Path) -> None:
    site = installed(create("my-gan", tmp_path), tmp_path / "site")

    def run(*arguments: object) -> str:
        done = gantool(*arguments, cwd=tmp_path, paths=(site,))
        assert done.returncode == 0, done.stderr
        return done.stdout

    (row,) = (row for row in json.loads(run("plugins", "--json")) if row["name"] == "my-gan")
    assert (row["distribution"], row["version"], row["status"]) == ("gantool-my-gan", "0.1.0", "ok")
    run("train", "my-gan", "--width", 4, "--steps", 2, "--batch-size", 8, "--device", "cpu")
    described = json.loads((tmp_path / "runs" / "0001-my-gan-digits" / "run.json").read_text())
    assert (described["plugin"], described["config"]["width"]) == ("gantool-my-gan", 4)
    refused = gantool("train", "my-gan", "--size", 30, cwd=tmp_path, paths=(site,))
    assert refused.returncode == 1
    assert (
        "my-gan can't make samples of shape 1×30×30.\nIt makes images whose sides are multiples of 4" in refused.stderr
    )


@pytest.mark.slow
def test_its_own_test_passes(tmp_path: Path) -> None:
    folder = create("my-gan", tmp_path)
    site = installed(folder, tmp_path / "site")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=environment(site), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
def test_a_clean_environment(tmp_path: Path) -> None:
    """gantool from this tree and the new package, by pip, in an environment of their own; then all of its README."""
    source = tmp_path / "source"
    for name in ("gantool", "plugins", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    venv.create(tmp_path / "venv", with_pip=True, symlinks=sys.platform != "win32")
    scripts = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    clean |= {"COLUMNS": "200", "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    # pinned for pip's isolated builds, too
    clean |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: object, cwd: Path = tmp_path) -> str:
        done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    if subprocess.run([scripts / "python", "-m", "pip", "download", "--no-deps", "-q", "-d", tmp_path, "iniconfig"],
                      env=clean, capture_output=True).returncode:  # fmt: skip
        pytest.skip("pip can't fetch anything here")
    run(scripts / "python", "-m", "pip", "install", "-q", source)
    run(scripts / "gantool", "plugins", "new", "my-gan")
    folder = tmp_path / "gantool-my-gan"
    run(scripts / "python", "-m", "pip", "install", "-q", "-e", ".[dev]", cwd=folder)
    assert " passed" in run(scripts / "python", "-m", "pytest", "-q", cwd=folder)
    run(scripts / "mypy", cwd=folder)
    run(scripts / "gantool", "train", "my-gan", "--steps", 60, "--tick", 30, "--batch-size", 16, "--width", 8)
    run(scripts / "gantool", "export")
    run(scripts / "gantool", "generate", "-n", 4, "-o", "images.npz")
    assert np.load(tmp_path / "images.npz")["images"].shape == (4, 28, 28, 1)
    report = json.loads(run(scripts / "gantool", "bench", "--seconds", 0.05, "--batches", 1, "--json"))
    assert report
    where = run(scripts / "python", "-c", "import gantool; print(gantool.__file__)")
    assert str(tmp_path / "venv") in where
