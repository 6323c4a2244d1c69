"""The truth and the floor: the module run by PyTorch in float64, and what eager float32 loses against that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..core.precision import FLOAT32, LOWER, Precision
from .cases import Case
from .eager import Array, Eager, Feeds, Lower, Outputs, Rounding
from .floors import MORE_DRAWS, NUDGES, is_amplified, larger, nudged, row_outputs
from .hidden import Hidden
from .metrics import UNIT_ROUNDOFF, Floor, Reference, measure
from .truth import Truth

if TYPE_CHECKING:
    from torch import nn

    from .selections import Choice

__all__ = ["Floor", "Reference", "references"]

# Runs whose choices are moved: all up, all down, and each score by itself.
DRAWS = 4
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
        rounded = single.run(feeds, case)
        floors = {name: measure(rounded[name], truth[name]) for name in truth}
        allowed = _allowed(choices, single, FLOAT32)
        for rounding in OTHER_ROUNDINGS:
            floors = larger(floors, single.run(feeds, case, rounding=rounding), truth)
        if is_amplified(floors):
            for draw in MORE_DRAWS:
                floors = larger(floors, single.run_again(feeds, case, draw), truth)
        floors |= _unsettled(double, feeds, case, truth, rounded, allowed)
        lowered = {
            one.precision: _lower_floors(single, double, feeds, case, truth, one, choices, hidden) for one in lower
        }
        rows = () if truths.why_not else row_outputs(_again(double, case), feeds, case, truth)
        yield Reference(truth, rounded, floors, largest, rows, lowered, truths.why_not)


def _lower_floors(
    single: Eager,
    double: Eager,
    feeds: Feeds,
    case: Case,
    truth: Outputs,
    lower: Lower,
    choices: Sequence[Choice],
    hidden: Hidden | None,
) -> dict[str, Floor]:
    """The largest of several draws, as in float32. Overflowing is no warning here: the floor says it."""
    from .selections import loose_picks

    with np.errstate(over="ignore", invalid="ignore"):
        first, *others = (single.run_lower(feeds, case, lower, draw) for draw in lower.draws)
        floors = {name: measure(first[name], truth[name]) for name in truth}
        for other in others:
            floors = larger(floors, other, truth)
        precision = LOWER[lower.precision]
        allowed = _allowed(choices, single, precision)
        if hidden is not None and choices:
            hidden.choose(precision.words, loose_picks(choices, single.choices, allowed))
        return floors | _unsettled(double, feeds, case, truth, first, allowed, unit_roundoff=precision.unit_roundoff)


def _again(double: Eager, case: Case) -> Callable[[Feeds], Outputs]:
    return lambda feeds: double.run(feeds, case, watched=False)


def _allowed(choices: Sequence[Choice], rounded: Eager, precision: Precision) -> list[Array]:
    from .selections import allowed_moves

    return allowed_moves(choices, rounded.choices, precision)


def _unsettled(
    double: Eager,
    feeds: Feeds,
    case: Case,
    truth: Outputs,
    rounded: Outputs,
    allowed: Sequence[Array],
    *,
    unit_roundoff: float = UNIT_ROUNDOFF,
) -> dict[str, Floor]:
    """Return for every integer output the elements that rounding can change.

    They differ when rounded, when inputs move by a few roundings, or when the scores that they are chosen by move as
    far as is ``allowed``.
    """
    exact = [name for name, value in truth.items() if value.dtype.kind in "iub"]
    if not exact:
        return {}
    unsettled = {name: np.asarray(rounded[name] != truth[name]) for name in exact}
    rng = np.random.default_rng(double.seed)
    for _ in range(NUDGES):
        outputs = double.run(nudged(feeds, rng, unit_roundoff), case, watched=False)
        for name in exact:
            unsettled[name] |= outputs[name] != truth[name]
    for draw in range(DRAWS if any(far.any() for far in allowed) else 0):
        moved = double.run_moved(feeds, case, allowed, draw)
        for name in exact:
            if moved[name].shape == truth[name].shape:
                unsettled[name] |= moved[name] != truth[name]
    return {name: Floor(0.0, 0.0, unsettled=mask) for name, mask in unsettled.items()}
