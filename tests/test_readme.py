"""The commands of the README, of its page of commands and of the tutorial exist, and CI runs the README's lines."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from attn2trt.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMAND_PAGE = (ROOT / "docs/commands.md").read_text()
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README + COMMAND_PAGE + TUTORIAL, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def attn2trt_commands() -> list[list[str]]:
    """The arguments of every attn2trt call in the shell blocks of README, commands and tutorial."""
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
def test_every_command_parses(arguments: list[str]) -> None:
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

    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", COMMAND_PAGE, re.MULTILINE)}
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert documented == {0, ending.INTERNAL_ERROR, ending.INTERRUPTED, *raised}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("generate_readme")
    finally:
        sys.path.remove(str(ROOT / "docs"))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_files_and_headings(page: Path) -> None:
    for place, heading in re.findall(r"\]\(([^):#]*)(?:#([^)]*))?\)", page.read_text()):
        linked = page.parent / place if place else page
        assert linked.is_file(), place
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", found.lower()).replace(" ", "-") for found in headings], heading


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w.]+\.md)", (ROOT / "docs/index.md").read_text()))
    assert linked == {page.name for page in PAGES[1:]} - {"index.md"}


def test_the_readme_is_short_and_shows_the_output_of_its_first_command(generator: ModuleType) -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    marked = r"<!-- the output of `(attn2trt [^`]*)`[^\n]*\n```text\n(.*?)```\n<!-- end -->"
    shown = re.search(marked, README, re.DOTALL)
    assert shown is not None
    assert any(line.endswith(f".venv/bin/{shown[1]}") for line in LINES)
    assert "PASSED: " in shown[2]
    assert "tensorrt-rtx fp32" in shown[2]
    assert generator.with_output(README, shown[2].rstrip("\n")) == README
