"""Predictions of a segmenter: the best class of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.preprocessing import Placement
from ..arrays import Array
from ..images import resize_nearest
from .metric import Arrays, Difference

ARGMAX_MAP = "argmax-map"
PIXELS = 0.001
UNLABELLED = 255  # of a mask: no class, as in PASCAL VOC and Cityscapes


@dataclass(frozen=True)
class ClassMap:
    """The class of each pixel (h, w), and the pixels whose best two scores rounding can exchange."""

    classes: Array
    ties: Array


@dataclass(frozen=True)
class ClassMaps:
    """The best class of each pixel of ``output``, (n, classes, h, w); of one channel, if it is above 0.

    Attributes:
        output: Its name.
        count: Number of classes.
        pixels: The share of pixels that may differ.
    """

    output: str
    count: int
    pixels: float = PIXELS

    @property
    def name(self) -> str:
        return ARGMAX_MAP

    @property
    def words(self) -> str:
        what = f"the best of {self.count} classes" if self.count > 1 else "above 0 or not,"
        return (
            f"{self.name}: {what} at each pixel of {self.output}; changed if more than {self.pixels:.3g} of them differ"
        )

    @property
    def unit(self) -> str:
        return "of the pixels"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output,)

    def read(self, outputs: Arrays, row: int, noise: float) -> ClassMap:
        scores = outputs[self.output][row].astype(np.float32)
        if scores.shape[0] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores])
        classes = scores.argmax(axis=0)
        second, best = np.partition(scores, -2, axis=0)[-2:]
        return ClassMap(classes, best - second <= noise * np.abs(scores).max())

    def difference(self, reference: ClassMap, found: ClassMap) -> Difference | None:
        differs = reference.classes != found.classes
        share = float(differs.mean())
        if share <= self.pixels:
            return None
        pairs = reference.classes[differs] * np.int64(max(self.count, 2)) + found.classes[differs]
        codes, counts = np.unique(pairs, return_counts=True)
        ours, theirs = divmod(int(codes[counts.argmax()]), max(self.count, 2))
        most = f"mostly {int(counts.max())} of {int(differs.sum())} pixels"
        is_tie = float((differs & ~reference.ties).mean()) <= self.pixels
        return Difference(share, f"class {ours}, {most}", f"class {theirs}", is_tie)

    def alike(self, prediction: ClassMap) -> str:
        first = prediction.classes.flat[0]
        return f"class {first} at every pixel" if (prediction.classes == first).all() else ""

    def scores(self) -> MeanIou:
        return MeanIou(max(self.count, 2))


class MeanIou:
    """Intersection over union of each class over all pixels, and the mean over the classes that occur."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pixels = np.zeros((count, count + 1), np.int64)  # the last column: no prediction

    def add(self, prediction: ClassMap | None, label: Array, _placement: Placement | None = None) -> None:
        """Count the pixels of one image; ``label`` is a mask (h, w) of any size, UNLABELLED left out."""
        size = label.shape if prediction is None else prediction.classes.shape
        mask = resize_nearest(label, (size[0], size[1]))
        found = np.full(mask.shape, self._count) if prediction is None else prediction.classes
        counted = mask != UNLABELLED
        codes = mask[counted].astype(np.int64) * (self._count + 1) + found[counted]
        self._pixels += np.bincount(codes, minlength=self._pixels.size).reshape(self._pixels.shape)

    def result(self) -> dict[str, float]:
        both = np.diagonal(self._pixels)
        either = self._pixels.sum(1) + self._pixels[:, : self._count].sum(0) - both
        occurs = either > 0
        right = float(both.sum() / max(1, self._pixels.sum()))
        return {"mIoU": float((both[occurs] / either[occurs]).mean()) if occurs.any() else 0.0, "pixel accuracy": right}
