"""An axis on which numbers become places, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A line across an axis: its place in per cent, what it is (``floor``, ``limit`` or ``tick``), and its number."""

    percent: float
    kind: str
    text: str


@dataclass(frozen=True)
class Bar:
    """A number drawn: from one place to another in per cent, with the ends of its interval if it has one.

    ``is_beyond`` says that the number lies outside of the axis.
    """

    start: float
    end: float
    marks: tuple[Mark, ...] = ()
    interval: tuple[float, float] | None = None
    is_beyond: bool = False
    is_bad: bool = False


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis over the decades from 10**low to 10**high."""

    low: int
    high: int

    def percent(self, value: float) -> float:
        """The place of a number, at an end if it lies outside; NaN counts as the largest."""
        if value <= 0:
            return 0.0
        if not math.isfinite(value):
            return 100.0
        place = (math.log10(value) - self.low) / (self.high - self.low)
        return round(100 * min(max(place, 0.0), 1.0), 2)

    def bar(self, value: float, *marks: Mark, is_bad: bool = False) -> Bar:
        """A bar from the low end to ``value``."""
        beyond = not value <= 10**self.high
        return Bar(0.0, self.percent(value), marks, is_beyond=beyond, is_bad=is_bad)

    def mark(self, value: float, kind: str, text: str = "") -> Mark:
        """A line at ``value``."""
        return Mark(self.percent(value), kind, text or f"{value:g}")

    @property
    def ticks(self) -> tuple[Mark, ...]:
        """A mark at every decade."""
        return tuple(self.mark(10.0**exponent, "tick") for exponent in range(self.low, self.high + 1))


@dataclass(frozen=True)
class LinearAxis:
    """An axis from ``low`` to ``high``, zero among them."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> LinearAxis:
        """The axis that holds ``values`` and zero."""
        held = [value for value in values if math.isfinite(value)]
        low, high = min([0.0, *held]), max([0.0, *held])
        return cls(low, high if high > low else low + 1.0)

    def percent(self, value: float) -> float:
        """The place of a number."""
        place = (value - self.low) / (self.high - self.low) if math.isfinite(value) else 1.0
        return round(100 * min(max(place, 0.0), 1.0), 2)

    def bar(self, value: float, *marks: Mark, interval: tuple[float, float] | None = None) -> Bar:
        """A bar from zero to ``value``."""
        zero, end = self.percent(0.0), self.percent(value)
        ends = None if interval is None else (self.percent(interval[0]), self.percent(interval[1]))
        return Bar(min(zero, end), max(zero, end), marks, ends)

    def mark(self, value: float, kind: str, text: str = "") -> Mark:
        """A line at ``value``."""
        return Mark(self.percent(value), kind, text or f"{value:g}")


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits, in words if it is none."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite"
    return f"{value:.{digits}g}"


def size(count: int) -> str:
    """Bytes as people read them."""
    if count < 1000:
        return f"{count} bytes"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if count < factor * 1000:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e9:.3g} GB"
