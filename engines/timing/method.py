"""The time for which a model is timed, and the loop that does it.

A cell is one model in one runtime at one batch. Its time is cut into turns, one in each round, so that what slows the
machine down for a while slows every cell down alike.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...core.arguments import checked
from ...errors import InputError


@dataclass(frozen=True)
class Limits:
    """The end of a turn: after both minima, or at the maximum. At least one call is always made.

    Before it come untimed calls for ``settle_seconds``, and one at least: another process had the caches until now.
    """

    min_seconds: float
    min_iterations: int
    max_seconds: float
    settle_seconds: float = 0.0


@checked
@dataclass(frozen=True)
class Method:
    """The rules of one benchmark, the same for every runtime.

    Attributes:
        seconds: The shortest time of a cell.
        iterations: The fewest calls of a cell.
        max_seconds: The longest time of a cell; comes before the iterations.
        rounds: The turns that each of these is cut into.
        warm_up_seconds: The time of the calls before anything is timed.
        settle_seconds: The time of the calls at the beginning of a turn that do not count.
        pause_seconds: The time before each turn in which nothing runs.
        hot_share: The share of a cell that goes to calls on one and the same input.
        distant_rounds: The rounds with distant cores to wait for, if they come soon.

    Raises:
        InputError: They contradict each other.
    """

    seconds: float = 3.0
    iterations: int = 100
    max_seconds: float = 20.0
    rounds: int = 6
    warm_up_seconds: float = 1.0
    settle_seconds: float = 0.02
    pause_seconds: float = 0.05
    hot_share: float = 0.25
    distant_rounds: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.seconds <= self.max_seconds and self.iterations >= 1 and self.rounds >= 1):
            raise InputError(
                f"received at least {self.seconds:g} s and {self.iterations} iterations in {self.rounds} rounds, "
                f"at most {self.max_seconds:g} s; expected positive numbers and no minimum above the maximum; "
                "correct --seconds or --max-seconds"
            )

    def turn(self) -> Limits:
        """One round's share on rotated inputs."""
        return self._share(1.0)

    def hot_turn(self) -> Limits:
        """One round's share on one and the same input."""
        return self._share(self.hot_share)

    def _share(self, share: float) -> Limits:
        part = share / self.rounds
        iterations = math.ceil(self.iterations * part)
        return Limits(self.seconds * part, iterations, self.max_seconds * part, self.settle_seconds)

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def time_calls(calls: Sequence[Callable[[], object]], limits: Limits, *, first: int = 0) -> list[int]:
    """Nanoseconds of each call, taking the ``calls`` in turn from the ``first`` on, until the limits say enough."""
    found: list[int] = []
    began = time.perf_counter_ns()
    for number in itertools.count(first):
        call = calls[number % len(calls)]
        since = time.perf_counter_ns()
        call()
        until = time.perf_counter_ns()
        found.append(until - since)
        elapsed = (until - began) / 1e9
        if elapsed >= limits.max_seconds or (elapsed >= limits.min_seconds and len(found) >= limits.min_iterations):
            break
    return found
