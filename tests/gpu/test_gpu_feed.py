"""Data that are not on the GPU: the same weights as with data that are, and augmentation inside a CUDA graph."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.trainings import different, run_until, start, tiny_state
from torch import Tensor

from gantool.data import Dataset
from gantool.plugin.architecture import Input
from gantool.plugin.game import Loss, Player
from gantool.plugin.train_options import Place
from gantool.run import checkpoint
from gantool.training import augment, feed, session
from gantool.training.ada import Ada
from gantool.training.sampler import Sampler

pytestmark = pytest.mark.gpu

CUDA = "cuda"
SHAPE = (3, 16, 16)
ALL = "color,translation,cutout"


def mapped(folder: Path, rows: int = 200) -> Dataset:
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (rows, *SHAPE), np.uint8))
    return Dataset("mapped", str(folder), {"images": np.load(folder / "images.npy", mmap_mode="r")})


def finals(folder: Path, name: str, engine: str, **options: Any) -> dict[str, Any]:
    opened = start(name, folder, device=CUDA, engine=engine, **options)
    assert opened.state.engine.name == engine
    run_until(opened)
    return checkpoint.load(opened.run.checkpoint(40))


def test_batches_of_a_file_are_those_of_the_device_while_pinned_memory_is_used_again(tmp_path: Path) -> None:
    data, item = mapped(tmp_path), Input("real", SHAPE, "data")
    device, disk = (
        Sampler({"real": item}, data, 32, 0, torch.device(CUDA), place=place, flip=True)
        for place in ("device", "disk")  # type: ignore[arg-type]
    )
    busy = torch.randn(4096, 4096, device=CUDA)
    kept = []
    for _ in range(10 * feed.AHEAD):
        busy = busy @ busy * 1e-3  # so that copies wait, and the thread has to
        kept.append(disk.draw(["real"])["real"])
    for batch in kept:
        assert torch.equal(batch, device.draw(["real"])["real"])
    disk.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(feed.THREAD)]


@pytest.mark.parametrize("engine", ["eager", "graph"])
@pytest.mark.parametrize("name", ["mlp", "dcgan", "wgan"])
def test_a_run_from_disk_is_that_from_the_device(name: str, engine: str, tmp_path: Path) -> None:
    seen = {"flip": True, "diffaugment": ALL}
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    try:
        one, two = (finals(tmp_path, name, engine, data_on=place, **seen) for place in ("device", "disk"))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert one["sampler"]["positions"] == two["sampler"]["positions"]
    assert torch.equal(one["sampler"]["latents"], two["sampler"]["latents"])
    for module, tensors in one["modules"].items():
        for key, value in tensors.items():
            torch.testing.assert_close(two["modules"][module][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", ["device", "disk"])
def test_a_run_stopped_on_one_and_resumed_on_the_other_is_bit_equal(first: Place, tmp_path: Path) -> None:
    options = {"device": CUDA, "engine": "graph", "flip": True, "diffaugment": ALL}
    whole = start("mlp", tmp_path, data_on="device", **options)
    run_until(whole)
    half = start("mlp", tmp_path, data_on=first, **options)
    run_until(half, stop=20)
    resumed = session.resume(half.run, data_on="disk" if first == "device" else "device")
    run_until(resumed)
    assert different(checkpoint.load(whole.run.checkpoint(40)), checkpoint.load(resumed.run.checkpoint(40))) == []


def test_what_does_not_fit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mapped(tmp_path)
    assert feed.read_by_batch(data.arrays, torch.device(CUDA)) == set()
    monkeypatch.setattr(feed, "SHARE", 0.0)
    assert feed.read_by_batch(data.arrays, torch.device(CUDA)) == {"images"}


def test_the_augmentation_waits_for_nothing_and_can_be_captured() -> None:
    images = torch.rand(8, *SHAPE, device=CUDA) * 2 - 1
    augment.augment(images, augment.parse(ALL))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment.augment(images, augment.parse(ALL))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = augment.augment(images, augment.parse(ALL))
    graph.replay()
    first = made.clone()
    graph.replay()
    assert not torch.equal(first, made)  # drawn anew


def test_the_adaptive_augmentation_waits_for_nothing_and_a_graph_reads_its_probability() -> None:
    images = torch.rand(8, *SHAPE, device=CUDA) * 2 - 1
    made = Ada(SHAPE[1:], 8, torch.device(CUDA))
    judge = Player("judge", "discriminator", {}, lambda batch: Loss({}), ())
    loss = Loss({}, {"accuracy_real": torch.ones((), device=CUDA)})

    def step() -> Tensor:
        made.measure(judge, loss)
        return made([images])[0]

    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
        made.adapt(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    made.p.zero_()
    with torch.cuda.graph(graph):
        seen = step()
    graph.replay()
    assert torch.equal(seen, images)
    made.p.fill_(1.0)
    graph.replay()
    assert bool((seen != images).flatten(1).any(1).all())
    assert made.state_dict() == {"p": 1.0, "sums": [[2.0, 2.0]]}


def test_no_thread_outlives_its_state() -> None:
    state = tiny_state(place="disk")
    state.sampler.draw(["real"])
    del state
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(feed.THREAD)]
