"""Do a command's work in a child process, so that what ends a process ends as one line and an exit code.

PyTorch, timm and a user's own extension run native code: it may crash, be killed for its memory or never come back.
The parent has imported nothing heavy, so forking it costs milliseconds; where there is no fork (Windows), the command
runs in the process itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .. import processes
from ..errors import CheckFailed

STAGE_SECONDS = 3600.0
INTERRUPTED = 130
_PR_SET_PDEATHSIG = 1
_parent: int | None = None  # where the child writes what it is at; None outside of a guarded child
_limit = STAGE_SECONDS  # what was said last: a child of a child begins with it


@dataclass
class _Work:
    """What the child has said of itself so far."""

    stage: str = "starting"
    seconds: float = STAGE_SECONDS
    folder: str = ""


def note(**said: str | float) -> None:
    """Tell the parent the ``stage`` that begins, the ``seconds`` it may take, or the ``folder`` that is written to."""
    global _limit  # noqa: PLW0603 - one process, one limit
    _limit = float(said.get("seconds", _limit))
    if _parent is not None:
        with contextlib.suppress(OSError):  # a parent that is gone needs no news
            os.write(_parent, json.dumps(said).encode() + b"\n")


def guarded(run: Callable[[], NoReturn]) -> NoReturn:
    """Call ``run`` in a child process and exit as it does; 1 where a signal or the time limit ended it."""
    global _parent  # noqa: PLW0603 - one child, one parent
    if not hasattr(os, "fork"):
        run()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _parent = writer
        die_with_parent()
        run()
    os.close(writer)
    # The terminal interrupts both: the child cleans up, the parent waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked_to_end: list[int] = []

    def forward(number: int, _frame: object) -> None:
        asked_to_end.append(number)
        os.kill(child, number)

    signal.signal(signal.SIGTERM, forward)
    work = _Work(seconds=_limit)
    with os.fdopen(reader, "rb", buffering=0) as notes:
        while not (ran_out := not select.select([notes], [], [], work.seconds)[0]):
            if not _listen(notes.fileno(), work):
                break
    if ran_out:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= 0:
        sys.exit(code)
    _clean(work, child)
    if asked_to_end or code == -signal.SIGINT:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    how = f"did not finish within {work.seconds:g} s (--time-limit)" if ran_out else processes.ending(code)
    print(
        f"error: {work.stage}: the process {how}; nothing was written; "
        "try smaller sizes, another --opset, or other versions of what attn2trt doctor lists",
        file=sys.stderr,
    )
    sys.exit(CheckFailed.exit_code)


def _listen(notes: int, work: _Work) -> bool:
    """Take in what the child has said; False once it can say no more."""
    text = os.read(notes, 65536)
    for line in text.decode().splitlines():
        for key, value in json.loads(line).items():
            setattr(work, key, value)
    return bool(text)


def die_with_parent() -> None:
    """Have the kernel end this process when the parent is killed, where the kernel offers it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _clean(work: _Work, child: int) -> None:
    """Remove the half bundle that the child left, and restore the cursor that its progress line hid."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K\x1b[?25h")
    if work.folder:
        for partial in Path(work.folder).glob(f".*.partial-{child}"):
            shutil.rmtree(partial, ignore_errors=True)
