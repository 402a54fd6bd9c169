"""Several processes on one machine, over gloo: the same training as by one, and they end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support import ranks, tiny_cgan, tiny_r1, tiny_r3
from support.commands import TIMEOUT, environment
from support.inprocess import Run
from support.ranks import Ranks, only_run
from support.trainings import TinyDiscriminator, TinyGenerator, different, flat, plugin, run_until, save_npz, tiny_game
from torch import Tensor, nn

from gantool.errors import GantoolError
from gantool.plugin import objectives, registry
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.game import Game, two_player
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import TrainOptions
from gantool.run import checkpoint, metrics_log
from gantool.run.rundir import RunDir, list_runs
from gantool.training import distributed, engines, session
from gantool.training.distributed import ALONE, Group

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the processes are forks of one server")

# A sum in another order differs in its last bits: measured 3e-8.
TOLERANCE = 1e-6
SMALL = {"widths": (16, 24), "latent_dim": 5, "batch_size": 8, "steps": 40}
MLP = {**SMALL, "dropout": 0.0}


def critic() -> Plugin:
    """Wasserstein with clipped weights, without batch statistics."""

    def build(spec: SampleSpec) -> Game:
        generator, judge = TinyGenerator(spec), TinyDiscriminator(spec)
        return two_player(generator, judge, objectives.Wasserstein(), spec=spec, latent_dim=4, clip=0.01)

    return plugin(build)


def conditional() -> Plugin:
    return Plugin("cgan", "tests", "1", tiny_cgan.gantool_architectures()[0])


def lazy() -> Plugin:
    """R1 gives no gradient to one of the parameters."""
    return Plugin("r1", "tests", "1", tiny_r1.gantool_architectures()[0])


def relativistic() -> Plugin:
    """Schedules of rates, β₂, the average and the penalties' weight; an optimizer of its own."""
    return Plugin("r3", "tests", "1", tiny_r3.gantool_architectures()[0])


GAMES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mlp": ("mlp", MLP),
    "simultaneous": ("mlp", {**MLP, "updates": "simultaneous"}),
    "critic": (critic, {"optimizer": "rmsprop", "discriminator_steps": 3, "batch_size": 8, "steps": 40}),
    "labels": (conditional, {"batch_size": 8, "steps": 40}),
    "lazy": (lazy, {"batch_size": 8, "steps": 40, "learning_rate": 1e-5}),  # double backward rounds more
    "cgan": ("cgan", {**MLP, "embed_dim": 3}),
    "scheduled": (relativistic, {"batch_size": 8, "steps": 40, "learning_rate": 1e-5}),  # double backward, too
}


def trained(size: int, folder: Path, architecture: Any, given: dict[str, Any], **common: Any) -> RunDir:
    """A run by `size` processes, in `folder`."""
    folder.mkdir(exist_ok=True)
    save_npz(folder / "noise.npz")
    if size == 1:
        before = Path.cwd()
        os.chdir(folder)
        try:
            ranks.train(ALONE, architecture, given, common)
        finally:
            os.chdir(before)
    else:
        ended = Ranks(size, folder, ranks.together, ranks.train, architecture, given, common).join()
        assert [one.code for one in ended] == [0] * size, ended
    return only_run(folder)


def final(run: RunDir) -> dict[str, Any]:
    return checkpoint.load(run.latest_checkpoint())


@pytest.mark.parametrize("game", GAMES)
def test_the_same_global_batches_on_1_and_2_processes_give_the_same_weights(game: str, tmp_path: Path) -> None:
    architecture, given = GAMES[game]
    one = trained(1, tmp_path / "one", architecture, given)
    two = trained(2, tmp_path / "two", architecture, given)
    wanted, got = (flat({key: final(run)[key] for key in ("modules", "ema")}) for run in (one, two))
    assert wanted.keys() == got.keys()
    for name in wanted:
        torch.testing.assert_close(
            got[name], wanted[name], rtol=0, atol=TOLERANCE, msg=lambda text, n=name: f"{n} {text}"
        )
    assert torch.equal(final(one)["sampler"]["latents"], final(two)["sampler"]["latents"])

    records = [metrics_log.read_metrics(run) for run in (one, two)]
    assert [r["step"] for r in records[1]] == [20, 40]
    for first, second in zip(*records, strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() - {"seconds", "images_per_second"}:
            assert second[key] == pytest.approx(first[key], rel=1e-3, abs=1e-4), key
    assert two.read().processes == 2
    assert two.read().status == "finished"


def test_resumed_on_2_processes_is_bit_equal_to_never_stopped_on_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(2, tmp_path / "whole", "mlp", SMALL)  # with dropout: each process has random numbers of its own
    half = trained(2, tmp_path / "half", "mlp", {**SMALL, "steps": 20})
    ended = Ranks(2, tmp_path / "half", ranks.together, ranks.go_on, half.path, 40).join()
    assert [one.code for one in ended] == [0, 0], ended
    assert different(final(whole), final(half)) == []
    assert len(final(half)["rng"]["others"]) == 1
    assert not torch.equal(final(half)["rng"]["cpu"], final(half)["rng"]["others"][0]["cpu"])

    monkeypatch.chdir(tmp_path / "half")
    alone = session.resume(half, steps=50)
    assert any(note.startswith("2 process(es) trained this run, now 1") for note in alone.notes)
    assert run_until(alone) == "finished"
    assert half.read().processes == 1
    del alone  # and its lock
    ended = Ranks(2, tmp_path / "half", ranks.together, ranks.go_on, half.path, 60).join()
    assert [one.code for one in ended] == [0, 0], ended
    assert "1 process(es) trained this run, now 2" in ended[0].text
    assert [record["step"] for record in metrics_log.read_metrics(half)] == [20, 40, 50, 60]


def options(folder: Path, **more: object) -> list[object]:
    """The arguments of `gantool train mlp` on noise in `folder`."""
    save_npz(folder / "noise.npz")
    given = {"data": "noise.npz", "widths": "16,24", "latent-dim": 5, "device": "cpu", "tick": 20, "batch-size": 8}
    return ["train", "mlp", *(word for key, value in {**given, **more}.items() for word in (f"--{key}", value))]


def test_a_batch_that_does_not_divide_is_one_error(tmp_path: Path) -> None:
    ended = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path, **{"batch-size": 7})).join()
    assert [one.code for one in ended] == [1, 1]
    text = "".join(one.text for one in ended)
    assert text.count("Error: --batch-size 7 can't be divided among 2 processes") == 1
    assert text.count("Error") == 1
    assert "use 6 or 8" in text
    assert not list_runs(tmp_path / "runs")


def test_only_the_leader_speaks_and_writes(tmp_path: Path) -> None:
    first, second = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path, steps=20)).join()
    assert (first.code, second.code) == (0, 0)
    assert "2 processes, seed 0 → runs/0001-mlp-noise" in first.text
    assert "finished at step 20" in first.text
    assert second.text == ""
    run = only_run(tmp_path)
    names = {path.name for path in run.path.iterdir()}
    assert names == {"run.json", "metrics.jsonl", "checkpoints", "samples", "curves.png", ".lock"}


def test_sigterm_to_one_stops_all_in_the_same_step_and_saves(tmp_path: Path) -> None:
    started = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path, steps=10**6))
    _wait_for_tick(tmp_path, 20)
    os.kill(started.processes[1].pid or 0, signal.SIGTERM)
    first, second = started.join()
    assert (first.code, second.code) == (130, 130), (first.text, second.text)
    run = only_run(tmp_path)
    assert run.read().status == "interrupted"
    assert f"interrupted at step {run.read().step} " in first.text
    assert run.step_of(run.latest_checkpoint()) == run.read().step


class Poisoned(nn.Module):
    """A discriminator's scores, which become NaN in process 1 after `left` calls, once."""

    def __init__(self, spec: SampleSpec, left: int) -> None:
        super().__init__()
        self.inner = TinyDiscriminator(spec)
        self.left = left if os.environ.get("RANK") == "1" else -1

    def forward(self, sample: Tensor) -> Tensor:
        self.left -= 1
        scores: Tensor = self.inner(sample)
        return scores * float("nan") if self.left == 0 else scores


def poisoned() -> Plugin:
    return plugin(lambda spec: tiny_game(spec, discriminator=Poisoned(spec, 60)))


def test_nan_in_one_process_stops_all(tmp_path: Path) -> None:
    save_npz(tmp_path / "noise.npz")
    ended = Ranks(2, tmp_path, ranks.together, ranks.train, poisoned, {"steps": 60}, {}).join()
    assert [one.code for one in ended] == [1, 1]
    text = "".join(one.text for one in ended)
    assert text.count("GantoolError: Training stopped: ") == 1
    assert "became NaN or infinite at step 30. The last good checkpoint is" in text
    run = only_run(tmp_path)
    assert run.read().status == "failed"
    assert [record["step"] for record in metrics_log.read_metrics(run)] == [20]


def test_nan_in_one_process_takes_all_back(tmp_path: Path) -> None:
    run = trained(2, tmp_path, poisoned, {"steps": 60}, on_nan="rollback")
    assert run.read().rollbacks == 1
    assert [event["step"] for event in metrics_log.read_events(run)] == [20]
    assert [record["step"] for record in metrics_log.read_metrics(run)] == [20, 40, 60]


def test_a_process_that_never_comes_is_named(tmp_path: Path) -> None:
    for absent, message in (
        (1, "Of 2 processes only 1 started within 2 s: 1 missing."),
        (0, "Process 1 of 2 did not reach process 0 at 127.0.0.1:"),
    ):
        started = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path), absent=absent, GANTOOL_TIMEOUT="2")
        (ended,) = started.join()
        assert ended.code == 1
        assert message in ended.text


def test_a_process_that_hangs_ends_the_others_within_the_timeout(tmp_path: Path) -> None:
    started = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path, steps=10**6), GANTOOL_TIMEOUT="2")
    _wait_for_tick(tmp_path, 20)
    os.kill(started.processes[1].pid or 0, signal.SIGSTOP)
    first = started.processes[0]
    first.join(ranks.HANG)
    started.processes[1].kill()
    assert first.exitcode == 1
    text = started.outputs[0].read_text()
    assert "Error: Process 0 of 2 waited 2 s" in text
    assert "GANTOOL_TIMEOUT=SECONDS waits longer" in text
    assert only_run(tmp_path).read().status == "failed"


def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    started = Ranks(2, tmp_path, ranks.gantool, *options(tmp_path, steps=10**6))
    _wait_for_tick(tmp_path, 20)
    os.kill(started.processes[1].pid or 0, signal.SIGKILL)
    first, second = started.join()
    assert (first.code, second.code) == (1, -signal.SIGKILL)
    assert first.text.count("Error: Process 0 of 2 lost the others") == 1


@pytest.mark.slow
@pytest.mark.parametrize("killed", [(0,), (1, 0)])
def test_torchrun_restarts_what_was_killed_and_the_run_goes_on(killed: tuple[int, ...], tmp_path: Path) -> None:
    """Process 0 holds the lock. One run, each tick once; torchrun may restart once more of its own accord."""
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 4 --monitor-interval 0.1"
    command = [sys.executable, *torchrun.split(), "-m", "gantool", *map(str, options(tmp_path, steps=300))]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        seen = 0
        for rank in killed:
            seen = _wait_for_tick(tmp_path, seen + 20)
            os.kill(_worker(process.pid, rank), signal.SIGKILL)
            time.sleep(0.5)  # the survivor may still end a tick
            seen = max(seen, only_run(tmp_path).read().step)
        text, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == 0, text
    run = only_run(tmp_path)
    assert run.read().status == "finished"
    assert [record["step"] for record in metrics_log.read_metrics(run)] == list(range(20, 301, 20))
    assert final(run)["step"] == 300
    assert text.count("resumed at step") >= len(killed), text


def test_resume_auto_goes_on_with_the_newest_run_of_the_same_options(cli: Run, here: Path) -> None:
    given = options(here, resume="auto")

    def steps() -> list[int]:
        return [one.read().step for one in list_runs(here / "runs")]

    assert cli(*given, "--steps", 20)[0] == 0  # there is none yet
    assert cli(*given, "--steps", 20)[0] == 0  # it has finished
    assert steps() == [20, 20]
    newest = list_runs(here / "runs")[-1]
    info = newest.read()
    info.status = "failed"
    newest.write(info)
    assert cli(*given, "--steps", 20, "--seed", 1)[0] == 0  # other options
    assert cli(*given, "--steps", 40)[0] == 0
    assert steps() == [20, 40, 20]


def test_a_restarted_job_goes_on_with_the_run_it_began_also_one_without_a_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(tmp_path / "noise.npz")
    given = {**SMALL, "data": "noise.npz", "device": "cpu", "tick": 20}
    torchruns = Group(torch.distributed.HashStore())
    first = session.open_session("mlp", given, group=torchruns)
    metrics_log.append(first.run, {"step": 20})  # killed before the checkpoint of this tick
    name = first.run.name
    del first  # and its lock
    second = session.open_session("mlp", given, group=torchruns)
    assert (second.run.name, second.state.step) == (name, 0)
    assert run_until(second, stop=20) == "interrupted"
    assert [record["step"] for record in metrics_log.read_metrics(second.run)] == [20]
    del second
    third = session.open_session("mlp", given, group=torchruns)
    assert (third.run.name, third.state.step) == (name, 20)
    assert session.open_session("mlp", given, group=Group(torch.distributed.HashStore())).run.number == 2  # another job


def _worker(torchrun: int, rank: int) -> int:
    """The pid of a worker of that rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == torchrun and f"RANK={rank}" in (folder / "environ").read_text().split("\0"):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"torchrun {torchrun} has no worker {rank}")


def _wait_for_tick(folder: Path, step: int) -> int:
    """Wait until the run in `folder` has saved a tick at `step` or later; gives its step."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        runs = list_runs(folder / "runs")
        steps = [runs[0].step_of(path) for path in runs[0].checkpoints()] if runs else []
        if steps and steps[-1] >= step:
            return steps[-1]
        time.sleep(0.02)
    raise AssertionError(f"no tick at step {step} came")


def _speaks(group: Group) -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(()))]
    parameters[0].grad = torch.tensor([1.0, 2.0, 3.0]) * (1 + group.rank)
    parameters[1].grad = torch.full((2, 2), 4.0 if group.leads else 0.0)
    parameters[2].grad = torch.zeros(())
    group.average(parameters)
    assert [p.grad.tolist() for p in parameters if p.grad is not None] == [[1.5, 3.0, 4.5], [[2.0, 2.0]] * 2, 0.0]
    assert group.everyones(group.rank) == [0, 1]
    assert group.lead(lambda: f"said by {group.rank}") == "said by 0"
    values = [torch.arange(3) + group.rank, torch.tensor(bool(group.rank)), torch.eye(3)[:, 1:] * group.rank]
    group.copy(values)
    assert [v.tolist() for v in values] == [[0, 1, 2], False, [[0.0, 0.0]] * 3]
    group.check_weights("critic", parameters)
    with torch.no_grad():
        parameters[0].add_(group.rank)
    with pytest.raises(GantoolError, match="weights of the critic have drifted apart"):
        group.check_weights("critic", parameters)
    with pytest.raises(GantoolError, match="The data of the processes differ: process 0 has 0, process 1 has 1"):
        group.check_same("The data", str(group.rank))


def test_what_a_group_says_to_itself(tmp_path: Path) -> None:
    ended = Ranks(2, tmp_path, ranks.together, _speaks).join()
    assert [one.code for one in ended] == [0, 0], ended


class _Captured:
    """Takes the place of a captured graph, which needs a GPU."""


def _ends_with_a_graph(group: Group) -> None:
    """Start a run whose engine holds a captured graph; tell in what order all is given up."""
    destroy = dist.destroy_process_group
    engines.make = lambda name, device: engines.Graph()
    torch.cuda.synchronize = lambda: print("synchronized")
    dist.destroy_process_group = lambda: (print("destroyed"), destroy())
    opened = session.start(registry.find("mlp"), SMALL, TrainOptions(data="noise.npz", device="cpu"), group=group)
    opened.state.engine._captures[()] = _Captured()  # type: ignore[attr-defined]
    weakref.finalize(opened.state.engine._captures[()], print, "dropped")  # type: ignore[attr-defined]
    group.before_end(lambda: opened.info)  # the session lives until then


def test_captured_graphs_go_before_the_group(tmp_path: Path) -> None:
    save_npz(tmp_path / "noise.npz")
    ended = Ranks(2, tmp_path, ranks.together, _ends_with_a_graph).join()
    assert [one.code for one in ended] == [0, 0], ended
    assert [one.text.split() for one in ended] == [["synchronized", "dropped", "destroyed"]] * 2


def _fails(group: Group, kind: type[Exception]) -> None:
    if group.rank == 1:
        raise kind("of one")
    group.lead(lambda: time.sleep(0.1))
    group.everyones(0)


@pytest.mark.parametrize("kind", [GantoolError, ZeroDivisionError])
def test_an_error_in_one_process_is_told_once_and_ends_all(kind: type[Exception], tmp_path: Path) -> None:
    first, second = Ranks(2, tmp_path, ranks.together, _fails, kind).join()
    assert (first.code, second.code) == (1, 1)
    assert first.text == ""
    assert f"{kind.__name__}: of one" in second.text


def test_one_process_alone_has_no_group_and_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    with distributed.joined() as group:
        assert group is ALONE
        assert not torch.distributed.is_initialized()
    asked: Callable[[], bool] = lambda: False  # noqa: E731
    assert ALONE.agreeing(asked) is asked
    assert ALONE.part(7) is None
    assert ALONE.place(None, "cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORLD_SIZE", "two", "WORLD_SIZE is 'two', not a number"),
        ("RANK", "", "RANK is '', not a number"),
        ("GANTOOL_TIMEOUT", "soon", "GANTOOL_TIMEOUT=soon is not a number of seconds"),
    ],
)
def test_a_wrong_environment_is_an_error(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, good in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1", variable: value}.items():
        monkeypatch.setenv(name, good)
    with pytest.raises(GantoolError, match=message):
        with distributed.joined():
            pass
