"""The choice of a module that each choice of its graph stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.precision import FLOAT32, Precision
from ...errors import CheckFailed
from ..choice import Choice
from .graph_choices import Picked

# operator of a graph -> those of the truth that become it
OPERATORS = {
    "TopK": ("topk", "sort", "TopK"),
    "ArgMax": ("argmax", "max", "ArgMax"),
    "ArgMin": ("argmin", "min", "ArgMin"),
}
# Two steps are the same if no rounding of float32 is between them.
SAME_STEP = 1e-6


class NotComparable(CheckFailed):
    """The choices of a graph cannot be held against the module's."""


def paired(picked: Sequence[Picked], choices: Sequence[Choice], precision: Precision = FLOAT32) -> dict[int, Picked]:
    """Return the graph's choices by the number of the module's choice that each stands for.

    Those that look alike are paired in their order if the module has as many; else by the nearest scores. Raises
    NotComparable for a choice that the module does not have. A quantiser of the module has the levels of the graph's
    that are nearest to its own, and may have none: it then picks by itself. Steps are those of the ``precision``.
    """
    found = _levels(picked, choices, max(SAME_STEP, precision.unit_roundoff))
    if precision is not FLOAT32:
        _require_steps(found, picked, choices)
    picked = [one for one in picked if one.node.steps is None]
    waiting = {number: choice for number, choice in enumerate(choices) if choice.grid is None}
    for place, one in enumerate(picked):
        alike = [number for number, choice in waiting.items() if _fits(one, choice)]
        if not alike:
            raise NotComparable(f"{one.node.operator} {one.node.places} stands for no choice of the module")
        rest = sum(_fits(other, waiting[alike[0]]) for other in picked[place:])
        number = alike[0] if len(alike) == rest else min(alike, key=lambda n: _distance(one, choices[n]))
        found[number] = one
        del waiting[number]
    return found


def _levels(picked: Sequence[Picked], choices: Sequence[Choice], same_step: float) -> dict[int, Picked]:
    """Return the quantisers of the graph by the number of the module's that each stands for.

    One may stand for several that read the same, as the weight of a module that runs twice.
    """
    found = {}
    for number, choice in enumerate(choices):
        alike = [one for one in picked if _quantises_as(one, choice, same_step)]
        if alike:
            found[number] = min(alike, key=lambda one: int((one.places != choice.picked).sum()))
    return found


def _require_steps(found: Mapping[int, Picked], picked: Sequence[Picked], choices: Sequence[Choice]) -> None:
    """Raise NotComparable for a quantiser of the graph that has the size of one of the module's, and other steps.

    In float32 the numbers show that; below, a step may be off by a few levels in a thousand unseen.
    """
    known = {id(one) for one in found.values()}
    left = [one for number, one in enumerate(choices) if one.grid is not None and number not in found]
    sizes = {one.picked.shape for one in left if one.picked is not None}
    for one in picked:
        if one.node.steps is not None and id(one) not in known and one.places.shape in sizes:
            raise NotComparable(f"{one.node.operator} {one.node.places} has other steps than the module's quantiser")


def _quantises_as(picked: Picked, choice: Choice, same_step: float) -> bool:
    """Return True if a node may be this quantiser, by its sizes and its steps."""
    if choice.grid is None or choice.picked is None or picked.node.steps is None:
        return False
    own, steps = np.asarray(picked.node.steps), choice.grid.step.reshape(-1)
    if own.size != steps.size:  # one for all channels
        own, steps = own.max(), steps.max()
    return picked.places.shape == choice.picked.shape and np.allclose(own, steps, rtol=same_step, atol=0.0)


def _fits(picked: Picked, choice: Choice) -> bool:
    """Return True if a node may compute this choice, by its operator and its sizes."""
    if choice.operator not in OPERATORS[picked.node.operator] or choice.picked is None or picked.scores is None:
        return False
    same = picked.scores.shape == choice.scores.shape or (
        choice.dim is None and picked.scores.size == choice.scores.size
    )
    return same and picked.places.size == choice.picked.size


def _distance(picked: Picked, choice: Choice) -> float:
    assert picked.scores is not None
    with np.errstate(invalid="ignore"):
        apart = np.abs(picked.scores.reshape(-1).astype(np.float64) - choice.scores.reshape(-1))
    return float(apart[np.isfinite(apart)].sum())
