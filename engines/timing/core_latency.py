"""Core-to-core latency: the time that one processor takes to write what another has just written.

The host of a virtual machine may move its processors, for seconds at a time, to cores that share no cache. One
thread's data then takes several times as long to reach the next. Operators that hand maps from thread to thread take
up to three times as long, while others hardly change. None of the usual counters shows it: no time is stolen, no page
is missed, no clock is slower. So it is measured, by itself and not by the models' latencies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from .cpus import usable_cpus

# 4,096 lines: a second-level cache holds them, and their order hides from prefetching what is next
BYTES = 256 << 10
LINE_BYTES = 64
TIMES = 4
# of many processors as many as this, evenly spread
MOST_CPUS = 16
# Times the least latency. Of 1,800 measured in a virtual machine, those between neighbouring cores were up to 2.2 times
# the least in 99 of 100, for what else the host did; those between cores that share no cache mostly 5 to 6 times.
DISTANT = 2.5
# the names of `Conditions.core_distance` and `CoreDistance.distant` in documents that earlier versions wrote
EARLIER, EARLIER_COUNT = "placed", "apart"


def core_latency_us() -> float | None:
    """Measure the time for one processor to write 256 KiB that another has just written.

    The first of a few processors that this process may use writes first, then the second, and so on around.

    Returns:
        Microseconds of the processor that takes longest. None if this process may use only one, or if the system does
        not let a thread choose its processor.
    """
    cpus = _spread(sorted(usable_cpus()))
    if len(cpus) < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    line = LINE_BYTES // np.dtype(np.float32).itemsize
    numbers = np.zeros(BYTES // np.dtype(np.float32).itemsize, np.float32)
    places = np.random.default_rng(0).permutation(len(numbers) // line) * line
    written = np.ones(len(places), np.float32)
    took: dict[int, list[int]] = {cpu: [] for cpu in cpus}
    allowed = os.sched_getaffinity(0)
    try:
        for _ in range(TIMES):
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                since = time.perf_counter_ns()
                numbers[places] = written
                took[cpu].append(time.perf_counter_ns() - since)
    except OSError:  # a processor was taken away meanwhile
        return None
    finally:
        os.sched_setaffinity(0, allowed)
    # the first write of all finds nothing that another has written
    return max(median(times[1:]) for times in took.values()) / 1e3


def _spread(cpus: list[int]) -> list[int]:
    step = max(1, -(-len(cpus) // MOST_CPUS))
    return cpus[::step]


@dataclass(frozen=True)
class CoreDistance:
    """The distance between the cores while something was timed.

    Attributes:
        rounds: The rounds that were timed.
        distant: Those of them in which the cores were far from each other.
        kept: The distant ones were kept, for want of others.
        least_us: The least latency between cores, in microseconds; None if the system does not let us measure it.
        most_us: The greatest.
    """

    rounds: int
    distant: int
    kept: bool
    least_us: float | None
    most_us: float | None

    @classmethod
    def from_json(cls, conditions: Mapping[str, Any]) -> CoreDistance | None:
        """Read it from the ``conditions`` of a document, of today or earlier; None if they hold none."""
        found = conditions.get("core_distance", conditions.get(EARLIER))
        if found is None:
            return None
        values = {"distant" if name == EARLIER_COUNT else name: value for name, value in found.items()}
        return cls(**values)

    @property
    def words(self) -> str:
        """The share of distant rounds and the latencies, in words."""
        latency = f"writing what another had written took up to {self.most_us:.0f} us, {self.least_us:.0f} at best"
        return f"far from each other in {self.distant} of {self.rounds} rounds ({latency})"


class CoreWatch:
    """Measures the latency between cores again and again, and remembers the least.

    ``measure`` stands in for ``core_latency_us`` if it is given.
    """

    def __init__(self, measure: Callable[[], float | None] | None = None) -> None:
        self._measure = measure if measure is not None else core_latency_us
        self._seen: list[float] = []
        self._rounds = self._distant = 0
        self._kept = False

    def measure(self) -> float | None:
        """Return the latency between cores now, in microseconds; None if it cannot be measured."""
        found = self._measure()
        if found is not None:
            self._seen.append(found)
        return found

    def is_distant(self, latency_us: float | None) -> bool:
        """Return True if it is more than ``DISTANT`` times the least until now."""
        return latency_us is not None and latency_us > DISTANT * min(self._seen)

    def count(self, rounds: int, distant: int, *, kept: bool) -> None:
        """Add the rounds of one comparison to the sums of ``distance``."""
        self._rounds += rounds
        self._distant += distant
        self._kept |= kept

    def distance(self) -> CoreDistance:
        """Return the sums of all comparisons until now."""
        least, most = min(self._seen, default=None), max(self._seen, default=None)
        return CoreDistance(self._rounds, self._distant, self._kept, least, most)
