"""`gantool plugins`: what is installed, and every option of it."""

from __future__ import annotations

import json

import pytest
from support.inprocess import Run

from gantool.plugin import registry
from gantool.plugin.architecture import Recipe


def test_the_list(cli: Run) -> None:
    code, out, err = cli("plugins")
    assert (code, err) == (0, "")
    for plugin in registry.discover():
        row = next(line for line in out.splitlines() if line.split()[:1] == [plugin.name])
        assert plugin.version in row
        assert row.split()[-1] == "ok"
        assert plugin.architecture is not None
        assert plugin.architecture.summary in row


def test_the_list_for_programs(cli: Run) -> None:
    rows = json.loads(cli("plugins", "--json")[1])
    assert {"dcgan", "mlp", "projected", "sngan", "wgan"} <= {row["name"] for row in rows}
    assert all(set(row) == {"name", "kind", "summary", "distribution", "version", "status"} for row in rows)
    assert all(row["status"] == "ok" for row in rows)


@pytest.mark.parametrize("name", registry.architecture_names())
def test_every_option_is_shown(cli: Run, name: str) -> None:
    code, out, err = cli("plugins", "show", name)
    assert (code, err) == (0, "")
    architecture = registry.find(name).architecture
    assert architecture is not None
    fields = {**architecture.config.model_fields, **Recipe.model_fields}
    for field, declared in fields.items():
        # a line of a long help may begin with an option, too
        rows = [line for line in out.splitlines() if line.split()[:1] == ["--" + field.replace("_", "-")]]
        assert any((declared.description or "?") in row for row in rows)


def test_an_option_has_its_type_bounds_and_default(cli: Run) -> None:
    out = cli("plugins", "show", "dcgan")[1]
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()[:1] and line.split()[0].startswith("--")}
    assert "INTEGER [≥ 1, ≤ 4096]" in rows["--latent-dim"]
    assert " 100 " in rows["--latent-dim"]
    assert "nonsaturating|lsgan|hinge" in rows["--objective"]
    assert "NUMBER [≥ 0, < 0.5]" in rows["--label-smoothing"]
    assert " 0.5,0.9 " in rows["--betas"]
    assert " none " in rows["--discriminator-rate"]


def test_the_options_for_programs(cli: Run) -> None:
    shown = json.loads(cli("plugins", "show", "mlp", "--json")[1])
    options = {option["option"]: option for option in shown["options"]}
    assert options["--widths"]["default"] == [256, 512, 1024]
    assert options["--widths"]["from"] == "config"
    assert options["--latent-dim"]["bounds"] == "≥ 1, ≤ 4096"
    assert options["--ema-decay"]["from"] == "recipe"
    assert all(option["help"] for option in options.values())


def test_a_typing_error_gets_a_suggestion(cli: Run) -> None:
    code, out, err = cli("plugins", "show", "dcgn")
    assert (code, out) == (1, "")
    assert "no architecture 'dcgn'" in err
    assert "Did you mean 'dcgan'?" in err


def test_a_name_like_no_other_gets_the_list(cli: Run) -> None:
    assert f"Installed: {', '.join(registry.architecture_names())}." in cli("plugins", "show", "xyz")[2]
