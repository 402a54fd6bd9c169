"""Data read batch by batch: the same batches as of data on the device, in little memory, by a thread that ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ranks, tiny_cyclegan
from support.commands import TIMEOUT, environment
from support.inprocess import Run
from support.ranks import Ranks, only_run
from support.trainings import (
    TinyDiscriminator,
    different,
    nan_game,
    plugin,
    run_until,
    save_npz,
    start,
    tiny_game,
    tiny_state,
)

from gantool import data
from gantool.data import Dataset
from gantool.data.pack import build
from gantool.errors import GantoolError
from gantool.plugin.architecture import Input
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import Place
from gantool.run import checkpoint
from gantool.run.rundir import list_runs
from gantool.training import feed, session
from gantool.training.feed import Source, read_by_batch
from gantool.training.sampler import Sampler
from gantool.training.step import iterate

CPU = torch.device("cpu")
SHAPE = (3, 4, 4)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    if _readers():  # of what nothing holds any more
        gc.collect()
    assert not _readers()


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(feed.THREAD)]


def mapped(folder: Path, rows: int = 40, dtype: Any = np.uint8, name: str = "images") -> np.memmap[Any, Any]:
    """An array in a file, mapped as a pack's is."""
    random = np.random.default_rng(len(name))
    np.save(folder / f"{name}.npy", random.integers(0, 255, (rows, *SHAPE)).astype(dtype))
    array = np.load(folder / f"{name}.npy", mmap_mode="r")
    assert isinstance(array, np.memmap)
    return array


def paired(folder: Path, rows: int = 40) -> Dataset:
    """Images, images that go with them, and labels, all in files."""
    arrays = {"images": mapped(folder, rows), "depth": mapped(folder, rows, np.float32, "depth")}
    return Dataset("mapped", str(folder), {**arrays, "labels": np.arange(rows) % 2})


INPUTS = (
    Input("real", SHAPE, "data"),
    Input("depth", SHAPE, "data", array="depth"),
    Input("label", (), "data", array="labels"),
    Input("even", SHAPE, "data", label=0),
    Input("odd", SHAPE, "data", label=1),
    Input("z", (3,), "normal"),
)
NAMES = [item.name for item in INPUTS]


def sampler(data: Dataset, place: Place, batch: int = 6, **options: Any) -> Sampler:
    return Sampler({item.name: item for item in INPUTS}, data, batch, 3, CPU, place=place, **options)


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(two)
    for name in one:
        assert one[name].dtype == two[name].dtype
        assert one[name].stride() == two[name].stride()
        assert torch.equal(one[name], two[name]), name


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 40), batch=st.integers(1, 50), flip=st.booleans(), seed=st.integers(0, 99))
def test_the_batches_of_a_file_are_those_of_the_device(
    tmp_path_factory: pytest.TempPathFactory, rows: int, batch: int, flip: bool, seed: int
) -> None:
    """Also several arrays that share rows, classes drawn apart, batches that span epochs, and any names at any time."""
    folder = tmp_path_factory.mktemp("data")
    data = paired(folder, rows)
    device, disk = (sampler(data, place, batch, flip=flip) for place in ("device", "disk"))
    assert disk.reads_ahead
    assert not device.reads_ahead
    choose, drawn = np.random.default_rng(seed), []
    for _ in range(8):
        names = [name for name in NAMES if choose.random() < 0.6]
        drawn.append((device.draw(names), disk.draw(names)))
        assert (device.seen, device.epoch) == (disk.seen, disk.epoch)
    for one, two in drawn:  # compared last: batches keep their values while others are read
        assert_same(one, two)
    assert_same({n: device.first(device.inputs[n], 9) for n in ("real", "depth", "odd")},
                {n: disk.first(disk.inputs[n], 9) for n in ("real", "depth", "odd")})  # fmt: skip
    disk.close()


def test_the_order_leaves_the_device_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from a GPU waits for all that it was told before."""
    copies, copy = [], torch.Tensor.cpu

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        copies.append(len(tensor))
        return copy(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    made = sampler(paired(tmp_path), "disk", batch=2)
    for _ in range(40):  # two epochs of 40 rows
        made.draw(["real"])
    made.close()
    assert 2 <= len(copies) <= 3  # the thread is a few batches ahead
    assert set(copies) == {40}


def test_a_checkpoint_counts_what_was_used_not_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, whole, read = paired(tmp_path), Source.read, 0

    def counted(self: Source, rows: np.ndarray, into: Any = None) -> torch.Tensor:
        nonlocal read
        read += self.shape == SHAPE and into is not None and into.dtype == torch.float32  # of "depth"
        return whole(self, rows, into)

    monkeypatch.setattr(Source, "read", counted)
    device, disk = sampler(data, "device"), sampler(data, "disk")
    read = 0
    for _ in range(3):
        device.draw(NAMES)
        disk.draw(NAMES)
    deadline = time.monotonic() + TIMEOUT
    while read < 3 + feed.AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.01)
    assert read == 3 + feed.AHEAD  # that far ahead, and no further
    assert disk.seen == 18
    saved = disk.state_dict()
    assert device.state_dict()["positions"] == saved["positions"]
    start = {**saved, "positions": dict.fromkeys(saved["positions"], 0)}
    for state in (saved, start, saved):  # `start`: back, as after a rollback
        for place in ("device", "disk"):
            again = sampler(data, place)  # type: ignore[arg-type]
            for loaded in (again, device, disk):
                loaded.load_state_dict(state)
            for _ in range(3):
                batch = device.draw(NAMES)
                assert_same(again.draw(NAMES), batch)
                assert_same(disk.draw(NAMES), batch)
            again.close()
    disk.close()


def test_rows_read_at_once_are_shuffled_and_do_not_disturb_what_is_read_ahead(tmp_path: Path) -> None:
    data = paired(tmp_path)
    device, disk = sampler(data, "device", flip=True), sampler(data, "disk", flip=True)
    wanted = torch.cat([device.draw(["real", "odd"])["odd"] for _ in range(4)])[:20]
    disk.draw(["real", "odd"])
    before = _readers()
    for source in (device, disk):  # whatever was drawn before
        assert torch.equal(source.shuffled(source.inputs["odd"], 20), wanted)
    for source in (device, disk):
        assert torch.equal(torch.cat(list(source.rows("odd", 20))), wanted)
    device.load_state_dict(disk.state_dict())
    assert_same(disk.draw(["real", "odd"]), device.draw(["real", "odd"]))
    assert _readers() == before
    assert all(thread.is_alive() for thread in before)
    disk.close()


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600, 10_000])
def test_rows_come_some_at_a_time_and_never_twice(count: int) -> None:
    values = np.arange(600, dtype=np.float32).reshape(-1, 1, 1, 1)
    data = Dataset(name="numbers", source="numbers", arrays={"images": values})
    made = Sampler({"real": Input("real", (1, 1, 1), "data")}, data, 4, seed=0, device=torch.device("cpu"))
    parts = list(made.rows("real", count))
    assert all(0 < len(part) <= 256 for part in parts)
    numbers = torch.cat(parts).flatten().tolist()
    assert len(set(numbers)) == len(numbers) == min(count, 600)


def test_a_cpu_leaves_large_files_on_the_disk_and_takes_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = dict(paired(tmp_path).arrays)
    assert read_by_batch(arrays, CPU) == set()
    monkeypatch.setattr(feed, "SMALL", arrays["images"].nbytes)
    assert read_by_batch(arrays, CPU) == {"depth"}  # four bytes a value
    assert read_by_batch(arrays, CPU, "device") == set()
    assert read_by_batch(arrays, CPU, "disk") == {"images", "depth"}  # labels are a number a row
    in_memory = {name: np.array(array) for name, array in arrays.items()}
    assert read_by_batch(in_memory, CPU) == set()  # nothing to win


def test_a_gpu_takes_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, cuda = dict(paired(tmp_path).arrays), torch.device("cuda")
    size = sum(array.nbytes for array in arrays.values() if array.ndim > 1)
    for free, away in ((2 * size, set()), (2 * size - 1, {"images", "depth"})):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * size))
        assert read_by_batch(arrays, cuda) == away
        assert read_by_batch(arrays, cuda, "device") == set()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (size - 1, 10 * size))
    with pytest.raises(GantoolError, match=r"The data take .* free") as caught:
        read_by_batch(arrays, cuda, "device")
    assert "--data-on disk" in caught.value.hint


def _layouts(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Arrays in files and in memory: as they are stored, and their values in the plain layout."""
    plain = np.random.default_rng(0).integers(0, 9, (30, *SHAPE)).astype(np.float32)
    alike = np.broadcast_to(plain[:1], plain.shape)
    stored = {"C": plain, "F": np.asfortranarray(plain), "foreign": plain.astype(">f4")}
    for name, array in {**stored, "view": np.concatenate((plain[:3], plain))}.items():
        np.save(folder / f"{name}.npy", array)
    files = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*stored, "view")}
    fixed = plain.copy()
    fixed.flags.writeable = False
    return {
        **{f"file {name}": (array, plain) for name, array in files.items()},
        "file view": (files["view"][3:], plain),
        **{name: (array, plain) for name, array in stored.items()},
        "mirrored": (plain[..., ::-1].copy()[..., ::-1], plain),
        "repeated": (alike, alike.copy()),
        "read-only": (fixed, plain),
    }


@pytest.mark.parametrize("place", ["device", "disk"])
@pytest.mark.filterwarnings("error")
def test_arrays_of_any_layout_are_read(place: Place, tmp_path: Path) -> None:
    for name, (array, plain) in _layouts(tmp_path).items():
        source = Sampler({"real": INPUTS[0]}, Dataset("d", "d", {"images": array}), 7, 0, CPU, place=place)
        assert source.reads_ahead == (place == "disk")
        wanted = Sampler({"real": INPUTS[0]}, Dataset("d", "d", {"images": plain}), 7, 0, CPU)
        for _ in range(6):
            assert torch.equal(source.draw(["real"])["real"], wanted.draw(["real"])["real"]), name
        source.close()


def test_files_are_read_whatever_happens_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, rows = mapped(tmp_path), np.array([3, 39, 3])
    wanted = np.array(array)
    private = np.load(tmp_path / "images.npy", mmap_mode="c")
    private[3] = 77  # which is in no file
    assert np.array_equal(Source(private).read(rows).numpy(), private[rows])
    whole = os.preadv
    with monkeypatch.context() as patch:  # a file system may give less than was asked for
        patch.setattr(os, "preadv", lambda file, memory, place: whole(file, (memory[0][:5],), place))
        assert np.array_equal(Source(array).read(rows).numpy(), wanted[rows])
    (tmp_path / "images.npy").unlink()  # it is still mapped
    assert np.array_equal(Source(array).read(rows).numpy(), wanted[rows])


def test_a_source_leaves_no_open_file(tmp_path: Path) -> None:
    gc.collect()  # what other tests left
    array, before = mapped(tmp_path), _open_files()
    source = Source(array)
    source.read(np.array([0]))
    del source
    gc.collect()
    assert _open_files() == before


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_a_file_that_is_cut_off_ends_the_training_with_its_name(tmp_path: Path) -> None:
    state = tiny_state(Dataset("d", "d", {"images": mapped(tmp_path)}), place="disk")
    iterate(state)
    os.truncate(tmp_path / "images.npy", 200)

    def go_on() -> None:
        for _ in range(2 * feed.AHEAD):
            iterate(state)

    with pytest.raises(GantoolError, match=r"images\.npy has become shorter") as caught:
        go_on()
    assert "--resume" in caught.value.hint
    assert not _readers()


def test_an_error_of_the_thread_is_raised_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = start("mlp", tmp_path, data_on="disk")
    read, calls = Source.read, 0

    def fails(self: Source, rows: np.ndarray, into: Any = None) -> torch.Tensor:
        nonlocal calls
        calls += threading.current_thread() is not threading.main_thread()
        if calls > 9:
            raise OSError(5, "Input/output error")
        return read(self, rows, into)

    monkeypatch.setattr(Source, "read", fails)
    with pytest.raises(GantoolError, match=r"can't be read any more: .*Input/output error") as caught:
        run_until(opened)
    assert isinstance(caught.value.__cause__, OSError)
    assert opened.run.read().status == "failed"
    assert 1 <= opened.state.step <= 9
    monkeypatch.setattr(Source, "read", read)
    assert not _readers()


def test_the_thread_ends_with_the_run_and_with_its_owner(tmp_path: Path) -> None:
    opened = start("mlp", tmp_path, data_on="disk")
    iterate(opened.state)
    assert _readers()
    run_until(opened)
    assert not _readers()
    iterate(opened.state)  # goes on
    assert _readers()
    del opened
    gc.collect()
    assert not _readers()


FIT = {"steps": 40, "tick": 10}


@pytest.mark.parametrize(
    "name", ["mlp", pytest.param("dcgan", marks=pytest.mark.slow), pytest.param("wgan", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("first", ["device", "disk"])
def test_a_run_stopped_on_one_and_resumed_on_the_other_is_bit_equal(name: str, first: Place, tmp_path: Path) -> None:
    whole = start(name, tmp_path, data_on="device", **FIT)
    run_until(whole)
    half = start(name, tmp_path, data_on=first, **FIT)
    assert run_until(half, stop=13) == "interrupted"
    assert half.run.read().data_on == first
    resumed = session.resume(half.run, data_on="disk" if first == "device" else "device")
    assert resumed.state.sampler.reads_ahead == (first == "device")
    run_until(resumed)
    assert different(checkpoint.load(whole.run.checkpoint(40)), checkpoint.load(resumed.run.checkpoint(40))) == []
    kept = session.resume(resumed.run, steps=41)
    assert kept.info.data_on == ("disk" if first == "device" else "device")


def _unpaired() -> Plugin:
    """Two streams, and a generator that takes data: its grids and its batch statistics are of rows read at a tick."""
    return Plugin("tiny-cyclegan", "tests", "1", tiny_cyclegan.gantool_architectures()[0])


@pytest.mark.parametrize("make", [_unpaired, lambda: nan_game(lambda move: move == 25)], ids=["unpaired", "rollback"])
def test_a_run_from_disk_is_bit_equal(make: Callable[[], Plugin], tmp_path: Path) -> None:
    """A rollback drops what was read ahead."""
    ends = []
    for place in ("device", "disk"):
        opened = start(make(), tmp_path, data_on=place, on_nan="rollback", **FIT)
        run_until(opened)
        ends.append(checkpoint.load(opened.run.checkpoint(40)))
    assert opened.info.rollbacks == (make is not _unpaired)
    assert different(*ends) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the processes are forks of one server")
def test_each_of_two_processes_reads_its_own_part(tmp_path: Path) -> None:
    finals = []
    for place in ("device", "disk"):
        folder = tmp_path / place
        folder.mkdir()
        save_npz(folder / "noise.npz")
        given = {"widths": (16, 24), "latent_dim": 5, "batch_size": 8, "steps": 20}
        ended = Ranks(2, folder, ranks.together, ranks.train, "mlp", given, {"data_on": place, "flip": True}).join()
        assert [one.code for one in ended] == [0, 0], ended
        finals.append(checkpoint.load(only_run(folder).latest_checkpoint()))
    assert different(*finals) == []


def test_the_command_trains_on_a_pack_as_on_its_file_and_says_where_data_is(cli: Run, here: Path) -> None:
    build.save(data.load(str(save_npz(Path("noise.npz")))), Path("pack"))
    tiny = ("--widths", 8, "--batch-size", 8, "--device", "cpu", "--steps", 20)
    for source, where in (("noise.npz", "device"), ("pack", "auto"), ("pack", "disk")):
        code, _, errors = cli("train", "mlp", *tiny, "--data", source, "--data-on", where)
        assert code == 0, errors
        assert ("of pack (read batch by batch), cpu" in errors) == (where == "disk")
    wanted, *others = (checkpoint.load(run.checkpoint(20)) for run in list_runs(Path("runs")))
    assert all(different(wanted, other) == [] for other in others)
    code, _, errors = cli("train", "mlp", "--resume", 3, "--steps", 21, "--data-on", "auto")
    assert code == 0, errors
    assert "of pack, cpu" in errors
    assert list_runs(Path("runs"))[-1].read().data_on == "auto"


def test_a_training_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    class Broken(TinyDiscriminator):
        def forward(self, sample: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    opened = start(plugin(lambda spec: tiny_game(spec, discriminator=Broken(spec))), tmp_path, data_on="disk")
    with pytest.raises(KeyboardInterrupt):
        run_until(opened)
    assert not _readers()


MILLION = """
import sys
import numpy as np
from pathlib import Path
from gantool.data import Dataset
from gantool.plugin import registry
from gantool.plugin.options import resolve
from gantool.training.state import State
from gantool.training.step import iterate
import torch

torch.set_num_threads(1)
name, folder = sys.argv[1], Path(sys.argv[2])
images = np.load(folder / "images.npy", mmap_mode="r")
data = Dataset("million", "million", {"images": images, "labels": np.load(folder / "labels.npy")})
architecture = registry.find(name).architecture
small = {"width": 8} if name == "dcgan" else {"widths": (64, 64)}
config, recipe = resolve(architecture, {"batch_size": 64, **small})
state = State(architecture, config, recipe, data, seed=0, device=torch.device("cpu"), precision="fp32",
              engine="rewritten", flip=True)
assert state.sampler.reads_ahead
for _ in range(300):
    iterate(state)
state.meter.read()
state.sampler.close()
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(state.sampler.seen, int(peak.split()[1]) * 1024)
"""


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with three times as many bytes of images as the process may take, all in the system's cache."""
    folder, rows, shape = tmp_path_factory.mktemp("million"), 1_000_000, (3, 32, 32)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (rows, *shape))
    block = np.random.default_rng(0).integers(0, 256, (10_000, *shape), np.uint8)
    for first in range(0, rows, len(block)):
        images[first : first + len(block)] = block
    del images
    np.save(folder / "labels.npy", np.arange(rows) % 10)
    yield folder
    (folder / "images.npy").unlink()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_a_million_images_train_in_little_memory(name: str, million: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION, name, str(million)],
        env={**environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    seen, peak = map(int, done.stdout.split())
    assert seen == 300 * 64
    assert peak < 1.5e9, f"{peak:,} bytes"
