"""`gantool help`, and the completion of the shell."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from gantool.cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="gantool", terminal_width=80)


@pytest.mark.parametrize("command", [(), ("export",), ("data", "pack"), ("train",), ("train", "dcgan")])
def test_it_shows_what_the_flag_shows(command: tuple[str, ...]) -> None:
    asked, flagged = run("help", *command), run(*command, "--help")
    assert asked.exit_code == flagged.exit_code == 0
    assert asked.output.split() == flagged.output.split()


@pytest.mark.parametrize(("command", "wrong"), [(("nix",), "gantool"), (("export", "nix"), "gantool export")])
def test_a_command_that_there_is_not_is_named(command: tuple[str, ...], wrong: str) -> None:
    result = run("help", *command)
    assert result.exit_code == 2
    assert f"{wrong} has no command 'nix'" in result.output


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in run("--help").output
