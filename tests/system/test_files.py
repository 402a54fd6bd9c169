"""Files that are whole or not there, and reads with an end."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gantool.errors import GantoolError
from gantool.system import files


def test_a_new_file_is_whole_and_alone(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "new" / "a.bin", b"whole")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert tmp_path in temporary.parents  # a rename across file systems would not be atomic
    assert path.read_bytes() == b"new"


def test_results_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_json_round_trip_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": [1, None, "é"]})
    assert files.read_json(path) == {"a": [1, None, "é"]}
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": [1, None, "é"]}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(GantoolError, match=r"a\.json does not hold valid JSON"):
        files.read_json(path)


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 2**20)
    path = tmp_path / "a.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(GantoolError, match=r"a\.json is larger than 1 MB"):
        files.read_json(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"none\.json can't be read: No such file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(GantoolError, match="can't be read"):
        files.read_json(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_device_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    with pytest.raises(GantoolError, match=r"a\.json can't be read: it is no regular file"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GantoolError, match="pipe can't be read: it is no regular file"):
        files.read_bounded(tmp_path / "pipe", 10)


def test_a_read_ends_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2**20))
    assert files.read_bounded(tmp_path / "a", 2**20) == bytes(2**20)
    with (tmp_path / "a").open("ab") as file:
        file.write(b"1")
    with pytest.raises(GantoolError, match="a is larger than 1 MB"):
        files.read_bounded(tmp_path / "a", 2**20)


def test_an_error_while_writing_names_the_path_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="a can't be written: No space left on device") as caught:
        with files.writing(tmp_path / "a", "Name another: -o"):
            raise OSError(28, "No space left on device")
    assert caught.value.hint == "Name another: -o"


def test_an_error_while_reading_names_the_file_at_fault(tmp_path: Path) -> None:
    def read(error: OSError) -> str:
        with pytest.raises(GantoolError) as caught, files.reading(tmp_path):
            raise error
        return caught.value.message

    assert read(PermissionError(13, "Permission denied", "/a/b")) == "/a/b can't be read: Permission denied."
    assert read(OSError(5, "Input/output error")) == f"{tmp_path} can't be read: Input/output error."
    assert read(OSError("odd")) == f"{tmp_path} can't be read: odd."


@pytest.fixture(params=[True, False], ids=["exchange", "rename"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Folders are replaced in one step, and as on systems that can't do that."""
    if not request.param:
        monkeypatch.setattr(files, "_exchange_call", lambda: None)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("no exchange of paths here")
    return bool(request.param)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("exchanging")
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "folder"
    for name in ("one", "two"):
        with files.replacing_folder(folder) as new:
            (new / "sub").mkdir()
            (new / "sub" / name).write_text(name)
            assert folder.parent in new.parents  # on the same file system
        assert tree(folder.parent) == {f"folder/sub/{name}": name}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~os.umask(os.umask(0o022))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")

    def fail() -> None:
        with files.replacing_folder(tmp_path / "folder") as new:
            (new / "half").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert tree(tmp_path) == {"folder/old": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(GantoolError, match=r"file/folder can't be written"),
        files.replacing_folder(tmp_path / "file" / "folder"),
    ):
        pass


def test_several_files_are_replaced_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {name: f"old {name}" for name in "ac"}
    for name, text in old.items():
        (tmp_path / name).write_text(text)

    def write() -> None:
        with files.replacing_files(tmp_path) as new:
            for name in "abc":
                (new / name).write_text(f"new {name}")

    replace = Path.replace
    for links in (True, False):
        with monkeypatch.context() as patched:
            if not links:
                patched.setattr(os, "link", refuse)
            for error in (OSError(5, "Input/output error"), KeyboardInterrupt()):
                for target in "abc":

                    def fail(source: Path, to: Path, error: BaseException = error, target: str = target) -> Path:
                        if to == tmp_path / target and source.parent.name == "ready":
                            raise error
                        return replace(source, to)

                    patched.setattr(Path, "replace", fail)
                    with pytest.raises((GantoolError, KeyboardInterrupt)):
                        write()
                    assert tree(tmp_path) == old
            patched.setattr(Path, "replace", replace)
            write()
            assert tree(tmp_path) == {name: f"new {name}" for name in "abc"}
        for name in "abc":
            (tmp_path / name).unlink()
        for name, text in old.items():
            (tmp_path / name).write_text(text)


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a") as one:
        one.write_text("a")
        files.recover(tmp_path)
        with files.replacing_files(tmp_path) as other:
            (other / "b").write_text("b")
    assert tree(tmp_path) == {"a": "a", "b": "b"}


def test_a_folder_that_goes_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's `recover` may remove it between the two calls of `Path.mkdir`."""
    make, refused = os.mkdir, []

    def mkdir(path: str, mode: int = 0o777) -> None:
        if ".gantool-" in str(path) and not refused:
            refused.append(path)
            raise FileExistsError(path)
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    files.write_bytes(tmp_path / "a", b"whole")
    assert refused
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_many_processes_may_write_to_one_folder_at_once(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom gantool.system import files\n"
        "for number in range(100):\n"
        "    files.recover(Path(sys.argv[1]))\n"
        "    files.write_bytes(Path(sys.argv[1], sys.argv[2]), b'%d' % number)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert tree(tmp_path) == dict.fromkeys("0123", "99")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_a_place_where_nothing_can_be_made_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        files.write_bytes(Path("/proc/a.bin"), b"whole")
