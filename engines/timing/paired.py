"""The difference of two models' latencies, from rounds in which both were timed one after the other.

The difference is the median over the rounds of what the round's medians differ by. Its interval reaches from one of
these differences to another, as in the sign test: whatever their distribution, if the rounds are independent, the true
median lies between the k-th smallest and the k-th largest of n with the probability 1 - 2 P(B(n, 1/2) < k).

Rounds in which the cores were far from each other have a median of their own: some models lose then what they gain
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from .latency import Latency
from .rounds import Samples

CONFIDENCE = 0.95
# a share of the time before: less than that is not worth a second look
WORTH_ANOTHER_LOOK = 0.02
# so few rounds with distant cores say nothing of them
LEAST_DISTANT = 3


@dataclass(frozen=True)
class Difference:
    """Milliseconds more, and the interval that holds them with the given ``confidence``.

    With fewer than six rounds no interval reaches 0.95; it is then the widest there is, with the confidence it has.
    ``distant_ms`` is the median of ``distant_rounds`` other rounds, in which the cores were far from each other; None
    if there were too few of them to say.
    """

    ms: float
    low_ms: float
    high_ms: float
    confidence: float
    rounds: int
    distant_ms: float | None = None
    distant_rounds: int = 0

    @classmethod
    def between(cls, before: Sequence[float], after: Sequence[float]) -> Difference:
        """The difference of the medians of the same rounds, in milliseconds; one round or more."""
        found = sorted(_differences(before, after))
        count = len(found)
        place = max((k for k in range(1, count // 2 + 1) if coverage(count, k) >= CONFIDENCE), default=1)
        return cls(median(found), found[place - 1], found[-place], coverage(count, place), count)

    def with_distant(self, before: Sequence[float], after: Sequence[float]) -> Difference:
        """Return it with the medians of the same rounds with distant cores."""
        found = _differences(before, after)
        return replace(
            self, distant_ms=median(found) if len(found) >= LEAST_DISTANT else None, distant_rounds=len(found)
        )

    @property
    def is_clear(self) -> bool:
        """Return True if the interval leaves no doubt that there is a difference."""
        return self.confidence >= CONFIDENCE and (self.low_ms > 0 or self.high_ms < 0)

    @property
    def is_faster(self) -> bool:
        """Return True if the whole interval lies below zero, and distant cores do not make it slower."""
        return self.is_clear and self.high_ms < 0 and not self.is_slower_at_a_distance

    @property
    def is_slower_at_a_distance(self) -> bool:
        """Return True if it took more time while the cores were far from each other."""
        return self.distant_ms is not None and self.distant_ms > 0

    @property
    def sum_ms(self) -> float:
        """The difference with near cores plus that with distant ones, as far as it is known."""
        return self.ms + (self.distant_ms or 0.0)


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
        near = Difference.between(self.before.round_medians_ms, self.after.round_medians_ms)
        return near.with_distant(self.before.distant_medians_ms, self.after.distant_medians_ms)

    @property
    def is_promising(self) -> bool:
        """Return True if it looks faster by enough to be worth another look, but may be so by chance."""
        found = self.difference
        is_doubtful = not found.is_faster and not found.is_slower_at_a_distance
        return is_doubtful and found.ms < -WORTH_ANOTHER_LOOK * self.before_ms

    def together(self, later: Pair) -> Pair:
        """Both looks as one."""
        return Pair(self.before.together(later.before), self.after.together(later.after))


def times_as_long(before: Sequence[float], after: Sequence[float]) -> float:
    """The median over the rounds of how many times as long the one after took: what slows both down is in neither."""
    return median(late / early for early, late in zip(before, after, strict=True))


def _differences(before: Sequence[float], after: Sequence[float]) -> list[float]:
    return [late - early for early, late in zip(before, after, strict=True)]


def _median_ms(samples: Samples) -> float:
    return Latency.of(samples.rotated).median_ms


def coverage(count: int, place: int) -> float:
    """The probability that the median lies between the ``place``-th smallest and largest of ``count``."""
    outside = sum(math.comb(count, below) for below in range(place)) * 0.5**count
    return float(max(0.0, 1 - 2 * outside))
