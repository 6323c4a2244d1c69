"""How much longer one model takes than another, from rounds in which both were timed one after the other.

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

CONFIDENCE = 0.95


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
        """Of the medians of the same rounds, in milliseconds; one round or more."""
        found = sorted(late - early for early, late in zip(before, after, strict=True))
        count = len(found)
        place = max((k for k in range(1, count // 2 + 1) if coverage(count, k) >= CONFIDENCE), default=1)
        return cls(median(found), found[place - 1], found[-place], coverage(count, place), count)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt that there is a difference."""
        return self.confidence >= CONFIDENCE and (self.low_ms > 0 or self.high_ms < 0)

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def coverage(count: int, place: int) -> float:
    """The probability that the median lies between the ``place``-th smallest and largest of ``count``."""
    outside = sum(math.comb(count, below) for below in range(place)) * 0.5**count
    return float(max(0.0, 1 - 2 * outside))
