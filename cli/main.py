"""The console script: what is imported here is there before a signal is an interrupt, so it is next to nothing."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

# Commands that run PyTorch and a user's code.
GUARDED = frozenset({"deploy", "export", "check", "benchmark", "cost"})


def main() -> NoReturn:
    """Run the command line. A signal that asks it to end is exit code 130 and one line from the first moment on."""
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        from ..core.command_line import HELP, HELP_OPTIONS
        from .guard import guarded, interrupt_on_signals
        from .streams import open_closed

        open_closed()
        words = {*sys.argv[1:]}
        if words & GUARDED and words.isdisjoint(HELP_OPTIONS) and sys.argv[1] != HELP:
            guarded(run)
        interrupt_on_signals()
        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def run() -> NoReturn:
    """The command line in this very process."""
    from .commands import group

    group.main(prog_name="attn2trt")


def __getattr__(name: str) -> Any:
    """The group of the commands and what belongs to it, loaded on first use."""
    if name.startswith("__"):  # as the import system asks for
        raise AttributeError(name)
    from . import commands

    return getattr(commands, name)
