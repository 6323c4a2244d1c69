"""Count the picks of a graph that differ from the truth's, and tell if their scores can show a wrong one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...core.precision import Precision
from ..arrays import Array
from ..choice import Choice
from ..metrics import Reference, over
from ..verdict import OWN_LEVELS, OWN_PICKS
from .pairing import NotComparable


@dataclass
class Picks:
    """The picks of a graph over all cases: how many are others than the truth's own, and what their scores can tell.

    Attributes:
        sources: Whose places, and whose levels, in float64 they are counted beside.
        others: The number of picks that are others, for places and for levels.
        counts: The number of picks of each kind.
        spread: For the name of a choice's scores, the most by which they vary, in errors that pass.
    """

    sources: Mapping[str, str]
    others: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The note of a stage."""
        return "; ".join(
            f"{kind}, {self.others[kind]} of {count} of which are others than {self.sources[kind]}'s in float64"
            for kind, count in self.counts.items()
        )

    def add(self, name: str, choice: Choice, places: Array, reference: Reference, precision: Precision) -> None:
        """Count a choice whose scores stand under this name among the outputs."""
        assert choice.picked is not None
        kind = OWN_PICKS if choice.grid is None else OWN_LEVELS
        self.others[kind] += int((places.reshape(-1) != choice.picked.reshape(-1)).sum())
        self.counts[kind] += choice.picked.size
        if choice.grid is not None:
            return
        scores, floor = reference.outputs64[name], reference.at(precision).floors[name]
        scores = np.where(np.isfinite(scores), scores, 0.0)
        varies = math.sqrt(float(scores.var(axis=choice.dim).mean())) if scores.size else 0.0
        passes = precision.limit * max(floor.l2, precision.unit_roundoff) * math.sqrt(float(np.square(scores).mean()))
        self.spread[name] = max(self.spread.get(name, 0.0), over(varies, passes))

    def require_spread(self, precision: Precision) -> None:
        """Raise NotComparable if the scores of a choice vary less than the error that passes: any others would pass."""
        narrow = [name for name, most in self.spread.items() if most < 1]
        if narrow:
            raise NotComparable(
                f"{narrow[0]} vary less than {precision.words} may round them, so that any choice by them would pass"
            )
