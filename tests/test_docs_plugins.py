"""docs/plugins.md is the contract: its code keeps it, its tables have every field, its claims about sharing hold."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.trainings import architecture, tiny_game

from gantool.data import Dataset, load
from gantool.data.kinds import formats
from gantool.errors import GantoolError
from gantool.plugin import DataSource, Reader, SourceFile, Wanted, options, registry
from gantool.plugin import architecture as declared
from gantool.plugin import game as games
from gantool.plugin.architecture import Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.registry import Plugin
from gantool.scaffold import checked
from gantool.testing import check_architecture

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def module(number: int) -> dict[str, Any]:
    """What a block of code defines."""
    names: dict[str, Any] = {"__name__": f"block{number}"}
    exec(compile(BLOCKS[number], f"docs/plugins.md, block {number}", "exec"), names)
    return names


def table_of(name: str) -> list[str]:
    """The first column of the table whose head is `name`."""
    head = re.search(rf"^\| `{name}` \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert head, name
    return [line.split("|")[1].strip().strip("`") for line in head[1].splitlines()]


@pytest.mark.parametrize(
    "described",
    [
        declared.Architecture,
        declared.SampleSpec,
        declared.Input,
        games.Game,
        games.Player,
        games.Loss,
        DataSource,
        Reader,
        SourceFile,
        Wanted,
    ],
    ids=lambda described: described.__name__,
)
def test_every_field_has_a_row(described: type) -> None:
    assert sorted(table_of(described.__name__)) == sorted(field.name for field in dataclasses.fields(described))


def test_every_field_of_a_recipe_has_a_row_with_its_default() -> None:
    assert table_of("Recipe") == list(Recipe.model_fields)
    for name, value in Recipe().model_dump().items():
        row = re.search(
            rf"^\| `{name}` \| ([^|]+) \| .*\|$", PAGE[PAGE.index("| `Recipe` | default |") :], re.MULTILINE
        )
        assert row
        given = "none" if row[1] == "None" else row[1].strip("`").replace(", ", ",")
        (option,) = (o for o in options.options_of(architecture(tiny_game)) if o.name == name)
        assert option.parse(given) == value


def test_a_data_source() -> None:
    ((source,), data) = module(0)["gantool_datasets"](), module(0)["load"](None)
    assert isinstance(source, DataSource)
    assert source.load(8).spec == SampleSpec((1, 8, 8), classes=2)
    assert data.fingerprint == source.load(None).fingerprint


def test_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (reader,) = module(1)["gantool_readers"]()
    monkeypatch.setattr(registry, "discover", lambda: (Plugin(reader.name, "raw", "1", reader=reader),))
    formats.reader_of.cache_clear()
    (tmp_path / "a.raw16").write_bytes((np.ones(2048, "<i2") * 1000).tobytes())
    data = load(str(tmp_path))
    formats.reader_of.cache_clear()
    assert (data.rate, data.images.shape, int(data.images[0, 0, 0])) == (8000, (1, 1, 4096), 1000)


@pytest.mark.parametrize("artifacts", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_with_labels_or_without(artifacts: bool) -> None:
    (made,) = module(2)["gantool_architectures"]()
    assert [spec.classes for spec in made.examples] == [0, 3]
    check_architecture(made, artifacts=artifacts)


@pytest.mark.parametrize("artifacts", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_pairs_with_the_data_that_they_need(artifacts: bool) -> None:
    (made,), paired = module(4)["gantool_architectures"](), module(5)["paired"]
    assert isinstance(paired(made.examples[0]), Dataset)
    check_architecture(made, artifacts=artifacts, data=paired)


def test_pairs_are_refused_without_sources() -> None:
    (made,) = module(4)["gantool_architectures"]()
    with pytest.raises(GantoolError, match="learns from pairs"):
        made.build(made.config(), SampleSpec((1, 16, 16)), Recipe())


def test_there_is_no_other_code() -> None:
    assert len(BLOCKS) == 6


def test_the_first_lines_are_those_that_the_command_prints() -> None:
    first = re.search(r"^    gantool plugins new (\S+)\n    cd (\S+)\n", PAGE, re.MULTILINE)
    assert first
    assert first[2] == checked(first[1]).distribution


@pytest.mark.parametrize("link", re.findall(r"\]\(#([^)]+)\)", PAGE))
def test_links_within_lead_somewhere(link: str) -> None:
    heads = [re.sub(r"[^\w -]", "", head).strip().lower() for head in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)]
    assert link in [head.replace(" ", "-") for head in heads]


def with_lazy_penalty(spec: SampleSpec) -> Game:
    """The page's R1, a player that has the discriminator of another one."""
    game = tiny_game(spec)
    judge, maker = game.players
    lazy = module(3)["lazy_r1"](judge.modules["discriminator"], gamma=10, every=4)
    return replace(game, players=(judge, lazy, maker), together=None)


def test_two_players_may_own_one_network() -> None:
    check_architecture(architecture(with_lazy_penalty), artifacts=False)
    assert list(with_lazy_penalty(SampleSpec((1, 8, 8))).modules()) == [
        "discriminator.discriminator",
        "generator.generator",
    ]
