"""How far an output moves from input to input at the same place, beside what a graph in float32 may be off.

The boxes of a detector that was never trained are its anchors, and vary much from place to place. If the input adds to
them hardly more than float32 rounds, what is computed from it can be lost, and the graph passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32
from .arrays import Array, Float64
from .case_values import STRESS_KINDS
from .fills import shrunk
from .metrics import Reference, distance, is_zero, largest_finite, settled
from .slices import ENOUGH_IN_FLOAT32, is_still, listed, rounding

# Without two ordinary inputs, as of a fixed shape with one image, the other is this one.
BESIDE_ONE = "zeros"


@dataclass
class _Moved:
    """Over the slices of an axis, or over a whole output: elements, squared distances and squared roundings."""

    count: float
    squares: Float64
    roundings: Float64

    def plus(self, other: _Moved) -> _Moved:
        """Return both together."""
        squares, roundings = self.squares + other.squares, self.roundings + other.roundings
        return _Moved(self.count + other.count, squares, roundings)

    @property
    def far(self) -> Float64:
        """The root mean square of the distances."""
        far: Float64 = np.sqrt(self.squares / self.count)
        return far

    @property
    def own(self) -> Float64:
        """Return what float32 itself loses, as a root mean square; a rounding of what is below 1 counts as one of 1."""
        own: Float64 = np.maximum(np.sqrt(self.roundings / self.count), FLOAT32.unit_roundoff)
        return own

    @property
    def still(self) -> npt.NDArray[np.bool_]:
        """The slices that move, and so little that a healthy graph may lose of it what counts as lost."""
        still: npt.NDArray[np.bool_] = (self.far > 0) & is_still(self.far, self.own, FLOAT32)
        return still


@dataclass
class Movement:
    """Counted case by case: the distance of every row from the first one of its shape."""

    _first: dict[tuple[str, tuple[int, ...]], Array] = field(default_factory=dict)
    # of each output the whole, then its axes from 1; None for one that grows with the input
    _ordinary: dict[str, list[_Moved | None]] = field(default_factory=dict)
    _beside: dict[str, list[_Moved | None]] = field(default_factory=dict)

    def add(self, kind: str, reference: Reference) -> None:
        """Count a case whose values are of this ``kind``; ``reference`` has the floors of float32."""
        is_ordinary = kind not in STRESS_KINDS
        if not is_ordinary and kind != BESIDE_ONE:
            return
        for name, truth in reference.outputs64.items():
            if truth.dtype.kind != "f" or not truth.ndim or not truth.size or _is_zero(name, reference):
                continue
            key, rows = (name, truth.shape[1:]), len(truth)
            if is_ordinary and key not in self._first:
                self._first[key], rows = truth[:1].copy(), rows - 1
            if rows and key in self._first:
                start = np.broadcast_to(self._first[key], truth.shape)
                found = _distances(name, truth, start, reference, rows)
                _count(self._ordinary if is_ordinary else self._beside, name, found)

    def sentences(self, named: Mapping[tuple[str, int], npt.NDArray[np.bool_]]) -> list[str]:
        """Return one for each output that hardly moves, as a whole or in slices that are not ``named`` already."""
        sentences = []
        for name, (whole, *axes) in {**self._beside, **self._ordinary}.items():
            slices = [(axis, one) for axis, one in enumerate(axes, 1) if one and one.count >= ENOUGH_IN_FLOAT32]
            for axis, moved in slices or ([(0, whole)] if whole else []):
                still = moved.still & ~named.get((name, axis), np.bool_(False))
                if still.any():
                    sentences.append(_sentence(name, axis, moved, still))
                    break
        return sentences


def _is_zero(name: str, reference: Reference) -> bool:
    """Return True of an output whose errors are measured by the numbers on the way to it: it is named for that."""
    return is_zero(largest_finite(reference.outputs64[name]), reference.largest, is_kept=reference.is_kept(name))


def _distances(name: str, truth: Array, start: Array, reference: Reference, rows: int) -> list[_Moved]:
    """Return how far ``truth`` is from ``start``, as a whole and over the slices of each axis; ``rows`` are counted."""
    floor = reference.floors[name]
    moved, start = shrunk(settled(truth, start, floor), start)
    squares = np.square(distance(moved, start))
    finite = np.where(np.isfinite(start), start, 0.0)
    whole = max(floor.l2, FLOAT32.unit_roundoff) * math.sqrt(float(np.square(finite).mean()))
    found = []
    for axis in range(truth.ndim):
        others = tuple(other for other in range(truth.ndim) if other != axis or not axis)
        count = rows * truth[0].size / (truth.shape[axis] if axis else 1)
        own = rounding(reference, name, truth, axis) if axis else np.array(whole)
        found.append(_Moved(count, squares.sum(axis=others), count * np.square(own)))
    return found


def _count(moved: dict[str, list[_Moved | None]], name: str, found: list[_Moved]) -> None:
    before = moved.get(name)
    if before is None:
        moved[name] = [*found]
    else:
        moved[name] = [
            one.plus(other) if one and one.squares.shape == other.squares.shape else None
            for one, other in zip(before, found, strict=True)
        ]


def _sentence(name: str, axis: int, moved: _Moved, still: npt.NDArray[np.bool_]) -> str:
    most = int(np.where(still, moved.far, 0.0).argmax())
    far, allowed = (float(np.ravel(part)[most]) for part in (moved.far, FLOAT32.limit * moved.own))
    which = f" along axis {axis}: {listed(np.flatnonzero(still))} of {still.size}" if axis else ""
    return (
        f"{name}{which}, moved by {far:.2g} from input to input, and a graph may be off by {allowed:.2g}: errors "
        "in what is computed from the input would hardly show, as they may with trained weights"
    )
