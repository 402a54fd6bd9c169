"""`gantool train NAME`: a sub-command for each architecture, made from its config and recipe."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from gantool.errors import GantoolError

if TYPE_CHECKING:
    from gantool.plugin.options import Option

Precision = Literal["fp32", "tf32", "bf16"]
Engine = Literal["auto", "eager", "rewritten", "compiled", "graph"]
OnNan = Literal["stop", "rollback"]
Place = Literal["auto", "device", "disk"]


class _Architectures(TyperGroup):
    """Looks plugins up when `train` is used, so that `gantool --help` loads none."""

    def list_commands(self, ctx: Any) -> list[str]:
        from gantool.plugin.registry import architecture_names

        return architecture_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from gantool.plugin.registry import find

        return _command_for(find(cmd_name).name)


app = typer.Typer(
    cls=_Architectures,
    no_args_is_help=True,
    help="Train an architecture (gantool train NAME --help lists its options).",
    subcommand_metavar="NAME [OPTIONS]",
)


@app.callback()
def _group() -> None:
    pass


# every default is None, "not given": the real one comes from the run that is resumed, FILE, or the plugin
_COMMON: dict[str, tuple[Any, str, str]] = {
    "data": (str | None, "digits", "A folder of images, a pack, a .npz or IDX file, or a name of `gantool data list`."),
    "size": (
        Annotated[int | None, typer.Option(min=4)],
        "the data's own",
        "Side in pixels: crop and resize to it.",
    ),
    "data_on": (
        Place | None,
        "auto",
        "Where data is while training: all of it on the device, on disk (read ahead, batch by batch), or as it fits.",
    ),
    "flip": (bool | None, "no", "Mirror half of the images, left to right, at random."),
    "diffaugment": (
        str | None,
        "none",
        "For small data sets: color,translation,cutout, or some of them, on all that the discriminator sees.",
    ),
    "epochs": (
        Annotated[float | None, typer.Option(min=1e-6, max=1e6)],
        "",
        "Passes over the data, instead of --steps.",
    ),
    "seed": (Annotated[int | None, typer.Option(min=0, max=2**63 - 1)], "0", "Decides weights, order and latents."),
    "device": (str | None, "auto", "auto, cpu, cuda or cuda:N."),
    "precision": (Precision | None, "fp32", "fp32, tf32 (CUDA) or bf16 (autocast)."),
    "engine": (
        Engine | None,
        "auto",
        "How steps are computed: eager (the reference), rewritten (for CPUs), compiled, graph (CUDA), or auto.",
    ),
    "tick": (
        Annotated[int | None, typer.Option(min=1)],
        "250",
        "Steps between checkpoints, samples and metrics.",
    ),
    "keep": (Annotated[int | None, typer.Option(min=1)], "2", "Newest checkpoints to keep."),
    "keep_every": (
        Annotated[int | None, typer.Option(min=0)],
        "0: none",
        "Keep a checkpoint of every so many steps, too.",
    ),
    "on_nan": (
        OnNan | None,
        "stop",
        "When a loss or weight is NaN: stop, or go back to the last checkpoint at half the learning rates (3 times).",
    ),
    "keep_best": (
        str | None,
        "none",
        "Keep the best checkpoint, too: by diversity, frechet, or KEY:max or KEY:min of metrics.jsonl.",
    ),
    "tensorboard": (bool | None, "no", "Write scalars and samples for TensorBoard into the run's folder, too."),
    "runs": (Path | None, "runs", "Folder of the runs."),
    "name": (str | None, "NAME-DATA", "Label of the run's folder."),
    "resume": (
        str | None,
        "",
        "Go on with a run: its path, folder name or number; `auto`: the newest of these options, unless finished.",
    ),
    "config": (Path | None, "", "TOML file of options; flags win."),
}
_CHANGEABLE = (
    "steps", "epochs", "tick", "keep", "keep_every", "on_nan", "keep_best", "tensorboard", "device", "engine", "data",
    "data_on",
)  # fmt: skip
_ON_RESUME = {*_CHANGEABLE, "runs", "resume", "config"}


def _command_for(name: str) -> Any:
    """The Typer command of one architecture."""
    from gantool.plugin.options import options_of
    from gantool.plugin.registry import find

    plugin = find(name)
    assert plugin.architecture is not None
    options = options_of(plugin.architecture)

    def command(**given: Any) -> None:
        _train(name, options, {key: value for key, value in given.items() if value is not None})

    parameters = [_parameter(option) for option in options] + [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_common(key)) for key in _COMMON
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = f"Train {name}: {plugin.architecture.summary}."
    single = typer.Typer(add_completion=False)
    single.command(name)(command)
    made = typer.main.get_command(single)
    made.name = name
    return made


def _parameter(option: Option) -> inspect.Parameter:
    panel = "Recipe" if option.of_recipe else "Architecture"
    text = option.help[0].upper() + option.help[1:] + "."
    if option.is_flag:
        info = typer.Option(
            f"{option.flag}/--no-{option.flag[2:]}",
            help=_with_default(text, option.default_text),
            show_default=False,
            rich_help_panel=panel,
        )
        annotation: Any = Annotated[bool | None, info]
    else:

        def parse(value: str) -> Any:
            try:
                return _Given(option.parse(value))
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error

        info = typer.Option(
            option.flag,
            parser=parse,
            metavar=option.metavar,
            help=_with_default(text, option.default_text),
            show_default=False,
            rich_help_panel=panel,
        )
        annotation = Annotated[Any, info]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


class _Given:
    """A parsed value, wrapped: an option given as `none` is not an option not given."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _common(key: str) -> Any:
    kind, default, text = _COMMON[key]
    extra = {"min": kind.__metadata__[0].min, "max": kind.__metadata__[0].max} if hasattr(kind, "__metadata__") else {}
    base = kind.__origin__ if hasattr(kind, "__metadata__") else kind
    flag = f"{_flag(key)}/--no-{_flag(key)[2:]}" if kind == bool | None else _flag(key)
    return Annotated[base, typer.Option(flag, help=_with_default(text, default), show_default=False, **extra)]


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _with_default(text: str, default: str) -> str:
    """Typer would show a default that is only a text in brackets of its own; the backslash is rich's escape."""
    return rf"{text} \[default: {default}]" if default else text


def _train(name: str, options: list[Option], flags: dict[str, Any]) -> None:
    flags = {key: value.value if isinstance(value, _Given) else value for key, value in flags.items()}
    config = flags.pop("config", None)
    given = {**_read_toml(config, options), **flags} if config else flags
    for flag, other in (("steps", "epochs"), ("epochs", "steps")):
        if flag in flags and other not in flags:
            given.pop(other, None)
    if "epochs" in given and "steps" in given:
        raise typer.BadParameter("give --steps or --epochs, not both")
    from gantool.cli.training import run_training

    if given.get("resume", "auto") != "auto":
        wrong = sorted(set(given) - _ON_RESUME)
        if wrong:
            can = ", ".join(map(_flag, _CHANGEABLE))
            raise typer.BadParameter(f"{_flag(wrong[0])} can't change when a run is resumed; these can: {can}")
    run_training(name, given)


def _read_toml(path: Path, options: list[Option]) -> dict[str, Any]:
    """Options from a TOML file, validated as flags are; GantoolError names the file and the key."""
    from gantool.plugin.options import closest
    from gantool.system.files import read_bounded

    try:
        table = tomllib.loads(read_bounded(path, 2**20).decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too many digits; brackets nested too deep
        raise GantoolError(f"{path} is not valid TOML: {error}.") from error
    by_name = {option.name: option for option in options}
    common = [key for key in _COMMON if key not in ("config", "resume")]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        try:
            if name in by_name:
                values[name] = by_name[name].parse(value)
            elif name in common:
                values[name] = _common_value(name, value)
            else:
                raise GantoolError(f"{path}: there is no option {key!r}.", closest(name, [*by_name, *common]))
        except ValueError as error:
            raise GantoolError(f"{path}: {key}: {error}.") from error
    return values


def _common_value(name: str, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from gantool.plugin.options import said

    kind = _COMMON[name][0]
    base = kind.__origin__ if hasattr(kind, "__metadata__") else kind
    try:
        parsed = TypeAdapter(base).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{value!r} is not valid: {said(error.errors()[0]['msg'])}") from error
    if hasattr(kind, "__metadata__"):
        least, most = kind.__metadata__[0].min, kind.__metadata__[0].max
        if least is not None and not parsed >= least:
            raise ValueError(f"{value!r} is less than {least}")
        if most is not None and not parsed <= most:
            raise ValueError(f"{value!r} is more than {most}")
    return parsed
