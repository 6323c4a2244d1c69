"""How near to each other the processors are: how long one takes to write what another has just written.

The host of a virtual machine may move its processors, for seconds at a time, to cores that share no cache. What one
thread has written then takes several times as long to reach the next, and operators that hand maps from thread to
thread take up to three times as long, while others hardly change. None of the usual counters tells: no time is stolen,
no page is missed, no clock is slower. So it is measured, by itself and not by the models' latencies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from .cpus import usable_cpus

# 4,096 lines: a second-level cache holds them, and their order hides from prefetching what is next
BYTES = 256 << 10
LINE_BYTES = 64
TIMES = 4
# of many processors as many as this, evenly spread
MOST_CPUS = 16
# Times as long as at best. Of 1,800 handovers in a virtual machine, those of neighbouring cores took up to 2.2 times
# the shortest in 99 of 100, for what else the host did, those of cores that shared no cache mostly 5 to 6 times.
APART = 2.5


def handover_us() -> float | None:
    """Microseconds for one processor to write 256 KiB that another has just written, from the one it takes longest.

    The first of a few that this process may use writes first, then the second, and so on around. None where there is
    but one, or where the system does not let a thread choose its processor.
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
class Placed:
    """In how many of the ``rounds`` the processors were apart, and whether these were ``kept`` for want of others.

    ``least_us`` and ``most_us`` are of all handovers that were asked for; None where the system does not let us ask.
    """

    rounds: int
    apart: int
    kept: bool
    least_us: float | None
    most_us: float | None

    @property
    def words(self) -> str:
        """That they were apart, and how far."""
        far = f"what one had written took up to {self.most_us:.0f} us to another, {self.least_us:.0f} at best"
        return f"apart in {self.apart} of {self.rounds} rounds ({far})"


class Placement:
    """Asks how near the processors are, again and again, and remembers the least."""

    def __init__(self, ask: Callable[[], float | None] | None = None) -> None:
        self._ask = ask if ask is not None else handover_us
        self._seen: list[float] = []
        self._rounds = self._apart = 0
        self._kept = False

    def ask(self) -> float | None:
        """How long a handover takes now."""
        found = self._ask()
        if found is not None:
            self._seen.append(found)
        return found

    def is_apart(self, handover: float | None) -> bool:
        """Whether it took ``APART`` times as long as the shortest until now."""
        return handover is not None and handover > APART * min(self._seen)

    def count(self, rounds: int, apart: int, *, kept: bool) -> None:
        """Add the rounds of one comparison to what ``placed`` tells."""
        self._rounds += rounds
        self._apart += apart
        self._kept |= kept

    def placed(self) -> Placed:
        """Of all comparisons until now."""
        least, most = min(self._seen, default=None), max(self._seen, default=None)
        return Placed(self._rounds, self._apart, self._kept, least, most)
