"""The difference of two models' latencies, from rounds in which both were timed one after the other.

The difference is the median over the rounds of what the round's medians differ by. Its interval reaches from one of
these differences to another, as in the sign test: whatever their distribution, if the rounds are independent, the true
median lies between the k-th smallest and the k-th largest of n with the probability 1 - 2 P(B(n, 1/2) < k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .latency import Latency
from .rounds import Samples

CONFIDENCE = 0.95
# a share of the time before: less than that is not worth a second look
WORTH_ANOTHER_LOOK = 0.02


@dataclass(frozen=True)
class Difference:
    """Milliseconds more, and the interval that holds them with the given ``confidence``.

    With fewer than six rounds no interval reaches 0.95; it is then the widest there is, with the confidence it has.
    """

    ms: float
    low_ms: float
    high_ms: float
    confidence: float
    rounds: int

    @classmethod
    def between(cls, before: Sequence[float], after: Sequence[float]) -> Difference:
        """The difference of the medians of the same rounds, in milliseconds; one round or more."""
        found = sorted(late - early for early, late in zip(before, after, strict=True))
        count = len(found)
        place = max((k for k in range(1, count // 2 + 1) if coverage(count, k) >= CONFIDENCE), default=1)
        return cls(median(found), found[place - 1], found[-place], coverage(count, place), count)

    @property
    def is_clear(self) -> bool:
        """Return True if the interval leaves no doubt that there is a difference."""
        return self.confidence >= CONFIDENCE and (self.low_ms > 0 or self.high_ms < 0)

    @property
    def is_faster(self) -> bool:
        """Return True if the whole interval lies below zero."""
        return self.is_clear and self.high_ms < 0

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Pair:
    """A graph's samples before a change and after it, of the same rounds."""

    before: Samples
    after: Samples

    @property
    def before_ms(self) -> float:
        """The median of all calls before the change."""
        return _median_ms(self.before)

    @property
    def after_ms(self) -> float:
        """The median of all calls after it."""
        return _median_ms(self.after)

    @property
    def difference(self) -> Difference:
        """After less before."""
        return Difference.between(self.before.round_medians_ms, self.after.round_medians_ms)

    @property
    def is_promising(self) -> bool:
        """Return True if it looks faster by enough to be worth another look, but may be so by chance."""
        found = self.difference
        return not found.is_faster and found.ms < -WORTH_ANOTHER_LOOK * self.before_ms

    def together(self, later: Pair) -> Pair:
        """Both looks as one."""
        return Pair(self.before.together(later.before), self.after.together(later.after))


def times_as_long(before: Sequence[float], after: Sequence[float]) -> float:
    """The median over the rounds of how many times as long the one after took: what slows both down is in neither."""
    return median(late / early for early, late in zip(before, after, strict=True))


def _median_ms(samples: Samples) -> float:
    return Latency.of(samples.rotated).median_ms


def coverage(count: int, place: int) -> float:
    """The probability that the median lies between the ``place``-th smallest and largest of ``count``."""
    outside = sum(math.comb(count, below) for below in range(place)) * 0.5**count
    return float(max(0.0, 1 - 2 * outside))
