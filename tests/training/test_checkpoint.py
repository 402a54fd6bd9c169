"""Checkpoints: what comes back is what went in, or an error that names the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import different, tiny_state

from gantool.errors import GantoolError
from gantool.rundir import RunDir
from gantool.training import checkpoint
from gantool.training.loop import iterate


def _state() -> dict[str, Any]:
    state = tiny_state()
    iterate(state)
    return state.state_dict()


def test_round_trip(tmp_path: Path) -> None:
    state = _state()
    checkpoint.save(tmp_path / "a.pt", state)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert loaded.pop("schema") == checkpoint.SCHEMA
    assert different(state, loaded) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(share: float, tmp_path: Path) -> None:
    path = tmp_path / "step-00000020.pt"
    checkpoint.save(path, _state())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(GantoolError, match=r"step-00000020\.pt is damaged"):
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
            loaded.pop("schema")
            assert different(state, loaded) == []
    assert len(messages) > len(places) / 2
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", bytes(range(256)) * 40, b"PK\x03\x04" + bytes(200)])
def test_garbage_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.pt"
    path.write_bytes(data)
    with pytest.raises(GantoolError, match=r"garbage\.pt is damaged"):
        checkpoint.load(path)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": checkpoint.SCHEMA, "step": _Bomb()}, "bomb.pt")
    with pytest.raises(GantoolError, match=r"bomb\.pt"):
        checkpoint.load(Path("bomb.pt"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize(("schema", "hint"), [(checkpoint.SCHEMA + 1, "Upgrade"), (0, ""), (None, "")])
def test_another_schema_is_named(schema: int | None, hint: str, tmp_path: Path) -> None:
    torch.save({"schema": schema}, tmp_path / "a.pt")
    with pytest.raises(GantoolError, match=rf"has schema {schema}; this gantool reads 1") as caught:
        checkpoint.load(tmp_path / "a.pt")
    assert caught.value.hint.startswith(hint)


def test_what_is_no_state_at_all_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "a.pt")
    with pytest.raises(GantoolError, match="has schema None"):
        checkpoint.load(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GantoolError, match=r"There is no checkpoint .*a\.pt"):
        checkpoint.load(tmp_path / "a.pt")


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GantoolError, match=r"checkpoint .*a\.pt can't be written"):
        checkpoint.save(tmp_path / "file" / "a.pt", {})


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"step": 1})

    def full(state: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(GantoolError, match="can't be written") as caught:
        checkpoint.save(path, {"step": 2})
    assert "--resume" in caught.value.hint
    monkeypatch.undo()
    assert checkpoint.load(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (1, 5, 20, 10_000_000):
        checkpoint.save(run.checkpoint(step), {"step": step})
        checkpoint.prune(run)
    assert [checkpoint.load(path)["step"] for path in run.checkpoints()] == [20, 10_000_000]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    checkpoint.save(run.checkpoint(1), {"step": 1})
    (tmp_path / "checkpoints" / ".step-00000002.pt.abc.tmp").write_bytes(b"half")
    assert run.latest_checkpoint() == run.checkpoint(1)
