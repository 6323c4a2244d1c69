"""Turn every error into one line and an exit code.

Exit codes: 0 passed; 1 a verdict or a hash failed; 2 wrong usage or bad input; 3 a requirement is missing here;
4 reading or writing failed; 70 an error in attn2trt itself; 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

import click

from ..core.fork import flush
from ..core.memory import is_shortage
from ..core.processes import leave_if_copy, stage
from ..core.system_error import FIXES, storage_error, system_error
from ..errors import Attn2trtError, CheckFailed, StorageError
from .guard import INTERRUPTED
from .other_tools import advice
from .streams import drop_stdout, printable

INTERNAL_ERROR = 70
# click's names of what a number is to be
NUMBERS = {"integer": "whole number", "float": "number"}
_NO_NUMBER = re.compile(r"is not a valid (integer|float)(?: range)?$")


def finish(call: Callable[[], Any], *, debug: bool = False, only_prints: bool = False) -> NoReturn:
    """Exit with the code that ``call`` returns, 0 if that is no number, or with the one that its error has.

    Of a call that ``only_prints``, no line says that its reader had enough, as ``head`` does: nothing is left undone.
    No command raises SystemExit: one that comes here is user code's, which has not decided about this command.
    """
    try:
        with nullcontext() if debug else _quiet_libraries():
            code = call()
            flush()
    except BaseException as error:
        leave_if_copy()
        drop_stdout()
        if only_prints and _had_enough(error):
            sys.exit(StorageError.exit_code)
        message, exit_code = explain(error)
        sys.exit(_fail(message, exit_code, error, debug))
    sys.exit(code if isinstance(code, int) else 0)


def _had_enough(error: BaseException) -> bool:
    """True if the reader of stdout has gone; of a pipe that is opened by name, the error has that name."""
    found = error.__cause__ or error
    return isinstance(found, BrokenPipeError) and found.filename is None


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


def explain(error: BaseException) -> tuple[str, int]:
    """Return the one line that the user reads, and the exit code."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    return _explain_error(error) if isinstance(error, Exception) else _explain_exit(error)


def _explain_exit(error: BaseException) -> tuple[str, int]:
    """Explain what is raised to end a process: no command of ours does, so it is the code that one ran."""
    described = f"{type(error).__name__}: {error}"[:400].rstrip(": ")
    fix = "remove what ends the process from the module's code, as sys.exit"
    line = f"{stage()}: the code that ran there raised {described}; nothing was written; {fix}"
    return line, CheckFailed.exit_code


def _explain_error(error: Exception) -> tuple[str, int]:
    if isinstance(error, Attn2trtError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _usage(error), error.exit_code if isinstance(error, click.UsageError) else StorageError.exit_code
    lacks_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if isinstance(error, OSError) and not lacks_memory:
        error = system_error(error)
        return str(error), error.exit_code
    # Serialisers written in Rust or C++ raise their own type with the system's words in it.
    for number in FIXES:
        if os.strerror(number) in str(error):
            return str(storage_error(number, os.strerror(number))), StorageError.exit_code
    if lacks_memory or is_shortage(str(error)):
        return _shortage(), CheckFailed.exit_code
    described = f"{type(error).__name__}: {error}"
    return f"internal error: {described[:400]}; run again with --debug for the traceback", INTERNAL_ERROR


def _shortage() -> str:
    where = stage() or "this command"
    return f"{where}: memory ran out; nothing was written; give smaller sizes with --shape or --dynamic"


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "attn2trt"
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and (instead := advice(error.option_name, path.split()[-1])):
        message = f"No such option '{error.option_name}'; {instead}"
    message = _NO_NUMBER.sub(lambda found: f"is no {NUMBERS[found[1]]}", message)
    return f"{message}{'' if message.endswith('?') else ';'} see '{path} --help'"


def _fail(message: str, exit_code: int, error: BaseException, debug: bool) -> int:
    if debug:
        import traceback

        click.echo(printable("".join(traceback.format_exception(error)).rstrip()), err=True)
    line = printable(" ".join(message.split()))
    prefix = "" if line.startswith(("internal error:", "interrupted")) else "error: "
    click.echo(prefix + line, err=True)
    return exit_code
