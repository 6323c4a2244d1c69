"""Check that a runtime agrees with its reference, and two runtimes on the same inputs, before either is timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ..core import graph_io
from ..core.precision import FLOAT32, Precision
from .arrays import Array, Mask
from .case_judgement import judge_case
from .cases import Case
from .metrics import Floor, Reference, settled


def disagreement(
    outputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    precision: Precision = FLOAT32,
    unsettled: Mapping[str, Mask] | None = None,
) -> str:
    """Return why ``outputs`` of this precision are not the expected ones, in words; "" if they are.

    A healthy run is within its precision's budget of the truth (relative L2), so two of them differ by at most twice
    that. The truth itself is not needed here: the verdict has had it. NaN and infinity must be in the same places,
    integers equal. Elements of an output that are ``unsettled`` are not compared: near ties decide them.
    """
    allowed, unsettled = 2 * precision.budget, unsettled or {}
    if sorted(outputs) != sorted(expected):
        return f"outputs {', '.join(sorted(outputs)) or 'none'} instead of {', '.join(sorted(expected))}"
    for name, wanted in expected.items():
        found = outputs[name]
        if found.shape != wanted.shape:
            return f"{name} has shape {found.shape} instead of {wanted.shape}"
        error = distance(_settled(found, wanted, unsettled.get(name)), wanted)
        if not error <= allowed:
            return f"{name} is {error:.3g} away (relative L2); two healthy runs differ by at most {allowed:g}"
    return ""


def wrong_output(
    run: Callable[[dict[str, Array]], Mapping[str, Array]],
    case: Case,
    reference: Reference,
    *,
    precision: Precision = FLOAT32,
    io: str = graph_io.FLOAT32,
) -> str:
    """Judge ``run`` on one case; returns the first output that fails and its comparison, "" if none does.

    ``io`` is the type in which it takes and gives what is float32 in the case. A precision whose floors were not
    measured cannot be judged: that is returned.
    """
    if lost := reference.why_unmeasured(precision):
        return lost
    wrong = [found for _, found in judge_case(run, case, reference, precision=precision, io=io) if not found.passed]
    return f"{wrong[0].output}: {wrong[0].detail}" if wrong else ""


def _settled(found: Array, wanted: Array, unsettled: Mask | None) -> Array:
    """Return an output with what is wanted in place of its elements that near ties decide."""
    if unsettled is None or found.dtype.kind not in "iub":
        return settled(found, wanted, Floor(0.0, 0.0, unsettled=unsettled))
    return np.where(unsettled, wanted, found) if unsettled.shape == found.shape else found


def distance(found: Array, wanted: Array) -> float:
    """Return the relative L2; infinite if NaN or infinity are in other places, or integers are not equal."""
    if wanted.dtype.kind != "f" or found.dtype.kind != "f":
        return 0.0 if np.array_equal(found, wanted) else math.inf
    finite = np.isfinite(wanted)
    if not np.array_equal(found[~finite], wanted[~finite], equal_nan=True) or not np.isfinite(found[finite]).all():
        return math.inf
    truth = wanted[finite].astype(np.float64)
    error = float(np.linalg.norm(found[finite].astype(np.float64) - truth))
    scale = float(np.linalg.norm(truth))
    if not scale:
        return 0.0 if not error else math.inf
    return error / scale
