"""Floors of several runs, and what rounding decides or leaves alone, for whatever computes the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..core.precision import FLOAT32, PRECISIONS
from ..errors import CheckFailed, ModuleRefused, PrecisionRefused
from .arrays import Array, Arrays
from .cases import Case
from .metrics import LIMIT, Floor, measure, settled

# Rows of a batch are independent if float64 agrees to this relative error: far above float64's own rounding
# in a deep network, far below float32's.
ROWS_AGREE = 1e-11
NUDGES = 3
# If a few roundings are amplified so far that the result loses more than the budget, as by the softmaxes of sixteen
# double attentions, runs differ tenfold by chance: three draws of resnet50+double_attention once lay between 0.9 and
# 1.6e-4, the next five between 4 and 15e-4. Such a model is judged in floors alone, so that they are drawn more often.
MORE_DRAWS = (2, 3, 4, 5, 6)


def is_amplified(floors: Mapping[str, Floor]) -> bool:
    """Return True if float32 loses more than its budget, so that more draws are needed."""
    return any(floor.l2 > FLOAT32.budget for floor in floors.values() if floor.is_finite)


def larger(floors: Mapping[str, Floor], rounded: Arrays, truth: Arrays) -> dict[str, Floor]:
    """Return the floors, raised to what another run loses."""
    return {name: floor.or_larger(lost(name, rounded[name], truth[name], floor)) for name, floor in floors.items()}


def lost(name: str, rounded: Array, truth: Array, floor: Floor) -> Floor:
    """Return the loss of a run on an output without what ``floor`` leaves out; ModuleRefused if its size differs."""
    if rounded.shape != truth.shape:
        had, has = ("x".join(map(str, one.shape)) for one in (truth, rounded))
        raise ModuleRefused(
            f"output {name} is {had} in float64 and {has} where values are rounded: rounding decides how many there "
            "are, so that there is nothing to compare; expected sizes that the input decides; pick a fixed number by "
            "topk, or ask for no lower precision if float32 keeps the size"
        )
    return measure(settled(rounded, truth, floor), truth)


@contextmanager
def refused_alone(precision: str) -> Iterator[None]:
    """Turn a refusal of the module into one of this precision alone."""
    try:
        yield
    except ModuleRefused as error:
        said = f"in {PRECISIONS[precision].words}: {error}; or leave {precision} out of --precision"
        raise PrecisionRefused(precision, said) from error


def nudged(feeds: Arrays, rng: np.random.Generator, unit_roundoff: float) -> Arrays:
    """Return the inputs, every float moved by up to as many roundings as a graph may be off."""
    moved = {}
    for name, value in feeds.items():
        if value.dtype.kind == "f":
            # float64, because the nudge is only a few times the spacing
            value = value * (1 + LIMIT * unit_roundoff * rng.uniform(-1, 1, size=value.shape))  # noqa: PLW2901
        moved[name] = value
    return moved


def row_outputs(run: Callable[[Arrays], Arrays], feeds: Arrays, case: Case, truth: Arrays) -> tuple[str, ...]:
    """Return the outputs whose rows do not depend on the other rows: the same when run alone, or among copies of
    themselves if a batch of one is not allowed. ``run`` computes the truth of other feeds."""
    if case.kind not in ("normal", "random_int") or not case.row_inputs:
        return ()
    count = feeds[case.row_inputs[0]].shape[0]
    if count < 2:
        return ()
    agreeing = set(truth)
    for row, copies in ((0, 1), (count - 1, 1)) if case.rows_alone else ((count - 1, count),):
        try:
            alone = run(case.take(feeds, [row] * copies))
        except (CheckFailed, ModuleRefused):
            return ()
        agreeing = {name for name in agreeing if _row_agrees(alone[name], truth[name], row, (copies, count))}
    return tuple(name for name in truth if name in agreeing)


def _row_agrees(alone: Array, batch: Array, row: int, counts: tuple[int, int]) -> bool:
    """Return True if each of the copies of one row gives what the row gives in the batch."""
    copies, count = counts
    if not batch.ndim or batch.shape[0] != count or alone.shape != (copies, *batch.shape[1:]):
        return False
    expected = np.broadcast_to(batch[row], alone.shape)
    if expected.dtype.kind in "iub":
        return bool((alone == expected).all())
    if not (np.isfinite(alone).all() and np.isfinite(expected).all()):
        return False
    scale = float(np.abs(expected).max()) if expected.size else 0.0
    return bool((np.abs(alone - expected) <= ROWS_AGREE * scale).all())
