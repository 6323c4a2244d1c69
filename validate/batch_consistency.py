"""Checks that need no truth: the rows of a batch must not affect each other, and a repeated run must give the same.

They apply to the outputs whose rows are independent in float64 PyTorch, as the reference recorded.

The allowance. A runtime may choose another kernel for another batch, so equal means equal but for rounding. Let e(y)
be the distance of a run y from the truth, whole, at its largest element or over a slice, in the units in which the
floor was measured. A healthy run has e(y) <= R floors (metrics.HEALTHY_RATIO, measured over the catalog). For two
healthy runs y, z of the same rows the triangle inequality gives |y - z| <= e(y) + e(z) <= 2 R floors: that is the
allowance (metrics.Precision.between_runs), with nothing added. It holds only on the scale on which the floor was
measured, that of the whole batch: every check therefore brings its rows back to the places that they have in the batch
before it compares. One row of a batch has no larger error than the whole batch, which is why a single row may be put
among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..core.precision import PRECISIONS, Precision
from .arrays import Array
from .case_judgement import Run, did_not_run
from .cases import Case
from .comparison import NOTHING, Comparison, compare
from .metrics import Floor, Reference
from .stages.stage import Stage
from .verdict import StageResult, not_checked, stage_result

Outputs = Mapping[str, Array]

# The usual cause of rows that depend on each other: module.eval() does not reach a function.
_MIXED = "if they should not depend on each other, look for batch_norm(..., training=True)"


def compare_rows(run: Run, cases: Iterable[tuple[Case, Reference]], stage: Stage) -> StageResult:
    """Judge the smallest case with two or more rows that PyTorch keeps separate, by the floors of the stage.

    If no case has them, one is run twice, and ``why`` says so. A run that repeats itself within the floor but not bit
    for bit passes, and ``why`` says that it is not deterministic.
    """
    chosen = _smallest(cases)
    if chosen is None:
        return not_checked(stage, "no case was recorded")
    case, reference = chosen
    precision = PRECISIONS[stage.precision]
    if lost := reference.why_unmeasured(precision):
        return not_checked(stage, lost)
    said = []
    if _rows(reference) == 1:
        few = f"no batch of two or more with rows that {reference.source} separates; {_MIXED}"
        said = [f"run twice only: {'every batch is one' if _is_alone(case) else few}"]
    elif mixed := _mixed(reference):
        said = [f"{reference.source} does not separate the rows of {', '.join(mixed)}; {_MIXED}"]
    try:
        found = list(_checks(run, case, reference.at(precision), precision))
    except Exception as error:
        found = [(case.name, did_not_run(name, error)) for name in reference.outputs64]
    differing = any(name == "second run" and comparison.error > 0 for name, comparison in found)
    said += ["not deterministic: a second run differs in its last bits"] if differing else []
    return stage_result(stage, found, "; ".join(said))


def _smallest(cases: Iterable[tuple[Case, Reference]]) -> tuple[Case, Reference] | None:
    best: tuple[tuple[bool, int], Case, Reference] | None = None
    for case, reference in cases:
        rows = _rows(reference)
        rank = rows < 2, sum(value.size for value in reference.outputs64.values()) * rows
        if best is None or rank < best[0]:
            best = rank, case, reference
    return best[1:] if best else None


def _is_alone(case: Case) -> bool:
    """Return True if no case has more than one row: the batch is fixed, and this one has one."""
    return "batch" not in case.sizes and {case.feeds[name].shape[0] for name in case.row_inputs} == {1}


def _rows(reference: Reference) -> int:
    """Return how many rows can be compared; 1 if none can."""
    return reference.outputs64[reference.row_outputs[0]].shape[0] if reference.row_outputs else 1


def _mixed(reference: Reference) -> list[str]:
    """Return the outputs with as many rows as those that are compared, that are not among them."""
    rows = _rows(reference)
    return [
        name
        for name, value in reference.outputs64.items()
        if value.shape[:1] == (rows,) and name not in reference.row_outputs
    ]


def _checks(run: Run, case: Case, reference: Reference, precision: Precision) -> Iterator[tuple[str, Comparison]]:
    feeds, rows, names = case.feeds, _rows(reference), reference.row_outputs
    batch = run(feeds)
    judge = _judge(reference, batch, precision)
    yield from judge("second run", run(feeds), tuple(reference.outputs64))
    if rows < 2:
        return
    if case.rows_alone:
        alone = [run(case.take(feeds, [row])) for row in range(rows)]
        yield from judge("rows alone", {name: np.concatenate([one[name] for one in alone]) for name in names}, names)
    order = np.roll(np.arange(rows), 1)
    permuted = run(case.take(feeds, order))
    back = np.argsort(order)
    yield from judge("permuted rows", {name: _rows_of(permuted[name], back) for name in names}, names)
    identical = run(case.take(feeds, [0] * rows))
    yield from judge("identical rows", {name: _worst_as_first(identical[name], batch[name]) for name in names}, names)


def _rows_of(value: Array, order: Array) -> Array:
    """Return the rows in another order; another number of rows than expected stays, a wrong shape."""
    return value[order] if value.shape[:1] == order.shape else value


def _worst_as_first(identical: Array, batch: Array) -> Array:
    """The batch, its first row replaced by that copy of it which is furthest from it."""
    if identical.shape != batch.shape:
        return identical
    with np.errstate(invalid="ignore"):  # between infinities
        distance = [float(np.abs(np.subtract(row, batch[0], dtype=np.float64)).max(initial=0.0)) for row in identical]
    # argmax takes a NaN for the largest
    return np.concatenate([identical[[int(np.argmax(distance))]], batch[1:]])


def _judge(
    reference: Reference, batch: Outputs, precision: Precision
) -> Callable[[str, Outputs, tuple[str, ...]], Iterator[tuple[str, Comparison]]]:
    def judge(check: str, outputs: Outputs, names: tuple[str, ...]) -> Iterator[tuple[str, Comparison]]:
        for name in names:
            floor: Floor = reference.floors[name]
            truth = np.asarray(batch[name])
            wide = truth.astype(np.float64) if truth.dtype.kind == "f" else truth
            if truth.shape != reference.outputs64[name].shape:
                wide = reference.outputs64[name]  # what the floor is of: the shape is what is wrong
            # No budget of its own: both sides are this runtime's, and its distance from the truth is judged elsewhere.
            found = compare(
                name,
                outputs[name],
                wide,
                floor,
                reference.largest,
                limit=precision.between_runs,
                budget=np.inf,
                dtype=truth.dtype,
                precision=precision,
                source=reference.source,
                is_kept=reference.is_kept(name),
            )
            if found.which == NOTHING:  # whatever the truth is
                found = replace(found, detail="the first run gives no finite number: nothing could be compared")
            yield check, found

    return judge
