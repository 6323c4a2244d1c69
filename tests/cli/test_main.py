"""Every error is one line with its exit code, and a traceback only with --debug."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NoReturn

import click
import pytest
from cli_run import run
from click.testing import Result

from attn2trt.cli import ending
from attn2trt.cli import main as cli
from attn2trt.cli.options import debug_option
from attn2trt.errors import CheckFailed, InputError, MissingRequirement, ModuleRefused, StorageError


def one_line(result: Result) -> str:
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `list` that raises whatever the test puts into the list."""
    errors: list[BaseException] = []

    @click.command("list")
    @debug_option
    def command() -> None:
        raise errors[0]

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    return errors


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(flag: str) -> None:
    result = run(flag)
    assert result.exit_code == 0
    assert all(f"\n  {name} " in result.stdout for name in cli.COMMANDS)
    assert "..." not in result.stdout.partition("Commands:")[2], "a summary that does not fit into its line is cut"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_no_number_of_a_command_may_be_nan_or_infinite(name: str) -> None:
    """A limit of NaN is none: nothing is above it."""
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    options = [
        option for option in command.params if isinstance(option.type, click.FloatRange | click.types.FloatParamType)
    ]
    for option in options:
        for value in ("nan", "inf"):
            line = one_line(run(name, *["x"] * (name not in ("doctor", "list")), option.opts[0], value))
            assert line.startswith(
                f"error: Invalid value for '{option.opts[0]}': received '{value}'; expected a finite"
            )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_its_own_file(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert {"--json", "--verbose", "--debug"} <= set(result.stdout.split())
    assert result.stdout.startswith(f"Usage: group {name}")


@pytest.mark.parametrize("arguments", [(), ("-v",)])
def test_without_a_command_it_says_what_to_begin_with(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    for line in (line for line in result.stderr.splitlines() if line.startswith("  attn2trt ")):
        command = line.split()[1]
        assert command in cli.COMMANDS
    assert "attn2trt deploy resnet50+cbam" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "same"),
    [(("help",), ("--help",)), (("help", "help"), ("--help",)), (("help", "deploy"), ("deploy", "--help"))],
)
def test_help_is_a_command_too(arguments: tuple[str, ...], same: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, run(*same).stdout)


def test_a_shell_asks_for_completion(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for words, found in (("attn2trt dep", "plain,deploy"), ("attn2trt deploy --prec", "plain,--precision")):
        monkeypatch.setenv("_ATTN2TRT_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit) as end:
            cli.run()
        printed = capfd.readouterr()
        assert (end.value.code, printed.out.splitlines(), printed.err) == (0, [found], "")


def test_version() -> None:
    assert run("--version").stdout.split()[1][0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("help", "depoy"), "received command 'depoy'; expected one of list, .* did you mean deploy?"),
        (("depoy",), "received command 'depoy'; expected one of list, .* did you mean deploy?"),
        (("deploy",), "Missing argument 'TARGET...'; see 'group deploy --help'"),
        (("deploy", "se", "--bogus"), "No such option.*--bogus"),
        (("deploy", "se", "--shape"), "'--shape' requires an argument; see 'group deploy --help'"),
        (("export", "se", "more"), "unexpected extra argument"),
        (("deploy", "se", "--seed", "-1"), "-1 is not in the range"),
        (("deploy", "se", "--opset", "seventeen"), "'seventeen' is no whole number; see"),
        (("deploy", "se", "--max-error", "1%"), "'1%' is no number; see"),
        (("deploy", "se", "--max-error", "0"), "0.0 is not in the range"),
        (("deploy", "se", "--require", "coreml"), "'coreml' is not"),
        (
            ("deploy", "se", "--checkpoint", "no-such-file"),
            "received --checkpoint no-such-file, which is not there; expected a file of weights; correct the path",
        ),
        (
            ("deploy", "se", "--inputs", "no-such-folder"),
            "received --inputs no-such-folder, which is not there; expected a folder of photographs; correct the path",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    line = one_line(result)
    assert line.startswith("error: ")
    for part in words.split(".*"):
        assert part.strip() in line


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(InputError, 2), (ModuleRefused, 2), (CheckFailed, 1), (MissingRequirement, 3), (StorageError, 4)],
)
def test_errors_of_the_package_keep_their_exit_code(
    raising: list[BaseException], error: type[Exception], exit_code: int
) -> None:
    raising.append(error("received a;\nexpected b;\n  do c"))
    result = run("list")
    assert (result.exit_code, one_line(result)) == (exit_code, "error: received a; expected b; do c")


@pytest.mark.parametrize("number", ending.FIXES)
def test_storage_errors_exit_4(raising: list[BaseException], number: int) -> None:
    raising.append(OSError(number, os.strerror(number), "some/file"))
    result = run("list")
    assert result.exit_code == 4
    assert f"at some/file: {os.strerror(number)}; {ending.FIXES[number]}" in one_line(result)


def test_an_error_of_the_system_that_is_not_known_exits_4(raising: list[BaseException]) -> None:
    raising.append(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    result = run("list")
    assert result.exit_code == 4
    assert one_line(result).endswith("check the files that are read and the folder that is written to")


def test_without_a_folder_for_temporary_files_it_says_how_to_name_one(
    raising: list[BaseException], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(FileNotFoundError) as none:
        tempfile.gettempdir()
    raising.append(none.value)
    result = run("list")
    assert result.exit_code == 4
    assert one_line(result).endswith("free space in one, fix its permission, or name another by TMPDIR")


def test_a_current_folder_that_was_removed_is_one_line_and_exit_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    result = run("verify", tmp_path)
    assert result.exit_code == 4
    assert one_line(result).startswith("error: the current folder was removed; expected one that is there; go to")


def test_a_full_disk_behind_a_foreign_error_exits_4(raising: list[BaseException]) -> None:
    raising.append(RuntimeError(f"IoError: {os.strerror(errno.ENOSPC)} (os error 28)"))
    result = run("list")
    assert result.exit_code == 4
    assert f"in that of temporary files, {tempfile.gettempdir()} (TMPDIR names another)" in one_line(result)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOMEM, "x"), RuntimeError("CPUAllocator: can't allocate memory: you tried 9")],
)
def test_memory_that_ran_out_is_one_line_and_exit_1(raising: list[BaseException], error: BaseException) -> None:
    raising.append(error)
    result = run("list")
    assert result.exit_code == 1
    assert "memory ran out; nothing was written; give smaller sizes with --shape" in one_line(result)


def test_interrupted(raising: list[BaseException]) -> None:
    raising.append(KeyboardInterrupt())
    result = run("list")
    assert result.exit_code == 130
    assert result.stderr.strip() == "interrupted"


def test_an_unexpected_error_is_one_line_and_names_debug(raising: list[BaseException]) -> None:
    raising.append(ZeroDivisionError("by\nzero"))
    result = run("list")
    assert result.exit_code == 70
    assert one_line(result) == "internal error: ZeroDivisionError: by zero; run again with --debug for the traceback"


@pytest.mark.parametrize("arguments", [("--debug", "list"), ("list", "--debug")])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    raising: list[BaseException], arguments: tuple[str, ...]
) -> None:
    raising.append(InputError("received a; expected b; do c"))
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.endswith("error: received a; expected b; do c\n")


@pytest.mark.parametrize(("arguments", "shown"), [(("list",), False), (("list", "--debug"), True)])
def test_warnings_of_other_libraries_are_shown_with_debug_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, arguments: tuple[str, ...], shown: bool
) -> None:
    @click.command("list")
    @debug_option
    def command() -> None:
        warnings.warn("about torch itself", FutureWarning, stacklevel=1)
        logging.getLogger("onnxscript").warning("about onnxscript too")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(*arguments).exit_code == 0
    assert bool(caught) is shown
    assert bool(caplog.records) is shown
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("command", ["list backbones", "list backbones --json", "--help"])
@pytest.mark.parametrize(("where", "why"), [("| true", ""), (">/dev/full", "No space left on device")])
def test_an_output_that_cannot_be_written_is_exit_4_and_a_line_unless_its_reader_left(
    command: str, where: str, why: str
) -> None:
    line = f"set -o pipefail; '{sys.executable}' -m attn2trt {command} {where}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (4, ""), ran.stderr
    assert re.fullmatch(f"error: reading or writing failed: {why}; .*\n" if why else "", ran.stderr)


@pytest.mark.parametrize("only_prints", [True, False])
def test_what_does_more_than_print_says_that_the_reader_of_its_output_left(
    only_prints: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def left() -> NoReturn:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(SystemExit, match="4"):
        ending.finish(left, only_prints=only_prints)
    line = "error: reading or writing failed: Broken pipe; have the output read to its end\n"
    assert capsys.readouterr().err == ("" if only_prints else line)


def test_an_output_that_has_not_the_letters_is_printed_with_others_or_their_numbers() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code = "from attn2trt.cli.streams import open_closed\nopen_closed()\nprint('torch → onnx… é')"
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "torch > onnx~ \\xe9\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_a_command_from_the_first_moment_on(number: signal.Signals) -> None:
    """While the command itself is still being imported."""
    code = (
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import builtins\nusual = builtins.__import__\ndef slow(name, *rest, **more):\n"
        f"    name == 'click' and os.kill(os.getpid(), {int(number)})\n    return usual(name, *rest, **more)\n"
        "builtins.__import__ = slow\nsys.argv = ['attn2trt', 'list']\nfrom attn2trt.cli.main import main\nmain()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


def test_an_interrupt_while_python_executes_a_text_is_exit_code_130(tmp_path: Path) -> None:
    """Python itself would then end what ``-m`` runs by SIGINT."""
    code = "from attn2trt.cli import main\nmain.run = lambda: exec('raise KeyboardInterrupt')\n"
    (tmp_path / "sitecustomize.py").write_text(code)
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    command, environment = [sys.executable, "-m", "attn2trt", "list"], {**os.environ, "PYTHONPATH": paths}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


def test_escape_sequences_of_an_error_do_not_reach_the_terminal(raising: list[BaseException]) -> None:
    raising.append(InputError("received \x1b[2Jname\x07; expected another"))
    assert one_line(run("list")) == "error: received \\x1b[2Jname\\x07; expected another"
    assert "\x1b" not in run("list", "--debug").stderr


def test_warnings_as_errors_add_no_line_to_a_command_in_its_own_process() -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    line = [sys.executable, "-m", "attn2trt", "deploy", "se", "--bogus"]
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
