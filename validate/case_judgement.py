"""One case in one runtime, compared with its reference under the floors and allowances of a precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import graph_io
from ..core.precision import FLOAT32, Precision
from ..core.tensor_spec import TensorSpec
from ..errors import Interrupted, typed_line
from .case_values import STRESS_KINDS
from .cases import Case, Feeds
from .comparison import NOTHING, WAYS, Comparison, compare
from .error_map import error_map, largest
from .metrics import MOST_LOST, Floor, Reference, is_settled, keeps, settled
from .slices import Slices
from .verdict import INTERRUPTED

NUMBERS = frozenset({"nan", NOTHING, "floor", "absolute", *WAYS, "top1", "budget"})
Run = Callable[[Feeds], Mapping[str, npt.NDArray[Any]]]


def judge_case(
    run: Run,
    case: Case,
    reference: Reference,
    *,
    max_error: float | None = None,
    declared: Sequence[TensorSpec] = (),
    precision: Precision = FLOAT32,
    slices: Slices | None = None,
    io: str = graph_io.FLOAT32,
) -> tuple[tuple[str, Comparison], ...]:
    """Compare every output of one case with its reference; return the comparisons with the case's name.

    Args:
        run: Runs the graph; an exception in it, or a missing output, is a failure of each output.
        case: The inputs.
        reference: The truth and the floors.
        max_error: Replaces the precision's budget.
        declared: The graph's outputs; a shape that is not the declared one is a failure.
        precision: The precision whose floors, limit and budget hold.
        slices: Counts the outputs for what is judged over all cases.
        io: The type in which the graph takes and gives what is float32 in the case.
    """
    sizes = tuple(case.sizes.items())
    try:
        outputs = run(graph_io.fed(case.feeds, io))
    except Exception as error:
        found = [did_not_run(name, error) for name in reference.outputs64]
    else:
        allowed = reference.at(precision)
        found = _compared(outputs, case, allowed, max_error, precision, io)
        if case.kind in STRESS_KINDS:
            found = [_excused(one, allowed, case, slices) for one in found]
        if slices is not None:
            is_ordinary = case.kind not in STRESS_KINDS
            slices.add(reference, _settled(outputs, allowed), is_ordinary=is_ordinary, floors=allowed.floors)
    found += _misdeclared(declared, case, reference)
    known: dict[str, Any] = {"sizes": sizes, "no_float64": reference.no_float64, "is_stress": case.kind in STRESS_KINDS}
    return tuple((case.name, replace(one, **known)) for one in found)


def _excused(found: Comparison, reference: Reference, case: Case, slices: Slices | None) -> Comparison:
    """Return a comparison of extreme inputs that failed as not judged if the source's own float32 fails there as well.

    It is named in ``slices``. A form that is wrong, and an output that is missing, are no question of numbers.
    """
    if found.passed or found.which not in NUMBERS or is_settled(reference, found.output):
        return found
    if slices is not None:
        slices.leave_out(found.output, case.name)
    detail = f"not judged: {reference.source}'s own float32 does not give here what its float64 does"
    return replace(found, passed=True, which="exact", error=0.0, ratio=0.0, detail=detail)


def _settled(outputs: Mapping[str, npt.NDArray[Any]], reference: Reference) -> dict[str, npt.NDArray[Any]]:
    truths, floors = reference.outputs64, reference.floors
    return {
        name: settled(np.asarray(value), truths[name], floors[name]) if name in truths else value
        for name, value in outputs.items()
    }


def _misdeclared(declared: Sequence[TensorSpec], case: Case, reference: Reference) -> Iterator[Comparison]:
    """Yield outputs that PyTorch gives other sizes than are declared; expressions of axes are not evaluated."""
    for spec in declared:
        shape = reference.outputs64[spec.name].shape if spec.name in reference.outputs64 else spec.shape
        pairs = zip(spec.shape, shape, strict=False)
        said = [case.sizes.get(dim, actual) if isinstance(dim, str) else dim for dim, actual in pairs]
        if len(spec.shape) != len(shape) or tuple(said) != shape:
            yield _unmet(
                spec.name, "shape", f"the graph declares the shape {spec.shape}, {reference.source} returns {shape}"
            )


def _compared(
    outputs: Mapping[str, npt.NDArray[Any]],
    case: Case,
    reference: Reference,
    max_error: float | None,
    precision: Precision,
    io: str,
) -> list[Comparison]:
    found = []
    for name, truth in reference.outputs64.items():
        if name not in outputs:
            found.append(_unmet(name, "missing", f"no such output; received {', '.join(sorted(outputs)) or 'none'}"))
            continue
        floor, dtype = reference.floors[name], reference.outputs32[name].dtype
        dtype = np.dtype(io) if dtype == graph_io.FLOAT32 else dtype
        allowed: dict[str, Any] = {"precision": precision, "budget": _budget(case, floor, max_error, precision)}
        allowed |= {"source": reference.source, "is_kept": reference.is_kept(name)}
        one = compare(name, outputs[name], truth, floor, reference.largest, dtype=dtype, **allowed)
        if precision is FLOAT32 and case.kind not in STRESS_KINDS:
            one = _by_own_loss(one, floor, FLOAT32.budget if max_error is None else max_error, reference.source)
        judged = settled(np.asarray(outputs[name]), truth, floor)
        found.append(_with_map(one, judged, truth, floor, reference.moments))
    extra = sorted(set(outputs) - set(reference.outputs64))
    return [*found, *(_unmet(name, "missing", f"an output that {reference.source} does not have") for name in extra)]


def _with_map(
    found: Comparison, out: npt.NDArray[Any], truth: npt.NDArray[Any], floor: Floor, moments: dict[tuple[str, int], Any]
) -> Comparison:
    """Return the comparison with its error map; ``moments`` keeps the truth's largest number for the other stages."""
    key = (found.output, 0)  # slices are of later axes
    if key not in moments:
        moments[key] = largest(truth)
    shown = error_map(out, truth, found.worst_index, found.which, floor=floor.max, scale=moments[key])
    return found if shown is None else replace(found, error_map=shown)


def _by_own_loss(found: Comparison, floor: Floor, budget: float, source: str) -> Comparison:
    """Return a passed comparison of ordinary inputs in view of what the source's own float32 loses on them."""
    if not found.passed or found.which not in WAYS:
        return found
    if not keeps(floor):
        detail = (
            f"{source}'s own float32 is off by {floor.l2:.2g} on ordinary inputs; above {MOST_LOST:g} no graph in "
            "float32 looks different from a wrong one"
        )
        return replace(found, passed=False, which="floor", detail=detail)
    return replace(found, over_budget=found.error > budget)


def _budget(case: Case, floor: Floor, max_error: float | None, precision: Precision) -> float:
    """Return the absolute error that is allowed.

    A model whose healthy runs, up to R floors from the truth, lose more than the default is judged in floors alone,
    unless the user asks for less. A lower precision has no such excuse: it was a choice.
    """
    if case.kind in STRESS_KINDS:
        return math.inf
    if max_error is not None:
        return max_error
    keeps_it = precision.healthy * floor.l2 <= precision.budget
    return precision.budget if precision is not FLOAT32 or keeps_it else math.inf


def did_not_run(name: str, error: Exception) -> Comparison:
    """Return the failed comparison of an output that a runtime did not give because of ``error``."""
    reason = typed_line(error, 300)
    which = INTERRUPTED if isinstance(error, Interrupted) else "raised"
    return _unmet(name, which, f"it did not run: {reason}")


def _unmet(name: str, which: str, detail: str) -> Comparison:
    return Comparison(name, math.inf, 0.0, math.inf, which, (), False, detail)
