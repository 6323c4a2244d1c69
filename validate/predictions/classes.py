"""Predictions of a classifier: the best class, or the best k of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.preprocessing import Placement
from ..arrays import Array
from .metric import Arrays, Difference

TOP1, TOPK = "top1", "topk"
K = 5


@dataclass(frozen=True)
class Ranking:
    """The best classes, best first, and by how much the last that counts stands above the next."""

    classes: tuple[int, ...]
    margin: float
    is_tie: bool


@dataclass(frozen=True)
class Classes:
    """The best class of ``output``, (n, classes), or its best ``k`` in any order.

    Attributes:
        output: Its name.
        count: Number of classes.
        k: The number of classes that are compared.
        scored: The number that a label must be among for the second accuracy.
    """

    output: str
    count: int
    k: int = 1
    scored: int = K

    @property
    def name(self) -> str:
        return TOP1 if self.k == 1 else TOPK

    @property
    def words(self) -> str:
        what = "the best class" if self.k == 1 else f"the best {self.k} classes in any order,"
        other = "it is another" if self.k == 1 else "they are others"
        return f"{self.name}: {what} of {self.output} ({self.count} classes); changed if {other}"

    @property
    def unit(self) -> str:
        return "of the scores"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)

    def read(self, outputs: Arrays, row: int, noise: float) -> Ranking:
        """Rank the scores of one row; equal ones in the order of the classes."""
        scores = outputs[self.output][row].reshape(-1).astype(np.float64)
        best = _best(scores, min(max(self.k, self.scored) + 1, scores.size))
        margin = float(scores[best[self.k - 1]] - scores[best[self.k]])
        is_tie = margin <= noise * float(np.abs(scores).max())
        return Ranking(tuple(map(int, best)), margin, is_tie)

    def difference(self, reference: Ranking, found: Ranking) -> Difference | None:
        ours, theirs = reference.classes[: self.k], found.classes[: self.k]
        if set(ours) == set(theirs):
            return None
        gone, new = [one for one in ours if one not in theirs], [one for one in theirs if one not in ours]
        return Difference(reference.margin, _words(gone), _words(new), reference.is_tie)

    def alike(self, prediction: Ranking) -> str:
        return _words(sorted(prediction.classes[: self.k]))

    def scores(self) -> Accuracy:
        return Accuracy(min(self.scored, self.count))


def _best(scores: Array, most: int) -> Array:
    """Return the places of the best scores, best first."""
    chosen = np.argsort(-scores, kind="stable")
    return chosen[:most]


def _words(classes: list[int]) -> str:
    return f"class {', '.join(map(str, classes))}"


class Accuracy:
    """The share of images whose label is the best class, and is among the best ``k``."""

    def __init__(self, k: int) -> None:
        self._k, self._right, self._among, self._all = k, 0, 0, 0

    def add(self, prediction: Ranking | None, label: Any, _placement: Placement | None = None) -> None:
        """Count one image; None is a prediction that is no number, and never right."""
        self._all += 1
        if prediction is not None:
            self._right += prediction.classes[0] == label
            self._among += label in prediction.classes[: self._k]

    def result(self) -> dict[str, float]:
        found = {"top-1 accuracy": self._right / self._all}
        return found if self._k < 2 else {**found, f"top-{self._k} accuracy": self._among / self._all}
