"""The boxes that a detector found in an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.preprocessing import Placement
from .heads import Detected


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of an image, best first, with the difference that rounding can make to a score."""

    all: Detected
    sure: Detected
    noise: float


def in_photograph(found: Detected, placement: Placement) -> Detected:
    """Return boxes of the input in the pixels of the photograph, within its borders."""
    rows, columns = placement.scale
    shift = np.array([placement.left, placement.top] * 2, np.float64)
    height, width = placement.original
    boxes = (found.boxes - shift) / (columns, rows, columns, rows)
    return Detected(np.clip(boxes, 0, (width, height, width, height)), found.scores, found.classes)
