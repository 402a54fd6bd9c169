"""A config as options: one declaration, read for flags, bounds and validation."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Recipe, SampleSpec
from gantool.plugin.game import Game
from gantool.plugin.options import Option, options_of, resolve
from gantool.plugin.train_options import TrainOptions


class Config(BaseModel, frozen=True, extra="forbid"):
    depth: int = Field(3, ge=1, lt=9, description="layers")
    scale: float = Field(0.5, gt=0, le=1e4, description="factor")
    mode: Literal["fast", "good"] = Field("fast", description="kind")
    widths: tuple[int, ...] = Field((8, 16), description="channels")
    pair: tuple[float, float] = Field((0.0, 0.5), description="two")
    limit: float | None = Field(None, ge=0, description="bound")
    sizes: tuple[int, ...] | None = Field((1,), description="sides")
    title: str = Field("x", description="name of it")
    skip: bool = Field(False, description="leave out")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.skip and self.depth == 1:
            raise ValueError("--skip needs a --depth of 2 or more")
        return self


def _build(config: Any, spec: SampleSpec, recipe: Recipe) -> Game:
    raise NotImplementedError


def _architecture(config: type[BaseModel], **more: Any) -> Architecture:
    return Architecture("toy", "for a test", config, _build, **more)


def _options(config: type[BaseModel] = Config) -> dict[str, Option]:
    return {option.name: option for option in options_of(_architecture(config))}


def test_presets_are_an_option_that_says_what_they_stand_for() -> None:
    made = _architecture(Config, presets={"plain": {}, "large": {"batch_size": 512, "skip": False}})
    (preset, *_) = options_of(made)
    assert (preset.flag, preset.type, preset.default) == ("--preset", "plain|large", None)
    assert "(plain: the defaults; large: --batch-size 512 --no-skip)" in preset.help
    assert resolve(made, {"preset": "large", "steps": 8})[1] == Recipe(batch_size=512, steps=8)
    with pytest.raises(ValueError, match="'huge' is not valid"):
        preset.parse("huge")


@pytest.mark.parametrize(("values", "fault"), [({"batchsize": 1}, "no option 'batchsize'"), ({"steps": 0}, "steps: 0")])
def test_a_preset_gives_options_values_that_they_can_have(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(GantoolError, match=f"The preset 'odd' of 'toy': .*{fault}"):
        options_of(_architecture(Config, presets={"odd": values}))


def test_options_are_the_fields_of_the_config_then_those_of_the_recipe() -> None:
    options = options_of(_architecture(Config, recipe=Recipe(batch_size=17)))
    names = [option.name for option in options]
    assert names == [*Config.model_fields, *Recipe.model_fields]
    assert [option.panel for option in options] == ["Architecture"] * 9 + ["Recipe"] * len(Recipe.model_fields)
    by_name = {option.name: option for option in options}
    assert by_name["batch_size"].flag == "--batch-size"
    assert by_name["batch_size"].default == 17
    assert by_name["skip"].is_flag


@pytest.mark.parametrize(
    ("name", "type_", "bounds", "default"),
    [
        ("depth", "INTEGER", "≥ 1, < 9", "3"),
        ("scale", "NUMBER", "> 0, ≤ 10000", "0.5"),
        ("mode", "fast|good", "", "fast"),
        ("widths", "INTEGER,…", "", "8,16"),
        ("pair", "NUMBER,NUMBER", "", "0,0.5"),
        ("limit", "NUMBER", "≥ 0", "none"),
        ("title", "TEXT", "", "x"),
        ("skip", "BOOLEAN", "", "no"),
    ],
)
def test_types_bounds_and_defaults_are_said(name: str, type_: str, bounds: str, default: str) -> None:
    option = _options()[name]
    assert (option.type, option.bounds, option.default_text) == (type_, bounds, default)
    assert option.metavar == (f"{type_} [{bounds}]" if bounds else type_)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("depth", "4", 4),
        ("depth", 4, 4),
        ("scale", "1e-3", 1e-3),
        ("mode", "good", "good"),
        ("widths", "1,2,3", (1, 2, 3)),
        ("widths", " 1, 2 ,", (1, 2)),
        ("widths", [4], (4,)),
        ("pair", "0.1,0.2", (0.1, 0.2)),
        ("limit", "none", None),
        ("limit", "2.5", 2.5),
        ("sizes", "none", None),
        ("sizes", "3,4", (3, 4)),
        ("title", "none", "none"),
        ("skip", True, True),
    ],
)
def test_values_are_parsed_from_text_and_from_toml(name: str, value: Any, wanted: Any) -> None:
    parsed = _options()[name].parse(value)
    assert parsed == wanted
    assert type(parsed) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", "0"),
        ("depth", "9"),
        ("depth", "3.5"),
        ("depth", "none"),
        ("depth", True),
        ("scale", "nan"),
        ("mode", "best"),
        ("widths", "1,x"),
        ("widths", 8),
        ("pair", "1"),
        ("limit", "-1"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_wrong(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="is not valid: ") as caught:
        _options()[name].parse(value)
    assert repr(value) in str(caught.value)


def _config(annotation: Any, default: Any = 1, name: str = "field", **field: Any) -> type[BaseModel]:
    described = {"description": "text", **field}
    space = {"__annotations__": {name: annotation}, name: Field(default, **described)}
    return type("Odd", (BaseModel,), space)


@pytest.mark.parametrize("annotation", [dict[str, int], list[int], int | str, object, tuple[tuple[int, ...], ...]])
def test_a_type_that_can_not_be_an_option_is_reported(annotation: Any) -> None:
    default = {dict[str, int]: {}, list[int]: [], tuple[tuple[int, ...], ...]: ()}.get(annotation, 1)
    with pytest.raises(GantoolError, match=r"'field' has the type .* which can't be an option") as caught:
        options_of(_architecture(_config(annotation, default)))
    assert "Use int, float" in caught.value.hint


def test_a_field_without_a_description_is_reported() -> None:
    with pytest.raises(GantoolError, match="'field' has no description"):
        options_of(_architecture(_config(int, description=None)))


@pytest.mark.parametrize("name", [*TrainOptions.model_fields, "learning_rate", "steps", "resume", "config"])
def test_a_name_that_is_taken_is_reported(name: str) -> None:
    with pytest.raises(GantoolError, match=f"'toy' has a field '{name}', the name of an option of gantool train"):
        options_of(_architecture(_config(int, name=name)))


def test_a_config_without_defaults_is_reported() -> None:
    with pytest.raises(GantoolError, match="'toy' can't be made from its defaults: field"):
        options_of(_architecture(_config(int, default=...)))


def test_given_values_go_to_the_config_and_to_the_recipe() -> None:
    def recipe(config: Config) -> Recipe:
        return Recipe(batch_size=10 * config.depth, learning_rate=0.01)

    config, resolved = resolve(_architecture(Config, recipe=recipe), {"depth": 5, "learning_rate": 0.1})
    assert isinstance(config, Config)
    assert config.depth == 5
    assert (resolved.batch_size, resolved.learning_rate) == (50, 0.1)


def test_a_combination_that_the_config_refuses_is_told_in_its_words() -> None:
    with pytest.raises(GantoolError, match=r"--skip needs a --depth of 2 or more") as caught:
        resolve(_architecture(Config), {"skip": True, "depth": 1})
    assert "gantool plugins show toy" in caught.value.hint
    with pytest.raises(GantoolError, match=r"--betas: .*at least 0 and less than 1"):
        resolve(_architecture(Config), {"betas": (2.0, 3.0)})
