"""Sources of other outputs that leave no state behind: clocks, the system's entropy; and the line at fault."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ...modules.user_line import describe, is_users, line_of

_CLOCKS = frozenset(
    f"{name}{unit}"
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
    for unit in ("", "_ns")
)
_TODAY = frozenset({"localtime", "gmtime", "ctime", "asctime", "strftime"})
_DATES = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})
_ENTROPY = frozenset({"urandom", "getrandom"})


@contextmanager
def watch_clocks(found: list[str]) -> Iterator[None]:
    """Note in ``found`` every clock, and the system's entropy, that the user's Python asks while this is active."""

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call":
            return
        source = _source(called)
        if source and not _imports(frame) and (line := line_of(_above(frame))):
            found.append(f"{source} at {line}")

    before: Any = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # cProfile's, up to Python 3.11: Python names it and does not take it back
            before.enable()


def _source(called: Any) -> str:
    name = getattr(called, "__name__", "")
    if name in _CLOCKS | _TODAY and getattr(called, "__module__", "") == "time":
        return f"the clock time.{name}"
    if name in _ENTROPY and getattr(called, "__module__", "") in ("posix", "nt"):
        return f"the system's entropy (os.{name})"
    if name in ("now", "utcnow", "today") and getattr(called, "__qualname__", "") in _DATES:
        return f"the clock {called.__qualname__}"
    return ""


def _imports(frame: FrameType) -> bool:
    """Return True if the user's line makes something be imported: that is done once, whatever it asks."""
    below = itertools.takewhile(lambda place: not is_users(place[0]), _above(frame))
    return any(file.startswith("<frozen importlib") for file, _ in below)


def _above(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def changing_line(run: Callable[[], object], probe: Callable[[], object]) -> str:
    """Run, and return the first line of the user's Python after which ``probe`` gives something else; "" if none."""
    found: list[str] = []
    last = ""
    known = probe()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal last, known
        if not is_users(frame.f_code.co_filename):
            return None
        if not found:
            now = probe()
            if now != known and last:
                found.append(last)
            known = now
            last = describe(frame.f_code.co_filename, frame.f_lineno)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        run()
    finally:
        sys.settrace(before)
    if not found and last and probe() != known:
        found.append(last)
    return found[0] if found else ""
