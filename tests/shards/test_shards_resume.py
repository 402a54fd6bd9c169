"""Which folders of shards are continued and which are refused; lost workers; full disks."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.disks import file_limit, small_disk
from support.shards import digests, index

from gantool import shards
from gantool.errors import GantoolError
from gantool.shards import Progress, WorkerLost, folder
from gantool.shards.plan import MAX_SHARDS, Part, Plan
from gantool.system import locking

OPTIONS: dict[str, Any] = {"count": 45, "shard_size": 10, "seed": 7, "workers": 1}
LONG = 100_000  # images of a shard that is not made before its worker is killed


@pytest.fixture(scope="module")
def whole(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed process makes; tests only read it."""
    folder = tmp_path_factory.mktemp("whole")
    shards.generate(file, folder, **OPTIONS)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


class Interrupt(Exception):
    """Stands for anything that ends a run between two shards."""


def after(shards_made: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.shards_made == shards_made:
            raise Interrupt

    return stop


def test_finished_shards_are_not_made_again(file: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupt):
        shards.generate(file, tmp_path, on_progress=after(2), **OPTIONS)
    assert sorted(digests(tmp_path)) == ["index.json", "shard-000000.npy", "shard-000001.npy"]
    assert index(tmp_path)["complete"] is False
    there = [path.stat() for path in sorted(tmp_path.glob("*.npy"))]
    events: list[tuple[int, int]] = []
    done = shards.generate(
        file,
        tmp_path,
        on_progress=lambda p: events.append((p.found + p.images, p.shards_found + p.shards_made)),
        **OPTIONS,
    )
    assert (done.made, done.images_made, done.shards) == (3, 25, 5)
    assert events == [(30, 2), (30, 3), (40, 3), (40, 4), (45, 4), (45, 5)]
    assert digests(tmp_path) == digests(whole)
    after_it = [path.stat() for path in sorted(tmp_path.glob("*.npy"))[:2]]
    assert [(s.st_ino, s.st_mtime_ns) for s in there] == [(s.st_ino, s.st_mtime_ns) for s in after_it]


def test_a_finished_folder_starts_no_worker(file: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.shards.processes.run", None)
    done = shards.generate(file, copy, verify=True, **OPTIONS)
    assert (done.made, done.images, done.damaged) == (0, 45, ())


def test_shards_that_are_gone_or_cut_are_made_again(file: Path, whole: Path, copy: Path) -> None:
    (copy / "shard-000001.npy").unlink()
    with (copy / "shard-000003.npy").open("r+b") as opened:
        opened.truncate(100)
    done = shards.generate(file, copy, **OPTIONS)
    assert done.damaged == ("shard-000001.npy", "shard-000003.npy")
    assert digests(copy) == digests(whole)


def test_a_changed_byte_is_found_by_verify(file: Path, whole: Path, copy: Path) -> None:
    path = copy / "shard-000002.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert shards.generate(file, copy, **OPTIONS).made == 0  # the size is right
    assert shards.generate(file, copy, verify=True, **OPTIONS).damaged == ("shard-000002.npy",)
    assert digests(copy) == digests(whole)


def test_temporary_files_of_a_killed_run_are_removed(file: Path, whole: Path, copy: Path) -> None:
    (copy / ".gantool-abc.tmp" / "new").mkdir(parents=True)
    (copy / ".gantool-abc.tmp" / "new" / "shard-000001.npy").write_bytes(b"half")
    (copy / ".shard-token-abc").touch()
    (copy / "notes.txt").write_text("mine")
    shards.generate(file, copy, **OPTIONS)
    assert digests(copy).keys() - digests(whole).keys() == {"notes.txt"}


def test_shards_that_the_index_does_not_name_yet_are_made_again(file: Path, whole: Path, copy: Path) -> None:
    value = index(copy)
    del value["shards"][1:]
    (copy / "index.json").write_text(json.dumps(value))
    (copy / "shard-000002.npy").write_bytes(b"not to be trusted")
    assert shards.generate(file, copy, **OPTIONS).made == 4
    assert digests(copy) == digests(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "seed 7 there, 8 now"),
        ({"format": "png-tar"}, "format npy there, png-tar now"),
        ({"provider": "openvino"}, "provider cpu there, openvino now"),
        ({"provenance": False}, "provenance True there, False now"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_another_plan_is_refused(file: Path, copy: Path, whole: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(GantoolError, match=message) as error:
        shards.generate(file, copy, **OPTIONS | change)
    assert "--out" in error.value.hint
    assert digests(copy) == digests(whole)


def test_another_artifact_or_version_is_refused(
    tiny_export: Callable[..., Path], file: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_export(1, 8, 8) / "generator.seeded.onnx"
    with pytest.raises(GantoolError, match=r"manifest_sha256 [0-9a-f]{64} there, [0-9a-f]{64} now"):
        shards.generate(other, copy, **OPTIONS)
    monkeypatch.setattr("onnxruntime.__version__", "1.99")
    with pytest.raises(GantoolError, match=r"versions .*'1\.\S+'} there, .*'1\.99'} now"):
        shards.generate(file, copy, **OPTIONS)


def test_a_worker_of_another_version_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.__version__", "1.99")  # here; the workers are processes of their own
    with pytest.raises(GantoolError, match=r"A worker has gantool \S+, onnxruntime \S+; .* onnxruntime 1\.99"):
        shards.generate(file, tmp_path, **OPTIONS)


def test_a_folder_without_finished_shards_takes_any_plan(file: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match="OpenVINO narrows them"):
        shards.generate(file, tmp_path, **OPTIONS | {"provider": "openvino"})
    shards.generate(file, tmp_path, **OPTIONS)
    assert digests(tmp_path) == digests(whole)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "plan": {}}', '{"schema": 1, "plan": []}', "[" * 100_000]
)
def test_a_file_that_is_no_index(file: Path, copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    with pytest.raises(GantoolError, match=r"index\.json"):
        shards.generate(file, copy, **OPTIONS)


@pytest.mark.parametrize(
    "entry",
    [None, "", {}, {"first": "0"}, {"first": 5, "sha256": "", "bytes": 1}, {"first": 10**9, "sha256": "", "bytes": 1}],
)
def test_a_damaged_index(file: Path, copy: Path, entry: object) -> None:
    value = index(copy)
    value["shards"][1] = entry
    (copy / "index.json").write_text(json.dumps(value))
    with pytest.raises(GantoolError, match=r"index\.json is damaged: \S+.*\.") as caught:
        shards.generate(file, copy, **OPTIONS)
    assert repr(entry)[:20] in caught.value.message


def test_shards_without_an_index_are_not_written_over(file: Path, copy: Path) -> None:
    (copy / "index.json").unlink()
    with pytest.raises(GantoolError, match="there without an"):
        shards.generate(file, copy, **OPTIONS)


def test_a_folder_in_use_or_not_writable(file: Path, tmp_path: Path) -> None:
    with locking.hold(tmp_path / ".lock"), pytest.raises(GantoolError, match="Another process writes shards to"):
        shards.generate(file, tmp_path, **OPTIONS)
    (tmp_path / "file").touch()
    with pytest.raises(GantoolError, match="can't be written"):
        shards.generate(file, tmp_path / "file", **OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "spark"}, "no engine 'spark'"),
        ({"provider": "gpu"}, "no provider 'gpu'"),
        ({"workers": 0}, "0 workers"),
        ({"first": 2**47}, "no image"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_leave_no_folder(file: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(GantoolError, match=message):
        shards.generate(file, tmp_path / "out", **OPTIONS | change)
    assert not (tmp_path / "out").exists()


def kill_workers(times: int, number: int) -> Callable[[Progress], None]:
    """Kill the worker of shard `number` when it reports its first part, `times` times."""
    left, killed = times, False  # messages of a killed worker may come after it

    def listen(progress: Progress) -> None:
        nonlocal left, killed
        killed = killed and not isinstance(progress.event, WorkerLost)
        if isinstance(progress.event, Part) and progress.event.number == number and left and not killed:
            left, killed = left - 1, True
            for process in multiprocessing.active_children():
                process.kill()

    return listen


def test_a_shard_whose_worker_is_lost_twice_is_made(file: Path, tmp_path: Path) -> None:
    options = {"count": 2 * LONG, "shard_size": LONG, "seed": 7, "workers": 1}
    shards.generate(file, tmp_path / "whole", **options)
    events: list[WorkerLost] = []
    kill = kill_workers(2, 1)

    def listen(progress: Progress) -> None:
        kill(progress)
        if isinstance(progress.event, WorkerLost):
            events.append(progress.event)

    done = shards.generate(file, tmp_path / "out", on_progress=listen, **options)
    assert done.lost == 2
    assert events == [WorkerLost(1, "was killed by SIGKILL")] * 2
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_shard_that_kills_every_worker_is_given_up(file: Path, tmp_path: Path) -> None:
    options = {"count": 2 * LONG, "shard_size": LONG, "workers": 1}
    with pytest.raises(GantoolError, match=r"shard-000001\.npy \(100000 … 199999\) was tried 3 times") as error:
        shards.generate(file, tmp_path, on_progress=kill_workers(3, 1), **options)
    assert "was killed by SIGKILL" in error.value.message
    assert sorted(digests(tmp_path)) == ["index.json", "shard-000000.npy"]
    assert not multiprocessing.active_children()
    assert shards.generate(file, tmp_path, **options).made == 1


@pytest.mark.parametrize("limit", [0, 500])
def test_a_limit_on_the_size_of_files(file: Path, tmp_path: Path, limit: int) -> None:
    """0: not even index.json; 500: index.json may be there, but no shard, of 768 bytes."""
    with file_limit(limit), pytest.raises(GantoolError, match="can't be written: File too large") as error:
        shards.generate(file, tmp_path, **OPTIONS)
    assert "Free space" in error.value.hint
    assert set(digests(tmp_path)) <= {"index.json"}
    assert shards.generate(file, tmp_path, **OPTIONS).made == 5


@pytest.mark.parametrize(
    "format", ["npy", *(pytest.param(f, marks=pytest.mark.slow) for f in shards.FORMATS if f != "npy")]
)
def test_a_full_disk_stops_it_and_what_is_finished_stays(file: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    options = {"count": 12_000, "shard_size": 1000, "format": format, "workers": 2}
    if format != "npy":
        options |= {"count": 1200, "shard_size": 100}
    with small_disk(tmp_path / "disk", "600k") as disk:
        with pytest.raises(GantoolError, match="can't be written: No space left on device") as error:
            shards.generate(file, disk / "out", **options)
        assert "Free space" in error.value.hint
        made = {path.name for path in (disk / "out").iterdir()} - {".lock", "index.json"}
        assert made
        assert not [name for name in made if name.startswith(".")]
        room = tmp_path / "room"
        shutil.copytree(disk / "out", room)
    assert 0 < shards.generate(file, room, **options).made < 12
    shards.generate(file, tmp_path / "whole", **options)
    assert digests(room) == digests(tmp_path / "whole")


def test_an_index_of_the_most_shards_can_be_read_again(tmp_path: Path) -> None:
    plan = Plan("0" * 64, 0, 2**47 - MAX_SHARDS, MAX_SHARDS, 1, "parquet", (8, 8, 1), (0,) * 65_536, "cpu", True, {})
    plan.check()
    with folder.opened(tmp_path, plan, {}) as there:
        there.finished = {number: {"bytes": 10**12, "sha256": "0" * 64} for number in range(MAX_SHARDS)}
    with folder.opened(tmp_path, plan, {}) as there:
        assert len(there.damaged) == MAX_SHARDS  # the index is read; the files are not there
        assert len(there.unfinished()) == MAX_SHARDS
