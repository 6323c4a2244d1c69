"""Predictions of a detector: its boxes above a score, one for each object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .boxes import Floats, match, overlaps, suppress
from .coco import CocoLabels, CocoScores
from .heads import Detected, Head
from .image_boxes import ImageBoxes
from .metric import Arrays, Difference, Scores

DETECTIONS = "detections"
NO_BOX = "no box"
SCORE, IOU, SUPPRESSION = 0.25, 0.5, 0.5
# For average precision boxes of low scores count as well: as COCO's and Ultralytics' own evaluation.
LOWEST_SCORE, MOST_BOXES = 0.001, 300


@dataclass(frozen=True)
class Detections:
    """The boxes of ``head`` with at least ``score``, overlaps suppressed if the head leaves them.

    Attributes:
        head: How they are read.
        size: (h, w) of the input.
        score: The lowest score of a box that counts.
        iou: The least overlap of two boxes that match.
        suppression: The overlap above which a box gives way to a better one of its class.
        labels: The true boxes, if they are known.
    """

    head: Head
    size: tuple[int, int]
    score: float = SCORE
    iou: float = IOU
    suppression: float = SUPPRESSION
    labels: CocoLabels | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return DETECTIONS

    @property
    def words(self) -> str:
        overlap = f", overlaps above {self.suppression:g} suppressed" if self.head.has_overlaps else ""
        return (
            f"{self.name}: boxes of score {self.score:g} and more{overlap}; {self.head.words}; changed if they do not "
            f"match one to one by class and an overlap of {self.iou:g}"
        )

    @property
    def unit(self) -> str:
        return "of the score"

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.head.outputs

    def read(self, outputs: Arrays, row: int, noise: float) -> ImageBoxes:
        found = self.head.read(outputs, row, self.size)
        lowest = self.score if self.labels is None else min(self.score, LOWEST_SCORE)
        found = found.at(np.flatnonzero(found.scores >= lowest))
        if self.head.has_overlaps:
            kept = suppress(found.boxes, found.scores, found.classes, self.suppression, MOST_BOXES)
            found = found.at(np.asarray(kept, dtype=np.int64))
        else:
            found = found.at(np.argsort(-found.scores, kind="stable")[:MOST_BOXES])
        return ImageBoxes(found, found.at(np.flatnonzero(found.scores >= self.score)), noise)

    def difference(self, reference: ImageBoxes, found: ImageBoxes) -> Difference | None:
        ours, theirs = reference.sure, found.sure
        same_class = ours.classes[:, None] == theirs.classes[None, :]
        columns = match(_is_same_place(ours.boxes, theirs.boxes, self.iou) & same_class)
        lost = ours.at(np.flatnonzero(np.asarray(columns, dtype=np.int64) < 0))
        new = theirs.at(np.setdiff1d(np.arange(len(theirs)), columns))
        if not len(lost) and not len(new):
            return None
        margin = float(max(map(np.max, filter(len, (lost.scores, new.scores))))) - self.score
        return Difference(margin, _words(ours, lost), _words(theirs, new), margin <= reference.noise)

    def alike(self, prediction: ImageBoxes) -> str:
        return "" if len(prediction.sure) else NO_BOX

    def scores(self) -> Scores:
        assert self.labels is not None
        return CocoScores(self.labels, self.head.count)


def _is_same_place(ours: Floats, theirs: Floats, iou: float) -> npt.NDArray[np.bool_]:
    """Tell of each pair if they overlap enough, or are equal.

    A head with weights that were never trained gives boxes whose corners are exchanged, or that have no area.
    """
    is_equal = (ours[:, None] == theirs[None, :]).all(axis=2)
    found: npt.NDArray[np.bool_] = (overlaps(_ordered(ours), _ordered(theirs)) >= iou) | is_equal
    return found


def _ordered(boxes: Floats) -> Floats:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(low, high), np.maximum(low, high)], axis=1)


def _words(every: Detected, alone: Detected) -> str:
    """Describe the boxes of one side, and the best of those that the other side lacks."""
    count = f"{len(every)} box{'es' * (len(every) != 1)}"
    if not len(alone):
        return f"{count}, all of them in both"
    corners = ", ".join(f"{value:.0f}" for value in alone.boxes[0])
    return f"{count}; alone: class {alone.classes[0]}, score {alone.scores[0]:.2f}, at ({corners})" + (
        f" and {len(alone) - 1} more" if len(alone) > 1 else ""
    )
