"""The outputs of detectors' heads as boxes, scores and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from .boxes import Floats, Whole, corners
from .metric import Arrays

Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Detected:
    """The finds of a head in one image: boxes (n, 4) in pixels of the input, scores and classes (n,)."""

    boxes: Floats
    scores: Floats
    classes: Whole

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, places: Whole) -> Detected:
        """Return some of them, in this order."""
        return Detected(self.boxes[places], self.scores[places], self.classes[places])


class Head(Protocol):
    """The form of a detector's outputs.

    Attributes:
        words: What the outputs are, for people.
        outputs: The names of those that are read.
        count: Number of classes; 0 if the outputs do not tell.
        has_overlaps: True if several boxes may stand for one object, so that overlaps are to be suppressed.
    """

    @property
    def words(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def has_overlaps(self) -> bool: ...
    def read(self, outputs: Arrays, row: int, size: tuple[int, int]) -> Detected:
        """Return every box of one row; ``size`` is the input's (h, w)."""
        ...


@dataclass(frozen=True)
class Dense:
    """Ultralytics: (n, 4 + classes, anchors), the box as its centre and size in pixels, scores from 0 to 1.

    ``masks`` are the coefficients of a segmenter's masks behind the classes.
    """

    output: str
    count: int
    masks: int = 0
    has_overlaps: bool = True

    @property
    def words(self) -> str:
        return f"{self.output} as Ultralytics' (n, 4 + {self.count} classes, anchors)"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)

    def read(self, outputs: Arrays, row: int, size: tuple[int, int]) -> Detected:
        found = outputs[self.output][row].astype(np.float64)
        scores = found[4 : 4 + self.count]
        return Detected(corners(found[:4].T), scores.max(axis=0), scores.argmax(axis=0))


@dataclass(frozen=True)
class EndToEnd:
    """Ultralytics, end to end: (n, boxes, 6), each x1, y1, x2, y2 in pixels, score, class; overlaps are suppressed."""

    output: str
    count: int = 0
    has_overlaps: bool = False

    @property
    def words(self) -> str:
        return f"{self.output} as Ultralytics' end-to-end (n, boxes, 6)"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)

    def read(self, outputs: Arrays, row: int, size: tuple[int, int]) -> Detected:
        found = outputs[self.output][row].astype(np.float64)
        return Detected(found[:, :4], found[:, 4], np.rint(found[:, 5]).astype(np.int64))


@dataclass(frozen=True)
class Queries:
    """DETR and its kin in transformers: logits (n, queries, classes) and boxes (n, queries, 4).

    A box is its centre and size relative to the input. With softmax the last class is "no object"; with sigmoid each
    class has a score of its own.
    """

    logits: str
    boxes: str
    classes: int
    activation: Activation
    has_overlaps: bool = False

    @property
    def count(self) -> int:
        return self.classes - 1 if self.activation == "softmax" else self.classes

    @property
    def words(self) -> str:
        how = "softmax, the last class no object, as DETR" if self.activation == "softmax" else "sigmoid, as RT-DETR"
        return f"{self.logits} (n, queries, {self.classes} classes) by {how}, and {self.boxes}"

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.logits, self.boxes

    def read(self, outputs: Arrays, row: int, size: tuple[int, int]) -> Detected:
        logits = outputs[self.logits][row].astype(np.float64)
        if self.activation == "softmax":
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
        else:
            scores = np.exp(-np.logaddexp(0, -logits))
        height, width = size
        boxes = corners(outputs[self.boxes][row].astype(np.float64)) * (width, height, width, height)
        return Detected(boxes, scores.max(axis=1), scores.argmax(axis=1))
