"""`gantool train NAME`: a sub-command for each architecture, made from its config and recipe."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
import tomllib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gantool.errors import ArgumentError, GantoolError
from gantool.system.terminal import console, print_error

if TYPE_CHECKING:
    from gantool.plugin.options import Option
    from gantool.run.rundir import Status
    from gantool.training.session import Session


MAX_TOML_BYTES = 2**16
MAX_DOTS = 1000  # in a line: tomllib's time for a key grows with the square of its parts


class _Architectures(TyperGroup):
    """Looks plugins up when `train` is used, so that `gantool --help` loads none."""

    def list_commands(self, ctx: Any) -> list[str]:
        from gantool.plugin.registry import architecture_names

        return architecture_names()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            names = [word for word in args if word in self.list_commands(ctx)]
            name = names[0] if names else "NAME"
            options = [word for word in args if word != name]
            raise typer.BadParameter(
                f"options come after the architecture: gantool train {name} {shlex.join(options)}", ctx
            )
        rest: list[str] = super().parse_args(ctx, args)
        return rest

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


# of the command line alone; every default is None, "not given", as the options made from fields have it
_RESUME = Annotated[
    str | None,
    typer.Option(
        help="Go on with a run: its path, folder name or number; `auto`: the newest of these options, unless finished.",
        show_default=False,
    ),
]
_CONFIG = Annotated[Path | None, typer.Option(help="TOML file of options; flags win.", show_default=False)]


def _command_for(name: str) -> Any:
    """The Typer command of one architecture."""
    from gantool.plugin.options import all_options
    from gantool.plugin.registry import find

    plugin = find(name)
    assert plugin.architecture is not None
    options = all_options(plugin.architecture)

    def command(resume: str | None = None, config: Path | None = None, **given: Any) -> None:
        flags = {k: v.value if isinstance(v, _Given) else v for k, v in given.items() if v is not None}
        _train(name, options, flags, resume, config)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [_parameter(option) for option in options] + [
        inspect.Parameter(key, keyword, default=None, annotation=annotation)
        for key, annotation in (("resume", _RESUME), ("config", _CONFIG))
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = f"Train {name}: {plugin.architecture.summary}."
    single = typer.Typer(add_completion=False)
    single.command(name)(command)
    made = typer.main.get_command(single)
    made.name = name
    return made


class _Given:
    """A parsed value, wrapped: an option given as `none` is not an option not given."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _parameter(option: Option) -> inspect.Parameter:
    text = rf"{option.help[0].upper()}{option.help[1:]}. \[default: {option.default_text}]"  # the backslash is rich's

    def parse(value: Any) -> _Given:
        try:
            return _Given(option.parse(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    common: dict[str, Any] = {"help": text, "show_default": False, "rich_help_panel": option.panel}
    if option.is_flag:
        flags = f"{option.flag}/--no-{option.flag[2:]}"
        annotation: Any = Annotated[bool | None, typer.Option(flags, **common)]
    else:
        annotation = Annotated[Any, typer.Option(option.flag, parser=parse, metavar=option.metavar, **common)]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _train(name: str, options: list[Option], flags: dict[str, Any], resume: str | None, config: Path | None) -> None:
    from gantool.plugin.options import LENGTHS, check_together

    given = _read_toml(config, options) if config else {}
    if any(length in flags for length in LENGTHS):
        given = {name: value for name, value in given.items() if name not in LENGTHS}
    given |= flags
    try:
        check_together(options, given.keys() - {"runs"}, resume not in (None, "auto"))
    except ArgumentError as error:
        raise typer.BadParameter(str(error)) from error
    from gantool.api.progress import Display, display_for
    from gantool.api.session import run_session
    from gantool.training import distributed, session

    with distributed.joined(_print_error) as group:
        opened = session.open_session(name, given, resume, group)
        display = display_for(opened) if group.leads else Display()
        begin = opened.state.step
        status = run_session(opened, display, (signal.SIGINT, signal.SIGTERM), lambda: os._exit(130))
        if group.leads:
            _show_end(name, opened, status, begin)
    if status == "interrupted":
        sys.exit(130)


def _print_error(error: Exception) -> None:
    if isinstance(error, GantoolError):
        print_error(error)
    else:
        traceback.print_exception(error)


def _show_end(name: str, opened: Session, status: Status, begin: int) -> None:
    """Where everything is, and what to type next. `begin`: the step at which this session began."""
    from gantool.run import best
    from gantool.training import tensorboard

    state, run, info, out = opened.state, opened.run, opened.info, console()
    if state.step == begin and status == "finished":
        more = f"gantool train {name} --resume {shlex.quote(str(run.path))} --steps {2 * begin}"
        out.print(f"The run is at its end, step {begin}: nothing was trained. To train on: {more}")
        return
    out.print(f"{status} at step {state.step} after {state.seconds:,.0f} s of training")
    out.print(f"samples  {run.sample(state.step)}\ncurves   {run.curves}\nweights  {run.checkpoint(state.step)}")
    if (step := best.best(run, info)) is not None:
        out.print(f"best     {run.checkpoint(step)} by {info.keep_best}")
    if info.tensorboard:
        out.print(f"board    tensorboard --logdir {shlex.quote(str(run.path / tensorboard.FOLDER))}")
    if status == "interrupted":
        out.print(f"Resume with: gantool train {name} --resume {shlex.quote(str(run.path))}")
        return
    older = "; what is in its export/ is of an earlier step" if run.export.is_dir() and state.step > begin else ""
    out.print(f"Next: gantool export {shlex.quote(str(run.path))}{older}")


def _read_toml(path: Path, options: list[Option]) -> dict[str, Any]:
    """Options from a TOML file, validated as flags are; GantoolError names the file and the key."""
    from gantool.plugin.options import parse
    from gantool.system.files import read_bounded

    try:
        text = read_bounded(path, MAX_TOML_BYTES).decode()
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise ValueError(f"a line has more than {MAX_DOTS} dots")
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too many digits; brackets nested too deep
        raise GantoolError(f"{path} is not valid TOML: {error}.") from error
    return parse(options, table, path)
