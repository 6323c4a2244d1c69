"""Child processes of this package: how one is started, and what its end means."""

from __future__ import annotations

import signal
import sys


def command(module: str, *arguments: str) -> list[str]:
    """The command line that calls ``main`` of ``attn2trt.<module>`` with the arguments, in this Python.

    The current folder is not searched: a user's ``onnx.py`` there is not ours. (``-m`` would search it.)
    """
    code = f"import sys; sys.path[:] = filter(None, sys.path); from attn2trt.{module} import main; main(*sys.argv[1:])"
    return [sys.executable, "-c", code, *arguments]


def ending(code: int, said: str = "") -> str:
    """In words how a process ended, from its exit code (negative: a signal), with the last line of what it said."""
    how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal(-code)}"
    lines = said.strip().splitlines()
    return f"{how}: {' '.join(lines[-1].split())[:200]}" if lines else how


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (mostly: out of memory)" if name == "SIGKILL" else name
