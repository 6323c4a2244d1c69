"""The definition of a choice, held against what a graph picked by its own scores."""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from ..choice import BEST, Choice


def wrong_picks(choice: Choice, scores: Array, places: Array) -> str:
    """Return why ``places`` are not what a choice has to pick of these ``scores``; "" if they are.

    The scores are the graph's own, so that nothing is left to rounding: which of equal ones is picked is free, all else
    is exact.

    Args:
        choice: PyTorch's choice: its axis, its direction, and the shape of its places.
        scores: What the graph's node read.
        places: What it gave.
    """
    scores, places = _along_last(choice, scores, places)
    if np.isnan(scores).any():
        return "its scores are not numbers"
    count = scores.shape[-1]
    if places.min(initial=0) < 0 or places.max(initial=0) >= count:
        return f"it picked place {int(places.max())} of {count}"
    ordered = np.sort(places, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        return "it picked a place twice"
    from_top = BEST.get(choice.operator.lower(), choice.descending)
    best = np.sort(scores, axis=-1)
    best = (best[..., ::-1] if from_top else best)[..., : places.shape[-1]]
    picked = np.take_along_axis(scores, places, -1)
    inner = np.sort(picked, axis=-1)
    inner = inner[..., ::-1] if from_top else inner
    which = "largest" if from_top else "smallest"
    if wrong := int((inner != best).any(axis=-1).sum()):
        return f"in {wrong} of {best[..., 0].size} rows it did not pick the {which} of its own scores"
    if choice.is_sorted and (wrong := int((picked != best).any(axis=-1).sum())):
        return f"in {wrong} of {best[..., 0].size} rows its picks are not in the order of its own scores"
    return ""


def _along_last(choice: Choice, scores: Array, places: Array) -> tuple[Array, Array]:
    """Return the scores and the places with the axis of the choice last."""
    assert choice.picked is not None
    if choice.dim is None:
        return scores.reshape(1, -1), places.reshape(1, -1)
    # a choice of the best may have dropped its axis
    shape = [*scores.shape]
    shape[choice.dim] = choice.picked.size * scores.shape[choice.dim] // scores.size if scores.size else 0
    return np.moveaxis(scores, choice.dim, -1), np.moveaxis(places.reshape(shape), choice.dim, -1)
