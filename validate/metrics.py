"""The distance of an output from the float64 truth, in units of what PyTorch's own rounding loses.

The relative error is taken three ways, because each sees what the others hide: over the whole output (L2), at the
largest single element, and over every slice of every axis but the first (for (n, c, h, w): each channel, each row and
each column of the image), so that one wrong channel among 512 or one wrong border is seen. Slices are scaled by
the whole output: a dead channel has no scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.precision import FLOAT32, Precision
from .arrays import Array, Float64
from .choice import Choice
from .fills import shrunk

# R and the verdict's limit in float32. What such a limit lets through is counted by `python benchmarks/mutants.py`:
# docs/mutants.md.
HEALTHY_RATIO, LIMIT, BUDGET, UNIT_ROUNDOFF = FLOAT32.healthy, FLOAT32.limit, FLOAT32.budget, FLOAT32.unit_roundoff
# Two healthy runs, each within R floors of the truth, differ by at most 2 R floors: two rows of a batch, two scores.
BETWEEN_RUNS = FLOAT32.between_runs
# PyTorch's own float32 loses more than this of an output: whatever a graph computes would be in its floors.
MOST_LOST = 1e-3
# Whose float64 the truth is, as messages call it.
PYTORCH, GRAPH = "PyTorch", "the graph"


@dataclass(frozen=True, eq=False)
class Floor:
    """The loss of PyTorch by itself on one output: relative L2, largest element over largest |reference|, and every
    slice's root mean square over the whole reference's (``channel``, axis after axis).

    ``unsettled`` marks the elements that rounding alone can change: an argmax whose best scores lie that close
    together, and floats that such a choice decides. Whole numbers have no loss, or, if rounding decides most of
    them, its root mean square and its largest one in their own units.
    """

    l2: float
    max: float
    channel: Float64 = field(default_factory=lambda: np.zeros(0))
    unsettled: npt.NDArray[np.bool_] | None = None

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.l2) and math.isfinite(self.max) and bool(np.isfinite(self.channel).all())

    def or_larger(self, other: Floor) -> Floor:
        """The larger of the two, part by part; slices only if both have the same ones."""
        same = self.channel.shape == other.channel.shape
        channel = np.maximum(self.channel, other.channel) if same else self.channel
        return Floor(max(self.l2, other.l2), max(self.max, other.max), channel, self.unsettled)


@dataclass(frozen=True, eq=False)
class Reference:
    """The truth of one case, by the name of the output.

    Attributes:
        outputs64: The outputs in float64.
        outputs32: The outputs of PyTorch, or of the graph itself, in float32.
        floors: What float32 loses of each.
        largest: The largest magnitude that the float64 run met inside.
        row_outputs: The outputs whose rows do not depend on the rest of the batch in float64.
        lower: The floors of lower precisions, by their name and the output's.
        no_float64: The reason why float64 could not run, so that the truth is PyTorch's float32; else "".
        moments: Keeps what several stages ask of the truth.
        source: Whose float64 it is: PYTORCH or GRAPH.
        single: The floors of float32, if ``floors`` are another precision's.
        choices: Those among places in the truth, if rounding can change one.
        run: Gives the truth of other inputs of the case, as long as the next one is not asked for.
        why_not_lower: By precision, the reason why its floors could not be measured.
    """

    outputs64: dict[str, Array]
    outputs32: dict[str, Array]
    floors: dict[str, Floor]
    largest: float
    row_outputs: tuple[str, ...] = ()
    lower: Mapping[str, Mapping[str, Floor]] = field(default_factory=dict)
    no_float64: str = ""
    moments: dict[tuple[str, int], Any] = field(default_factory=dict, repr=False)
    source: str = PYTORCH
    single: Mapping[str, Floor] | None = None
    choices: Sequence[Choice] = ()
    run: Callable[[dict[str, Array]], dict[str, Array]] | None = field(default=None, repr=False)
    why_not_lower: Mapping[str, str] = field(default_factory=dict)

    @property
    def unsettled(self) -> dict[str, npt.NDArray[np.bool_]]:
        """The elements of each output that near ties decide."""
        return {name: floor.unsettled for name, floor in self.floors.items() if floor.unsettled is not None}

    def at(self, precision: Precision) -> Reference:
        """Return this truth with the floors of another precision; raises KeyError if those were not measured."""
        if precision is FLOAT32:
            return self
        return replace(self, floors=dict(self.lower[precision.name]), single=self.floors)

    def why_unmeasured(self, precision: Precision) -> str:
        """Return why a precision has no floors here, "" if it has."""
        if precision is FLOAT32 or precision.name in self.lower:
            return ""
        why = self.why_not_lower.get(precision.name)
        return f"what {self.source} loses in {precision.words} was not measured" + (f": {why}" if why else "")

    def is_kept(self, name: str) -> bool:
        """Return True if float32 keeps the output of this name, whatever is met on the way to it."""
        return keeps((self.floors if self.single is None else self.single)[name])


def settled(out: Array, ref64: Array, floor: Floor) -> Array:
    """Return a float output with the truth in place of its finite elements that are ``unsettled``: those are not
    judged."""
    mask = floor.unsettled
    if mask is None or ref64.dtype.kind != "f" or not out.shape == ref64.shape == mask.shape:
        return out
    return np.where(mask & np.isfinite(out), ref64, out)


def measure(out: Array, ref64: Array) -> Floor:
    """Return the three relative errors of ``out``, equal in shape, over the elements with a finite reference.

    What is written into the reference is measured by its own size (fills.py). If the reference is finite and ``out`` is
    not, they are infinite. A reference of zeros gives errors of 0 or inf.
    """
    count = sum(ref64.shape[1:])
    if ref64.dtype.kind in "iub" or not ref64.size:
        return Floor(0.0, 0.0, np.zeros(count))
    out, ref64 = shrunk(out, ref64)
    truth = np.where(np.isfinite(ref64), ref64, 0.0)
    error = distance(out, ref64)
    if not np.isfinite(error).all():
        return Floor(math.inf, math.inf, np.full(count, math.inf))
    squares = np.square(error)
    scale = math.sqrt(float(np.square(truth).mean()))
    return Floor(
        over(math.sqrt(float(squares.mean())), scale),
        over(float(error.max()), float(np.abs(truth).max())),
        np.array([over(float(value), scale) for value in _slice_rms(squares)]),
    )


def distance(out: Array, ref64: Array) -> Float64:
    """Return |out - reference| element by element, 0 if the reference is not finite."""
    finite = np.isfinite(ref64)
    distance: Float64 = np.abs(np.subtract(out, ref64, dtype=np.float64, where=finite, out=np.zeros(ref64.shape)))
    return distance


def over(error: float, scale: float) -> float:
    """Return the error over the scale; over a scale of zero it is 0 or infinite."""
    if scale:
        return error / scale
    return 0.0 if not error else math.inf


def worst_ratio(found: Floor, floor: Floor, unit: float, ref64: Array) -> tuple[float, str, tuple[int, ...]]:
    """The largest of the three errors in floors, which it is, and for a slice its (axis, index)."""
    ratios = {"l2": found.l2 / max(floor.l2, unit), "max": found.max / max(floor.max, unit)}
    at: tuple[int, ...] = ()
    if found.channel.size and found.channel.shape == floor.channel.shape:
        allowed = np.maximum(_usual_floor(floor.channel, ref64.shape, unit), floor.l2 * _loudness(ref64))
        per_slice = found.channel / np.maximum(floor.channel, allowed)
        worst = int(per_slice.argmax())
        ratios["channel"] = float(per_slice[worst])
        at = _slice_place(worst, ref64.shape)
    elif found.channel.size:
        ratios["channel"] = math.inf
    which = max(ratios, key=lambda way: ratios[way])
    return ratios[which], which, at


def _slice_rms(squares: Float64) -> Float64:
    """The root mean square of every slice of every axis but the first, axis after axis."""
    axes = range(squares.ndim)
    parts = [np.sqrt(squares.mean(axis=tuple(other for other in axes if other != axis))) for axis in axes[1:]]
    return np.concatenate(parts) if parts else np.zeros(0)


def _loudness(ref64: Array) -> Float64:
    """Every slice's root mean square over the whole reference's: a loud slice may lose as much more."""
    squares = np.square(np.where(np.isfinite(ref64), ref64, 0.0))
    loudness: Float64 = _slice_rms(squares) / math.sqrt(float(squares.mean()))
    return loudness


def _usual_floor(channel: Float64, shape: tuple[int, ...], unit: float) -> Float64:
    """The 90th percentile of each axis's floors, at least ``unit``: a slice that rounded luckily has no lower floor.

    Not the largest, because one loud slice must not set it; so high, because a slice may have few roundings: a logit
    at batch 1 has one, a gated channel one per row and neighbour, and the largest of 1000 such is then several times
    the median by chance alone.
    """
    usual = np.empty_like(channel)
    start = 0
    for size in shape[1:]:
        usual[start : start + size] = (
            max(float(np.quantile(channel[start : start + size], 0.9)), unit) if size else unit
        )
        start += size
    return usual


def _slice_place(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    for axis, size in enumerate(shape[1:], start=1):
        if position < size:
            return axis, position
        position -= size
    raise IndexError(position)


def largest_finite(values: Array) -> float:
    """Return the largest finite magnitude; 0 if there is none."""
    return float(np.abs(values, where=np.isfinite(values), out=np.zeros(values.shape)).max())


def is_zero(scale: float, largest: float, *, is_kept: bool) -> bool:
    """Return True if an output of this ``scale`` is zero as float32 sees it beside the ``largest`` number on the way.

    So it is whatever the precision: a softmax over many places is small, not zero. ``is_kept`` says that float32 keeps
    the output all the same, since that number takes part in no sum: the -1e9 of a mask is written, and a softmax
    leaves nothing of it.
    """
    return not scale or (scale <= UNIT_ROUNDOFF * largest and not is_kept)


def is_settled(reference: Reference, name: str) -> bool:
    """Return True if the source's own float32 gives what its float64 does: numbers in the same places, and near enough.

    It does not on inputs that a module is not made for, as the softmax without a maximum of large numbers, or a
    constant image divided by its deviation.
    """
    truth, single = reference.outputs64[name], reference.outputs32[name]
    if truth.dtype.kind != "f" or truth.shape != single.shape:
        return True
    finite = np.isfinite(truth)
    return reference.is_kept(name) and bool(finite.any()) and np.array_equal(finite, np.isfinite(single))


def keeps(floor: Floor) -> bool:
    """Return True if a graph that float32 loses this ``floor`` of looks different from a wrong one."""
    return floor.l2 <= MOST_LOST
