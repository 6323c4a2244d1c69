"""The truth and the floors of a graph that is judged by itself: ONNX's reference evaluator in float64 and float32.

One run in float32 is one draw of its rounding errors: the floor is the largest of NumPy's own, of plain kernels' and of
those with other last digits, as PyTorch's is. No runtime that is judged has a part in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.precision import LOWER
from ...errors import Attn2trtError
from ..cases import Case
from ..floors import MORE_DRAWS, NUDGES, is_amplified, larger, nudged, row_outputs
from ..metrics import GRAPH, UNIT_ROUNDOFF, Floor, Reference, measure
from .evaluator import Arrays, Rounding
from .isolated import IsolatedEvaluator

# The kernels and last digits of each run.
DRAWS: tuple[dict[str, Any], ...] = ({}, {"is_plain": True, "draw": 0}, {"draw": 1}, {"draw": 2})


@dataclass(frozen=True)
class GraphLower:
    """A precision below float32 whose floors are measured: that of the graph ``as_written``, or a ``rounding``."""

    precision: str
    rounding: Rounding | None = None

    def run(self, single: IsolatedEvaluator, feeds: Arrays, **how: Any) -> Arrays:
        """Return the outputs of a float32 run that loses what the precision does."""
        return single.run(feeds, rounding=self.rounding, as_written=self.rounding is None, **how)


def graph_references(
    double: IsolatedEvaluator,
    single: IsolatedEvaluator,
    cases: Iterable[Case],
    *,
    seed: int = 0,
    lower: Sequence[GraphLower] = (),
    lowered: IsolatedEvaluator | None = None,
) -> Iterator[tuple[Case, Reference | Exception]]:
    """Yield every case with its reference, or with what the evaluator raised on it.

    Args:
        double: The evaluator in float64.
        single: The evaluator in float32.
        cases: The inputs.
        seed: Draws the nudges that find out what rounding decides.
        lower: The precisions below float32 whose floors are measured as well.
        lowered: The evaluator in float32 of the graph whose nodes the roundings name; ``single`` if it is the same one.
    """
    refused = _refusal(double) or _refusal(single) or (_refusal(lowered) if lowered is not None else None)
    runs = [(one, single if one.rounding is None else lowered or single) for one in lower]
    for case in cases:
        if refused is not None:
            yield case, refused
            continue
        try:
            yield case, _reference(double, single, case, seed, runs)
        except Exception as error:
            yield case, error


def _refusal(evaluator: IsolatedEvaluator) -> Exception | None:
    """Wait for the graph; returns the reason if it has no truth."""
    try:
        evaluator.load()
    except Attn2trtError as error:
        return error
    return None


def _reference(
    double: IsolatedEvaluator,
    single: IsolatedEvaluator,
    case: Case,
    seed: int,
    lower: Sequence[tuple[GraphLower, IsolatedEvaluator]],
) -> Reference:
    feeds = case.feeds
    truth = double.run(feeds)
    largest = double.largest
    rounded, floors = _floors(functools.partial(single.run, feeds), truth)
    if is_amplified(floors):
        for draw in MORE_DRAWS:
            floors = larger(floors, single.run(feeds, draw=draw), truth)
    floors |= _unsettled(double, feeds, truth, rounded, seed, UNIT_ROUNDOFF)
    written = rounded
    lowered = {}
    for one, evaluator in lower:
        own, found = _floors(functools.partial(one.run, evaluator, feeds), truth)
        unit = LOWER[one.precision].unit_roundoff
        lowered[one.precision] = found | _unsettled(double, feeds, truth, own, seed, unit)
        written = own if one.rounding is None else written
    rows = row_outputs(double.run, feeds, case, truth)
    return Reference(truth, written, floors, largest, rows, lowered, source=GRAPH)


def _floors(run: Callable[..., Arrays], truth: Arrays) -> tuple[Arrays, dict[str, Floor]]:
    """Return the outputs of the first draw, and the largest floors of all."""
    first, *others = (run(**how) for how in DRAWS)
    with np.errstate(over="ignore", invalid="ignore"):
        floors = {name: measure(first[name], truth[name]) for name in truth}
        for other in others:
            floors = larger(floors, other, truth)
    return first, floors


def _unsettled(
    double: IsolatedEvaluator, feeds: Arrays, truth: Arrays, rounded: Arrays, seed: int, unit_roundoff: float
) -> dict[str, Floor]:
    """For every integer output, the elements that differ when rounded or when inputs move by a few roundings."""
    exact = [name for name, value in truth.items() if value.dtype.kind in "iub"]
    if not exact:
        return {}
    rng = np.random.default_rng(seed)
    others = [rounded, *(double.run(nudged(feeds, rng, unit_roundoff)) for _ in range(NUDGES))]
    found = {}
    for name in exact:
        alike = [other[name] for other in others if other[name].shape == truth[name].shape]
        found[name] = Floor(0.0, 0.0, unsettled=np.any([value != truth[name] for value in alike], axis=0))
    return found
