"""A process that ignores a signal hands that on to all that it starts: nothing could interrupt a command.

A shell has what it starts in its background ignore SIGINT and SIGQUIT, nohup has it ignore SIGHUP.
"""

from __future__ import annotations

import signal

HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}


def take_signals() -> None:
    """Take these signals again as any process does, so that what is started can be interrupted."""
    for number, handler in HANDLERS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
