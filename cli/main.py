"""The command group, and how every error becomes one line and an exit code.

Exit codes: 0 passed; 1 a verdict or a hash failed; 2 wrong usage or bad input; 3 a requirement is missing here;
4 reading or writing failed; 70 an error in attn2trt itself; 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from ..errors import Attn2trtError, StorageError
from .guard import INTERRUPTED, guarded
from .options import debug_option

# In the order in which a new user needs them; each is a file beside this one that holds `command`.
COMMANDS = (
    *("list", "show", "doctor", "deploy", "export", "compile", "validate", "verify"),
    *("benchmark", "cost", "tune"),
)
# Those that run PyTorch and a user's code.
GUARDED = frozenset({"deploy", "export", "benchmark", "cost"})
INTERNAL_ERROR = 70
STORAGE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named, and whose ``main`` never shows a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            nearest = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" (nearest: {nearest[0]})" if nearest else ""
            raise click.UsageError(f"received command '{args[0]}'; expected one of {', '.join(COMMANDS)}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line ``args`` (default: the process's own) and exit with the code its outcome has."""
        arguments = list(sys.argv[1:] if args is None else args)
        # Read from the arguments themselves: parsing them may be what fails.
        debug = "--debug" in arguments
        extra["standalone_mode"] = False
        try:
            with nullcontext() if debug else _quiet_libraries():
                code = super().main(arguments, *rest, **extra)
        except click.Abort as stop:
            sys.exit(_fail("interrupted", INTERRUPTED, stop, debug))
        except Exception as error:
            message, exit_code = explain(error)
            sys.exit(_fail(message, exit_code, error, debug))
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep the warnings of other libraries off the terminal: they are about their code, not about the user's input."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def explain(error: Exception) -> tuple[str, int]:
    """The one line that the user reads, and the exit code."""
    if isinstance(error, Attn2trtError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _usage(error), error.exit_code if isinstance(error, click.UsageError) else StorageError.exit_code
    if isinstance(error, OSError):
        return _storage(error.strerror or str(error), error.filename), StorageError.exit_code
    # Serialisers written in Rust or C++ raise their own type with the system's words in it.
    for reason in (os.strerror(number) for number in STORAGE_ERRNOS):
        if reason in str(error):
            return _storage(reason, None), StorageError.exit_code
    if isinstance(error, MemoryError):
        return "internal error: out of memory; give smaller sizes with --shape or --dynamic", INTERNAL_ERROR
    described = f"{type(error).__name__}: {error}"
    return f"internal error: {described[:400]}; run again with --debug for the traceback", INTERNAL_ERROR


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "attn2trt"
    message = error.format_message().rstrip(".")
    return f"{message}{'' if message.endswith('?') else ';'} see '{path} --help'"


def _storage(reason: str, file_name: object) -> str:
    where = f" at {os.fsdecode(file_name)}" if isinstance(file_name, str | bytes) else ""
    fix = "free space, fix the permission or choose another folder with -o"
    return f"reading or writing failed{where}: {reason}; {fix}"


def _fail(message: str, exit_code: int, error: BaseException, debug: bool) -> int:
    if debug:
        import traceback

        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
    line = " ".join(message.split())
    prefix = "" if line.startswith(("internal error:", "interrupted")) else "error: "
    click.echo(prefix + line, err=True)
    return exit_code


@click.group(cls=LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attn2trt", message="%(prog)s %(version)s")
@debug_option
def group() -> None:
    """Take vision attention models from PyTorch to ONNX, and prove that nothing changed on the way.

    \b
    attn2trt deploy resnet50+cbam            a backbone with a block, into a checked bundle
    attn2trt deploy py:mypkg.nets:make --shape 2x3x224x224
    attn2trt validate bundles/resnet50+cbam  the same verdict again, without PyTorch
    attn2trt benchmark resnet50+cbam         how fast, in every runtime of this machine
    attn2trt cost resnet50+cbam              what the block costs, beside what it must cost

    Exit codes: 0 passed, 1 a verdict or a hash failed, 2 bad usage or input, 3 a requirement is missing here,
    4 reading or writing failed.
    """


def main() -> NoReturn:
    """The console script."""
    if set(sys.argv[1:]) & GUARDED and not set(sys.argv[1:]) & {"-h", "--help"}:
        guarded(run)
    run()


def run() -> NoReturn:
    """The command line in this very process."""
    group.main(prog_name="attn2trt")
