"""Compare how far an output moves from input to input with how far a float32 graph may be off.

The boxes of a detector that was never trained are its anchors, and vary much from place to place. If the input adds to
them hardly more than float32 rounds, what is computed from it can be lost, and the graph passes. So it is if one of
several inputs adds hardly anything to what the others do: each is drawn again by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32
from ..errors import CheckFailed, ModuleRefused
from .arrays import Array, Float64
from .case_values import STRESS_KINDS
from .cases import Case, Feeds
from .fills import shrunk
from .metrics import Reference, distance, is_zero, largest_finite, settled
from .slices import ENOUGH_IN_FLOAT32, is_still, listed, rounding

# Without two ordinary inputs, as of a fixed shape with one image, the other is this one.
BESIDE_ONE = "zeros"
Run = Callable[[dict[str, Array]], dict[str, Array]]


@dataclass
class _Moved:
    """Sums over each slice of an axis or over a whole output: elements, squared distances, squared roundings."""

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
        """Mark the slices whose movement is so small that even a healthy graph may lose it."""
        still: npt.NDArray[np.bool_] = (self.far > 0) & is_still(self.far, self.own, FLOAT32)
        return still


@dataclass
class Movement:
    """The distance of every row from the first one of its shape, counted case by case."""

    _first: dict[tuple[str, tuple[int, ...]], Array] = field(default_factory=dict)
    # of each output the whole, then its axes from 1; None for one that grows with the input
    _ordinary: dict[str, list[_Moved | None]] = field(default_factory=dict)
    _beside: dict[str, list[_Moved | None]] = field(default_factory=dict)
    # of each of several inputs, all outputs of the first case in which other values of it moved one
    _alone: dict[str, dict[str, list[_Moved]]] = field(default_factory=dict)
    # the inputs of which other values moved nothing so far
    _idle: dict[str, None] = field(default_factory=dict)

    def add(self, case: Case, reference: Reference) -> None:
        """Count a case; ``reference`` has the floors of float32."""
        is_ordinary = case.kind not in STRESS_KINDS
        if not is_ordinary and case.kind != BESIDE_ONE:
            return
        for name, truth in _counted(reference):
            key, rows = (name, truth.shape[1:]), len(truth)
            if is_ordinary and key not in self._first:
                self._first[key], rows = truth[:1].copy(), rows - 1
            if rows and key in self._first:
                start = np.broadcast_to(self._first[key], truth.shape)
                found = _distances(name, truth, start, reference, rows)
                _count(self._ordinary if is_ordinary else self._beside, name, found)
        if is_ordinary and case.another is not None and reference.run is not None:
            self._add_alone(case.feeds, case.another(), reference, reference.run)

    def _add_alone(self, feeds: Feeds, others: Feeds, reference: Reference, run: Run) -> None:
        """Count what each input moves when only its own values change, unless that is known."""
        for given, values in others.items():
            if given in self._alone or np.array_equal(values, feeds[given]):
                continue
            try:
                outputs = run({**feeds, given: values})
            except (CheckFailed, ModuleRefused):  # inputs that do not go together
                continue
            if all(np.array_equal(outputs[name], truth) for name, truth in reference.outputs64.items()):
                self._idle[given] = None
                continue
            self._alone[given] = {
                name: _distances(name, outputs[name], truth, reference, len(truth))
                for name, truth in _counted(reference)
                if outputs[name].shape == truth.shape
            }

    def sentences(self, named: Mapping[tuple[str, int], npt.NDArray[np.bool_]]) -> list[str]:
        """Return one for each output that hardly moves, as a whole or in slices that are not ``named`` already, with
        all inputs or with one alone."""
        together = {**self._beside, **self._ordinary}
        known = {**named, **{(name, axis): one.still for name in together for axis, one in _slices(together[name])}}
        return [
            *_sentences(together, named),
            *(one for given, outputs in self._alone.items() for one in _sentences(outputs, known, given)),
            *(
                f"no output moves by other values of {given} alone: what is computed from them, if anything, was not "
                "checked"
                for given in self._idle
                if given not in self._alone
            ),
        ]


def _slices(axes: Sequence[_Moved | None]) -> list[tuple[int, _Moved]]:
    """Return the axes that have slices of enough elements, else axis 0 with the whole output, if there is one."""
    found = [(axis, one) for axis, one in enumerate(axes[1:], 1) if one and one.count >= ENOUGH_IN_FLOAT32]
    return found or ([(0, axes[0])] if axes[0] else [])


def _sentences(
    outputs: Mapping[str, Sequence[_Moved | None]],
    named: Mapping[tuple[str, int], npt.NDArray[np.bool_]],
    given: str = "",
) -> Iterator[str]:
    for name, axes in outputs.items():
        for axis, moved in _slices(axes):
            still = moved.still & ~named.get((name, axis), np.bool_(False))
            if still.any():
                yield _sentence(name, axis, moved, still, given)
                break


def _counted(reference: Reference) -> Iterator[tuple[str, Array]]:
    """Yield the outputs of floats, but for those whose errors are measured by the numbers on the way to them: they are
    named for that."""
    for name, truth in reference.outputs64.items():
        if truth.dtype.kind != "f" or not truth.ndim or not truth.size:
            continue
        if not is_zero(largest_finite(truth), reference.largest, is_kept=reference.is_kept(name)):
            yield name, truth


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
        own = rounding(reference.floors[name], truth, axis) if axis else np.array(whole)
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


def _sentence(name: str, axis: int, moved: _Moved, still: npt.NDArray[np.bool_], given: str) -> str:
    """Return what moves so little, with one ``given`` input alone or with all of them."""
    most = int(np.where(still, moved.far, 0.0).argmax())
    far, allowed = (float(np.ravel(part)[most]) for part in (moved.far, FLOAT32.limit * moved.own))
    which = f" along axis {axis}: {listed(np.flatnonzero(still))} of {still.size}" if axis else ""
    by, source = (f"by other values of {given} alone", given) if given else ("from input to input", "the input")
    return (
        f"{name}{which}, moved by {far:.2g} {by}, and a graph may be off by {allowed:.2g}: errors "
        f"in what is computed from {source} would hardly show; trained weights may show them"
    )
