"""The command line of attn2trt that runs, if one does: a program of the user's may have one of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

HELP, HELP_OPTIONS = "help", ("-h", "--help")  # attn2trt help deploy, attn2trt deploy -h


class CommandLine(tuple[str, ...]):
    """The arguments of ``attn2trt``, as the object of click's outermost context.

    Attributes:
        moved: The folder that the command works in and the one that its files will be in; None if they stay.
    """

    moved: tuple[Path, Path] | None = None

    def __str__(self) -> str:
        return shlex.join(["attn2trt", *self])

    def shown(self, path: Path) -> Path:
        """Return the path that a file will have."""
        if self.moved is None or not path.is_relative_to(self.moved[0]):
            return path
        return self.moved[1] / path.relative_to(self.moved[0])


def quoted(path: Path) -> str:
    """Return the path as an argument for a shell: one that begins with a dash is no option, with a tilde no home."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith(("-", "~")) else text)
