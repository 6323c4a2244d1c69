"""Boxes (n, 4) as x1, y1, x2, y2: overlap, suppression of overlaps, and matching one to one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


def corners(centred: Floats) -> Floats:
    """Return boxes that are given as centre x, centre y, width, height."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def overlaps(ours: Floats, theirs: Floats) -> Floats:
    """Return intersection over union of each pair, (n, m); 0 for boxes without an area."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (ours, theirs)]
    either = areas[0][:, None] + areas[1][None, :] - both
    shares: Floats = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return shares


def suppress(boxes: Floats, scores: Floats, classes: Whole, threshold: float, most: int) -> list[int]:
    """Return the boxes that are kept, best score first, at most so many, as ``torchvision.ops.batched_nms`` does.

    A box goes if a better one of its class that is kept overlaps it by more than ``threshold``.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        is_clear = overlaps(boxes[best : best + 1], boxes[left])[0] <= threshold
        left = left[is_clear | (classes[left] != classes[best])]
    return kept


def match(allowed: npt.NDArray[np.bool_]) -> list[int]:
    """Return for each row its column in a largest matching of allowed pairs, -1 for none (augmenting paths, Kuhn)."""
    rows_of = [-1] * allowed.shape[1]

    def place(row: int, seen: set[int]) -> bool:
        for column in map(int, np.flatnonzero(allowed[row])):
            if column in seen:
                continue
            seen.add(column)
            if rows_of[column] < 0 or place(rows_of[column], seen):
                rows_of[column] = row
                return True
        return False

    for row in range(allowed.shape[0]):
        place(row, set())
    columns_of = {row: column for column, row in enumerate(rows_of) if row >= 0}
    return [columns_of.get(row, -1) for row in range(allowed.shape[0])]
