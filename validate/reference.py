"""The truth and the floor: the module run by PyTorch in float64, and what eager float32 loses against that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32, LOWER, Precision
from .cases import Case
from .eager import Array, Eager, Feeds, Lower, Outputs, Rounding
from .floors import MORE_DRAWS, NUDGES, is_amplified, larger, nudged, row_outputs
from .hidden import Hidden
from .metrics import UNIT_ROUNDOFF, Floor, Reference, measure, settled
from .truth import Truth

if TYPE_CHECKING:
    from torch import nn

    from .selections import Choice

__all__ = ["Floor", "Reference", "references"]

# Runs whose choices are moved: all up, all down, and each score by itself.
DRAWS = 4
# Of the elements of a float output, left out because a choice between near ties decides them.
MOST_UNSETTLED = 0.25
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
        chosen = _Chosen(double, feeds, case, truth, choices, single.choices, FLOAT32, hidden)
        floors, allowed = chosen.floors(rounded), chosen.allowed
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
    with np.errstate(over="ignore", invalid="ignore"):
        first, *others = (single.run_lower(feeds, case, lower, draw) for draw in lower.draws)
        precision = LOWER[lower.precision]
        chosen = _Chosen(double, feeds, case, truth, choices, single.choices, precision, hidden)
        floors, allowed = chosen.floors(first), chosen.allowed
        for other in others:
            floors = larger(floors, other, truth)
        return floors | _unsettled(double, feeds, case, truth, first, allowed, unit_roundoff=precision.unit_roundoff)


def _again(double: Eager, case: Case) -> Callable[[Feeds], Outputs]:
    return lambda feeds: double.run(feeds, case, watched=False)


@dataclass(frozen=True)
class _Chosen:
    """The choices of one case in float64 and in a run of a ``precision``, and what rounding makes of them."""

    double: Eager
    feeds: Feeds
    case: Case
    truth: Outputs
    choices: Sequence[Choice]
    rounded: Sequence[Choice]
    precision: Precision
    hidden: Hidden | None

    @cached_property
    def allowed(self) -> list[Array]:
        """The distance by which rounding may move the scores of each choice."""
        from .selections import allowed_moves

        return allowed_moves(self.choices, self.rounded, self.precision)

    def floors(self, first: Outputs) -> dict[str, Floor]:
        """Return the floors of the ``first`` run, without what a choice between near ties decides."""
        found = {}
        for name, truth in self.truth.items():
            decided = Floor(0.0, 0.0, unsettled=self._gathered.get(name))
            found[name] = replace(measure(settled(first[name], truth, decided), truth), unsettled=decided.unsettled)
        return found

    @cached_property
    def _gathered(self) -> dict[str, npt.NDArray[np.bool_]]:
        """The elements of float outputs that are gathered by a choice among places which rounding can change.

        Nothing of an output of which that is more than ``MOST_UNSETTLED``: so much cannot be left out.
        """
        from .selections import loose_picks

        loose = loose_picks(self.choices, self.rounded, self.allowed)
        if self.hidden is not None and loose and self.precision is not FLOAT32:
            self.hidden.choose(self.precision.words, loose)
        floats = {name: value for name, value in self.truth.items() if value.dtype.kind == "f" and value.size}
        if not loose or not floats or not self.allowed:
            return {}
        masks = {name: np.zeros(value.shape, np.bool_) for name, value in floats.items()}
        for draw in range(DRAWS):
            moved = self.double.run_moved(self.feeds, self.case, self.allowed, draw)
            for name, truth in floats.items():
                if moved[name].shape == truth.shape:
                    masks[name] |= _is_far(moved[name], truth, self.precision.unit_roundoff)
        shares = {name: float(mask.mean()) for name, mask in masks.items() if mask.any()}
        if self.hidden is not None:
            self.hidden.leave_out(self.precision.words, {n: s for n, s in shares.items() if s <= MOST_UNSETTLED})
        return {name: masks[name] for name, share in shares.items() if share <= MOST_UNSETTLED}


def _is_far(moved: Array, truth: Array, unit_roundoff: float) -> npt.NDArray[np.bool_]:
    """Return the elements that are further from the truth than a rounding of its largest one."""
    finite = np.isfinite(truth)
    largest = float(np.abs(truth, where=finite, out=np.zeros(truth.shape)).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        near = np.abs(moved - truth) <= unit_roundoff * largest
    far: npt.NDArray[np.bool_] = ~(near | (moved == truth) | (np.isnan(moved) & np.isnan(truth)))
    return far


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
