"""Plugins of third parties: one whole life without a change to the core, and every way to be broken."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image
from support.commands import gantool
from support.distributions import Install, make_distribution
from support.inprocess import Run

from gantool.data import load
from gantool.errors import GantoolError
from gantool.plugin import hookspecs, registry

ROOT = Path(__file__).parents[2]

SOUND = dedent(
    '''
    """A generator of one layer, as a third party would write it."""
    from pydantic import BaseModel, Field
    from gantool.plugin import Architecture, Recipe, SampleSpec, hookimpl

    class Config(BaseModel, frozen=True, extra="forbid"):
        latent_dim: int = Field(6, ge=1, description="size of z")
        contrast: float = Field(1.0, gt=0, le=5, description="scale of the samples before tanh")

    def build(config, spec, recipe):
        from torch import nn
        from gantool.plugin import objectives, two_player

        class Generator(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(config.latent_dim, spec.elements)

            def forward(self, z):
                return (config.contrast * self.layer(z)).tanh().unflatten(1, spec.shape)

        discriminator = nn.Sequential(nn.Flatten(), nn.Linear(spec.elements, 1), nn.Flatten(0))
        return two_player(Generator(), discriminator, objectives.make("hinge"), spec=spec, latent_dim=config.latent_dim)

    @hookimpl
    def gantool_architectures():
        return [Architecture(NAME, "one layer", Config, build, Recipe(steps=3), (SampleSpec((1, 8, 8)),))]
    '''
)


def named(name: str) -> str:
    return SOUND.replace("NAME", repr(name))


# every hook


HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("gantool_")}


def test_a_plugin_can_implement_every_hook() -> None:
    """Each is exercised by a plugin that implements it: a new hook needs such a test, and its name here.

    Readers in tests/test_docs_plugins.py, the others below.
    """
    assert set(HOOKS) == {"gantool_architectures", "gantool_datasets", "gantool_readers"}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name: str) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    parameters = ", ".join(inspect.signature(HOOKS[name]).parameters)
    assert f"{name}({parameters})" in text
    assert HOOKS[name].__doc__


# a whole life


def test_a_third_party_trains_exports_generates_and_is_measured(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run
) -> None:
    install("flat-gan", named("flat"), entry="flat", version="2.5")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        code, out, err = cli(*arguments)
        assert code == 0, err
        return out

    assert "--contrast" in run("train", "flat", "--help")
    run("train", "flat", "--size", 8, "--contrast", 2, "--batch-size", 8, "--device", "cpu")
    described = json.loads((tmp_path / "runs" / "0001-flat-digits" / "run.json").read_text())
    assert (described["plugin"], described["plugin_version"]) == ("flat-gan", "2.5")
    assert described["config"] == {"latent_dim": 6, "contrast": 2.0}
    run("export", "--seeded")
    run("generate", "-n", 4, "-o", "i.npz")
    assert np.load(tmp_path / "i.npz")["images"].shape == (4, 8, 8, 1)
    run("bench", "--seconds", 0.05, "--batches", 1)


def test_without_its_plugin_a_run_says_what_is_missing(install: Install, tmp_path: Path, cli: Run) -> None:
    """The export holds everything; the run needs the plugin, which a process of its own found."""
    site = make_distribution(tmp_path / "site", "flat-gan", "2.5", named("flat"), {"flat": "flat_gan"})
    train = ("train", "flat", "--size", 8, "--steps", 1, "--batch-size", 8, "--device", "cpu")
    assert gantool(*train, cwd=tmp_path, paths=(site,)).returncode == 0
    code, _, err = cli("export", "--runs", tmp_path / "runs")
    assert code == 1
    assert "no architecture 'flat'" in err


# every way to be broken


BROKEN = {
    "an import that raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "an import of what is not there": ("import no_such_library", "No module named 'no_such_library'"),
    "a syntax error": ("def f(:", "SyntaxError"),
    "an import that exits": ("import sys; sys.exit('bye')", "tried to exit with 'bye'"),
    "a misspelt hook": (named("odd").replace("gantool_architectures", "gantool_architecture"), "gantool_architecture"),
    "no hook": ("x = 1", "implements no hook gantool_architectures()"),
    "a hook that raises": (
        "from gantool.plugin import hookimpl\n@hookimpl\ndef gantool_architectures(): raise KeyError('x')",
        "KeyError: 'x'",
    ),
    "a hook that returns nothing": (
        "from gantool.plugin import hookimpl\n@hookimpl\ndef gantool_architectures(): pass",
        "implements no hook",
    ),
    "what is no list": (
        "from gantool.plugin import hookimpl\n@hookimpl\ndef gantool_architectures(): return 5",
        "TypeError",
    ),
    "what is no architecture": (
        "from gantool.plugin import hookimpl\n@hookimpl\ndef gantool_architectures(): return ['dcgan']",
        "returned 'dcgan', not an Architecture",
    ),
    "a field without a description": (
        named("broken").replace(', description="size of z"', ""),
        "'latent_dim' has no description",
    ),
    "a field without a default": (named("broken").replace("Field(6, ge", "Field(ge"), "can't be made from its default"),
    "a field of a type that is no option": (
        named("broken").replace("latent_dim: int = Field(6, ge=1", "latent_dim: dict = Field({}"),
        "can't be an option",
    ),
    "a field with a taken name": (named("broken").replace("contrast:", "steps:"), "the name of an option"),
    "a build of two arguments": (
        named("broken").replace("(config, spec, recipe)", "(config, spec)"),
        "must take (config, spec, recipe)",
    ),
    "a config that is none": (named("broken").replace("Config, build", "dict, build"), "AttributeError"),
    "a name that can't be typed": (named("--my gan"), "its architecture is '--my gan'"),
    "a summary that is none": (named("odd").replace('"one layer"', "None"), "None: a name has"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_plugin_is_reported_and_breaks_no_other(install: Install, cli: Run, what: str) -> None:
    source, reason = BROKEN[what]
    install("broken-gan", source, entry="broken", version="0.3")
    install("flat-gan", named("flat"), entry="flat")
    code, _, err = cli("plugins")
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(cli("plugins", "--json")[1])}
    assert (rows["broken"]["distribution"], rows["broken"]["version"]) == ("broken-gan", "0.3")
    assert reason in rows["broken"]["status"] != "ok"
    assert rows["flat"]["status"] == rows["mlp"]["status"] == "ok"
    names = registry.architecture_names()
    assert names == sorted(names)
    assert {"flat", "mlp"} <= set(names)
    assert "broken" not in names
    for command in (["train", "broken"], ["plugins", "show", "broken"]):
        code, _, err = cli(*command)
        assert code == 1
        assert "The plugin 'broken' of broken-gan 0.3 is broken" in err
        assert "Mend or uninstall" in err


def test_the_list_of_train_has_the_sound_ones_only(install: Install, cli: Run) -> None:
    install("broken-gan", "1 / 0", entry="broken")
    install("flat-gan", named("flat"), entry="flat")
    code, out, _ = cli("train", "--help")
    assert code == 0
    assert "flat" in out
    assert "broken" not in out


def test_one_distribution_may_bring_several(install: Install) -> None:
    both = named("one").replace("return [", "return [Architecture('two', 'x', Config, build), ")
    install("many-gans", both, entry="many")
    assert {"one", "two"} <= set(registry.architecture_names())
    assert registry.find("two").distribution == "many-gans"


def test_two_that_claim_one_name_are_both_named(install: Install, cli: Run) -> None:
    install("flat-gan", named("flat"), entry="flat", version="1.1")
    install("other-gan", named("flat"), entry="other", version="2.2")
    for command in (["train", "flat"], ["plugins", "show", "flat"]):
        code, _, err = cli(*command)
        assert code == 1
        assert "Two plugins claim the architecture 'flat': flat-gan 1.1 and other-gan 2.2." in err
        assert "pip uninstall other-gan" in err
    rows = [row for row in json.loads(cli("plugins", "--json")[1]) if row["name"] == "flat"]
    assert len(rows) == 2
    assert all("flat-gan 1.1 and other-gan 2.2" in row["status"] for row in rows)
    assert "flat" not in registry.architecture_names()
    assert registry.find("mlp").architecture is not None


def test_nobody_may_take_a_name_of_ours_silently(install: Install) -> None:
    install("evil-gan", named("mlp"), entry="evil")
    with pytest.raises(GantoolError, match=r"evil-gan 1\.0 and gantool|gantool .* and evil-gan 1\.0") as caught:
        registry.find("mlp")
    assert caught.value.hint.endswith("pip uninstall evil-gan")


def test_first_party_plugins_come_by_the_same_door() -> None:
    for name in ("dcgan", "mlp", "projected", "sngan", "wgan"):
        assert registry.find(name).distribution == "gantool"


# data sets


SHAPES = dedent(
    '''
    """A data set, as a third party would bring it."""
    from gantool.plugin import DataSource, hookimpl

    def load(size):
        import numpy as np
        from gantool.data import Dataset

        side = size or 8
        images = np.random.default_rng(0).integers(0, 256, (20, 1, side, side), np.uint8)
        return Dataset("mine", "here", {"images": images, "labels": np.arange(20) % 2}, ("round", "square"))

    @hookimpl
    def gantool_datasets():
        return [DataSource(NAME, "circles and squares", load, "CC0")]
    '''
)


def shapes(name: str = "shapes") -> str:
    return SHAPES.replace("NAME", repr(name))


@pytest.mark.slow
def test_a_third_party_s_data_is_listed_trained_on_and_resumed(tmp_path: Path) -> None:
    site = make_distribution(tmp_path / "site", "shapes-data", "1.5", shapes(), {"shapes": "shapes_data"})

    def run(*arguments: object, code: int = 0, paths: tuple[Path, ...] = (site,)) -> str:
        done = gantool(*arguments, cwd=tmp_path, paths=paths)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    listed = {row["name"]: row for row in json.loads(run("data", "list", "--json"))}["shapes"]
    assert (listed["state"], listed["detail"], listed["licence"]) == ("plugin", "shapes-data 1.5", "CC0")
    run("train", "mlp", "--data", "shapes", "--steps", 2, "--tick", 1, "--batch-size", 4, "--device", "cpu")
    data = json.loads((tmp_path / "runs" / "0001-mlp-shapes" / "run.json").read_text())["data"]
    assert (data["source"], data["name"], data["count"], data["classes"]) == ("shapes", "shapes", 20, 2)
    assert (data["licence"], data["class_names"]) == ("CC0", ["round", "square"])
    assert "resumed at step 2 of 3" in run("train", "mlp", "--resume", 1, "--steps", 3)
    gone = run("train", "mlp", "--resume", 1, "--steps", 4, code=1, paths=())
    assert "There is no data set, file or folder 'shapes'" in gone


BROKEN_DATA = {
    "a misspelt hook": (shapes().replace("gantool_datasets", "gantool_dataset"), "gantool_dataset"),
    "a hook that raises": (shapes().replace("return [D", "raise KeyError(7); return [D"), "KeyError: 7"),
    "a hook that exits": (shapes().replace("return [D", "raise SystemExit('x'); return [D"), "tried to exit with 'x'"),
    "a hook that returns nothing": (shapes().replace("return [", "["), "implements no"),
    "what is no list": (shapes().replace("return [", "return 5 or ["), "TypeError"),
    "what is no source": (
        shapes().replace("return [", "return ['digits'] or ["),
        "returned 'digits', not a DataSource",
    ),
    "a name that can't be typed": (shapes("my shapes"), "its data set is 'my shapes'"),
    "a name that looks like a file": (shapes("shapes.npz"), "its data set is 'shapes.npz'"),
    "a summary that is none": (shapes().replace('"circles and squares"', "None"), "a summary and a licence are texts"),
    "a load that is none": (shapes("broken").replace("load, ", "5, "), "the `load` of its data set is 5"),
    "a name of ours": (shapes("digits"), "gantool itself has a data set 'digits'"),
}


@pytest.mark.parametrize("what", BROKEN_DATA)
def test_a_broken_data_set_is_reported_and_breaks_no_other(install: Install, cli: Run, what: str) -> None:
    source, reason = BROKEN_DATA[what]
    install("broken-data", source, entry="broken", version="0.3")
    install("shapes-data", shapes(), entry="fine")
    code, out, err = cli("plugins", "--json")
    assert (code, err) == (0, "")
    rows = {row["distribution"]: row for row in json.loads(out) if row["distribution"] != "gantool"}
    assert reason in rows["broken-data"]["status"]
    assert rows["shapes-data"] == {
        "name": "shapes",
        "kind": "data set",
        "summary": "circles and squares",
        "distribution": "shapes-data",
        "version": "1.0",
        "status": "ok",
    }
    listed = json.loads(cli("data", "list", "--json")[1])
    broken = next(row for row in listed if row["state"] == "broken")
    assert broken["detail"].startswith("broken-data 0.3: ")
    assert reason in broken["detail"]
    assert next(row for row in listed if row["name"] == "shapes")["state"] == "plugin"
    assert len(load("shapes")) == 20
    assert len(load("digits")) == 10_000


def test_one_broken_hook_leaves_what_the_other_gives(install: Install) -> None:
    install("both-gan", named("flat") + "\n@hookimpl\ndef gantool_datasets(): 1 / 0\n", entry="both")
    assert registry.find("flat").architecture is not None
    with pytest.raises(GantoolError, match=r"The plugin 'both' of both-gan 1\.0 is broken: ZeroDivisionError"):
        load("both")


def test_an_architecture_and_a_data_set_may_share_a_name(install: Install) -> None:
    install("both-gan", named("flat") + shapes("flat"), entry="both")
    assert registry.find("flat").architecture is not None
    assert load("flat").licence == "CC0"


def test_two_that_claim_one_data_set_are_both_named(install: Install, cli: Run, tmp_path: Path) -> None:
    install("shapes-data", shapes(), version="1.1")
    install("other-data", shapes(), version="2.2")
    code, _, err = cli("train", "mlp", "--data", "shapes")
    assert code == 1
    assert "Two plugins claim the data set 'shapes': other-data 2.2 and shapes-data 1.1." in err
    assert "pip uninstall" in err
    for command in (["plugins", "--json"], ["data", "list", "--json"]):
        rows = [row for row in json.loads(cli(*command)[1]) if row["name"] == "shapes"]
        assert len(rows) == 2
        assert all("other-data 2.2 and shapes-data 1.1" in json.dumps(row) for row in rows)
    assert len(load("digits")) == 10_000


def test_a_data_set_goes_before_a_folder_and_a_broken_plugin_after(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("shapes-data", shapes(), entry="shapes")
    install("broken-data", "1 / 0", entry="pictures")
    monkeypatch.chdir(tmp_path)
    for name in ("shapes", "pictures"):
        (tmp_path / name).mkdir()
        Image.new("L", (6, 6)).save(tmp_path / name / "a.png")
    assert load("shapes").notes[0].startswith("this is the data set 'shapes'; give ./shapes")
    assert len(load("./shapes")) == 1
    assert len(load("pictures")) == 1


def test_a_data_set_is_no_architecture(install: Install, cli: Run) -> None:
    install("shapes-data", shapes(), entry="shapes")
    assert "There is no architecture 'shapes'" in cli("plugins", "show", "shapes")[2]
    assert "shapes" not in registry.architecture_names()


def test_a_near_miss_of_a_data_set(install: Install) -> None:
    install("shapes-data", shapes(), entry="shapes")
    with pytest.raises(GantoolError, match="Did you mean `shapes`"):
        load("Shape")


# what authors import


def test_one_import_has_all_that_an_author_needs_and_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from gantool.plugin import Architecture, DataSource, GantoolError, Input, ObjectiveOptions, Recipe\n"
        "from gantool.plugin import SampleSpec, hookimpl\n"
        "assert not {'torch', 'numpy', 'typer'} & set(sys.modules), sorted(sys.modules)\n"
        "from gantool.plugin import Batch, Game, Loss, Player, objectives, two_player\n"
        "import gantool.plugin\n"
        "assert all(hasattr(gantool.plugin, name) for name in gantool.plugin.__all__)\n"
        "assert 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
