"""The truth and the floors with given choices, for whatever computes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...core.precision import FLOAT32, PRECISIONS, Precision
from ..cases import Case
from ..floors import is_amplified, larger
from ..metrics import Array, Floor, Reference, measure
from ..near_ties import Choice, NearTies

Outputs = dict[str, Array]


@dataclass(frozen=True)
class GivenChoices:
    """What each choice of a run picks.

    Attributes:
        places: What the choices pick, by their number among all choices among places.
        names: The name under which the scores of each stand among the outputs.
    """

    places: Mapping[int, Array]
    names: Mapping[int, str]


class Runs(Protocol):
    """What computes the truth and what rounds: a module or a graph.

    The scores of the choices that are given are among the outputs. NotComparable is raised if a run cannot be made.
    """

    seed: int

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        ...

    def choices(self, case: Case) -> list[Choice]:
        """Return the truth's own choices among places, in their order."""
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


def given_reference(runs: Runs, case: Case, given: GivenChoices, precision: str) -> Reference:
    """Return the truth and the floors of float32 and of the ``precision``, all with the choices that are given.

    Raises:
        NotComparable: The precision was not measured, or a run made other choices.
    """
    truth, largest = runs.truth(case, given)
    rounded, floors = _floors(runs.rounded(case, given), truth)
    if is_amplified(floors):
        for other in runs.drawn(case, given):
            floors = larger(floors, other, truth)
    floors |= _integers(runs, case, given, truth, rounded, FLOAT32)
    lower: dict[str, dict[str, Floor]] = {}
    if precision != FLOAT32.name:
        with np.errstate(over="ignore", invalid="ignore"):
            first, found = _floors(runs.lowered(case, given, precision), truth)
        lower[precision] = found | _integers(runs, case, given, truth, first, PRECISIONS[precision])
        rounded = first
    # a graph has scores in a type of its own: they are compared as numbers
    rounded = {name: truth[name] if name in given.names.values() else value for name, value in rounded.items()}
    return Reference(truth, rounded, floors, largest, lower=lower, source=runs.source)


def _floors(found: Iterable[Outputs], truth: Outputs) -> tuple[Outputs, dict[str, Floor]]:
    """Return the outputs of the first run, and the largest floors of all."""
    first, *others = found
    floors = {name: measure(first[name], truth[name]) for name in truth}
    for other in others:
        floors = larger(floors, other, truth)
    return first, floors


def _integers(
    runs: Runs, case: Case, given: GivenChoices, truth: Outputs, first: Outputs, precision: Precision
) -> dict[str, Floor]:
    """Return the elements of integer outputs that choices which are not given, as comparisons, leave to rounding."""

    def run(feeds: dict[str, Array]) -> Outputs:
        return runs.truth(Case.of(case.name, feeds), given)[0]

    ties = NearTies(truth, (), (), precision, lambda _, draw: truth)
    return ties.integers(first, case.feeds, run, runs.seed)
