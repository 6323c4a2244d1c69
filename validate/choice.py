"""A choice of a run: the scores that an operator read, and the places that it picked by them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .arrays import Array

# Operators by their names in lower case, as PyTorch and ONNX have them. True: the largest is picked.
BEST = {"argmax": True, "argmin": False, "max": True, "min": False}
# Mostly called for the values alone.
VALUES_TOO = frozenset({"max", "min"})
RANKED = frozenset({"topk", "sort", "argsort", "nonmaxsuppression"})
# Puts numbers on levels: what it picks are those.
QUANTISES = "quantizelinear"


@dataclass(frozen=True)
class Grid:
    """The levels of a quantiser: level ``q`` stands for ``(q - zero) * step``, and goes from ``low`` to ``high``.

    Step and zero are numbers in float64 that fit what is quantised.
    """

    step: Array
    zero: Array
    low: int
    high: int

    def held(self, scores: Array) -> Array:
        """Return the scores, those beyond the last level on each side on that: how far beyond changes nothing."""
        ends = ((end - self.zero) * self.step for end in (self.low, self.high))
        found: Array = np.clip(scores, *ends)
        return found

    def nearest(self, scores: Array, levels: Array) -> Array:
        """Return the scores, moved as little as is needed so that these are their ``levels``.

        A score in the middle between two levels has either. At the last level on each side all beyond it stay as they
        are; a level beyond those gives NaN.
        """
        wide = levels.astype(np.float64)
        lowest = np.where(wide > self.low, (wide - 0.5 - self.zero) * self.step, -np.inf)
        highest = np.where(wide < self.high, (wide + 0.5 - self.zero) * self.step, np.inf)
        within = (self.low <= wide) & (wide <= self.high)
        return np.where(within, np.clip(scores, lowest, highest), np.nan)


@dataclass(frozen=True)
class Choice:
    """One choice of a run.

    Attributes:
        operator: The operator.
        line: The place of it: the user's line, or the name of what a node of a graph gives.
        scores: The scores that it read.
        picked: The indices that it gave if it is a choice among places, or the levels of a quantiser; else None.
        dim: The axis of the places; None for all elements.
        descending: The largest scores come first.
        is_sorted: The places of a ranking are in the order of their scores.
        grid: The levels of a quantiser.
        threshold: What a comparison compares its scores with.
    """

    operator: str
    line: str
    scores: Array
    picked: Array | None
    dim: int | None = None
    descending: bool = True
    is_sorted: bool = True
    grid: Grid | None = None
    threshold: Array | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what is equal in two runs that correspond, choice by choice."""
        return self.operator, self.scores.shape


def without_scores(choice: Choice) -> Choice:
    """Return a choice that is kept: of its scores the sizes alone."""
    return replace(choice, scores=np.broadcast_to(np.float64(np.nan), choice.scores.shape))


def can_be_given(choice: Choice) -> bool:
    """Return True for a choice that another run can be given: places, or levels."""
    return is_among_places(choice.operator) or choice.grid is not None


def is_among_places(operator: str) -> bool:
    """Return True for an operator that gives indices."""
    return operator.lower() in BEST or operator.lower() in RANKED


def moved_scores(choice: Choice, far: Array, draw: int) -> Array:
    """Return the scores of a choice, each moved by up to half of ``far``, so that near ties are decided otherwise.

    The first two draws move all up or down, or for a choice among places what is picked from what is not. Any other
    moves equal scores alike, since rounding leaves two comparisons of one tensor the same numbers.
    """
    scores, operator = choice.scores, choice.operator.lower()
    if draw >= 2:
        generator = np.random.default_rng([draw, zlib.crc32(scores.tobytes())])
        return np.asarray(scores + far * (generator.random(scores.shape) - 0.5))
    if operator in BEST:
        return _without_best(choice, float(far.max()))
    if operator in RANKED:
        return _neighbours_apart(choice, far, draw)
    return np.asarray(scores + (0.5 - draw) * far)


def _without_best(choice: Choice, far: float) -> Array:
    """Return the scores with each row's pick moved by ``far`` towards the others, so that a second within it wins."""
    assert choice.picked is not None
    moved, picked = choice.scores.copy(), choice.picked
    step = -far if BEST[choice.operator.lower()] else far
    if choice.dim is None:
        moved.reshape(-1)[picked] += step
        return moved
    picked = picked if picked.ndim == moved.ndim else np.expand_dims(picked, choice.dim)
    np.put_along_axis(moved, picked, np.take_along_axis(moved, picked, choice.dim) + step, choice.dim)
    return moved


def _neighbours_apart(choice: Choice, far: Array, draw: int) -> Array:
    """Return the scores, every second rank moved up and the rest down: neighbours within ``far`` change places.

    Two draws, which begin at the first and at the second rank, reach all pairs of neighbours.
    """
    along = -1 if choice.dim is None else choice.dim
    ranks = choice.scores.argsort(along).argsort(along)
    return np.asarray(choice.scores + far * ((ranks + draw) % 2 - 0.5))
