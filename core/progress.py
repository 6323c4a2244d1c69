"""Progress: the stage that runs now, and how long each took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
Progress = Callable[[str], None]


class Counted(str):
    """A step with a count in it, which replaces the one before it on the user's screen."""

    __slots__ = ()


class Remark(str):
    """A sentence that the user must see, also if stages are not shown."""

    __slots__ = ()


def silent(_text: str) -> None:
    """Report nothing."""


class StageTimes:
    """Tells the user which stage starts, and how long each took."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._current = ""
        self._since = time.perf_counter()

    def start(self, stage: str, text: str) -> None:
        """End the stage that runs and begin ``stage``."""
        self._end()
        self._current = stage
        if self._progress is not None:
            self._progress(text)

    def move(self, source: str, stage: str, seconds: float) -> None:
        """Count ``seconds`` of the running or ended ``source`` as ``stage``: the two were interleaved."""
        self._end()
        self._seconds[source] -= seconds
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def done(self) -> dict[str, float]:
        """Seconds per stage so far."""
        self._end()
        seconds = {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
        log.info("seconds so far: %s", ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items()))
        return seconds

    def _end(self) -> None:
        now = time.perf_counter()
        if self._current:
            self._seconds[self._current] = self._seconds.get(self._current, 0.0) + now - self._since
        self._since = now
