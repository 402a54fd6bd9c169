"""`gantool train`: options from flags and files, what is refused and how, and what a terminal sees."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import TIMEOUT, environment, gantool, start_gantool
from support.distributions import Install, make_distribution
from support.inprocess import Run
from support.trainings import dataset, different, save_npz
from typer.testing import CliRunner, Result

from gantool.cli import app
from gantool.errors import GantoolError
from gantool.plugin.options import LENGTHS, Option, training_options
from gantool.plugin.registry import architecture_names
from gantool.run import checkpoint, metrics_log
from gantool.run.rundir import RunDir

TINY = ("--data", "noise.npz", "--widths", "8", "--batch-size", "8", "--device", "cpu")

# A plugin whose generator's loss does first what {planted} says.
PLANTED = """
import time
import torch
from pydantic import BaseModel
from torch import nn
from gantool.plugin import objectives
from gantool.plugin.architecture import Architecture, Recipe
from gantool.plugin.game import Game, Loss, Player, two_player
from gantool.plugin.hookspecs import hookimpl

class Generator(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.shape = spec.shape
        self.linear = nn.Linear(4, spec.elements)
        self.register_buffer("moves", torch.zeros(()))
    def forward(self, z):
        return self.linear(z).tanh().unflatten(1, self.shape)

class Judge(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.linear = nn.Linear(spec.elements, 1)
    def forward(self, x):
        return self.linear(x.flatten(1)).squeeze(1)

def build(config, spec, recipe):
    generator = Generator(spec)
    game = two_player(generator, Judge(spec), objectives.NonSaturating(), spec=spec, latent_dim=4)
    judge, maker = game.players
    def loss(batch):
        generator.moves += 1
        value = maker.loss(batch).terms["adversarial"]
        {planted}
        return Loss({{"adversarial": value}})
    player = Player("generator", "generator", maker.modules, loss, maker.draws)
    return Game(generator, (judge, player), game.inputs, game.data, game.output)

class Config(BaseModel):
    pass

@hookimpl
def gantool_architectures():
    return [Architecture("planted", "for a test", Config, build, Recipe(batch_size=8))]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder with a small data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # no message is wrapped
    save_npz(tmp_path / "noise.npz")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    save_npz(folder / "noise.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sound("mlp", *TINY, "--steps", 2)
    return folder / "runs"


@pytest.fixture
def two_steps(here: Path, trained: Path) -> Path:
    """runs/0001-mlp-noise, finished at step 2."""
    return Path(shutil.copytree(trained, here / "runs")) / "0001-mlp-noise"


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def sound(*arguments: object) -> Result:
    result = train(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> GantoolError:
    """The GantoolError of a command that must not start a run."""
    result = train(*arguments)
    assert isinstance(result.exception, GantoolError), (result.output, result.exception)
    return result.exception


def run_json(number: int = 1) -> Any:
    (folder,) = Path("runs").glob(f"{number:04d}-*")
    return json.loads((folder / "run.json").read_text())


def planted(here: Path, line: str) -> Path:
    return make_distribution(here / "site", "planted", "1", PLANTED.format(planted=line), {"planted": "planted"})


# --- help


def test_help_loads_neither_torch_nor_a_plugin_nor_pydantic() -> None:
    assert _imported("--help") & {"torch", "pydantic", "numpy", *_modules()} == set()


def test_help_of_an_architecture_does_not_load_torch() -> None:
    loaded = _imported("train", "dcgan", "--help")
    assert "gantool_dcgan" in loaded
    assert loaded & {"torch", "onnx", "onnxruntime", "matplotlib", "PIL"} == set()


def _modules() -> set[str]:
    return {f"gantool_{name}" for name in architecture_names()}


def _imported(*arguments: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    code = f"""
import sys
from gantool.cli import app
try:
    app({list(arguments)!r})
except SystemExit as end:
    assert not end.code, end.code
print("modules:", *sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    return set(done.stdout.rpartition("modules:")[2].split())


def test_help_lists_every_option_with_bounds_and_default() -> None:
    text = " ".join(sound("dcgan", "--help").output.split())
    for words in (
        "--latent-dim",
        "INTEGER [≥ 1, ≤ 4096]",
        "--learning-rate",
        "NUMBER [> 0, ≤ 1]",
        "Channels of the layer next to the image. [default: 64]",
        "nonsaturating|lsgan|hinge",
        "[default: 0.5,0.9]",
        "--resume",
        "TOML file of options; flags win.",
    ):
        assert words in text


@pytest.mark.parametrize("name", architecture_names())
def test_every_architecture_is_offered(name: str) -> None:
    assert f"Train {name}:" in sound("--help").output
    assert "--ema-decay" in sound(name, "--help").output


# --- a run


def test_a_run_leaves_what_it_says() -> None:
    result = sound("mlp", *TINY, "--steps", 7, "--tick", 3, "--seed", 5, "--latent-dim", 6)
    run = RunDir(Path("runs/0001-mlp-noise"))
    info = run.read()
    assert (info.status, info.step, info.steps, info.tick, info.seed) == ("finished", 7, 7, 3, 5)
    assert (info.config["widths"], info.config["latent_dim"], info.recipe["batch_size"]) == ([8], 6, 8)
    assert info.versions["torch"] == torch.__version__
    assert info.data.class_names == ()
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [record["step"] for record in records] == [3, 6, 7]
    terms = {"loss.discriminator.real", "loss.discriminator.fake", "loss.generator.adversarial"}
    assert {"images_per_second", "epoch", "measure.discriminator.accuracy_fake", *terms} <= records[0].keys()
    assert f"weights  {run.checkpoint(7)}" in result.output
    assert checkpoint.load(run.checkpoint(7))["step"] == 7
    for picture in (run.sample(3), run.sample(7), run.curves):
        with Image.open(picture) as opened:
            opened.load()
            assert opened.format == "PNG"
    lines = [line for line in result.output.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["1/7", "7/7"]  # elsewhere than in a terminal: few, whatever the tick
    assert all("discriminator: real " in line and "; generator: adversarial " in line for line in lines)
    assert re.search(r" images/s  .*  ETA 00:00:00$", lines[-1])
    assert f"Next: gantool export {run.path}" in result.output


def test_runs_are_numbered_and_can_be_labelled(two_steps: Path) -> None:
    sound("mlp", *TINY, "--steps", 1, "--name", "first-try")
    sound("mlp", *TINY, "--steps", 1, "--runs", "else where")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["0001-mlp-noise", "0002-first-try"]
    assert Path("else where/0001-mlp-noise/run.json").is_file()


def test_minutes_in_place_of_steps() -> None:
    """The first steps show how many fit, later ones correct it; the run is one of so many steps, also when resumed."""
    result = sound("mlp", *TINY, "--minutes", 0.01, "--tick", 10**6)
    info = run_json()
    assert info["status"] == "finished"
    assert info["step"] == info["steps"] >= 1
    assert " steps take about 0.01 minutes here" in result.output
    assert f"step {info['steps']}/{info['steps']}" in result.output
    assert info["tick"] == 10**6  # as it was asked for
    sound("mlp", *TINY, "--steps", info["steps"], "--name", "told")
    first, told = (
        checkpoint.load(RunDir(Path("runs", name)).checkpoint(info["steps"]))
        for name in ("0001-mlp-noise", "0002-told")
    )
    assert different(first, told) == []
    longer = sound("mlp", "--resume", 1, "--minutes", 0.005)
    assert run_json()["steps"] > info["steps"]
    assert sum(line.startswith("step ") for line in longer.output.splitlines()) <= 2


# --- refusals


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--latent-dim", "0"),
        ("--latent-dim", "many"),
        ("--dropout", "1"),
        ("--objective", "best"),
        ("--widths", "8,x"),
        ("--batch-size", "0"),
        ("--learning-rate", "nan"),
        ("--size", "3"),
        ("--seed", "-1"),
        ("--seed", str(2**63)),
        ("--epochs", "0"),
        ("--epochs", "inf"),
        ("--epochs", "nan"),
        ("--precision", "fp8"),
        ("--unknown", "1"),
    ],
)
def test_an_option_out_of_range_is_a_usage_error_that_names_it(flag: str, value: str) -> None:
    result = train("mlp", "--data", "noise.npz", flag, value)
    assert result.exit_code == 2, result.output
    assert flag in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize(("one", "other"), [("--steps", "--epochs"), ("--epochs", "--minutes")])
def test_two_lengths_are_a_usage_error(one: str, other: str) -> None:
    result = train("mlp", *TINY, one, 1, other, 1)
    assert result.exit_code == 2
    assert f"Give {one} or {other}, not both" in result.output


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("mpl",), "There is no architecture 'mpl'", "Did you mean 'mlp'?"),
        (("mlp", "--data", "nowhere/at/all"), "There is no file or folder 'nowhere/at/all'", "digits"),
        (("mlp", "--data", "digit"), "There is no data set, file or folder 'digit'", "Did you mean `digits`?"),
        (("mlp", *TINY, "--device", "gpu"), "There is no device 'gpu'", "auto, cpu, cuda"),
        (("mlp", *TINY, "--device", "cuda:"), "There is no device 'cuda:'", "auto, cpu, cuda"),
        (("mlp", *TINY, "--precision", "tf32"), "'tf32' exists on CUDA devices only", "fp32"),
        (("mlp", *TINY, "--name", "a/b"), "'a/b' can't be part of a folder's name", "letters"),
        (("mlp", "--resume", "7"), "There is no run '7'", "none"),
        (("mlp", *TINY, "--label-smoothing", "0.1", "--objective", "hinge"), "not to hinge", "plugins show mlp"),
        (("mlp", *TINY, "--betas", "2,3"), "--betas", "plugins show mlp"),
        (("dcgan", "--data", "noise.npz", "--size", "20"), "can't make samples of shape 1×20×20", "--size 16"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_what_can_not_be_done_says_what_to_type(arguments: tuple[str, ...], message: str, hint: str) -> None:
    error = refused(*arguments)
    assert message in error.message
    assert hint in error.hint
    assert not Path("runs").exists()  # nothing is left of a run that never was


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device")
def test_a_gpu_that_is_not_there_is_an_error_not_a_cpu() -> None:
    error = refused("mlp", "--data", "noise.npz", "--device", "cuda")
    assert "'cuda' was asked for" in error.message
    assert "--device cpu" in error.hint


def test_errors_are_two_lines_on_stderr_and_exit_1(here: Path) -> None:
    done = gantool("train", "mlpp", cwd=here)
    assert done.returncode == 1
    assert done.stderr == "Error: There is no architecture 'mlpp'.\nDid you mean 'mlp'?\n"
    assert done.stdout == ""


def test_a_plugin_with_a_broken_config_breaks_no_other(install: Install, cli: Run) -> None:
    source = PLANTED.format(planted="pass")
    early = source.replace("Config(BaseModel):\n    pass", "Config(BaseModel):\n    x: 1 / 0 = 1")
    late = source.replace("Recipe(batch_size=8)", "lambda config: config.nothing")
    install("early", early)
    install("late", late)
    assert cli("train", "mlp", *TINY, "--steps", 1)[0] == 0
    for name, cause in (("early", "ZeroDivisionError"), ("planted", "AttributeError: 'Config' object")):
        code, _, err = cli("train", name, "--data", "noise.npz")
        assert code == 1
        assert "is broken: " in err
        assert cause in err


# --- each option is defined once


COMMON = training_options()


def test_help_shows_each_training_option_with_its_bounds_default_and_text() -> None:
    text = " ".join(sound("mlp", "--help").output.replace("│", " ").split())
    for option in COMMON:
        shown = option.flag if option.is_flag else f"{option.flag} {option.metavar}"
        assert shown in text
        assert f"{option.help[1:]}. [default: {option.default_text}]" in text


GIVEN = {
    "data": "noise.npz",
    "size": 8,
    "rate": 8000,
    "epochs": 0.5,
    "minutes": 0.01,
    "runs": "here",
    "name": "named",
    "data_on": "disk",
    "threads": 1,
    "flip": True,
    "jitter": 2,
    "target": "noise.npz",
    "pairs": "edges",
    "skip_broken": True,
    "diffaugment": "color",
    "augment": "ada",
    "init_from": "here/0001-origin",
    "freeze_d": 1,
    "seed": 3,
    "device": "cpu",
    "precision": "bf16",
    "engine": "eager",
    "tick": 2,
    "keep": 3,
    "keep_every": 2,
    "on_nan": "rollback",
    "keep_best": "diversity",
    "tensorboard": True,
}


def test_every_training_option_can_be_given_in_a_file_and_is_recorded() -> None:
    assert set(GIVEN) == {option.name for option in COMMON}, "give the new option a value here"
    assert not {option.name for option in COMMON if option.default == GIVEN[option.name]}
    text = "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in GIVEN.items() if name not in ("minutes", "pairs", "rate")
    )
    small = ["mlp", "--widths", "8", "--batch-size", 8]
    sound(*small, "--data", "noise.npz", "--size", 8, "--steps", 1, "--runs", "here", "--name", "origin")
    sound(*small, "--config", _config(text))
    record = json.loads(Path("here/0002-named/run.json").read_text())
    elsewhere = {"data", "target", "pairs", "size", "rate", "epochs", "minutes", "runs", "name"}
    assert {name: record[name] for name in GIVEN.keys() - elsewhere} == {
        name: value for name, value in GIVEN.items() if name not in elsewhere
    }
    data = record["data"]
    assert (data["source"], data["target"], data["size"], data["shape"]) == ("noise.npz", "noise.npz", 8, [1, 8, 8])
    assert record["steps"] == 7  # half an epoch: 50 of 100 rows in batches of 8


@pytest.mark.parametrize("option", [option for option in COMMON if option.bounds], ids=lambda option: option.name)
def test_a_flag_and_a_file_refuse_a_value_out_of_bounds_in_the_same_words(option: Option) -> None:
    least, most = -1, 2**63
    for value in (least, most) if option.name in ("seed", "epochs") else (least,):
        flagged = train("mlp", option.flag, value)
        assert flagged.exit_code == 2
        error = refused("mlp", "--config", _config(f"{option.name} = {value}"))
        reason = error.message.partition("not valid: ")[2].removesuffix(".")
        assert reason.startswith("it must be ")
        assert reason in flagged.output


def test_a_resumed_run_takes_the_changeable_options_and_names_them_when_it_refuses_another(two_steps: Path) -> None:
    changeable = [o for o in COMMON if o.changeable and o.name not in (*LENGTHS, "target")]  # there was no other set
    flags = [part for o in changeable for part in ([o.flag] if o.is_flag else [o.flag, GIVEN[o.name]])]
    sound("mlp", "--resume", 1, "--steps", 4, *flags)
    record = run_json()
    assert {o.name: record[o.name] for o in changeable if o.name != "data"} == {
        o.name: GIVEN[o.name] for o in changeable if o.name != "data"
    }
    before = run_json()
    for option in COMMON:
        if not option.changeable and option.name != "runs":
            result = train("mlp", "--resume", 1, option.flag, *([] if option.is_flag else [GIVEN[option.name]]))
            assert result.exit_code == 2
            assert f"{option.flag} can't change when a run is resumed. These can: --steps, " in result.output
            assert all(other.flag in result.output for other in COMMON if other.changeable)
    assert run_json() == before


# --- pairs of pictures

SMALL = ("--width", "4", "--levels", "2", "--batch-size", "4", "--device", "cpu", "--steps", "2")


def test_pairs_are_recorded_and_made_again_on_a_resume_and_an_export(here: Path) -> None:
    np.savez(here / "wide.npz", images=dataset(6, (1, 16, 32)).images)
    sound("pix2pix", *SMALL, "--data", "wide.npz", "--pairs", "left-right", "--jitter", 4, "--flip")
    record = run_json()
    assert (record["data"]["pairs"], record["data"]["shape"]) == ("left-right", [1, 16, 16])
    assert (record["data"]["arrays"], record["jitter"]) == ({"sources": [1, 16, 16]}, 4)
    sound("pix2pix", "--resume", 1, "--steps", 3)
    assert run_json()["step"] == 3
    exported = CliRunner().invoke(app, ["export", "1"])
    assert exported.exit_code == 0, exported.output


def test_hidden_pairs_judge_what_was_trained_without(here: Path) -> None:
    for name, shift in (("a", 0), ("b", 40)):
        for number, picture in enumerate(dataset(12, (1, 16, 16)).images):
            (here / name).mkdir(exist_ok=True)
            Image.fromarray(picture[0] // 2 + shift).save(here / name / f"{number}.png")
    sound("cyclegan", "--width", 4, "--blocks", 1, "--batch-size", 4, "--steps", 1, "--data", "a", "--target", "b")
    given = ["--data", "a", "--target", "b", "--pairs", "names", "--extractor", "pixels", "--json"]
    done = CliRunner().invoke(app, ["evaluate", "1", *given])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sources"]["difference"] == pytest.approx(40)


def test_pairs_where_they_are_needed_and_where_they_are_not(here: Path) -> None:
    error = refused("pix2pix", *SMALL, "--data", "noise.npz")
    assert "learns from pairs" in error.message
    assert "--pairs edges" in error.hint
    error = refused("mlp", *TINY, "--pairs", "edges")
    assert error.message == "--pairs edges gives a source to each image, and mlp takes none."
    error = refused("pix2pix", *SMALL, "--data", "noise.npz", "--pairs", "rims")
    assert "names, left-right, edges, grey, lines, mask, small:4" in error.hint


# --- options from a file


def _config(text: str) -> Path:
    path = Path("options.toml")
    path.write_text(text)
    return path


def test_a_file_gives_options_and_flags_win() -> None:
    config = _config('data = "noise.npz"\nwidths = [8, 9]\nbatch-size = 8\nsteps = 3\nseed = 4\nlatent_dim = 7\n')
    sound("mlp", "--config", config, "--latent-dim", 5, "--steps", 2)
    info = run_json()
    assert (info["config"]["widths"], info["config"]["latent_dim"]) == ([8, 9], 5)
    assert (info["steps"], info["seed"], info["recipe"]["batch_size"]) == (2, 4, 8)


@pytest.mark.parametrize(
    ("text", "flag", "value", "steps"), [("steps = 1000\n", "--epochs", 0.1, 1), ("epochs = 100\n", "--steps", 2, 2)]
)
def test_a_length_on_the_command_line_wins_over_the_other_kind_in_the_file(
    text: str, flag: str, value: float, steps: int
) -> None:
    sound("mlp", *TINY, "--config", _config(text), flag, value)
    assert run_json()["steps"] == steps


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a." * 20_000 + "a = 1", ["options.toml is not valid TOML: a line has more than 1000 dots"]),
        ("latent_dims = 5", ["options.toml: there is no option 'latent_dims'", "Did you mean 'latent_dim'?"]),
        ("resume = '1'", ["options.toml: there is no option 'resume'"]),
        ("latent_dim = 'many'", ["options.toml: latent_dim: 'many' is not valid"]),
        ("latent_dim = 0", ["options.toml: latent_dim: 0 is not valid", "it must be 1 or more"]),
        ("batch_size = true", ["options.toml: batch_size: True is not valid"]),
        ("widths = 8", ["options.toml: widths: 8 is not valid"]),
        ("seed = -1", ["options.toml: seed: -1 is not valid", "it must be 0 or more"]),
        (
            "seed = 9223372036854775808",
            ["options.toml: seed: 9223372036854775808 is not valid", "or less"],
        ),
        ("epochs = inf", ["options.toml: epochs: inf is not valid", "or less"]),
        ("epochs = nan", ["options.toml: epochs: nan is not valid"]),
        ("tick = 'often'", ["options.toml: tick: 'often' is not valid"]),
        ("precision = 'fp8'", ["options.toml: precision: 'fp8' is not valid"]),
        ("[mlp]\nsteps = 1", ["options.toml: there is no option 'mlp'"]),
        ("seed = 1\nsteps = x", ["options.toml is not valid TOML", "line 2"]),
        ("steps = 1\nsteps = 2", ["options.toml is not valid TOML"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(text: str, words: list[str]) -> None:
    error = refused("mlp", "--data", "noise.npz", "--config", _config(text))
    assert all(word in str(error) for word in words), str(error)
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_or_no_text_is_named(here: Path) -> None:
    assert "none.toml can't be read: No such file" in refused("mlp", "--config", "none.toml").message
    (here / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "binary.toml is not valid TOML" in refused("mlp", "--config", "binary.toml").message


def test_a_file_of_options_is_a_file_and_of_some_size(here: Path) -> None:
    if Path("/dev/zero").exists():
        assert "/dev/zero can't be read: it is no regular file" in refused("mlp", "--config", "/dev/zero").message
    if hasattr(os, "mkfifo"):
        os.mkfifo(here / "pipe")
        assert "pipe can't be read" in refused("mlp", "--config", "pipe").message
    assert "larger than 0.0625 MB" in refused("mlp", "--config", _config("#" * (2**16 + 1))).message
    for text in ("steps = " + "[" * 50_000, "steps = " + "9" * 5000):
        assert "options.toml is not valid TOML" in refused("mlp", "--config", _config(text)).message


# --- going on


@pytest.mark.parametrize("name", ["1", "0001-mlp-noise", "runs/0001-mlp-noise"])
def test_a_run_is_resumed_by_number_name_or_path(name: str, two_steps: Path) -> None:
    result = sound("mlp", "--resume", name, "--steps", 4, "--tick", 1)
    assert "resumed at step 2 of 4" in result.output
    assert [record["step"] for record in metrics_log.read_metrics(RunDir(two_steps))] == [2, 3, 4]
    assert (run_json()["step"], run_json()["steps"], run_json()["tick"]) == (4, 4, 1)


def test_an_export_is_called_older_only_when_the_run_went_on() -> None:
    sound("mlp", *TINY, "--steps", 2)
    Path("runs/0001-mlp-noise/export").mkdir()
    assert "of an earlier step" not in sound("mlp", "--resume", 1).output
    assert "of an earlier step" in sound("mlp", "--resume", 1, "--steps", 3).output


@pytest.mark.parametrize(("flag", "value"), [("--latent-dim", 4), ("--widths", "9")])
def test_what_would_make_it_another_run_can_not_change(flag: str, value: object, two_steps: Path) -> None:
    before = run_json()
    result = train("mlp", "--resume", 1, "--steps", 4, flag, value)
    assert result.exit_code == 2
    assert f"{flag} can't change when a run is resumed" in result.output
    assert run_json() == before


def test_a_run_of_another_architecture_says_the_right_command(two_steps: Path) -> None:
    error = refused("dcgan", "--resume", 1)
    assert "is of 'mlp', not of 'dcgan'" in error.message
    assert error.hint == "Type: gantool train mlp --resume runs/0001-mlp-noise"
    assert "is at step 2, beyond the 1 asked for" in refused("mlp", "--resume", 1, "--steps", 1).message


# --- ends


def test_ctrl_c_saves_and_says_how_to_go_on(here: Path) -> None:
    process = start_gantool("train", "mlp", *TINY, "--steps", 10**7, "--tick", 200, cwd=here)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, errors
    assert "Saving; Ctrl-C again leaves at once." in errors
    assert "Traceback" not in errors
    run = RunDir(here / "runs/0001-mlp-noise")
    info = run.read()
    assert info.status == "interrupted"
    assert run.latest_checkpoint() == run.checkpoint(info.step)
    command = output.rpartition("Resume with: gantool ")[2].split()
    assert command == ["train", "mlp", "--resume", "runs/0001-mlp-noise"]
    resumed = sound(*command[1:], "--steps", info.step + 1)
    assert f"resumed at step {info.step} of {info.step + 1}" in resumed.output
    assert run.read().status == "finished"


def test_a_second_ctrl_c_leaves_at_once(here: Path) -> None:
    """Out of a step that would take minutes, and nothing is saved."""
    site = planted(here, "print('in the step', flush=True); time.sleep(600)")
    process = start_gantool("train", "planted", "--data", "noise.npz", cwd=here, paths=(site,))
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if "in the step" in line:
            break
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "Saving" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert RunDir(here / "runs/0001-planted-noise").checkpoints() == []


def test_a_loss_gone_nan_exits_1_and_leaves_the_last_good_checkpoint(install: Install, cli: Run) -> None:
    line = "value = value * torch.where(generator.moves == 25, torch.nan, 1.0)"
    install("planted", PLANTED.format(planted=line))
    code, _, err = cli("train", "planted", "--data", "noise.npz", "--tick", 10)
    assert code == 1
    assert "loss.generator.adversarial became NaN or infinite at step 25" in err
    assert "The last good checkpoint is runs/0001-planted-noise/checkpoints/step-00000020.pt" in err
    run = RunDir(Path("runs/0001-planted-noise"))
    assert run.read().status == "failed"
    assert checkpoint.load(run.latest_checkpoint())["step"] == 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_not_utf_8(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(os.fsdecode(b"caf\xe9"))
    for name in (b"a", b"\xff"):
        (folder / os.fsdecode(name)).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, 8), 40 * number).save(folder / os.fsdecode(name) / f"{number}.png")
    small = ("--widths", "4", "--latent-dim", 2, "--batch-size", 4, "--steps", 2, "--device", "cpu")
    code, _, err = cli("train", "mlp", "--data", folder, *small, "--runs", folder / "runs")
    assert code == 0, err
    code, _, err = cli("export", "--onnx", "--runs", folder / "runs")
    assert code == 0, err
    code, _, err = cli("generate", "--runs", folder / "runs", "-n", 1, "-o", folder / "x.png")
    assert code == 0, err
    with Image.open(folder / "x.png") as picture:
        assert r"trained on caf\udce9" in picture.text["Description"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("arguments", [("--steps", "20", "mlp"), ("--flip", "mlp", "--steps=20")])
def test_options_before_the_architecture_are_shown_behind_it(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 2
    rest = " ".join(word for word in arguments if word != "mlp")
    assert f"options come after the architecture: gantool train mlp {rest}" in " ".join(
        result.output.replace("│", " ").split()
    )


def test_a_run_at_its_end_says_how_to_train_on(two_steps: Path) -> None:
    result = sound("mlp", "--resume", two_steps)
    assert "The run is at its end, step 2: nothing was trained." in result.output
    assert f"gantool train mlp --resume {two_steps} --steps 4" in result.output


def test_a_run_is_named_after_its_pack(cli: Run, here: Path) -> None:
    save_npz(here / "noise.npz")
    assert cli("data", "pack", "noise.npz", "-o", "flags")[0] == 0
    sound("mlp", "--data", "flags", *TINY[2:], "--steps", 1)
    assert [path.name for path in Path("runs").iterdir()] == ["0001-mlp-flags"]


def test_broken_pictures_are_left_out_when_told_so(here: Path) -> None:
    folder = here / "pictures"
    folder.mkdir()
    for number in range(6):
        Image.new("L", (8, 8), 40 * number).save(folder / f"{number}.png")
    (folder / "0.png").write_bytes(b"no picture")
    (folder / "3.png").write_bytes((folder / "4.png").read_bytes()[:40])
    tiny = ["--data", folder, "--widths", "8", "--latent-dim", 4, "--batch-size", 4]
    error = refused("mlp", *tiny)
    assert "--skip-broken" in error.hint
    output = sound("mlp", *tiny, "--steps", 1, "--skip-broken").output
    assert "2 of 6 files can't be decoded and are left out: 0.png, 3.png" in output
    (run,) = Path("runs").iterdir()
    described = json.loads((run / "run.json").read_text())
    assert (described["skip_broken"], described["data"]["count"]) == (True, 4)
    sound("mlp", "--resume", run, "--steps", 2)
