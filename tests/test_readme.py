"""What the README tells a user to type is what exists, and what CI runs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from attn2trt.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def attn2trt_commands() -> list[list[str]]:
    """The arguments of every attn2trt call in the README's shell blocks."""
    steps = [shlex.split(step, comments=True) for line in LINES for step in line.split("&&")]
    return [step[1:] for step in steps if step and Path(step[0]).name == "attn2trt"]


def parse(arguments: list[str]) -> None:
    """Parse without running: options must exist, and nothing may be left over; named files need not exist."""
    command = group.get_command(click.Context(group), arguments[0])
    assert command is not None, arguments[0]
    context = click.Context(command, info_name=arguments[0])
    _, left_over, order = command.make_parser(context).parse_args(arguments[1:])
    assert left_over == []
    needed = {parameter for parameter in command.params if parameter.required}
    assert needed <= set(order)


@pytest.mark.parametrize("arguments", attn2trt_commands(), ids=" ".join)
def test_every_command_in_the_readme_parses(arguments: list[str]) -> None:
    parse(arguments)


def test_every_command_is_shown() -> None:
    assert {arguments[0] for arguments in attn2trt_commands()} == set(COMMANDS)


@pytest.mark.parametrize("arguments", [["deploy", "se", "--no-such-option"], ["export", "se", "gam"]])
def test_the_check_sees_a_wrong_command(arguments: list[str]) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(arguments)


@pytest.mark.parametrize(("script", "more"), [("run", ""), ("slow", ' -m slow "$@"')])
def test_ci_installs_and_tests_by_the_readmes_line(script: str, more: str) -> None:
    (line,) = (line for line in LINES if line.endswith("pytest"))
    path = ROOT / ".ci" / script
    assert f"{line}{more} || exit 1" in path.read_text().splitlines()
    assert os.access(path, os.X_OK)


def test_the_documented_exit_codes_are_the_ones_in_use() -> None:
    from attn2trt import errors
    from attn2trt.cli import ending

    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert documented == {0, ending.INTERNAL_ERROR, ending.INTERRUPTED, *raised}


def test_links_point_to_files() -> None:
    for place in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / place).is_file(), place
