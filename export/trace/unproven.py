"""Guards that hold nowhere: a trace that hides what decides something is right at the sizes at which it was run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy  # type: ignore[import-untyped]

from ...core.dimension import names_in
from .guards import Guard

# Sizes at which a trace is run because of such a guard: so many combinations at most, else none.
MOST_SIZES = 64


@dataclass(frozen=True)
class Unproven(Guard):
    """A line at which something depends on sizes, and nothing tells how.

    ``at`` are sizes at which the module comes by that line.
    """

    at: tuple[tuple[str, int], ...] = ()

    @property
    def settles(self) -> bool:
        """False: a few runs show nothing of what is hidden."""
        return False

    @property
    def verbs(self) -> tuple[str, str]:
        """Return "proven" or not: at sizes that were not run, the trace may hold."""
        return "is proven", "is not proven"

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return False: what decides is not known."""
        return False


def over(dimensions: Iterable[sympy.Symbol]) -> sympy.Basic:
    """Return a condition in which the axes of these dimensions stand."""
    axes = {axis for dimension in dimensions for axis in names_in(str(dimension))}
    named = [sympy.Symbol(axis, integer=True, positive=True) for axis in sorted(axes)]
    return sympy.Gt(sympy.Add(*named), 0, evaluate=False)
