"""The options of one run of the reference evaluator, from who asks for it to the process that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .levels import Ends
from .rounding import Rounding


@dataclass(frozen=True)
class RunOptions:
    """The options say what a run loses. By default nothing is rounded but by the evaluator's own type.

    Attributes:
        draw: Moves the last digits of operators, other ones for each number; None has NumPy's own.
        rounding: What nodes lose that the graph has in float32.
        as_written: What the graph has in half precision, and what it quantises, is rounded.
        rounds: What the graph quantises is rounded, and nothing else of it.
        is_plain: Kernels are plain: they add up term by term.
        ends: The ends at which levels that are not rounded cut values off.
        moves_levels: Moves stored levels anywhere within half a step, elsewhere for each number.
    """

    draw: int | None = None
    rounding: Rounding | None = None
    as_written: bool = False
    rounds: bool = False
    is_plain: bool = False
    ends: Ends = "all"
    moves_levels: int | None = None

    @property
    def rounds_levels(self) -> bool:
        """True if the graph's quantisers give levels, False if they keep the fractions between them."""
        return self.as_written or self.rounds or (self.rounding is not None and self.rounding.rounds)

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain data, for a message."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunOptions:
        """Return the options of a message."""
        rounding = data["rounding"]
        return cls(**{**data, "rounding": None if rounding is None else Rounding(**rounding)})


EXACT = RunOptions()
