"""Child processes of this package: how one is started, what it says of itself, and what its end means."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
# In a process that reports to a parent: the pipe and its inode, by which a descriptor that user code closed and took
# for something else is not mistaken for it.
_channel: tuple[int, int] | None = None
_owner: int | None = None  # the process that does the work; user code that forks makes copies of it
_stage = "starting"
_is_ending = False  # since this process was asked to end
STAGE_SECONDS = 3600.0
_limit = STAGE_SECONDS  # of each stage; a child of a child begins with it


def command(module: str, *arguments: str) -> list[str]:
    """The command line that calls ``main`` of ``attn2trt.<module>`` with the arguments, in this Python.

    The current folder is not searched: a user's ``onnx.py`` there is not ours. (``-m`` would search it.)
    """
    code = (
        "import sys; sys.path[:] = filter(None, sys.path); from attn2trt.core.memory import limit_own; limit_own(); "
        f"from attn2trt.{module} import main; main(*sys.argv[1:])"
    )
    return [sys.executable, "-c", code, *arguments]


def report_to(descriptor: int | None) -> None:
    """Make this process the one that does the work; its notes go to ``descriptor``, the end of a pipe, if there is one.

    None keeps the pipe that the process has.
    """
    global _channel, _owner  # noqa: PLW0603 - one process, one parent
    _owner = os.getpid()
    if descriptor is not None:
        _channel = (descriptor, os.fstat(descriptor).st_ino)


def note(**news: str | float | list[str]) -> None:
    """Report to the parent that guards this process; without one, keep the stage for this process's own errors.

    ``stage`` begins, with ``seconds`` that it may take; ``calling`` is the user's code that runs now ("" after it);
    ``destination`` is the bundle that is made now ("" after it), ``made`` the folders that were made for it, and
    ``written`` the bundle that was put in its place; ``finished`` is the exit code.

    Raises KeyboardInterrupt if a stage begins after ``ask_to_end``: some library has dropped the interrupt.
    """
    global _limit, _stage  # noqa: PLW0603 - one process, one stage
    leave_if_copy()
    if _is_ending and "stage" in news:
        raise KeyboardInterrupt
    _limit = float(str(news.get("seconds", _limit)))
    _stage = str(news.get("stage", _stage))
    if _channel is None:
        return
    descriptor, inode = _channel
    with contextlib.suppress(OSError):  # a parent that is gone needs no news
        if os.fstat(descriptor).st_ino == inode:
            os.write(descriptor, json.dumps(news).encode() + b"\n")


def ask_to_end() -> NoReturn:
    """Raise KeyboardInterrupt, now and where the next stage begins."""
    global _is_ending  # noqa: PLW0603 - one process, one end
    _is_ending = True
    raise KeyboardInterrupt


NEWS = {
    "stage": str,
    "seconds": float | int,
    "calling": str,
    "destination": str,
    "made": list,
    "written": str,
    "finished": int,
}


@dataclass
class Notes:
    """A child's notes so far, and the time of the last one."""

    stage: str = "starting"
    seconds: float = field(default_factory=lambda: _limit)
    calling: str = ""
    destination: str = ""
    made: list[str] = field(default_factory=list)
    written: str = ""
    finished: int | None = None
    heard: float = field(default_factory=time.monotonic)
    closed: bool = False
    rest: bytes = b""

    def listen(self, reader: int) -> None:
        """Take in everything that can be read now. Lines that are no note of ours are user code's, and left out."""
        while not self.closed:
            try:
                text = os.read(reader, 65536)
            except BlockingIOError:
                return
            self.heard = time.monotonic()
            self.closed = not text
            *lines, self.rest = (self.rest + text).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError, AttributeError):
                    for key, value in json.loads(line).items():
                        if key in NEWS and isinstance(value, NEWS[key]):
                            setattr(self, key, value)


def stage() -> str:
    """Return the stage that was noted last."""
    return _stage


def stage_seconds() -> float:
    """Return the time limit of each stage."""
    return _limit


def is_copy() -> bool:
    """Return True in a process that user code has forked off and left running in our code."""
    return _owner is not None and os.getpid() != _owner


def leave_if_copy() -> None:
    """End a copy of the working process: the same work must not be done, nor printed, twice."""
    if is_copy():
        os._exit(0)


def die_with_parent() -> None:
    """Have the kernel end this process when the parent is killed, if the kernel offers it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ending(code: int, said: str = "") -> str:
    """Describe how a process ended, from its exit code (negative: a signal) and the last line that it printed."""
    how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal(-code)}"
    lines = said.strip().splitlines()
    return f"{how}: {' '.join(lines[-1].split())[:200]}" if lines else how


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (mostly: out of memory)" if name == "SIGKILL" else name
