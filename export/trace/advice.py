"""Advice to the user on a trace that does not hold over the whole claimed range."""

from __future__ import annotations

import re

from .caught_errors import CaughtError
from .guards import Guard, SameInFloat32
from .narrowing import Violation
from .size_texts import AsKey, AsText
from .unproven import MOST_SIZES, Unproven

_NUMPY = re.compile(r"\b(np|numpy)\.")
_FEW = f"at most {MOST_SIZES} sizes, by a step as height=32:64:256:32"
_INSTEAD: dict[type[Guard], str] = {
    SameInFloat32: "compute it from whole numbers, as h * 7 // 10 in place of int(h * 0.7): the graph multiplies in "
    "float32",
    AsText: f"make no text of a size, or leave {_FEW}",
    AsKey: f"look nothing up by a size, or leave {_FEW}",
    CaughtError: f"ask before, by `if`, what raises there, or leave {_FEW}",
}


def advice_on(violation: Violation) -> str:
    """Return the step that works: what to change on the line that asked, or what to write in --dynamic."""
    guard, axis = violation.guard, violation.axis
    if not axis:
        if isinstance(guard, Unproven):
            return f"{_change(guard, 0)}, or leave one of the axes out of --dynamic"
        first = (
            f"tie the axes, with {guard.tie} in --dynamic," if guard.tie else "compute that without comparing sizes,"
        )
        return f"{first} or leave one of the axes out of --dynamic"
    instead = f"leave {axis!r} out of --dynamic"
    if violation.narrower is not None:
        instead = f"narrow it to {axis}={violation.narrower.text} in --dynamic"
    if violation.elsewhere is not None:
        better = violation.elsewhere
        return f"trace it at {better.opt} with --dynamic {axis}={better.text}, or {instead}"
    call = guard.call or ("torch.vmap" if "vmap(" in guard.line else "")
    if call:
        return f"PyTorch traces {call} for one size alone: {instead}, and deploy once for each size"
    return f"{_change(guard, len(violation.allowed))}, or {instead}"


def _change(guard: Guard, allowed: int) -> str:
    """Return what to change on the line of a guard that leaves so many sizes."""
    if type(guard) in _INSTEAD:
        return _INSTEAD[type(guard)]
    reasons = {
        "compute it with torch in place of NumPy, which takes a size for a number": _NUMPY.search(guard.line),
        "give F.interpolate the size in place of scale_factor, which becomes a number": guard.scales,
        "squeeze dimensions that are 1 at every size, by name, as squeeze(1)": "squeeze(" in guard.line,
        "compute it from x.shape without a Python loop, a branch or a tensor of that size": allowed == 1,
        "remove the branch on that size": guard.branches,
    }
    found = (advice for advice, is_so in reasons.items() if is_so)
    return next(found, "compute it from x.shape, without a number of the traced size")
