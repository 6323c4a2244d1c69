"""The place of the error in an output: a plane of it through the largest error, made small enough to be kept.

Only the plane is computed, so that a map costs next to nothing beside the comparison itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Array, Float64

# Cells of a map along each axis; a larger plane is cut into so many blocks, and each cell is its block's largest error.
MOST_CELLS = 28
# Digits of a number in a file: few are enough for a picture.
DIGITS = 3


@dataclass(frozen=True)
class ErrorMap:
    """The last two axes of an output through its largest error.

    Attributes:
        fixed: The index of each earlier axis; empty for an output of one or two axes.
        shape: The sizes of the plane, rows first; an output of one axis has one row.
        cells: Row by row, the largest |output - float64| of each block over the largest |float64| of the output;
            infinite if a number is not finite and float64's is.
        floor: The loss of PyTorch by itself, in the same unit.
    """

    fixed: tuple[int, ...]
    shape: tuple[int, int]
    cells: tuple[tuple[float, ...], ...]
    floor: float

    def to_json(self) -> dict[str, Any]:
        """Plain data; a row of numbers is one text, since each number would be a line of the file."""
        rows = [" ".join(f"{value:.{DIGITS}g}" for value in row) for row in self.cells]
        return {"fixed": [*self.fixed], "shape": [*self.shape], "cells": rows, "floor": f"{self.floor:.{DIGITS}g}"}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ErrorMap:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        rows, columns = map(int, entry["shape"])
        cells = tuple(tuple(map(float, str(row).split())) for row in entry["cells"])
        sizes = {len(row) for row in cells}
        if not cells or len(sizes) != 1 or max(len(cells), *sizes) > MOST_CELLS or not min(sizes):
            raise ValueError("an error map that is no table of numbers")
        return cls(tuple(map(int, entry["fixed"])), (rows, columns), cells, float(entry["floor"]))


def error_map(
    out: Array, ref64: Array, worst: Sequence[int], which: str, *, floor: float, scale: float
) -> ErrorMap | None:
    """Return the map through the worst place of a comparison; None if there is no such plane.

    Args:
        out: The output that was judged.
        ref64: The truth, of the same shape.
        worst: The comparison's ``worst_index``: of an element, or the axis and index of a slice if ``which`` is
            ``"channel"``.
        which: What decided the comparison.
        floor: PyTorch's own largest error over ``scale``.
        scale: The largest finite |float64|.
    """
    if out.shape != ref64.shape or not ref64.ndim or not ref64.size:
        return None
    at = _element(out, ref64, worst, which)
    if at is None:
        return None
    fixed = tuple(at[:-2])
    found, truth = (np.atleast_2d(value[fixed]) for value in (out, ref64))
    if ref64.dtype.kind in "iub":
        plane, scale = (found != truth).astype(np.float64), 1.0
    else:
        plane = _distance(found, truth)
    cells = tuple(tuple(map(float, row)) for row in _blocks(plane) / (scale or 1.0))
    return ErrorMap(fixed, (truth.shape[0], truth.shape[1]), cells, floor)


def _element(out: Array, ref64: Array, worst: Sequence[int], which: str) -> tuple[int, ...] | None:
    """Return the index of the element that the map goes through."""
    if which == "channel" and len(worst) == 2:
        axis, index = worst
        if not (0 < axis < ref64.ndim and 0 <= index < ref64.shape[axis]):
            return None
        errors = _distance(*(np.take(value, index, axis) for value in (out, ref64)))
        inside = np.unravel_index(int(errors.argmax()), errors.shape)
        return (*map(int, inside[:axis]), index, *map(int, inside[axis:]))
    if len(worst) != ref64.ndim:
        return None
    return tuple(worst)


def _distance(out: Array, truth: Array) -> Float64:
    """Return |out - truth|: 0 if the truth is not finite, infinite if only the output is not."""
    finite = np.isfinite(truth)
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(np.where(finite, out, 0.0).astype(np.float64) - np.where(finite, truth, 0.0))
    return np.where(np.isnan(found), math.inf, found)


def largest(ref64: Array) -> float:
    """Return the largest finite magnitude; 0 for integers, and if nothing is finite."""
    if ref64.dtype.kind in "iub" or not ref64.size:
        return 0.0
    ends = float(ref64.max()), float(ref64.min())  # no copy of a large output, if all of it is finite
    if all(map(math.isfinite, ends)):
        return max(map(abs, ends))
    finite = ref64[np.isfinite(ref64)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def _blocks(plane: Float64) -> Float64:
    """Return the largest value of each block, with at most MOST_CELLS of them along each axis."""
    for axis in (0, 1):
        size = plane.shape[axis]
        cells = min(size, MOST_CELLS)
        starts = np.arange(cells) * size // cells
        plane = np.maximum.reduceat(plane, starts, axis=axis)
    return plane
