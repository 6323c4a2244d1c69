"""Compare one output with the truth: the checks in order, and the sentence that says which of them decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32, Precision
from .arrays import Array, Float64
from .error_map import ErrorMap
from .fills import shrunk
from .metrics import PYTORCH, Floor, distance, is_zero, keeps, largest_finite, measure, over, settled, worst_ratio

# A number of the truth that the type of the output does not have: keeping modules in float32 does not mend it.
OVERFLOW = "overflow"
# The truth has no number that could be compared.
NOTHING = "nothing"
# A graph's choice is not what its own scores say.
CHOICE = "choice"


@dataclass(frozen=True)
class Comparison:
    """One output of one case, compared.

    Attributes:
        output: The output's name.
        error: The relative L2 error.
        floor: What the precision itself loses, by the same measure.
        ratio: The worst of the three ratios of error to floor: of the whole, the largest element, the worst channel.
        which: What decided: l2, max, channel, absolute, exact, nan, floor, shape, dtype, missing, raised, interrupted,
            budget, top1, variation, overflow (of an output's type), choice (by a graph's own scores), nothing.
        worst_index: The place of the worst element.
        passed: True if it is within the limits.
        detail: A sentence about what decided.
        settled_rows: Of an output (n, classes), the rows whose best score in float64 no rounding can change; else 0.
        agreeing_rows: Those of them with the same best score.
        sizes: Those of the case's dynamic axes.
        over_budget: The budget of float32 is exceeded, as PyTorch's own float32 may exceed it.
        no_float64: The reason why float64 could not be compared with; "" if it was.
        is_stress: The inputs were made to reach what data seldom reaches; the error may be large in PyTorch as well.
        error_map: The error by its place in the output, kept of a stage's worst comparison alone.
    """

    output: str
    error: float
    floor: float
    ratio: float
    which: str
    worst_index: tuple[int, ...]
    passed: bool
    detail: str
    settled_rows: int = 0
    agreeing_rows: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    over_budget: bool = False
    no_float64: str = ""
    is_stress: bool = False
    error_map: ErrorMap | None = None


def compare(
    name: str,
    out: Any,
    ref64: Array,
    floor: Floor,
    largest: float,
    *,
    precision: Precision = FLOAT32,
    limit: float | None = None,
    budget: float | None = None,
    dtype: npt.DTypeLike | None = None,
    source: str = PYTORCH,
    is_kept: bool | None = None,
) -> Comparison:
    """Judge one output against the truth.

    Args:
        name: The output's name.
        out: What the graph gave.
        ref64: The truth, in float64 or in whole numbers.
        floor: What the source loses of it in the precision.
        largest: The largest magnitude that the float64 run met on the way to it.
        precision: Gives the limit and the budget.
        limit: Replaces the precision's, in floors.
        budget: Replaces the precision's, as a relative L2 error.
        dtype: What the output must have, if that is known.
        source: Whose float64 the truth is, as messages call it.
        is_kept: True if float32 keeps the output whatever is met on the way to it; by default the ``floor`` tells.
    """
    out = np.asarray(out)
    wrong = _wrong_form(out, ref64, dtype)
    if wrong:
        return Comparison(name, math.inf, floor.l2, math.inf, wrong[0], (), False, wrong[1])
    if not ref64.size:
        return Comparison(name, 0.0, floor.l2, 0.0, "exact", (), True, f"an empty output, as in {source}")
    limit = precision.limit if limit is None else limit
    budget = precision.budget if budget is None else budget
    allowed = _Allowed(floor, precision, limit, budget, source)
    if ref64.dtype.kind in "iub":
        return _compare_exact(name, out, ref64, allowed)
    is_kept = keeps(floor) if is_kept is None else is_kept
    return _compare_floats(name, settled(out, ref64, floor), ref64, largest, allowed, is_kept=is_kept)


class _Allowed(NamedTuple):
    """The allowance of an output: a number of floors, and a share of its size. ``source`` is the truth's owner."""

    floor: Floor
    precision: Precision
    limit: float
    budget: float
    source: str


def _compare_floats(
    name: str, out: Array, ref64: Array, largest: float, allowed: _Allowed, *, is_kept: bool
) -> Comparison:
    floor, source, precision = allowed.floor, allowed.source, allowed.precision
    if (overflow := _output_overflow(out, ref64)) is not None:
        at, largest_of_type = overflow
        detail = (
            f"the output overflows at {at}: {source} in float64 gives {float(ref64[at]):.6g}, and {out.dtype} ends at "
            f"{largest_of_type:.6g}; leave --io out, or cast the outputs of your own file, so that they are float32"
        )
        return Comparison(name, math.nan, floor.l2, math.inf, OVERFLOW, at, False, detail)
    stray = _stray(out, ref64)
    if stray:
        detail, at = stray
        if not floor.is_finite:
            detail += f"; {source} in {precision.words} is not finite there either: this precision is refused"
        return Comparison(name, math.nan, floor.l2, math.inf, "nan", at, False, detail)
    if not np.isfinite(ref64).any():
        detail = (
            f"{source} itself gives no finite number: nothing could be compared; leave a size that gives none out, as "
            "by --dynamic batch=2:4:8, or give an input with a domain its range, as --shape NAME=2:float32[1,9]"
        )
        return Comparison(name, math.nan, floor.l2, math.inf, NOTHING, (), False, detail)
    out, ref64 = shrunk(out, ref64)
    scale = largest_finite(ref64)
    if is_zero(scale, largest, is_kept=is_kept):
        return _compare_absolute(name, distance(out, ref64), scale, precision.unit_roundoff * largest, allowed)
    # Asked only here: against a reference of zeros every relative error is infinite.
    if not floor.is_finite:
        detail = (
            f"{source}'s own result in {precision.words} is not finite, but float64's is: this precision is refused"
        )
        return Comparison(name, math.nan, floor.l2, math.inf, "floor", (), False, detail)
    return _compare_relative(name, out, ref64, allowed)


def _compare_relative(name: str, out: Array, ref64: Array, allowed: _Allowed) -> Comparison:
    floor, precision, limit, budget, source = allowed
    found = measure(out, ref64)
    unit = precision.unit_roundoff
    ratio, which, at = worst_ratio(found, floor, unit, ref64)
    settled, wrong_rows = _top1(out, ref64, precision.between_runs * max(floor.max, unit))
    if which != "channel":
        at = _index(int(distance(out, ref64).argmax()), ref64.shape)
    detail = f"{_beside(ratio, limit)} times {source}'s own rounding ({WAYS[which]}, at {_place(which, at)})"
    passing = Comparison(name, found.l2, floor.l2, ratio, which, at, True, detail, settled, settled - len(wrong_rows))
    if ratio > limit:
        return replace(passing, passed=False, detail=f"{detail}; the limit is {limit:g}")
    if found.l2 > budget:
        own = f"; {source}'s own {precision.words} loses {_beside(floor.l2, budget)}" if floor.l2 > budget else ""
        detail = f"error {_beside(found.l2, budget)} is above the budget {budget:g}{own}"
        return replace(passing, passed=False, which="budget", detail=detail)
    if wrong_rows:
        row = wrong_rows[0]
        best, wanted = int(out[row].argmax()), int(ref64[row].argmax())
        detail = f"top-1 differs in {len(wrong_rows)} of {settled} rows: class {best} instead of {wanted} in row {row}"
        return replace(passing, passed=False, which="top1", worst_index=(row, best), detail=detail)
    return passing


def _top1(out: Array, ref64: Array, allowed: float) -> tuple[int, list[int]]:
    """Return (rows whose best class is settled, those of them in which ``out`` has another), for (n, classes).

    Settled: the best score stands above the second by more than ``allowed`` of the largest score of all: two scores,
    each within R floors of the truth, cannot pass each other if they differ by more than 2 R.
    """
    if ref64.ndim != 2 or ref64.shape[1] < 2:
        return 0, []
    finite = np.isfinite(ref64)
    scores = np.where(finite, ref64, 0.0)
    second, best = np.partition(scores, -2, axis=1)[:, -2:].T
    settled = finite.all(axis=1) & (best - second > allowed * np.abs(scores).max())
    wrong = settled & (out.argmax(axis=1) != ref64.argmax(axis=1))
    return int(settled.sum()), [int(row) for row in np.flatnonzero(wrong)]


def _beside(value: float, limit: float) -> str:
    """Return a number with as many digits as tell it from the limit, three at least."""
    texts = [f"{value:.{digits}g}" for digits in (3, 5, 8, 17)]
    return next((text for text in texts if float(text) != limit), texts[0])


# the three ways in which an error is taken in floors, in words
WAYS = {"l2": "over the whole output", "max": "at the largest element", "channel": "over one slice"}


def _place(which: str, at: tuple[int, ...]) -> str:
    return f"axis {at[0]}, index {at[1]}" if which == "channel" else str(at)


def _wrong_form(out: Array, ref64: Array, dtype: npt.DTypeLike | None) -> tuple[str, str] | None:
    if out.shape != ref64.shape:
        return "shape", f"received shape {out.shape}, expected {ref64.shape}"
    if dtype is not None and out.dtype != np.dtype(dtype):
        return "dtype", f"received dtype {out.dtype}, expected {np.dtype(dtype)}"
    if (out.dtype.kind == "f") != (ref64.dtype.kind == "f"):
        return "dtype", f"received dtype {out.dtype}, expected {'a float' if ref64.dtype.kind == 'f' else ref64.dtype}"
    return None


def _stray(out: Array, ref64: Array) -> tuple[str, tuple[int, ...]] | None:
    """Find a NaN or infinity on one side only: (detail, index); None if there is none."""
    finite = np.isfinite(ref64)
    if not (finite.all() and np.isfinite(out).all()):
        stray = np.isnan(out) != np.isnan(ref64)
        stray |= np.where(np.isinf(out), np.sign(out), 0) != np.where(np.isinf(ref64), np.sign(ref64), 0)
        if stray.any():
            at = _index(int(stray.argmax()), stray.shape)
            return f"{float(out[at]):.6g}, expected {float(ref64[at]):.6g}, at {at}", at
    return None


def _output_overflow(out: Array, ref64: Array) -> tuple[tuple[int, ...], float] | None:
    """Find a finite number of the reference that the type of ``out`` cannot hold: its index, and the type's largest."""
    if out.dtype.itemsize >= np.dtype(np.float32).itemsize:
        return None
    largest = float(np.finfo(out.dtype).max)
    beyond = np.isfinite(ref64) & (np.abs(ref64) > largest) & ~np.isfinite(out)
    return (_index(int(beyond.argmax()), beyond.shape), largest) if beyond.any() else None


def _compare_exact(name: str, out: Array, ref64: Array, allowed: _Allowed) -> Comparison:
    if allowed.floor.max:
        return _compare_numbers(name, out, ref64, allowed)
    wrong, unsettled = np.asarray(out != ref64), allowed.floor.unsettled
    settled = wrong if unsettled is None else wrong & ~unsettled
    error = float(wrong.mean()) if wrong.size else 0.0
    if settled.any():
        at = _index(int(settled.argmax()), settled.shape)
        detail = f"{int(settled.sum())} of {settled.size} differ, first {out[at]} instead of {ref64[at]}, at {at}"
        return Comparison(name, error, 0.0, math.inf, "exact", at, False, detail)
    ties = int(wrong.sum())
    detail = "equal" + (f", but for {ties} ties that rounding decides" if ties else "")
    return Comparison(name, error, 0.0, 0.0, "exact", (), True, detail)


def _compare_numbers(name: str, out: Array, ref64: Array, allowed: _Allowed) -> Comparison:
    """Compare whole numbers most of which rounding decides, as those of a fixed point, by how far they are off."""
    floor, limit = allowed.floor, allowed.limit
    off = np.abs(np.subtract(out, ref64, dtype=np.float64))
    at = _index(int(off.argmax()), off.shape)
    error = math.sqrt(float(np.square(off).mean()))
    ratio = max(error / floor.l2, float(off[at]) / floor.max)
    detail = f"{ratio:.3g} times {allowed.source}'s own rounding, which moves most of these whole numbers (at {at})"
    passed = ratio <= limit
    which = "exact" if passed else "max"
    return Comparison(
        name, error, floor.l2, ratio, which, at, passed, detail if passed else f"{detail}; the limit is {limit:g}"
    )


def _compare_absolute(name: str, distance: Float64, scale: float, unit: float, allowed: _Allowed) -> Comparison:
    """Compare with a reference that is zero, or that the precision cannot tell from zero beside numbers on the way."""
    at = _index(int(distance.argmax()), distance.shape)
    error = float(distance[at])
    ratio = over(error, unit)
    said = "is zero" if not scale else f"is {scale:.3g} at most"
    detail = f"the reference {said}; off by {error:.3g}, {ratio:.3g} roundings of the largest value met on the way"
    return Comparison(name, error, allowed.floor.l2, ratio, "absolute", at, ratio <= allowed.limit, detail)


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(part) for part in np.unravel_index(flat, shape)) if shape else ()
