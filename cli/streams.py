"""The standard streams of a command: stdout holds its result and nothing else."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from io import TextIOWrapper

from ..core import channel

# all but tab and newline
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


# of what a stream cannot encode, one character that it can: the columns of a table stay below each other
PLAIN = "attn2trt-plain"
_PLAINER = {"→": ">", "…": "~"}


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError) and (plainer := _PLAINER.get(error.object[error.start])):
        return plainer, error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error(PLAIN, _plain)


def open_closed() -> None:
    """Open the standard streams that were closed (``>&-``) on the null device, before a file of ours gets their number.

    The work is done and its exit code is right; what would be printed there is lost, as was asked for.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=PLAIN)


def printable(text: str) -> str:
    """Return the text with control characters written out: a name or a message must not move the terminal's cursor."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def claim_stdout() -> None:
    """Keep stdout for this package: descriptor 1 becomes stderr, whatever writes to it in native code or a child.

    ``sys.stdout`` writes to where descriptor 1 led, by a descriptor that no other code knows of.
    """
    kept = channel.claim_stdout()
    before = sys.stdout
    sys.stdout = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1)  # noqa: SIM115, PTH123


def give_stdout(descriptor: int) -> None:
    """Make ``descriptor`` this process's stdout, as descriptor 1 and as ``sys.stdout``."""
    os.dup2(descriptor, 1)
    before = sys.stdout
    sys.stdout = open(1, "w", encoding=before.encoding, errors=before.errors, closefd=False)  # noqa: SIM115


def drop_stdout() -> None:
    """Send what cannot be written to stdout nowhere, so that it does not fail again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
