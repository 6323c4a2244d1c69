"""The choice of a module that each choice of its graph stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    picked = [one for one in picked if one.node.step is None]
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


def _quantises_as(picked: Picked, choice: Choice, same_step: float) -> bool:
    """Return True if a node may be this quantiser, by its sizes and its step."""
    if choice.grid is None or choice.picked is None or picked.node.step is None:
        return False
    near = math.isclose(picked.node.step, float(choice.grid.step.max()), rel_tol=same_step)
    return near and picked.places.shape == choice.picked.shape


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
