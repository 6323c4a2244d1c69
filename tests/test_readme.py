"""The commands of the README and of every page exist, links resolve, and CI runs the README's lines."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest
from scripts import load_script

from attn2trt.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMAND_PAGE = (ROOT / "docs/commands.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").rglob("*.md"))]
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
# that page shows wrong commands, and its generator runs them
SHOWN = {page: page.read_text() for page in PAGES if page.name != "errors.md"}
OTHER_TOOLS = {"--noTF32", "--int8", "--fp16", "--stronglyTyped"}
# written once a GPU has judged or timed something; docs/gpu_runs.md says so
NOT_YET = {"benchmarks/results/tensorrt.json", "docs/gpu.md"}
FOLDERS = "core|modules|export|engines|validate|report|workflows|cli|tests|benchmarks|docs|examples"


def attn2trt_commands(page: str) -> list[list[str]]:
    """Return the arguments of every attn2trt call in a page: in code, in spans that begin with it, not in outputs."""
    page = re.sub(r"^ *```text\n.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^ *(?:\$ )?((?:[^`\n]*&& )?(?:\S*/)?attn2trt [^\n]*)$", page, re.MULTILINE)
    spans = re.findall(r"`(attn2trt [a-z][^`]*)`", page)
    steps = [step for line in lines for step in re.sub(r" (?:\d?>|\| ).*", "", line).split("&&")]
    split = [shlex.split(step, comments=True) for step in [*steps, *spans]]
    return [words[1:] for words in split if words and Path(words[0]).name == "attn2trt"]


COMMANDS_SHOWN = [(page.name, arguments) for page, text in SHOWN.items() for arguments in attn2trt_commands(text)]


def parse(arguments: list[str]) -> None:
    """Parse without running: options must exist, and nothing may be left over; named files need not exist."""
    command = group.get_command(click.Context(group), arguments[0])
    assert command is not None, arguments[0]
    context = click.Context(command, info_name=arguments[0])
    _, left_over, order = command.make_parser(context).parse_args(arguments[1:])
    assert left_over == []
    needed = {parameter for parameter in command.params if parameter.required}
    assert needed <= set(order)


@pytest.mark.parametrize(("page", "arguments"), COMMANDS_SHOWN, ids=str)
def test_every_command_parses(page: str, arguments: list[str]) -> None:
    parse(arguments)


def test_every_command_is_shown() -> None:
    assert {arguments[0] for arguments in attn2trt_commands(README + COMMAND_PAGE)} == set(COMMANDS)


def test_the_readmes_table_has_every_command_once() -> None:
    table = README.partition("| command | what it does |")[2].partition("\n\n")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    named = [span.removeprefix("attn2trt ").split()[0] for cell in cells for span in re.findall(r"`([^`]*)`", cell)]
    assert sorted(named) == sorted(COMMANDS)


@pytest.mark.parametrize(
    "page", [*(ROOT / "docs/howto").glob("*.md"), ROOT / "docs/commands.md"], ids=lambda page: page.name
)
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in COMMANDS]
    known = {name for command in commands if command for option in command.params for name in option.opts}
    assert set(re.findall(r"`(--[\w-]+)[^`]*`", page.read_text())) <= known | OTHER_TOOLS


def test_every_option_is_explained_by_a_page() -> None:
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in COMMANDS]
    options = {name for command in commands if command for option in command.params for name in option.opts}
    pages = "\n".join(SHOWN.values())
    assert {name for name in options if name.startswith("--") and not re.search(rf"{name}\b(?!-)", pages)} == set()


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(re.findall(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]+\.(?:py|md|json|svg|png|toml))\b", page.read_text()))
    assert {name for name in named - NOT_YET if not (ROOT / name).is_file()} == set()


def test_every_extra_is_explained() -> None:
    table = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    assert "export" in extras
    rows = COMMAND_PAGE.partition("## What to install")[2].partition("\n## ")[0]
    assert extras == set(re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|$)", rows, re.MULTILINE))


def test_commands_are_found_wherever_a_page_shows_them() -> None:
    page = "    attn2trt list\n$ attn2trt show se  # why\ncd x && .venv/bin/attn2trt verify b 2>&1\n"
    page += "as `attn2trt doctor --json` says\n```text\nattn2trt no call\n```\n"
    assert attn2trt_commands(page) == [["list"], ["show", "se"], ["verify", "b"], ["doctor", "--json"]]


@pytest.mark.parametrize("arguments", [["deploy", "se", "--no-such-option"], ["export", "se", "gam"]])
def test_the_check_sees_a_wrong_command(arguments: list[str]) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(arguments)


@pytest.mark.parametrize(("script", "more"), [("run", ""), ("slow", ' -m slow -rs "$@"')])
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
    return load_script("generate_readme", "docs")


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_links_point_to_files_and_headings(page: Path) -> None:
    for place, heading in re.findall(r"\]\(([^):#]*)(?:#([^)]*))?\)", page.read_text()):
        linked = page.parent / place if place else page
        assert linked.is_file(), place
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", found.lower()).replace(" ", "-") for found in headings], heading


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / name).resolve() for name in re.findall(r"\]\(([\w./]+\.md)", index.read_text())}
    assert linked == set(PAGES) - {index}


def test_the_readme_leads_to_every_page_of_a_task() -> None:
    linked = {ROOT / name for name in re.findall(r"\]\(([\w./]+\.md)", README)}
    assert linked >= set((ROOT / "docs/howto").glob("*.md"))


def test_the_readme_is_short_and_shows_the_output_of_its_first_command(generator: ModuleType) -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    marked = r"<!-- the output of `(attn2trt [^`]*)`[^\n]*\n```text\n(.*?)```\n<!-- end -->"
    shown = re.search(marked, README, re.DOTALL)
    assert shown is not None
    assert any(line.endswith(f".venv/bin/{shown[1]}") for line in LINES)
    assert "PASSED: " in shown[2]
    assert "tensorrt-rtx fp32" in shown[2]
    assert generator.with_text(README, generator.OUTPUT, shown[2].rstrip("\n")) == README


def test_the_readme_shows_the_failure_of_the_page_about_failures(generator: ModuleType) -> None:
    failure = generator.failure(generator.FAILURE.read_text())
    assert re.match(
        r"torch → onnx  failed  case .* first wrong in \w+ \(\w+ at net\.py:\d+\)", failure.replace("\n ", "")
    )
    assert generator.with_text(README, generator.FAILED, failure) == README
