"""The choices that a graph made in one case, each beside the choice of the truth that it stands for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.precision import FLOAT32 as SINGLE
from ...core.precision import FP32, Precision
from ..arrays import Array
from ..cases import Case
from ..choice import Choice
from ..comparison import CHOICE, Comparison
from ..metrics import Reference
from .definition import wrong_picks
from .graph_choices import Picked
from .pairing import paired
from .picks import Picks
from .runs import GivenChoices


@dataclass(frozen=True)
class CaseChoices:
    """The choices of a case.

    Attributes:
        case: The case.
        choices: The truth's own, in their order.
        pairs: The graph's, by the number of the truth's choice that each stands for.
        names: The names of the scores among the outputs, each another one, without those of constants compared before.
    """

    case: Case
    choices: Sequence[Choice]
    pairs: Mapping[int, Picked]
    names: Mapping[int, str]

    @classmethod
    def of(
        cls,
        case: Case,
        choices: Sequence[Choice],
        picked: Sequence[Picked],
        precision: Precision,
        constants: dict[str, Array],
    ) -> CaseChoices:
        """Pair what the graph picked with the truth's choices.

        ``constants`` has the levels of the constants that were compared before, and gets those that are compared now.
        Raises NotComparable for what cannot be paired.
        """
        pairs, names = paired(picked, choices, precision), {}
        for number, one in pairs.items():
            if one.scores is None:
                if np.array_equal(constants.get(one.node.places, np.zeros(0)), one.places):
                    continue
                constants[one.node.places] = one.places
            names[number] = _name(number, choices[number])
        return cls(case, choices, pairs, names)

    @property
    def steps(self) -> dict[str, float]:
        """The distance between two levels of each quantiser, by the name of what it reads; 0 of a choice of places."""
        grids = ((name, self.choices[number].grid) for number, name in self.names.items())
        return {name: 0.0 if grid is None else float(grid.step.max()) for name, grid in grids}

    def given(self, precision: str) -> GivenChoices:
        """Return the picks of the graph, to run the truth and the floors with.

        In half precision the quantisers of which the graph has none keep the truth's levels: picked anew they would be
        others in every draw, and the floors as large as a level.
        """
        choices = enumerate(self.choices)
        held = [(number, one.picked) for number, one in choices if one.grid is not None and one.picked is not None]
        places = {} if precision == FP32 else dict(held)
        places |= {
            number: one.places.astype(np.int64) if one.node.steps is None else one.places
            for number, one in self.pairs.items()
        }
        return GivenChoices(places, self.names)

    def count(self, picks: Picks, reference: Reference, precision: Precision) -> None:
        """Count every choice."""
        for number, one in self.pairs.items():
            picks.add(self.names.get(number, ""), self.choices[number], one.places, reference, precision)

    def wrong(self, reference: Reference) -> Iterator[Comparison]:
        """Yield one failed comparison for each choice that is not what it must be."""
        for number, one in self.pairs.items():
            choice, name = self.choices[number], self.names.get(number, "")
            if choice.grid is None and (why := _wrong_places(choice, one)):
                detail = f"{one.node.operator} {one.node.places}: {why}"
                yield _failed(name, detail, tuple(self.case.sizes.items()))
            if name and one.scores is None and not _has_levels_of(choice, one, reference.outputs64[name]):
                yield _failed(name, f"{one.node.places} has other levels of the constant than the module")

    def scores(self, reference: Reference) -> dict[str, Array]:
        """Return what the choices of the graph read: of a quantiser, moved as far as its levels are not those of that.

        The truth's stands for the constants that a weight's quantiser reads.
        """
        found = {}
        for number, name in self.names.items():
            one, choice = self.pairs[number], self.choices[number]
            if choice.grid is not None:
                read = reference.outputs64[name] if one.scores is None else one.scores.astype(np.float64)
                found[name] = choice.grid.nearest(choice.grid.held(read), one.places)
            elif one.scores is not None:
                found[name] = one.scores.astype(np.float64).reshape(choice.scores.shape)
        return found


def _name(number: int, choice: Choice) -> str:
    kind = f"scores of {choice.operator}" if choice.grid is None else "input of quantiser"
    line = f" at {choice.line}" if choice.line else ""
    return f"{kind} {number + 1}{line}"


def _failed(name: str, detail: str, sizes: tuple[tuple[str, int], ...] = ()) -> Comparison:
    return Comparison(name, math.inf, 0.0, math.inf, CHOICE, (), False, detail, sizes=sizes)


def _wrong_places(choice: Choice, one: Picked) -> str:
    assert one.scores is not None
    return wrong_picks(choice, one.scores, one.places)


def _has_levels_of(choice: Choice, one: Picked, constant: Array) -> bool:
    """Return True if levels of a constant are the nearest, within float32's rounding whatever stands between them."""
    assert choice.grid is not None
    held = choice.grid.held(constant)
    off = np.abs(choice.grid.nearest(held, one.places) - held)
    return bool((off <= SINGLE.limit * SINGLE.unit_roundoff * np.abs(held).max(initial=0.0)).all())
