"""The command line of attn2trt that runs, if one does: a program of the user's may have one of its own."""

from __future__ import annotations

import shlex


class CommandLine(tuple[str, ...]):
    """The arguments of ``attn2trt``, as the object of click's outermost context."""

    def __str__(self) -> str:
        return shlex.join(["attn2trt", *self])
