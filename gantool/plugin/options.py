"""The fields of pydantic models as options: one declaration gives the flag, its help, bounds and validation."""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gantool.errors import ArgumentError, GantoolError
from gantool.plugin.architecture import Architecture, Recipe
from gantool.plugin.train_options import RunOptions, TrainOptions

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Panel = Literal["Architecture", "Recipe", "Training"]
# options of the command line alone: a config field can't take their names either
COMMAND_ONLY = ("resume", "config")
PRESET = "preset"  # of architectures with presets
LENGTHS = ("steps", "epochs", "minutes")  # of a training: one of them can be given
_NAMES = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "BOOLEAN", Path: "PATH"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class Option:
    """A field of a config, of the recipe or of `TrainOptions`, as an option of `gantool train`.

    `changeable`: it can be given again when a run is resumed.
    """

    name: str
    type: str
    bounds: str
    default: Any
    help: str
    is_flag: bool
    panel: Panel
    changeable: bool
    adapter: TypeAdapter[Any]
    is_tuple: bool
    takes_none: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        return _text(self.default)

    @property
    def metavar(self) -> str:
        return f"{self.type} [{self.bounds}]" if self.bounds else self.type

    def parse(self, value: Any) -> Any:
        """Validate a value from the command line (text), TOML or Python; ValueError says what is wrong with it."""
        if isinstance(value, bool) and self.type != "BOOLEAN":  # pydantic would take TOML's true for 1
            raise ValueError(f"{value!r} is not valid: input should be {self.type}")
        raw = os.fspath(value) if isinstance(value, os.PathLike) else value
        if self.takes_none and value == "none":
            raw = None
        elif self.is_tuple and isinstance(value, str):
            raw = [part.strip() for part in value.split(",") if part.strip()]
        try:
            return self.adapter.validate_python(raw)
        except ValidationError as error:
            raise ValueError(f"{value!r} is not valid: {reason(error, '|' in self.type)}") from error


def options_of(architecture: Architecture) -> list[Option]:
    """The options of an architecture: its config's fields, then the recipe's; before them --preset where it has any.

    Raises GantoolError for a field that can't be an option (type, missing default, missing description, taken name),
    and for a preset that gives what is no option, or a value that it can't have.
    """
    config = default_config(architecture)
    taken = {*TrainOptions.model_fields, *Recipe.model_fields, *COMMAND_ONLY, PRESET}
    for name in architecture.config.model_fields:
        if name in taken:
            raise GantoolError(
                f"The config of {architecture.name!r} has a field {name!r}, the name of an option of gantool train.",
                "Rename the field.",
            )
    options = _options(config, "Architecture") + _options(architecture.recipe_for(config), "Recipe")
    return [*_preset_option(architecture, options), *options]


def _preset_option(architecture: Architecture, options: Sequence[Option]) -> list[Option]:
    """--preset, which says what each preset stands for; [] without presets."""
    if not architecture.presets:
        return []
    flags = {option.name: option for option in options}
    meant = []
    for name, values in architecture.presets.items():
        try:
            parsed = parse(options, values)
            resolve(architecture, {PRESET: name})
        except ArgumentError as error:
            raise GantoolError(f"The preset {name!r} of {architecture.name!r}: {error.message}", error.hint) from error
        given = [_typed(flags[key].flag, value) for key, value in parsed.items()]
        meant.append(f"{name}: {' '.join(given) or 'the defaults'}")
    description = f"options to give at once, before those given beside it ({'; '.join(meant)})"
    names: Any = Literal[tuple(architecture.presets)] | None
    return [_option(PRESET, FieldInfo(annotation=names, description=description), None, "Architecture")]


def training_options() -> list[Option]:
    """The options that every architecture has: what it is trained on first, then how."""
    return sorted(_options(TrainOptions(), "Training"), key=lambda option: option.name in RunOptions.model_fields)


def all_options(architecture: Architecture) -> list[Option]:
    """Everything that `gantool train NAME` and `gantool.train(NAME)` take."""
    return [*options_of(architecture), *training_options()]


def parse(options: Iterable[Option], given: Mapping[str, Any], origin: Path | None = None) -> dict[str, Any]:
    """Validated values by the options' names. `origin`: the file that `given` was read from.

    ArgumentError for a value that its option can't have, and for an option that there is not (with the closest).
    """
    by_name = {option.name: option for option in options}
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in by_name:
            there_is = f"{origin}: there is" if origin else "There is"
            raise ArgumentError(f"{there_is} no option {key!r}.", closest(name, list(by_name)))
        try:
            values[name] = by_name[name].parse(value)
        except ValueError as error:
            raise ArgumentError(f"{f'{origin}: ' if origin else ''}{key}: {error}.") from error
    return values


def check_together(options: Iterable[Option], given: Collection[str], resumed: bool) -> None:
    """ArgumentError when the options named in `given` don't go together, or can't be given to a run that is resumed."""
    lengths = [f"--{name}" for name in LENGTHS if name in given]
    if len(lengths) > 1:
        raise ArgumentError(f"Give {' or '.join(lengths)}, not both.")
    changeable = {option.name: option.flag for option in options if option.changeable}
    for name in given if resumed else ():
        if name not in changeable:
            flag = "--" + name.replace("_", "-")
            raise ArgumentError(
                f"{flag} can't change when a run is resumed.", f"These can: {', '.join(changeable.values())}."
            )


def default_config(architecture: Architecture) -> BaseModel:
    try:
        return architecture.config()
    except ValidationError as error:
        where = ", ".join(str(e["loc"][0]) for e in error.errors() if e["loc"]) or "the model itself"
        raise GantoolError(
            f"The config of {architecture.name!r} can't be made from its defaults: {where}.",
            "Give every field a valid default.",
        ) from error


def resolve(architecture: Architecture, given: Mapping[str, Any]) -> tuple[BaseModel, Recipe]:
    """Config and recipe from the values that a person gave; everything else comes from the preset, then the plugin.

    GantoolError for a combination that the config refuses.
    """
    given = {**architecture.presets.get(given.get(PRESET) or "", {}), **given}
    try:
        config = architecture.config(**{k: v for k, v in given.items() if k in architecture.config.model_fields})
        recipe = architecture.recipe_for(config)
        changes = {k: v for k, v in given.items() if k in Recipe.model_fields}
        return config, Recipe(**{**recipe.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ", ".join("--" + str(part).replace("_", "-") for part in first["loc"] if isinstance(part, str))
        raise ArgumentError(
            f"{where}: {reason(error)}." if where else f"The options don't fit: {reason(error)}.",
            f"`gantool plugins show {architecture.name}` lists every option with its bounds.",
        ) from error


_WANTED = {
    "bool": "true or false",
    "dict": "a table",
    "finite_number": "a finite number",
    "float": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "list": "a list",
    "literal_error": "{expected}",
    "model_type": "a table",
    "string": "text",
    "too_long": "a list of {max_length} at most",
    "too_short": "a list of {min_length} at least",
    "tuple": "a list",
}


def reason(error: ValidationError, of_union: bool = False) -> str:
    """What is wrong with the first value that pydantic refused, inside a sentence: `it must be 1 or more`.

    `of_union`: the errors are of one value, an error for each type that it may have: `it must be a whole number or
    'auto'`.
    """
    errors = error.errors() if of_union else error.errors()[:1]
    first = errors[0]
    if first["type"] in ("missing", "extra_forbidden"):
        return "it is missing" if first["type"] == "missing" else "there is no such field"
    wanted = [_wanted(other) for other in errors]
    if all(wanted):
        return f"it must be {' or '.join(dict.fromkeys(wanted))}"
    message = first["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _wanted(error: ErrorDetails) -> str:
    """Which value pydantic would have taken; "" for a check of a plugin's own, which says it itself."""
    kind = error["type"]
    text = _WANTED.get(kind) or _WANTED.get(kind.partition("_")[0], "")
    return text.format(**error.get("ctx", {}))


def closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(names))}."


def _options(model: BaseModel, panel: Panel) -> list[Option]:
    """The fields of a model; their defaults are its values."""
    return [_option(name, f, getattr(model, name), panel) for name, f in type(model).model_fields.items()]


def _option(name: str, field: FieldInfo, default: Any, panel: Panel) -> Option:
    if not field.description:
        raise GantoolError(f"The config field {name!r} has no description.", "Write Field(…, description=…).")
    annotation, extra = field.annotation, field.json_schema_extra
    text, is_tuple = _type_text(name, annotation)
    annotated: Any = Annotated[(annotation, *field.metadata)] if field.metadata else annotation
    return Option(
        name=name,
        type=text,
        bounds=_bounds(field),
        default=default,
        help=field.description,
        is_flag=annotation is bool,
        panel=panel,
        changeable=isinstance(extra, dict) and bool(extra.get("changeable")),
        adapter=TypeAdapter(annotated),
        is_tuple=is_tuple,
        takes_none=type(None) in get_args(annotation),
    )


def _type_text(name: str, annotation: Any) -> tuple[str, bool]:
    """How a type is shown, and whether its values are written as a comma-separated list."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation], False
    if origin is Literal:
        return "|".join(map(str, args)), False
    if origin is Annotated:
        return _type_text(name, args[0])
    if origin in (Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        words = [_type_text(name, arg) for arg in inner if get_origin(arg) is Literal]
        others = [arg for arg in inner if get_origin(arg) is not Literal]
        if len(others) < 2:
            shown = [*(_type_text(name, arg) for arg in others), *words]
            return "|".join(text for text, _ in shown), any(is_tuple for _, is_tuple in shown)
    if origin is tuple and args and args[0] in _NAMES:
        item = _NAMES[args[0]]
        return (f"{item},…" if args[-1] is Ellipsis else ",".join([item] * len(args))), True
    raise GantoolError(
        f"The config field {name!r} has the type {annotation!r}, which can't be an option.",
        "Use int, float, str, bool, Literal[…], tuple[…] of those, or one of them with None.",
    )


def _bounds(field: FieldInfo) -> str:
    """`ge=1, lt=5` as `≥ 1, < 5`, read from pydantic's (annotated-types') metadata."""
    parts = []
    for constraint in field.metadata:
        for attribute, sign in _BOUNDS.items():
            value = getattr(constraint, attribute, None)
            if value is not None:
                parts.append(f"{sign} {_text(value)}")
    return ", ".join(parts)


def _typed(flag: str, value: Any) -> str:
    """An option with its value as it is typed: `--width 8`, `--flip`, `--no-flip`."""
    if isinstance(value, bool):
        return flag if value else f"{flag[:2]}no-{flag[2:]}"
    return f"{flag} {_text(value)}"


def _text(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(_text(item) for item in value)
    return str(value)
