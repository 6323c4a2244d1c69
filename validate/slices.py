"""The record of every slice of an output over all cases: was it ever there and finite, and was its variation kept.

One relative error of an output hides what its quiet channels lose: scores beside boxes in hundreds of pixels may be
constants, and the whole is off by a millionth. A channel carries what varies in it from place to place and from input
to input. So the deviation of its error, the mean removed, is compared with its own deviation in float64, both over all
ordinary cases: at a share of 1 nothing of it is left. In float32 the mean of the error counts as well: a quiet channel
that is off by a constant keeps all of its variation. There a slice may lose no more of its own roundings than an output
may of its: a rounding of boxes in hundreds of pixels is a ten-thousandth of a score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32, Precision
from ..core.sentences import first_names
from .arrays import Array, Float64
from .comparison import Comparison
from .fills import shrunk
from .metrics import PYTORCH, Floor, Reference, is_zero, largest_finite

# With fewer elements of a slice, two close values by chance look like a channel that does not vary. A graph in float32
# is not judged where float32's own rounding comes near to what is allowed, which leaves less to chance.
ENOUGH, ENOUGH_IN_FLOAT32 = 16, 4
SHOWN = 6
# A precision that takes as large a part of what a slice loses is too coarse for it.
ALIKE = 0.5
VARIATION = "variation"
ORDINARY = "ordinary cases"


class Slice(NamedTuple):
    """One index of one axis of an output, as a channel."""

    output: str
    axis: int
    at: int


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of every slice of one axis."""

    count: Float64
    mean: Float64
    squares: Float64

    @classmethod
    def of(cls, values: Float64, axis: int, counted: npt.NDArray[np.bool_]) -> Moments:
        """Return the moments of ``values`` over the slices that are ``counted``."""
        others = tuple(other for other in range(values.ndim) if other != axis)
        shape = [-1 if other == axis else 1 for other in range(values.ndim)]
        mean = values.mean(axis=others)
        squares = np.square(values - mean.reshape(shape)).sum(axis=others)
        count = np.where(counted, values.size / max(values.shape[axis], 1), 0.0)
        return cls(count, np.where(counted, mean, 0.0), np.where(counted, squares, 0.0))

    def add(self, other: Moments) -> None:
        """Count the elements of ``other`` too (Chan, Golub and LeVeque, 1979)."""
        total = np.maximum(self.count + other.count, 1.0)
        apart = other.mean - self.mean
        self.squares = self.squares + other.squares + np.square(apart) * self.count * other.count / total
        self.mean = self.mean + apart * other.count / total
        self.count = self.count + other.count

    @property
    def deviation(self) -> Float64:
        """The standard deviation of every slice; 0 of one without elements."""
        deviation: Float64 = np.sqrt(self.squares / np.maximum(self.count, 1.0))
        return deviation

    @property
    def size(self) -> Float64:
        """The root mean square of every slice; 0 of one without elements."""
        size: Float64 = np.hypot(self.deviation, self.mean)
        return size


@dataclass
class _Axis:
    """One axis of one output: moments of the truth and of the error, and the squared errors of float32 and of the
    stage's precision by themselves."""

    truth: Moments
    error: Moments
    rounding: Float64
    lower: Float64

    @property
    def own(self) -> Float64:
        """The root mean square of what float32 itself loses."""
        own: Float64 = np.sqrt(self.rounding / np.maximum(self.truth.count, 1.0))
        return own

    def add(self, other: _Axis) -> None:
        self.truth.add(other.truth)
        self.error.add(other.error)
        self.rounding = self.rounding + other.rounding
        self.lower = self.lower + other.lower


@dataclass
class Slices:
    """Counted case by case for one stage; the axes but the first that have one size in all cases.

    Attributes:
        source: Whose float64 the truth is.
        steps: For the name of what a quantiser reads, the step between its levels. Below float32 a slice that varies by
            less is judged as if it varied by that, since nothing behind it tells such numbers apart.
    """

    source: str = PYTORCH
    steps: dict[str, float] = field(default_factory=dict)
    _axes: dict[tuple[str, int], _Axis | None] = field(default_factory=dict)
    _finite: dict[tuple[str, int], npt.NDArray[np.bool_]] = field(default_factory=dict)
    # the largest magnitude of each output that float32 does not keep, and of what was met on the way to it, over
    # ordinary cases
    _largest: dict[str, tuple[float, float]] = field(default_factory=dict)
    # the outputs by name, and if one had elements in any case
    _is_there: dict[str, bool] = field(default_factory=dict)
    _left_out: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        reference: Reference,
        outputs: Mapping[str, Any],
        *,
        is_ordinary: bool,
        floors: Mapping[str, Floor] | None = None,
    ) -> None:
        """Count one case; ``reference`` has the floors of float32, and ``floors`` are those of the precision.

        Outputs of a wrong shape or type are left out.
        """
        self.source = reference.source
        for name, truth in reference.outputs64.items():
            self._is_there[name] = self._is_there.get(name, False) or bool(truth.size)
            if truth.dtype.kind != "f" or not truth.size:
                continue
            for axis, finite in _finite_slices(truth).items():
                self._note_finite(name, axis, finite)
            if is_ordinary:
                self._note_largest(name, truth, reference)
            out = np.asarray(outputs.get(name))
            if is_ordinary and out.shape == truth.shape and out.dtype.kind == "f":
                self._add_moments(name, out, truth, reference, (floors or reference.floors)[name])

    def _note_largest(self, name: str, truth: Array, reference: Reference) -> None:
        own, way = self._largest.get(name, (0.0, 0.0))
        scale = largest_finite(truth)
        # one that float32 keeps is measured by itself
        met = scale if scale and reference.is_kept(name) else reference.largest
        self._largest[name] = max(own, scale), max(way, met)

    def _note_finite(self, name: str, axis: int, finite: npt.NDArray[np.bool_]) -> None:
        known = self._finite.get((name, axis), np.zeros(0, np.bool_))
        longer, shorter = (finite.copy(), known) if finite.size >= known.size else (known.copy(), finite)
        longer[: shorter.size] |= shorter
        self._finite[name, axis] = longer

    def _add_moments(self, name: str, out: Array, truth: Array, reference: Reference, floor: Floor) -> None:
        out, truth = shrunk(out, truth)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.subtract(out, truth, dtype=np.float64)
        for axis in range(1, truth.ndim):
            others = tuple(other for other in range(truth.ndim) if other != axis)
            counted = np.asarray(np.isfinite(truth).all(axis=others) & np.isfinite(error).all(axis=others))
            known = reference.moments.get((name, axis))
            if known is None:
                known = Moments.of(np.where(np.isfinite(truth), truth, 0.0), axis, np.ones_like(counted))
                reference.moments[name, axis] = known
            mine = Moments(*(np.where(counted, part, 0.0) for part in (known.count, known.mean, known.squares)))
            errors = Moments.of(np.where(np.isfinite(error), error, 0.0), axis, counted)
            single, lower = (rounding(one, truth, axis) for one in (reference.floors[name], floor))
            found = _Axis(mine, errors, mine.count * np.square(single), mine.count * np.square(lower))
            before = self._axes.get((name, axis), found)
            if before is not found and before is not None:
                if before.truth.count.shape == found.truth.count.shape:
                    before.add(found)
                else:  # an axis that grows with the input has no channels
                    before = None
            self._axes[name, axis] = before

    def leave_out(self, name: str, case: str) -> None:
        """Note a case in which an output is not judged, since its source's own float32 is not what its float64 is."""
        self._left_out.setdefault(name, []).append(case)

    def left_out(self) -> str:
        """Return what was not judged, in words; "" if nothing was left out."""
        return "; ".join(
            f"{name} not judged in case {', '.join(cases)}: {self.source}'s own float32 does not give there what its "
            "float64 does"
            for name, cases in self._left_out.items()
        )

    def never_compared(self) -> list[str]:
        """Return one sentence for every output that is empty in all cases, or has slices that are finite in none."""
        sentences = [
            f"{name} is empty in every case: nothing of it was compared; give inputs on which it is not, with --inputs "
            "or by a range in --shape"
            for name, is_there in self._is_there.items()
            if not is_there
        ]
        for (name, axis), finite in self._finite.items():
            if finite.any() and not finite.all():
                which, verb = listed(np.flatnonzero(~finite)), "is" if (~finite).sum() == 1 else "are"
                sentences.append(f"{which} of {finite.size} along axis {axis} of {name} {verb} finite in no case")
        return sentences

    def shares(self, precision: Precision) -> dict[tuple[str, int], Float64]:
        """Return (output, axis) -> the share of its variation that each slice loses; NaN of one that is left out.

        Of few elements the deviations are rough, and the worst of many slices is the roughest: what chance adds to it
        is taken off (the ratio of two deviations of n elements varies by 1/sqrt(n), the largest of N such by
        sqrt(2 ln N) times as much).
        """
        found = {}
        for key, axis in self._axes.items():
            if axis is not None:
                enough = ENOUGH_IN_FLOAT32 if precision is FLOAT32 else ENOUGH
                judged = (axis.truth.count >= enough) & ~is_still(axis.truth.deviation, axis.own, precision)
                off, varies = axis.error.size, axis.truth.deviation
                if precision is not FLOAT32:
                    off, varies = axis.error.deviation, np.maximum(varies, self.steps.get(key[0], 0.0))
                share = off / np.where(judged, varies, 1.0)
                chance = math.sqrt(2 * math.log(share.size or 1)) / np.sqrt(np.maximum(axis.truth.count, 1.0))
                found[key] = np.where(judged, share / (1 + chance), math.nan)
        return found

    def lost(self, precision: Precision) -> list[Comparison]:
        """Return one failed comparison for every output whose slices lose more of their variation than is allowed."""
        allowed = self.allowed(precision)
        return [
            _lost(key, share, allowed[key], precision, self._own(key, share.size), self.source)
            for key, share in self.shares(precision).items()
            if (share > allowed[key]).any()
        ]

    def _own(self, key: tuple[str, int], size: int) -> Float64:
        """Return the share of each slice's variation that the precision may take by itself."""
        axis = self._axes[key]
        if axis is None:
            return np.zeros(size)
        varies = axis.truth.deviation > 0
        lost = np.sqrt(axis.lower / np.maximum(axis.truth.count, 1.0))
        return np.where(varies, lost / np.where(varies, axis.truth.deviation, 1.0), 0.0)

    def allowed(self, precision: Precision) -> dict[tuple[str, int], Float64]:
        """Return (output, axis) -> the share of its variation that each slice may lose."""
        return {key: _allowed(axis, precision) for key, axis in self._axes.items() if axis is not None}

    def still(self) -> list[str]:
        """Return one sentence for every output that is zero to float32, or has slices that vary no further."""
        return [
            *(
                f"{name} is {own:.2g} at most, less than float32 rounds of the largest number on the way to it "
                f"({way:.2g}): errors are measured by that number, and hardly one shows"
                for name, (own, way) in self._largest.items()
                if is_zero(own, way, is_kept=False)
            ),
            *self._without_variation(),
        ]

    def _without_variation(self) -> list[str]:
        return [
            f"{name} along axis {axis}: {listed(np.flatnonzero(found))} of {found.size} without variation above "
            "what float32 rounds: whether it is kept was not checked"
            for (name, axis), found in self.without_variation().items()
            if found.any()
        ]

    def without_variation(self) -> dict[tuple[str, int], npt.NDArray[np.bool_]]:
        """Return (output, axis) -> the slices that vary by no more than float32 rounds."""
        return {
            key: is_still(axis.truth.deviation, axis.own, FLOAT32) & (axis.truth.count >= ENOUGH)
            for key, axis in self._axes.items()
            if axis is not None
        }


def is_still(varies: Float64, own: Float64, precision: Precision) -> npt.NDArray[np.bool_]:
    """Return where the loss that is allowed of what ``varies`` so far is one that a healthy float32 graph may reach by
    its rounding alone; ``own`` is float32's."""
    still: npt.NDArray[np.bool_] = varies * precision.share <= FLOAT32.healthy * own
    return still


def _allowed(axis: _Axis, precision: Precision) -> Float64:
    """Return the share of its variation that each slice may lose: in float32 no more than its own roundings either.

    A rounding of what is below 1 counts as one of 1: runtimes compute the tail of a sigmoid no better. ONNX Runtime's
    (1.31) is off by 3e-8 at 5e-5.
    """
    share = np.full(axis.truth.count.shape, precision.share)
    if precision is not FLOAT32:
        return share
    roundings = precision.limit * np.maximum(axis.own, precision.unit_roundoff)
    varies = axis.truth.deviation > 0
    return np.where(varies, np.minimum(share, roundings / np.where(varies, axis.truth.deviation, 1.0)), share)


def rounding(floor: Floor, truth: Array, axis: int) -> Float64:
    """Return the loss that a floor has on each slice, as a root mean square; at least a rounding of the slice's own."""
    finite = np.where(np.isfinite(truth), truth, 0.0)
    start = sum(truth.shape[1:axis])
    channel = floor.channel[start : start + truth.shape[axis]]
    scale = math.sqrt(float(np.square(finite).mean()))
    found = np.where(np.isfinite(channel), channel, 0.0) * scale
    others = tuple(other for other in range(truth.ndim) if other != axis)
    own: Float64 = np.maximum(found, FLOAT32.unit_roundoff * np.abs(finite).max(axis=others))
    return own


def _finite_slices(truth: Array) -> dict[int, npt.NDArray[np.bool_]]:
    """Axis -> which of its slices have a finite element."""
    finite = np.isfinite(truth)
    return {
        axis: np.asarray(finite.any(axis=tuple(other for other in range(truth.ndim) if other != axis)))
        for axis in range(1, truth.ndim)
    }


def _lost(
    key: tuple[str, int], share: Float64, allowed: Float64, precision: Precision, own: Float64, source: str
) -> Comparison:
    name, axis = key
    wrong, worst = np.flatnonzero(share > allowed), int(np.nanargmax(share / allowed))
    limit = float(allowed[worst])
    lacks = "without" if share[worst] > precision.share else "off in"
    what = "the error" if precision is FLOAT32 else "the deviation of the error"
    is_coarse = precision is not FLOAT32 and own[worst] >= share[worst] * ALIKE
    beside = f" ({own[worst]:.3g} in {source}'s own {precision.words})" if is_coarse else ""
    detail = (
        f"{listed(wrong)} of {share.size} along axis {axis} {lacks} what varies in {source}: {what} is "
        f"{share[worst]:.3g} of the slice's own deviation at index {worst}{beside}; the limit is {limit:.3g}"
    )
    ratio = float(share[worst] / limit * precision.limit)
    return Comparison(name, float(share[worst]), limit, ratio, VARIATION, (axis, worst), False, detail)


def listed(indices: npt.NDArray[np.intp]) -> str:
    """Return indices in words: "index 3", "4-8 and 11"."""
    runs: list[list[int]] = []
    for index in map(int, indices):
        if runs and runs[-1][-1] == index - 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    words = ["-".join(map(str, run)) for run in runs]
    return ("index " if len(indices) == 1 else "indices ") + first_names(words, SHOWN)
