"""Every error that the package raises on purpose: one line, and the exit code that the command line ends with.

What others raise is put into one line here, too.
"""

from __future__ import annotations

import copyreg
import errno
import os

# Errors of writing: of a copy's two paths, the second is the one to look at.
WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Attn2trtError(Exception):
    """Base of all errors below. The message is one line: what was received, what was expected, what to do next."""

    exit_code = 2

    def __reduce__(self) -> tuple[object, ...]:
        """Have a process pool hand it on with what it holds: the default calls a class by its message alone."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InputError(Attn2trtError):
    """Wrong usage or bad input: an unknown name, a range that contradicts itself, a checkpoint that does not fit."""


class ModuleRefused(InputError):
    """A module that cannot be exported as it was asked for, with the reason and what to change."""


class PrecisionRefused(ModuleRefused):
    """A module that cannot be judged in a lower precision, which is named; in others it can."""

    def __init__(self, precision: str, said: str) -> None:
        super().__init__(said)
        self.precision = precision


class SizesRefused(InputError):
    """A forward pass raised at the sizes that it was given."""


class CheckFailed(Attn2trtError):
    """A hash, a contract or a verdict failed."""

    exit_code = 1


class Interrupted(CheckFailed):
    """A process that was killed, or did not end in time: that says nothing of what it worked on, and is not kept."""


class MissingRequirement(Attn2trtError):
    """Something that was required is not on this machine; the message holds the command that installs it."""

    exit_code = 3


class StorageError(Attn2trtError):
    """Reading or writing failed: a full disk, a missing permission."""

    exit_code = 4


def one_line(said: object, most: int | None = 200) -> str:
    """Return in one line of at most ``most`` characters what an error, or another program, says."""
    return " ".join(str(said).split())[:most]


def typed_line(error: BaseException, most: int = 200) -> str:
    """Return the same with the type of the error before it."""
    return one_line(f"{type(error).__name__}: {error}", most)


def place(error: OSError) -> str | None:
    """Return the path that an error of the system is about; of two, as of a copy without space for it, the one that
    was to be written."""
    is_of_written = error.errno in WRITTEN and error.filename2 is not None
    name = error.filename2 if is_of_written else error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None
