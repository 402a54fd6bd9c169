"""The alarms: what they say of trainings that fail, that they say it once, and nothing of sound ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_cgan, tiny_cyclegan
from support.trainings import Silent, TinyGenerator, dataset, plugin, start, tiny_game, tiny_state
from torch import Tensor

from gantool.exporting import source_of
from gantool.plugin import registry
from gantool.plugin.architecture import SampleSpec
from gantool.plugin.game import Batch, Game, Loss
from gantool.plugin.registry import Plugin
from gantool.plugin.train_options import TrainOptions
from gantool.run import metrics_log, verdict
from gantool.run.verdict import COLLAPSED, LOST, STEPS
from gantool.training import loop, session
from gantool.training.session import Session
from gantool.training.watch import Watch

TICK = 250
SOUND = {
    "diversity": 0.7,
    "change": 0.1,
    "loss.generator.adversarial": 2.0,
    "measure.discriminator.accuracy_real": 0.9,
    "measure.discriminator.accuracy_fake": 0.85,
}
CRITIC = {"diversity": 0.7, "change": 0.1, "loss.generator.adversarial": 50.0, "measure.discriminator.distance": 9.0}


def _watch(folder: Path, records: list[dict[str, Any]] | None = None, **options: Any) -> Watch:
    opened = start("mlp", folder, **options)
    return Watch(opened.state, opened.info, records or [], None)


def _records(*stretches: tuple[int, dict[str, Any]], tick: int = TICK) -> list[dict[str, Any]]:
    """(how many ticks, what differs from a sound one) … → lines of metrics.jsonl; None takes a key away."""
    lines: list[dict[str, Any]] = []
    for count, changes in stretches:
        for _ in range(count):
            line = {"step": tick * (len(lines) + 1), **SOUND, **changes}
            lines.append({key: value for key, value in line.items() if value is not None})
    return lines


def _alarms_of(watch: Watch, records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["step"], event["alarm"]) for record in records for event in watch.judge(record)]


LOW = {"diversity": COLLAPSED / 2}
STILL = {"change": 1e-4}
BEATEN = {"measure.discriminator.accuracy_real": 1.0, "measure.discriminator.accuracy_fake": 1.0}
LOSING = {"loss.generator.adversarial": LOST + 5}
# a relativistic loss has one accuracy, of pairs
PAIRS = {
    "measure.discriminator.accuracy": 0.9,
    "measure.discriminator.accuracy_real": None,
    "measure.discriminator.accuracy_fake": None,
}
BEATEN_PAIRS = {**PAIRS, "measure.discriminator.accuracy": 1.0}


@pytest.mark.parametrize(
    ("stretches", "wanted"),
    [
        ([(4, LOW)], [(1000, "collapse")]),
        ([(3, LOW), (1, {}), (3, LOW)], []),
        ([(9, LOW)], [(1000, "collapse")]),  # said once
        ([(5, LOW), (4, {}), (5, LOW)], [(1000, "collapse"), (3250, "collapse")]),  # and again when it comes back
        ([(8, {}), (4, {"diversity": 0.3})], [(3000, "collapse")]),
        ([(8, {}), (4, {"diversity": 0.4})], []),
        ([(2, {"diversity": 1.8}), (9, {"diversity": 0.5})], []),  # noise at the start is diverse, too
        ([(4, BEATEN)], [(1000, "discriminator")]),
        ([(2, {**BEATEN, "loss.generator.adversarial": 5.0}), (2, {**BEATEN, "loss.generator.adversarial": 4.0})], []),
        ([(4, LOSING)], [(1000, "discriminator")]),
        ([(2, LOSING), (1, {}), (3, LOSING)], []),
        ([(4, BEATEN_PAIRS)], [(1000, "discriminator")]),
        ([(4, {**PAIRS, **LOSING})], [(1000, "discriminator")]),
        ([(9, PAIRS)], []),
        ([(4, STILL)], [(1000, "stall")]),
        ([(1, {"change": None}), (3, STILL)], [(1000, "stall")]),  # the first tick has nothing to compare with
        ([(4, {**STILL, **LOW, **BEATEN})], [(1000, "stall")]),  # it explains the others
        ([(20, {})], []),
        ([(9, {"diversity": None, "change": None})], []),
        ([(9, {"measure.discriminator.accuracy_fake": None, **LOSING})], []),
        ([(9, {"loss.generator.adversarial": None, **BEATEN})], []),
    ],
    ids=str,
)
def test_what_is_alarms_of_of_a_sequence(
    stretches: list[tuple[int, dict[str, Any]]], wanted: list[tuple[int, str]], tmp_path: Path
) -> None:
    assert _alarms_of(_watch(tmp_path), _records(*stretches)) == wanted


def test_a_critic_without_accuracies_is_meant_to_be_ahead_and_short_ticks_need_as_many_steps(tmp_path: Path) -> None:
    critic = [{"step": TICK * (i + 1), **CRITIC} for i in range(12)]
    assert _alarms_of(_watch(tmp_path), critic) == []
    short = _records((150, {**LOW, "change": 0.001}), tick=10)
    assert _alarms_of(_watch(tmp_path), short) == [(STEPS, "collapse")]


@pytest.mark.parametrize("kind", [LOW, BEATEN, LOSING, STILL], ids=str)
def test_a_watch_that_begins_anywhere_raises_the_same_alarms(kind: dict[str, Any], tmp_path: Path) -> None:
    records = _records((3, {}), (6, kind), (3, {}), (6, kind))
    whole = _alarms_of(_watch(tmp_path), records)
    assert len(whole) == 2
    for cut in range(len(records)):
        later = _alarms_of(_watch(tmp_path, records[:cut]), records[cut:])
        assert later == [event for event in whole if event[0] > TICK * cut]


def test_advice_names_only_options_that_there_are_and_that_would_change_something(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    (event,) = [e for r in _records((4, LOW)) for e in watch.judge(r)]
    assert event == {
        "event": "alarm",
        "step": 1000,
        "alarm": "collapse",
        "text": "mode collapse: the samples differ by 4% of what reals do (since step 250); start a new run with "
        "a smaller --learning-rate (now 0.0007), --label-smoothing 0.1 or another --objective.",
    }
    smoothed = _watch(tmp_path, label_smoothing=0.2, discriminator_rate=0.01)
    (event,) = [e for r in _records((4, LOSING)) for e in smoothed.judge(r)]
    assert event["text"].endswith("a smaller --discriminator-rate (now 0.01) or another --objective.")
    wgan = start("wgan", tmp_path)
    watch = Watch(wgan.state, wgan.info, [], None)
    (event,) = [e for r in _records((4, LOW)) for e in watch.judge(r)]
    assert event["text"].endswith("start a new run with a smaller --learning-rate (now 0.0003).")


# --- what is measured


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 40, 70), (2, 512), (1, 8, 8, 8), (1, 1, 1)], ids=str)
def test_samples_of_any_shape_are_compared_with_reals(shape: tuple[int, ...], tmp_path: Path) -> None:
    state = tiny_state(dataset(200, shape))
    watch = Watch(state, start("mlp", tmp_path).info, [], None)
    random = np.random.default_rng(1)
    noise = random.uniform(-1, 1, (64, *shape)).astype(np.float32)
    first, second = watch.measure(noise), watch.measure(noise)
    assert first["diversity"] == pytest.approx(1, abs=0.15)
    assert "change" not in first
    assert second == {**first, "change": 0.0}
    constant = watch.measure(np.zeros((64, *shape), np.float32))
    assert constant["diversity"] == 0
    assert constant["change"] > 0.3
    assert watch.measure(np.full((64, *shape), np.nan, np.float32)) == {}


def test_reals_are_of_all_classes_and_no_measure_when_all_are_alike(tmp_path: Path) -> None:
    data, info = dataset(400), start("mlp", tmp_path).info
    data.images[:200], data.images[200:] = 0, 255  # sorted by class
    halves = np.concatenate([np.full((32, 1, 16, 16), v, np.float32) for v in (-1, 1)])
    assert Watch(tiny_state(data), info, [], None).measure(halves)["diversity"] == pytest.approx(1, abs=0.1)
    data.images[:] = 7
    assert Watch(tiny_state(data), info, [], None).measure(halves) == {}


def test_looking_at_reals_changes_nothing_that_training_draws(tmp_path: Path) -> None:
    watched, other = tiny_state(), tiny_state()
    for state in (watched, other):
        state.sampler.draw(["real", "z"])
    Watch(watched, start("mlp", tmp_path).info, [], None)
    one, two = watched.sampler.draw(["real", "z"]), other.sampler.draw(["real", "z"])
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("module", [tiny_cgan, tiny_cyclegan])
def test_games_of_other_kinds_are_watched(module: Any, tmp_path: Path) -> None:
    (found,) = module.gantool_architectures()
    opened = start(Plugin(found.name, "tests", "1", found), tmp_path, steps=4, tick=2)
    _train(opened)
    records = metrics_log.read_metrics(opened.run)
    assert all(0 < record["diversity"] < 3 for record in records)
    assert ["change" in record for record in records] == [False, True]


# --- trainings


class Constant(TinyGenerator):
    """Learns, but whatever z is, the sample is one."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(z))


def _train(opened: Session, stop: int | None = None) -> Silent:
    listener = Silent()
    loop.train(opened.state, opened.run, opened.info, listener, lambda: opened.state.step == stop)
    return listener


def _alarms(opened: Session) -> list[tuple[int, str]]:
    return [(event["step"], event["alarm"]) for event in metrics_log.read_events(opened.run)]


def test_a_constant_generator_is_told_once_and_logged(tmp_path: Path) -> None:
    def build(spec: SampleSpec) -> Game:
        return tiny_game(spec, Constant(spec))

    opened = start(plugin(build), tmp_path, steps=1500, tick=TICK)
    listener = _train(opened)
    assert _alarms(opened) == [(1000, "collapse")]
    (event,) = metrics_log.read_events(opened.run)
    assert listener.notes[0] == f"step 1000: {event['text']}"
    (last,) = listener.notes[1:]
    assert last.startswith("at the end, step 1500: the samples are nearly one")
    assert "mode collapse: the samples differ by 0% of what reals do" in event["text"]
    assert len(metrics_log.read_metrics(opened.run)) == 6


@pytest.mark.slow
def test_a_generator_that_does_not_learn_stands_still_also_after_a_resume(tmp_path: Path) -> None:
    rates = {"learning_rate": 1e-8, "discriminator_rate": 2e-4, "steps": 1250, "tick": TICK}
    whole = start("mlp", tmp_path, **rates)
    notes = _train(whole).notes
    assert "samples have changed by 0.0" in notes[0]
    assert _alarms(whole) == [(1000, "stall")]
    parts = start("mlp", tmp_path, **rates)
    _train(parts, stop=750)
    assert notes[0] == f"step 1000: {metrics_log.read_events(whole.run)[0]['text']}"
    assert _train(session.resume(parts.run)).notes == notes
    assert _lines(parts) == _lines(whole)


def _lines(opened: Session) -> list[dict[str, Any]]:
    """All of metrics.jsonl but for what no seed decides."""
    lines = [*metrics_log.read_metrics(opened.run), *metrics_log.read_events(opened.run)]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


def _on_digits(folder: Path, **given: Any) -> Session:
    options = {"widths": (32, 64), "latent_dim": 50, "steps": 1200, "batch_size": 16, **given}
    return session.start(registry.find("mlp"), options, TrainOptions(tick=100, device="cpu", runs=folder))


@pytest.mark.slow
def test_a_discriminator_50_times_as_fast_wins(tmp_path: Path) -> None:
    opened = _on_digits(tmp_path, learning_rate=2e-3, discriminator_rate=0.1)
    assert "the discriminator wins" in _train(opened).notes[0]
    assert {name for _, name in _alarms(opened)} == {"discriminator"}


@pytest.mark.slow
def test_a_sound_training_is_quiet(tmp_path: Path) -> None:
    opened = _on_digits(tmp_path, learning_rate=5e-4)
    assert _train(opened).notes == []
    assert metrics_log.read_metrics(opened.run)[-1]["diversity"] > 0.15


# --- the end of a run, and an export


def _blown(spec: SampleSpec) -> Game:
    """The tiny game; the generator's loss is 1e22."""
    game = tiny_game(spec)
    judge, maker = game.players

    def loss(batch: Batch) -> Loss:
        value = maker.loss(batch).terms["adversarial"]
        return Loss({"adversarial": value - value.detach() + 1e22})

    return replace(game, players=(judge, replace(maker, loss=loss)), together=None)


ENDS: dict[str, tuple[Any, str]] = {
    "collapse": (lambda spec: tiny_game(spec, Constant(spec)), "the samples are nearly one: they differ by 0% of"),
    "blow-up": (_blown, "the training has blown up: loss.generator.adversarial is 1e+22"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_went_wrong_is_said_at_the_end_of_the_shortest_run_and_at_export(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, said = ENDS[kind]
    found = plugin(build)
    monkeypatch.setattr(registry, "find", lambda name: found)
    opened = start(found, tmp_path, steps=3, tick=2)
    notes = _train(opened).notes
    assert any(note.startswith(f"at the end, step 3: {said}") for note in notes), notes
    assert metrics_log.read_events(opened.run) == []
    told: list[str] = []
    source_of(opened.run, told.append)
    assert any(note.startswith(f"step 3: {said}") for note in told), told


def test_an_interrupted_run_ends_with_the_same_words(tmp_path: Path) -> None:
    opened = start(plugin(ENDS["blow-up"][0]), tmp_path, steps=9, tick=5)
    assert any("step 4: the training has blown up" in note for note in _train(opened, stop=4).notes)


WON = "the discriminator has won (since step {}): it is right about {} or more of what it judges, and the generator's"


@pytest.mark.parametrize(
    ("stretches", "said"),
    [
        ([(4, BEATEN)], WON.format(250, "100%")),
        ([(2, {}), (4, BEATEN_PAIRS)], WON.format(750, "100%")),
        ([(3, {}), (4, LOSING)], WON.format(1000, "85%")),
    ],
    ids=str,
)
def test_who_has_won_for_a_stretch_is_said_of_its_last_tick(
    stretches: list[tuple[int, dict[str, Any]]], said: str, tmp_path: Path
) -> None:
    records = _records(*stretches)
    run = start("mlp", tmp_path).run
    for record in records:
        metrics_log.append(run, record)
    (text,) = verdict.at(run, records[-1]["step"])
    assert text.startswith(said)
    assert verdict.at(run, TICK) == []  # one line shows nothing
    assert verdict.at(run, 9999) == []


@pytest.mark.parametrize("steps", [3, 20, 499])
@pytest.mark.parametrize("kind", [BEATEN, BEATEN_PAIRS, LOSING], ids=str)
def test_nobody_has_won_a_short_run(kind: dict[str, Any], steps: int) -> None:
    records = _records((steps, kind), tick=1)
    assert verdict.of(records) == []


@pytest.mark.parametrize(
    "record", [SOUND, CRITIC, {**SOUND, "diversity": math.nan}, {"loss.generator.adversarial": -5e5}, {}], ids=str
)
def test_nothing_is_said_of_a_sound_end(record: dict[str, Any]) -> None:
    assert verdict.of([{"step": 250 * tick, **record} for tick in range(1, 9)]) == []
