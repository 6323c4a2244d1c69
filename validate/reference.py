"""The truth and the floor: the module run by PyTorch in float64, and what eager float32 loses against that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.precision import FLOAT32, LOWER, Precision
from .arrays import Array
from .cases import Case
from .choice import Choice
from .eager import Eager, Feeds, Lower, Outputs, Rounding
from .floors import MORE_DRAWS, is_amplified, larger, refused_alone, row_outputs
from .hidden import Hidden
from .metrics import Floor, Reference
from .near_ties import NearTies
from .truth import Truth

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Floor", "Reference", "references"]

# One run is one draw of its rounding errors, and may be a lucky one: without the last of these the largest ratio of
# efficientnet_b0+se, a deep network full of gates, is a fifth larger.
OTHER_ROUNDINGS: tuple[Rounding, ...] = ("plain", "other")


def references(
    module: nn.Module,
    cases: Iterable[Case],
    output_names: Sequence[str] = (),
    *,
    seed: int = 0,
    hidden: Hidden | None = None,
    lower: Sequence[Lower] = (),
) -> Iterator[Reference]:
    """Yield one reference per case, in order; nothing is kept between them. ``hidden`` gets what every gate gave.
    ``lower`` are the lower precisions whose floors are measured as well.

    The module's outputs (tensor, tuple, list, dict, nested) are named in flattened order by ``output_names``, or
    "output" / "output_0", … if that is empty. Works on copies: the caller's module is never touched.
    A case that float64 cannot run is judged against float32, and its reference says so. Raises ModuleRefused if PyTorch
    cannot run a case in float32 either, and if the outputs are not a function of the inputs.
    """
    cases = list(cases)
    single = Eager(module, output_names, seed, is_double=False)
    truths = Truth(module, cases, output_names, seed, hidden)
    if lower:
        single.follow_modules()
    for number, case in enumerate(cases):
        feeds = case.feeds
        double, truth = truths.run(number, feeds)
        largest, choices = double.largest, double.choices
        single.ranks |= double.ranks
        single.held = double.levels  # float32's own: of a quantiser's levels, which one a rounding tips it to is chance
        rounded = single.run(feeds, case)
        ties = _near_ties(double, case, truth, choices, single.choices, FLOAT32, hidden)
        floors = ties.floors(rounded)
        for rounding in OTHER_ROUNDINGS:
            floors = larger(floors, single.run(feeds, case, rounding=rounding), truth)
        if is_amplified(floors):
            for draw in MORE_DRAWS:
                floors = larger(floors, single.run_again(feeds, case, draw), truth)
        floors |= ties.integers(rounded, feeds, _again(double, case), double.seed)
        found = {one.precision: _lower_floors(single, double, case, truth, one, choices, hidden) for one in lower}
        lowered = {precision: own for precision, (own, _) in found.items()}
        open_choices = next(filter(None, (ties.open_choices, *(chosen for _, chosen in found.values()))), [])
        rows = () if truths.why_not else row_outputs(_again(double, case), feeds, case, truth)
        yield Reference(truth, rounded, floors, largest, rows, lowered, truths.why_not, choices=open_choices)


def _lower_floors(
    single: Eager,
    double: Eager,
    case: Case,
    truth: Outputs,
    lower: Lower,
    choices: Sequence[Choice],
    hidden: Hidden | None,
) -> tuple[dict[str, Floor], list[Choice]]:
    """The largest of several draws, as in float32, and the choices among places if the precision can change one.

    Overflowing is no warning here: the floor says it.
    """
    feeds = case.feeds
    with np.errstate(over="ignore", invalid="ignore"), refused_alone(lower.precision):
        first, *others = (single.run_lower(feeds, case, lower, draw) for draw in lower.draws)
        ties = _near_ties(double, case, truth, choices, single.choices, LOWER[lower.precision], hidden)
        floors = ties.floors(first)
        for other in others:
            floors = larger(floors, other, truth)
        return floors | ties.integers(first, feeds, _again(double, case), double.seed), ties.open_choices


def _again(double: Eager, case: Case) -> Callable[[Feeds], Outputs]:
    return lambda feeds: double.run(feeds, case, watched=False)


def _near_ties(
    double: Eager,
    case: Case,
    truth: Outputs,
    choices: Sequence[Choice],
    rounded: Sequence[Choice],
    precision: Precision,
    hidden: Hidden | None,
) -> NearTies:
    def run_moved(allowed: Sequence[Array], draw: int) -> Outputs:
        return double.run_moved(case.feeds, case, allowed, draw)

    return NearTies(truth, choices, rounded, precision, run_moved, hidden)
