"""A plugin's config and recipe as options: one declaration gives the flags, their help, bounds and validation."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gantool.errors import GantoolError
from gantool.plugin.architecture import Architecture, Recipe

# Options of `gantool train` itself; a config field can't take these names.
COMMON = (
    "data", "size", "data_on", "flip", "diffaugment", "epochs", "seed", "device", "precision", "engine", "tick", "keep",
    "keep_every", "on_nan", "keep_best", "tensorboard", "runs", "name", "resume", "config",
)  # fmt: skip
_NAMES = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "BOOLEAN"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class Option:
    """One field of a config or recipe, as a command-line option and as a row of `gantool plugins show`."""

    name: str
    type: str
    bounds: str
    default: Any
    help: str
    is_flag: bool
    of_recipe: bool
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
        """Validate a value from the command line (text) or TOML; ValueError says what is wrong with it."""
        if isinstance(value, bool) and self.type != "BOOLEAN":  # pydantic would take TOML's true for 1
            raise ValueError(f"{value!r} is not valid: input should be {self.type}")
        raw = value
        if self.takes_none and value == "none":
            raw = None
        elif self.is_tuple and isinstance(value, str):
            raw = [part.strip() for part in value.split(",") if part.strip()]
        try:
            return self.adapter.validate_python(raw)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{value!r} is not valid: {said(first['msg'])}") from error


def options_of(architecture: Architecture) -> list[Option]:
    """The options of an architecture: its config's fields, then the recipe's.

    Raises GantoolError for a field that can't be an option (type, missing default, missing description, taken name).
    """
    config = default_config(architecture)
    recipe = architecture.recipe_for(config)
    taken = {*COMMON, *Recipe.model_fields}
    for name in architecture.config.model_fields:
        if name in taken:
            raise GantoolError(
                f"The config of {architecture.name!r} has a field {name!r}, the name of an option of gantool train.",
                "Rename the field.",
            )
    own = [_option(name, f, getattr(config, name), False) for name, f in architecture.config.model_fields.items()]
    return own + [_option(name, f, getattr(recipe, name), True) for name, f in Recipe.model_fields.items()]


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
    """Config and recipe from the values that a person gave; everything else comes from the plugin.

    GantoolError for a combination that the config refuses.
    """
    try:
        config = architecture.config(**{k: v for k, v in given.items() if k in architecture.config.model_fields})
        recipe = architecture.recipe_for(config)
        changes = {k: v for k, v in given.items() if k in Recipe.model_fields}
        return config, Recipe(**{**recipe.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ", ".join("--" + str(part).replace("_", "-") for part in first["loc"] if isinstance(part, str))
        raise GantoolError(
            f"{where}: {said(first['msg'])}." if where else f"The options don't fit: {said(first['msg'])}.",
            f"`gantool plugins show {architecture.name}` lists every option with its bounds.",
        ) from error


def said(message: str) -> str:
    """A pydantic message inside a sentence."""
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(names))}."


def _option(name: str, field: FieldInfo, default: Any, of_recipe: bool) -> Option:
    if not field.description:
        raise GantoolError(f"The config field {name!r} has no description.", "Write Field(…, description=…).")
    annotation = field.annotation
    text, is_tuple = _type_text(name, annotation)
    annotated: Any = Annotated[(annotation, *field.metadata)] if field.metadata else annotation
    return Option(
        name=name,
        type=text,
        bounds=_bounds(field),
        default=default,
        help=field.description,
        is_flag=annotation is bool,
        of_recipe=of_recipe,
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
    if origin in (Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        if len(inner) == 1:
            return _type_text(name, inner[0])
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


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(_text(item) for item in value)
    return str(value)
