"""The statistics of a list of latencies: percentiles, spread and throughput, and none that it is too short for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# From here on a second run may tell another story than the first.
CV_LIMIT = 0.025


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one call. ``cv`` is the coefficient of variation, sample standard deviation over mean.

    A percentile that fewer calls than its own share cannot hold is None: p90 of fewer than 10, p99 of fewer than 100.
    """

    iterations: int
    median_ms: float
    mean_ms: float
    min_ms: float
    p90_ms: float | None
    p99_ms: float | None
    cv: float | None

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Latency:
        """The statistics of one call or more."""
        values = np.asarray(nanoseconds, np.float64) / 1e6
        count = len(values)
        mean = float(values.mean())
        return cls(
            iterations=count,
            median_ms=float(np.median(values)),
            mean_ms=mean,
            min_ms=float(values.min()),
            p90_ms=float(np.percentile(values, 90)) if count >= 10 else None,
            p99_ms=float(np.percentile(values, 99)) if count >= 100 else None,
            cv=float(values.std(ddof=1)) / mean if count > 1 and mean else None,
        )

    @property
    def steady(self) -> bool:
        """Return True if the calls took so nearly the same time that the median can be relied on."""
        return self.cv is not None and self.cv <= CV_LIMIT
