"""The truth and the floors of a graph that is judged by itself: ONNX's reference evaluator in float64 and float32.

One run in float32 is one draw of its rounding errors: the floor is the largest of NumPy's own, of plain kernels' and of
those with other last digits, as PyTorch's is. No runtime that is judged has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...core.precision import FLOAT32, LOWER, Precision
from ...errors import Attn2trtError
from ..arrays import Array, Arrays
from ..cases import Case
from ..choice import Choice
from ..floors import MORE_DRAWS, is_amplified, larger, refused_alone, row_outputs
from ..hidden import Hidden
from ..metrics import GRAPH, Floor, Reference
from ..near_ties import NearTies
from .isolated import IsolatedEvaluator
from .rounding import Rounding
from .run_options import EXACT, RunOptions
from .selections import aligned

# The kernels and last digits of each run.
DRAWS = (EXACT, RunOptions(is_plain=True, draw=0), RunOptions(draw=1), RunOptions(draw=2))


@dataclass(frozen=True)
class GraphLower:
    """A precision below float32 whose floors are measured: that of the graph ``as_written``, or a ``rounding``."""

    precision: str
    rounding: Rounding | None = None

    @property
    def draws(self) -> tuple[RunOptions, ...]:
        """The float32 runs that lose what the precision does."""
        return tuple(replace(how, rounding=self.rounding, as_written=self.rounding is None) for how in DRAWS)


def graph_references(
    double: IsolatedEvaluator,
    single: IsolatedEvaluator,
    cases: Iterable[Case],
    *,
    seed: int = 0,
    lower: Sequence[GraphLower] = (),
    lowered: IsolatedEvaluator | None = None,
    hidden: Hidden | None = None,
) -> Iterator[tuple[Case, Reference | Exception]]:
    """Yield every case with its reference, or with what the evaluator raised on it.

    Args:
        double: The evaluator in float64.
        single: The evaluator in float32.
        cases: The inputs.
        seed: Draws the nudges that find out what rounding decides.
        lower: The precisions below float32 whose floors are measured as well.
        lowered: The evaluator in float32 of the graph whose nodes the roundings name; ``single`` if it is the same one.
        hidden: Gets the choices that a precision can move, and the shares of outputs that are not judged for them.
    """
    refused = _refusal(double) or _refusal(single) or (_refusal(lowered) if lowered is not None else None)
    runs = [(one, single if one.rounding is None else lowered or single) for one in lower]
    for case in cases:
        if refused is not None:
            yield case, refused
            continue
        try:
            yield case, _reference(double, single, case, seed, runs, hidden)
        except Exception as error:
            yield case, error


def _refusal(evaluator: IsolatedEvaluator) -> Exception | None:
    """Wait for the graph; returns the reason if it has no truth."""
    try:
        evaluator.load()
    except Attn2trtError as error:
        return error
    return None


@dataclass(frozen=True)
class _Truth:
    """One case in float64, with the choices of that run."""

    double: IsolatedEvaluator
    case: Case
    outputs: Arrays
    choices: Sequence[Choice]
    seed: int
    hidden: Hidden | None

    @classmethod
    def of(cls, double: IsolatedEvaluator, case: Case, seed: int, hidden: Hidden | None = None) -> _Truth:
        """Run the case."""
        outputs = double.run(case.feeds, notes_choices=True)
        if hidden is not None:
            hidden.in_graph = double.unreached
        return cls(double, case, outputs, double.choices, seed, hidden)

    def near_ties(self, rounded: Sequence[Choice], precision: Precision) -> NearTies:
        """Return what rounding makes of the choices; ``rounded`` are those of a run of the precision."""

        def run_moved(allowed: Sequence[Array], draw: int) -> Arrays:
            return self.double.run(self.case.feeds, moved=(allowed, draw))

        return NearTies(self.outputs, self.choices, aligned(self.choices, rounded), precision, run_moved, self.hidden)

    def integers(self, ties: NearTies, first: Arrays) -> dict[str, Floor]:
        """Return for every integer output the elements that rounding can change."""
        return ties.integers(first, self.case.feeds, self.double.run, self.seed)


def _reference(
    double: IsolatedEvaluator,
    single: IsolatedEvaluator,
    case: Case,
    seed: int,
    lower: Sequence[tuple[GraphLower, IsolatedEvaluator]],
    hidden: Hidden | None,
) -> Reference:
    feeds = case.feeds
    found = _Truth.of(double, case, seed, hidden)
    truth, largest = found.outputs, double.largest
    rounded, floors, integers, choices = _floors(found, single, DRAWS, FLOAT32)
    if is_amplified(floors):
        for draw in MORE_DRAWS:
            floors = larger(floors, single.run(feeds, RunOptions(draw=draw)), truth)
    floors |= integers
    written = rounded
    lowered = {}
    for one, evaluator in lower:
        with refused_alone(one.precision):
            own, own_floors, integers, others = _floors(found, evaluator, one.draws, LOWER[one.precision])
        choices = choices or others
        lowered[one.precision] = own_floors | integers
        written = own if one.rounding is None else written
    rows = row_outputs(double.run, feeds, case, truth)
    return Reference(truth, written, floors, largest, rows, lowered, source=GRAPH, choices=choices, run=double.run)


def _floors(
    truth: _Truth, evaluator: IsolatedEvaluator, draws: Sequence[RunOptions], precision: Precision
) -> tuple[Arrays, dict[str, Floor], dict[str, Floor], list[Choice]]:
    """Return the outputs of the first draw, the largest floors of all, those of the integers, and the choices among
    places if rounding can change one."""
    with np.errstate(over="ignore", invalid="ignore"):
        first = evaluator.run(truth.case.feeds, draws[0], notes_choices=True)
        ties = truth.near_ties(evaluator.choices, precision)
        floors = ties.floors(first)
        for how in draws[1:]:
            floors = larger(floors, evaluator.run(truth.case.feeds, how), truth.outputs)
        return first, floors, truth.integers(ties, first), ties.open_choices


def unsettled_elements(
    double: IsolatedEvaluator, rounded: IsolatedEvaluator, case: Case, lower: GraphLower | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the elements of each output of a graph that a choice between near ties decides, in float32 or below.

    Args:
        double: The evaluator in float64.
        rounded: The evaluator in float32 of the graph that computes in the precision.
        case: The inputs.
        lower: The precision below float32.

    Raises:
        Attn2trtError: The evaluator cannot compute the graph.
    """
    truth = _Truth.of(double, case, seed=0)
    first = rounded.run(case.feeds, (DRAWS if lower is None else lower.draws)[0], notes_choices=True)
    ties = truth.near_ties(rounded.choices, FLOAT32 if lower is None else LOWER[lower.precision])
    integers = {name: floor.unsettled for name, floor in truth.integers(ties, first).items()}
    return ties.decided(first) | {name: mask for name, mask in integers.items() if mask is not None}
