"""The truth and the floors with given choices, for whatever computes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ...core.precision import FLOAT32, PRECISIONS, Precision
from ..arrays import Array
from ..cases import Case
from ..choice import Choice
from ..floors import is_amplified, larger
from ..metrics import Floor, Reference, measure
from ..near_ties import NearTies
from .pairing import NotComparable

Outputs = dict[str, Array]


@dataclass(frozen=True)
class GivenChoices:
    """The places and levels that the choices of a run pick.

    Attributes:
        places: What the choices pick, by their number among all choices among places and quantisers.
        names: The name under which the scores of those that are compared stand among the outputs.
    """

    places: Mapping[int, Array]
    names: Mapping[int, str]


class Runs(Protocol):
    """A module or a graph, which computes the truth and what rounds.

    The scores of the choices that are given are among the outputs. NotComparable is raised if a run cannot be made.
    """

    @property
    def seed(self) -> int:
        """The seed of whatever is drawn."""
        ...

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        ...

    @property
    def levels_source(self) -> str:
        """Whose levels those of a graph are counted beside."""
        ...

    def choices(self, case: Case) -> list[Choice]:
        """Return the truth's own choices among places, and its quantisers, in their order."""
        ...

    def truth(self, case: Case, given: GivenChoices) -> tuple[Outputs, float]:
        """Return the outputs in float64, and the largest magnitude on the way to them."""
        ...

    def rounded(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield the outputs of several runs in float32."""
        ...

    def drawn(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield those of more runs, for one whose roundings are amplified."""
        ...

    def lowered(self, case: Case, given: GivenChoices, precision: str) -> Iterator[Outputs]:
        """Yield the outputs of several runs of a precision below float32."""
        ...


@dataclass
class GivenReferences:
    """The truth and the floors of cases with given choices.

    The floors of a case are measured once, with the first choices that are asked for: with others, between scores that
    nearly tie, rounding loses as much. The truth is computed anew for each.
    """

    runs: Runs
    _measured: dict[tuple[str, str], Reference] = field(default_factory=dict)

    def reference(self, case: Case, given: GivenChoices, precision: str) -> Reference:
        """Return the truth, and the floors of float32 and of the ``precision``.

        Raises:
            NotComparable: The precision was not measured, or a run made other choices.
        """
        truth, largest = self.runs.truth(case, given)
        known = self._measured.get((case.name, precision)) or self._floors(case, given, truth, precision)
        if all(value.dtype.kind == "f" for value in truth.values()):  # what rounding leaves open of integers moves
            self._measured[case.name, precision] = known
        # a graph has scores in a type of its own: they are compared as numbers
        scores = dict.fromkeys(given.names.values(), np.zeros(0))
        return replace(known, outputs64=truth, outputs32=known.outputs32 | scores, largest=largest, moments={})

    def _floors(self, case: Case, given: GivenChoices, truth: Outputs, precision: str) -> Reference:
        """Return a reference of floors alone, its outputs empty ones of the right type."""
        if (found := self._measured.get((case.name, FLOAT32.name))) is None:
            first, floors = _floors(self.runs.rounded(case, given), truth)
            if is_amplified(floors):
                for other in self.runs.drawn(case, given):
                    floors = larger(floors, other, truth)
            floors |= self._integers(case, given, truth, first, FLOAT32)
            found = Reference({}, _types(first), floors, 0.0, source=self.runs.source)
        if precision == FLOAT32.name:
            return found
        with np.errstate(over="ignore", invalid="ignore"):
            first, floors = _floors(self.runs.lowered(case, given, precision), truth)
        floors |= self._integers(case, given, truth, first, PRECISIONS[precision])
        return replace(found, outputs32=_types(first), lower={precision: floors})

    def _integers(
        self, case: Case, given: GivenChoices, truth: Outputs, first: Outputs, precision: Precision
    ) -> dict[str, Floor]:
        """Return the elements of integers that choices which are not given, as comparisons, leave to rounding."""

        def run(feeds: dict[str, Array]) -> Outputs:
            return self.runs.truth(Case.of(case.name, feeds), given)[0]

        ties = NearTies(truth, (), (), precision, lambda _, draw: truth)
        floors = ties.integers(first, case.feeds, run, self.runs.seed)
        if moved := [name for name, floor in floors.items() if floor.max]:
            raise NotComparable(f"rounding decides most of the whole numbers of {moved[0]}")
        return floors


def _types(outputs: Outputs) -> Outputs:
    return {name: np.zeros(0, value.dtype) for name, value in outputs.items()}


def _floors(found: Iterable[Outputs], truth: Outputs) -> tuple[Outputs, dict[str, Floor]]:
    """Return the outputs of the first run, and the largest floors of all."""
    runs = iter(found)
    first = next(runs)
    floors = {name: measure(first[name], truth[name]) for name in truth}
    for other in runs:
        floors = larger(floors, other, truth)
    return first, floors
