"""Checkpoints: what comes back is what went in, or an error that names the file."""

from __future__ import annotations

import copy
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import different, tiny_state

from gantool.errors import GantoolError
from gantool.run import checkpoint
from gantool.run.rundir import RunDir
from gantool.training.step import iterate


def _state() -> dict[str, Any]:
    state = tiny_state()
    iterate(state)
    return state.state_dict()


def test_round_trip(tmp_path: Path) -> None:
    state = _state()
    checkpoint.save(tmp_path / "a.pt", state)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert different(state, loaded) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99, b"not a checkpoint", bytes(range(256)) * 40, b"PK\x03\x04" * 99])
def test_a_file_cut_off_or_overwritten_is_named(kept: float | bytes, tmp_path: Path) -> None:
    path = tmp_path / "step-00000020.pt"
    checkpoint.save(path, _state())
    data = path.read_bytes()
    path.write_bytes(kept if isinstance(kept, bytes) else data[: int(kept * len(data))])
    with pytest.raises(checkpoint.Damaged, match=r"step-00000020\.pt is damaged"):
        checkpoint.load(path)


def test_a_flipped_bit_anywhere_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    state, path = _state(), tmp_path / "a.pt"
    checkpoint.save(path, state)
    data, messages = path.read_bytes(), list[str]()
    places = range(0, len(data), 97)
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            loaded = checkpoint.load(path)
        except GantoolError as error:
            messages.append(error.message)
        else:  # padding, or a time in the archive
            assert different(state, loaded) == []
    assert len(messages) > len(places) / 2
    assert all(str(path) in message for message in messages)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": checkpoint.SCHEMA, "step": _Bomb()}, "bomb.pt")
    with pytest.raises(GantoolError, match=r"bomb\.pt"):
        checkpoint.load(Path("bomb.pt"))
    assert not Path("exploded").exists()


# --- what a file claims is checked against its bytes before anything is allocated

MUCH = 2**40  # bytes: more than any machine that runs this has


def _repacked(path: Path, method: int = zipfile.ZIP_STORED, pickled: bytes | None = None) -> None:
    """Write the archive again, with another method or another pickle."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, pickled if pickled and name.endswith("/data.pkl") else data)


def _repickled(path: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        data = archive.read(name)
    assert old in data
    _repacked(path, pickled=data.replace(old, new))


def _expanded(path: Path) -> None:
    torch.save({"schema": 2, "x": torch.zeros(1).expand(MUCH)}, path)


def _compressed(path: Path) -> None:
    torch.save({"schema": 2, "x": torch.zeros(2**20)}, path)
    _repacked(path, zipfile.ZIP_DEFLATED)


def _shared_bytes(path: Path) -> None:
    """100 entries of the archive that are the same bytes of the file."""
    torch.save({"schema": 2, "x": torch.zeros(2**16)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        (entry,) = (entry for entry in archive.infolist() if entry.filename.endswith("/data/0"))
        for number in range(100):
            other = copy.copy(entry)
            other.filename = entry.filename[:-1] + str(number + 1)
            archive.filelist.append(other)
        archive.writestr(entry.filename + "last", b"")  # so that the directory is written anew


def _large_tensor(path: Path) -> None:
    torch.save({"schema": 2, "x": torch.zeros(77)}, path)
    size = pickle.BININT1 + bytes([77]) + pickle.TUPLE1
    _repickled(path, size, pickle.LONG1 + bytes([8]) + MUCH.to_bytes(8, "little") + pickle.TUPLE1)


def _large_storage(path: Path) -> None:
    torch.save({"schema": 2, "x": torch.zeros(77)}, path)
    _repickled(path, b"cpuq\x07K\x4d", b"cpuq\x07" + pickle.LONG1 + bytes([8]) + MUCH.to_bytes(8, "little"))


def _bytearray(path: Path) -> None:
    torch.save({"schema": 2}, path)
    call = b"\x80\x02cbuiltins\nbytearray\n" + pickle.LONG1 + bytes([8]) + MUCH.to_bytes(8, "little")
    _repacked(path, pickled=call + b"\x85R.")


def _memo_index(path: Path) -> None:
    torch.save({"schema": 2}, path)
    _repacked(path, pickled=b"\x80\x02}" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f.")


def _doubled(path: Path) -> None:
    """A list of two equal lists of two equal lists …"""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    torch.save({"schema": 2, "x": value}, path)


def _tuple_keys(path: Path) -> None:
    """A key whose hash takes 2**60 steps."""
    torch.save({"schema": 2}, path)
    _repacked(path, pickled=b"\x80\x02})" + b"q\x01h\x01\x86" * 60 + b"K\x01s.")


def _in_itself(path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    torch.save({"schema": 2, "x": value}, path)


BOMBS = (
    (_expanded, "larger than the file"), (_compressed, "is compressed"), (_shared_bytes, "declare more bytes"),
    (_large_tensor, "outside its storage"), (_large_storage, "has 308 bytes, not"),
    (_bytearray, "names builtins.bytearray"), (_memo_index, "schema None"), (_doubled, "stand for more"),
    (_tuple_keys, "neither a text nor a number"), (_in_itself, "recursion"),
)  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), BOMBS)
def test_a_file_that_claims_more_than_it_holds_costs_itself_only(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    checkpoint.save(run.checkpoint(1), {"step": 1})
    make(run.checkpoint(2))
    assert run.checkpoint(2).stat().st_size < 2**20
    path, _, notes = checkpoint.load_newest(run)
    assert path == run.checkpoint(1)
    assert re.search(reason, "".join(notes))


def test_weights_of_many_names_and_small_repeated_buffers_come_back(tmp_path: Path) -> None:
    shared = torch.ones(1000, 100)
    state = {"weights": [shared] * 100, "mean": torch.ones(1).expand(3, 100, 100), "half": shared.t()[::2]}
    checkpoint.save(tmp_path / "a.pt", state)
    assert different(state, checkpoint.load(tmp_path / "a.pt")) == []


def test_a_state_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"a\.pt can't be written: .*noise.* more than the whole file") as caught:
        checkpoint.save(tmp_path / "a.pt", {"noise": torch.ones(1).expand(2**20)})
    assert "contiguous" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "schema", "hint"),
    [({"schema": 4}, 4, "Upgrade"), ({"schema": 0}, 0, ""), ({"schema": None}, None, ""), (torch.ones(3), None, "")],
)
def test_another_schema_and_no_state_are_named(content: Any, schema: int | None, hint: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(GantoolError, match=rf"has schema {schema}; this gantool reads up to 3") as caught:
        checkpoint.load(tmp_path / "a.pt")
    assert caught.value.hint.startswith(hint)


def test_a_file_of_schema_1_is_migrated_and_its_checksums_are_checked(tmp_path: Path) -> None:
    state, path = _state(), tmp_path / "old.pt"
    torch.save({"schema": 1, **state}, path)
    assert different({**state, "rollbacks": 0}, checkpoint.load(path)) == []
    assert sorted(checkpoint.MIGRATIONS) == list(range(1, checkpoint.SCHEMA))
    data = bytearray(path.read_bytes())
    place = data.index(state["modules"]["generator.generator"]["linear.weight"].numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(checkpoint.Damaged, match=r"old\.pt is damaged: the checksum of .* is wrong"):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"There is no checkpoint .*a\.pt"):
        checkpoint.load(tmp_path / "a.pt")


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GantoolError, match=r"checkpoint .*a\.pt can't be written"):
        checkpoint.save(tmp_path / "file" / "a.pt", {})


@pytest.mark.parametrize(
    ("keep", "keep_every", "wanted"),
    [
        (1, 0, [1000]),
        (2, 0, [950, 1000]),
        (3, 0, [900, 950, 1000]),
        (100, 0, list(range(50, 1001, 50))),
        (1, 250, [250, 500, 750, 1000]),
        (2, 500, [500, 950, 1000]),
        (1, 120, [150, 250, 400, 500, 600, 750, 850, 1000]),  # the first at or after 120, 240, 360, …
        (1, 10**9, [1000]),
    ],
)
def test_the_newest_and_one_of_every_so_many_steps_are_kept(
    keep: int, keep_every: int, wanted: list[int], tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    run.checkpoint(0).parent.mkdir()
    for step in range(50, 1001, 50):
        run.checkpoint(step).touch()
        checkpoint.prune(run, keep, keep_every)
    assert [run.step_of(path) for path in run.checkpoints()] == wanted


def test_the_digest_is_over_names_types_shapes_and_values_in_any_order() -> None:
    def of(**state: Any) -> str:
        return checkpoint.digest(state)

    zeros = torch.zeros(2, 3)
    same = of(a=zeros, b={"x": 1, "y": [1.5, None]})
    assert of(b={"y": [1.5, None], "x": 1}, a=zeros.t().contiguous().t()) == same  # another order, in memory too
    others = [
        of(a=zeros, c={"x": 1, "y": [1.5, None]}),
        of(a=zeros.to(torch.int32), b={"x": 1, "y": [1.5, None]}),
        of(a=zeros.reshape(3, 2), b={"x": 1, "y": [1.5, None]}),
        of(a=-zeros, b={"x": 1, "y": [1.5, None]}),
        of(a=zeros, b={"x": True, "y": [1.5, None]}),
        of(a=zeros, b={"x": 1.0, "y": [1.5, None]}),
        of(a=zeros, b={"x": 1, "y": (1.5, None)}),
        of(a=zeros, b={"x": 1, "y": [1.5, None], "z": {}}),
        of(a=zeros, b={"x": "1", "y": [1.5, None]}),
    ]
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_kind_of_tensor_comes_back(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    state = {"x": torch.ones(shape).to(dtype), 7: "an integer key"}
    checkpoint.save(tmp_path / "a.pt", state)
    assert different(state, checkpoint.load(tmp_path / "a.pt")) == []


def test_a_change_that_the_archive_does_not_notice_is_found_by_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"schema": 2, "x": torch.ones(3), "digest": checkpoint.digest({"schema": 2, "x": torch.zeros(3)})}, path)
    with pytest.raises(checkpoint.Damaged, match="does not have the digest that was written with it"):
        checkpoint.load(path)


# --- the newest that is sound


def _three(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    for step in (1, 2, 3):
        checkpoint.save(run.checkpoint(step), {"step": step, "x": torch.ones(1000)})
    return run


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_the_newest_sound_checkpoint_is_loaded_and_the_damaged_are_noted(tmp_path: Path) -> None:
    run = _three(tmp_path)
    path, state, notes = checkpoint.load_newest(run)
    assert (path, state["step"], notes) == (run.checkpoint(3), 3, [])
    _cut(run.checkpoint(3))
    path, state, (note,) = checkpoint.load_newest(run)
    assert (path, state["step"]) == (run.checkpoint(2), 2)
    assert re.search(r"step-00000003\.pt is damaged: .*\. step-00000002\.pt is used instead\.$", note)
    _cut(run.checkpoint(2))
    assert len(checkpoint.load_newest(run)[2]) == 2
    torch.save({"schema": 4}, run.checkpoint(4))  # of a newer gantool: not passed over
    with pytest.raises(GantoolError, match="has schema 4"):
        checkpoint.load_newest(run)
    run.checkpoint(4).unlink()
    _cut(run.checkpoint(1))
    with pytest.raises(checkpoint.Damaged, match=r"step-00000003\.pt is damaged") as caught:
        checkpoint.load_newest(run)
    assert "start a new run" in caught.value.hint
    with pytest.raises(GantoolError, match="has no checkpoint"):
        checkpoint.load_newest(RunDir(tmp_path / "none"))


def test_a_checkpoint_removed_while_one_looks_is_looked_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, read = _three(tmp_path), torch.load

    def train_on(path: Path, **options: Any) -> Any:
        monkeypatch.undo()
        checkpoint.save(run.checkpoint(4), {"step": 4})
        path.unlink()
        return read(path, **options)

    monkeypatch.setattr(torch, "load", train_on)
    assert checkpoint.load_newest(run)[0] == run.checkpoint(4)


def test_damaged_checkpoints_are_set_aside_and_half_written_ones_not_seen(tmp_path: Path) -> None:
    run = _three(tmp_path)
    checkpoint.set_aside(run, run.checkpoint(2))
    half = tmp_path / "checkpoints" / ".gantool-abc.tmp" / "new" / "step-00000004.pt"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert run.checkpoints() == [run.checkpoint(1), run.checkpoint(2)]
    assert (tmp_path / "checkpoints" / "step-00000003.damaged").is_file()
