"""The truth and the floor: the module run by PyTorch in float64, and what eager float32 loses against that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..core.precision import FLOAT32, LOWER, Precision
from ..errors import CheckFailed, MissingRequirement
from .arrays import Array
from .cases import Case
from .choice import Choice
from .eager import Eager, Feeds, Outputs, Rounding
from .floors import MORE_DRAWS, is_amplified, larger, refused_alone, row_outputs
from .hidden import Hidden
from .lower import Lower
from .metrics import Floor, Reference
from .near_ties import NearTies
from .truth import Truth

if TYPE_CHECKING:
    from torch import nn

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
    """Yield one reference per case, in order; nothing is kept between them.

    Works on copies: the caller's module is never touched. A case that float64 cannot run is judged against float32, and
    its reference says so.

    Args:
        module: The module; its outputs are tensors in tuples, lists and dicts, nested as may be.
        cases: The inputs.
        output_names: The names of these tensors in flattened order; "output", or "output_0", …, without any.
        seed: Seeds PyTorch's random numbers before every run.
        hidden: Gets what every gate gave.
        lower: The lower precisions whose floors are measured as well.

    Raises:
        ModuleRefused: PyTorch cannot run a case in float32 either, or the outputs are not a function of the inputs.
    """
    cases = list(cases)
    single = Eager(module, output_names, seed, is_double=False)
    truths = Truth(module, cases, output_names, seed, hidden)
    if lower:
        single.follow_modules()
    for number, case in enumerate(cases):
        double, truth = truths.run(number, case.feeds)
        largest = double.largest
        single.ranks |= double.ranks
        single.held = double.levels  # float32's own: of a quantiser's levels, which one a rounding tips it to is chance
        measured = _Measured(single, double, case, truth, double.choices, hidden)
        rounded, floors, open_choices = measured.float32()
        lowered: dict[str, dict[str, Floor]] = {}
        why_not: dict[str, str] = {}
        for one in lower:
            try:
                lowered[one.precision], chosen = measured.lower(one)
            except (CheckFailed, MissingRequirement) as error:  # by the graph in which it is measured
                why_not[one.precision] = str(error)
            else:
                open_choices = open_choices or chosen
        rounded = {name: _narrowed(value, case.narrow.get(name)) for name, value in rounded.items()}
        rows = () if truths.why_not else row_outputs(measured.again, case.feeds, case, truth)
        run = partial(double.run, case=case, watched=False)
        yield Reference(
            truth,
            rounded,
            floors,
            largest,
            rows,
            lowered,
            truths.why_not,
            choices=open_choices,
            run=run,
            why_not_lower=why_not,
        )


def _narrowed(value: Array, dtype: str | None) -> Array:
    """Return an output in the type that a file gives it, so that the file's is compared with it; it stays finite."""
    if dtype is None or value.dtype.kind != "f":
        return value
    most = np.finfo(dtype).max
    return np.where(np.isfinite(value), np.clip(value, -most, most), value).astype(dtype)


@dataclass(frozen=True)
class _Measured:
    """A case whose truth is known, and what runs of it that round lose.

    Attributes:
        single: Runs the module in float32.
        double: Runs it in float64.
        case: The case.
        truth: The outputs in float64.
        choices: The choices of that run.
        hidden: Gets the choices that rounding can change.
    """

    single: Eager
    double: Eager
    case: Case
    truth: Outputs
    choices: Sequence[Choice]
    hidden: Hidden | None

    def float32(self) -> tuple[Outputs, dict[str, Floor], list[Choice]]:
        """Return the outputs in float32, its floors, and the choices among places if it can change one."""
        feeds = self.case.feeds
        rounded = self.single.run(feeds, self.case)
        ties = self._near_ties(FLOAT32)
        floors = ties.floors(rounded)
        for rounding in OTHER_ROUNDINGS:
            floors = larger(floors, self.single.run(feeds, self.case, rounding=rounding), self.truth)
        if is_amplified(floors):
            for draw in MORE_DRAWS:
                floors = larger(floors, self.single.run_again(feeds, self.case, draw), self.truth)
        return rounded, floors | ties.integers(rounded, feeds, self.again, self.double.seed), ties.open_choices

    def lower(self, lower: Lower) -> tuple[dict[str, Floor], list[Choice]]:
        """Return the largest of several draws, as in float32, and the choices among places if it can change one.

        Overflowing is no warning here: the floor says it.
        """
        feeds = self.case.feeds
        with np.errstate(over="ignore", invalid="ignore"), refused_alone(lower.precision):
            first, *others = (self.single.run_lower(feeds, self.case, lower, draw) for draw in lower.draws)
            ties = self._near_ties(LOWER[lower.precision])
            floors = ties.floors(first)
            for other in others:
                floors = larger(floors, other, self.truth)
            return floors | ties.integers(first, feeds, self.again, self.double.seed), ties.open_choices

    def again(self, feeds: Feeds) -> Outputs:
        """Return what float64 gives for other inputs."""
        return self.double.run(feeds, self.case, watched=False)

    def _near_ties(self, precision: Precision) -> NearTies:
        """Return the ties beside the run that ``single`` made last."""

        def run_moved(allowed: Sequence[Array], draw: int) -> Outputs:
            return self.double.run_moved(self.case.feeds, self.case, allowed, draw)

        return NearTies(self.truth, self.choices, self.single.choices, precision, run_moved, self.hidden)
