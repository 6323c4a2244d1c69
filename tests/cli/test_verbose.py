"""``--verbose`` shows on stderr what is done; without it, and from Python, nothing is shown unless it is asked for."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_run import run
from click.testing import Result
from pretended_worker import pretend
from small_bundle import write

from attn2trt.cli import main as cli
from attn2trt.cli.options import output_options
from attn2trt.cli.output import print_json, stages
from attn2trt.core.worker import Worker

LINE = re.compile(r" *\d+\.\d\d s  (\w+) +(.+)")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `list` that has two stages and starts a process."""
    pretend(monkeypatch, "")

    @click.command("list")
    @output_options
    def command(as_json: bool) -> None:
        with stages() as progress, Worker("core.worker", who="a worker", seconds=7):
            progress("first \x1b[2Jstage\nin two lines")
            logging.getLogger("attn2trt").debug("too much")
        print_json({"as_json": as_json})

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)


def lines(result: Result) -> list[tuple[str, str]]:
    """The room and the text of each line on stderr, all of which are of the log."""
    found = [LINE.fullmatch(line) for line in result.stderr.splitlines()]
    assert all(found), result.stderr
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("arguments", [("list", "-v"), ("--verbose", "list"), ("-v", "list", "--verbose", "--json")])
def test_it_shows_versions_stages_and_processes_on_stderr_alone(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert json.loads(result.stdout) == {"as_json": "--json" in arguments}
    shown = lines(result)
    assert re.search(r"attn2trt 0\.\S+, .*onnx \d.*; Python 3\.\d+\.\d+ on ", shown[0][1])
    assert shown[1] == ("cli", f"the command runs in process {os.getpid()}")
    assert re.fullmatch(r"a worker starts in process \d+; each answer may take 7 s", shown[2][1])
    assert shown[2][0] == "core"
    assert shown[3] == ("cli", r"first \x1b[2Jstage in two lines")
    assert re.fullmatch(r"a worker in process \d+ is done after \d+\.\d\d s", shown[4][1])
    assert len(shown) == 5
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(("arguments", "shown"), [(("list",), False), (("list", "-v"), True)])
def test_warnings_that_libraries_log_are_shown_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, arguments: tuple[str, ...], shown: bool
) -> None:
    @click.command("list")
    @output_options
    def command(as_json: bool) -> None:
        logging.getLogger("library").warning("about itself")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    assert run(*arguments).exit_code == 0
    assert ("about itself" in caplog.messages) is shown


@pytest.mark.usefixtures("command")
def test_without_it_nothing_is_shown_and_after_it_nothing_is_left() -> None:
    logger = logging.getLogger("attn2trt")
    before = [*logger.handlers], [*logging.root.handlers]
    assert run("list", "-v").stderr
    assert run("list").stderr == ""
    assert ([*logger.handlers], [*logging.root.handlers]) == before
    assert logger.level == logging.NOTSET
    assert logging.root.manager.disable == logging.NOTSET


def test_a_command_line_that_cannot_be_parsed_is_still_one_error() -> None:
    result = run("list", "-v", "--bogus")
    assert result.exit_code == 2
    assert re.match("error: No such option.*--bogus", result.stderr.splitlines()[-1])


def test_from_python_nothing_is_shown_unless_it_is_asked_for() -> None:
    work = (
        "from attn2trt.core.progress import StageTimes\ntimes = StageTimes(None)\ntimes.start('a', 'b')\ntimes.done()\n"
    )
    for asked, shown in (
        ("", ""),
        ("import logging\nlogging.basicConfig(level=logging.INFO, format='%(name)s %(message)s')\n", "a 0.00"),
    ):
        code = f"import attn2trt\n{asked}{work}import logging\nlogging.getLogger('attn2trt.core').warning('odd')"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stderr == (
            f"attn2trt.core.progress seconds so far: {shown}\nattn2trt.core odd\n" if shown else ""
        ), ran.stderr


def test_files_are_named_with_their_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "attn2trt"):
        bundle = write(tmp_path / "mine")
    for name, entry in bundle.manifest["files"].items():
        assert f"wrote {tmp_path / 'mine' / name}: {entry['role']}, {entry['bytes']:,} bytes" in caplog.messages
