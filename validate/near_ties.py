"""Choices between scores that nearly tie, and the elements of outputs that hang on them, in modules and in graphs.

Two scores that lie closer together than rounding moves them are chosen between by chance. An integer that such a
choice decides is not judged, as a row of class scores is not whose two best are that close; nor is a float that is
gathered by a choice among places, or that jumps where a score crosses a threshold. The elements are found by moving the
scores as far as two runs may have them from each other. A choice that a precision can move is named, and the share of
an output that is left out is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..core.precision import FLOAT32, Precision
from .arrays import Array, Mask
from .choice import BEST, VALUES_TOO, Choice, is_among_places, without_scores
from .floors import NUDGES, lost, nudged
from .hidden import Hidden
from .metrics import Floor

Outputs = Mapping[str, Array]
# (operator, line) -> (choices that rounding can change, all of them)
Loose = dict[tuple[str, str], tuple[int, int]]
# Runs whose choices are moved: all up, all down, and each score by itself.
DRAWS = 4
# Of the elements of a float output, left out because a choice between near ties decides them.
MOST_UNSETTLED = 0.25


def allowed_moves(truth: Sequence[Choice], rounded: Sequence[Choice], precision: Precision) -> list[Array]:
    """Return how far two runs of a precision may have the scores of each choice from each other, element by element.

    A score that rounding leaves as it is, as the zeros behind a ReLU, is not moved. None is if the runs do not
    correspond.
    """
    if [one.key for one in truth] != [one.key for one in rounded]:
        return []
    found = []
    for one, other in zip(truth, rounded, strict=True):
        finite = np.isfinite(one.scores) & np.isfinite(other.scores)
        largest = float(np.abs(one.scores[finite]).max(initial=0.0))
        off = float(np.abs(one.scores - other.scores, where=finite, out=np.zeros(one.scores.shape)).max(initial=0.0))
        floor = off / largest if largest else 0.0
        # behind a choice that went the other way, everything differs: that says nothing of rounding
        relative = precision.between_runs * max(min(floor, precision.budget), precision.unit_roundoff)
        found.append(np.where(finite & (one.scores != other.scores), relative * largest, 0.0))
    return found


def loose_picks(truth: Sequence[Choice], rounded: Sequence[Choice], allowed: Sequence[Array]) -> Loose:
    """Return (operator, line) -> (picks that rounding can change or did, all of them), for choices among places.

    Those whose scores lie within what is ``allowed`` of the next one can change.
    """
    found: Loose = {}
    for number, one in enumerate(truth):
        if one.picked is None or one.operator.lower() in VALUES_TOO:
            continue
        far = float(allowed[number].max(initial=0.0)) if number < len(allowed) else 0.0
        other = rounded[number].picked if number < len(rounded) else None
        comparable = other is not None and other.shape == one.picked.shape
        differing = int((one.picked != other).sum()) if comparable else 0
        loose = max(differing, _near_ties(one, one.picked, far)) if far else differing
        _count(found, one, loose, one.picked.size)
    return found


def loose_comparisons(truth: Sequence[Choice], allowed: Sequence[Array]) -> Loose:
    """Return (operator, line) -> (comparisons that rounding can change, all of them).

    Those can change whose scores lie within what is ``allowed`` of the threshold.
    """
    found: Loose = {}
    for one, far in zip(truth, allowed, strict=False):
        if one.threshold is not None and far.any():
            with np.errstate(invalid="ignore"):  # of two infinities
                close = np.abs(one.scores - one.threshold) <= far.max()
            _count(found, one, int(close.sum()), close.size)
    return found


def _count(found: Loose, choice: Choice, loose: int, size: int) -> None:
    """Add ``loose`` of ``size`` to what was found of a choice; nothing if none is loose."""
    if loose:
        before, count = found.get((choice.operator, choice.line), (0, 0))
        found[choice.operator, choice.line] = (before + loose, count + size)


def _near_ties(choice: Choice, picked: Array, far: float) -> int:
    """Return how many picks have a score within ``far`` of the next one."""
    scores = choice.scores.reshape(-1) if choice.dim is None else np.moveaxis(choice.scores, choice.dim, -1)
    operator = choice.operator.lower()
    places = 1 if operator in BEST else np.moveaxis(picked, -1 if choice.dim is None else choice.dim, -1).shape[-1]
    ordered = np.sort(scores, axis=-1)
    gaps = np.diff(ordered, axis=-1)
    from_top = BEST.get(operator, choice.descending)
    nearest = gaps[..., ::-1][..., :places] if from_top else gaps[..., :places]
    return int((nearest <= far).sum())


@dataclass(frozen=True)
class NearTies:
    """The choices of one case in float64 and in a run of a precision, and what rounding makes of them.

    Attributes:
        truth: The outputs in float64.
        choices: The choices of that run.
        rounded: Those of a run of the precision, in the same order.
        precision: The precision.
        run_moved: Runs float64 again with the scores of each choice moved, and returns the outputs, or none if the
            module cannot run so; it is given what ``allowed_moves`` returns, and the number of the draw.
        hidden: Gets the choices that the precision can move, and the shares of outputs that are left out.
    """

    truth: Outputs
    choices: Sequence[Choice]
    rounded: Sequence[Choice]
    precision: Precision
    run_moved: Callable[[Sequence[Array], int], Outputs]
    hidden: Hidden | None = None

    @cached_property
    def loose(self) -> Loose:
        """The choices among places that rounding can change, as ``loose_picks`` returns them."""
        return loose_picks(self.choices, self.rounded, self.allowed)

    @property
    def open_choices(self) -> list[Choice]:
        """Return all choices among places if rounding can change one of them; else none."""
        among = (one for one in self.choices if is_among_places(one.operator))
        return [without_scores(one) for one in among] if self.loose else []

    @cached_property
    def allowed(self) -> list[Array]:
        """The distance by which rounding may move the scores of each choice."""
        return allowed_moves(self.choices, self.rounded, self.precision)

    @cached_property
    def _moved(self) -> list[Outputs]:
        """The outputs with the scores moved; none if there is nothing to move, or no run that can be moved."""
        draws = range(DRAWS if any(far.any() for far in self.allowed) else 0)
        return [found for draw in draws if (found := self.run_moved(self.allowed, draw))]

    def floors(self, first: Outputs) -> dict[str, Floor]:
        """Return the floors of the ``first`` run, without what a choice between near ties decides."""
        found, left_out = {}, self.decided(first)
        for name, truth in self.truth.items():
            decided = Floor(0.0, 0.0, unsettled=left_out.get(name))
            found[name] = replace(lost(name, first[name], truth, decided), unsettled=decided.unsettled)
        return found

    def decided(self, first: Outputs) -> dict[str, Mask]:
        """Return the elements of float outputs that a choice or a comparison decides which rounding can change.

        Nothing of an output of which that is more than ``MOST_UNSETTLED``: so much cannot be left out. ``first`` is a
        run of the precision.
        """
        compared = loose_comparisons(self.choices, self.allowed)
        if self.hidden is not None and self.loose and self.precision is not FLOAT32:
            self.hidden.choose(self.precision.words, self.loose)
        floats = {name: value for name, value in self.truth.items() if value.dtype.kind == "f" and value.size}
        if not (self.loose or compared) or not floats:
            return {}
        masks = {name: self._decided_of(name, first[name]) for name in floats}
        shares = {name: float(mask.mean()) for name, mask in masks.items() if mask.any()}
        if self.hidden is not None and shares:
            if self.precision is not FLOAT32:
                self.hidden.compare(self.precision.words, compared)
            self.hidden.leave_out(self.precision.words, {n: s for n, s in shares.items() if s <= MOST_UNSETTLED})
        return {name: masks[name] for name, share in shares.items() if share <= MOST_UNSETTLED}

    def _decided_of(self, name: str, first: Array) -> Mask:
        """Return the elements of an output that differ if the scores of choices are moved.

        Where no more than comparisons are close, an element must jump by more than two runs may differ elsewhere. Both
        sides of most comparisons meet, as those of a leaky ReLU.
        """
        truth = self.truth[name]
        moved = [outputs[name] for outputs in self._moved if outputs[name].shape == truth.shape]
        found = _far_in_any(moved, truth, self.precision.unit_roundoff)
        if self.loose or not found.any() or found.all():
            return found
        own = lost(name, first, truth, Floor(0.0, 0.0, unsettled=found)).max
        return _far_in_any(moved, truth, max(self.precision.unit_roundoff, self.precision.between_runs * own))

    def integers(
        self, first: Outputs, feeds: dict[str, Array], run: Callable[..., Outputs], seed: int
    ) -> dict[str, Floor]:
        """Return for every integer output the elements that rounding can change.

        They differ when rounded, when inputs move by a few roundings, or when the scores that they are chosen by move
        as far as is ``allowed``. If they are more than ``MOST_UNSETTLED``, the floor says by how much they differ.
        ``run`` gives float64's outputs for other inputs, and ``seed`` draws these.
        """
        exact = [name for name, value in self.truth.items() if value.dtype.kind in "iub"]
        if not exact:
            return {}
        off = {name: np.zeros(self.truth[name].shape) for name in exact}
        for other in self._others(first, feeds, run, seed):
            for name in exact:
                if other[name].shape == self.truth[name].shape:
                    moved = np.abs(np.subtract(other[name], self.truth[name], dtype=np.float64))
                    np.maximum(off[name], moved, out=off[name])
        floors = {name: _whole_numbers(moved) for name, moved in off.items()}
        if self.hidden is not None:
            for name, floor in floors.items():
                if floor.max:
                    self.hidden.move(self.precision.words, name, float((off[name] > 0).mean()))
        return floors

    def _others(
        self, first: Outputs, feeds: dict[str, Array], run: Callable[..., Outputs], seed: int
    ) -> Iterator[Outputs]:
        yield first
        rng = np.random.default_rng(seed)
        for _ in range(NUDGES):
            yield run(nudged(feeds, rng, self.precision.unit_roundoff))
        yield from self._moved


def _whole_numbers(off: Array) -> Floor:
    """Return the floor of whole numbers that rounding moves by ``off``: the places of those that it moves and, if they
    are too many to be left out, by how much it moves them, so that all are judged as numbers."""
    unsettled = off > 0
    if not off.size or unsettled.mean() <= MOST_UNSETTLED:
        return Floor(0.0, 0.0, unsettled=unsettled)
    return Floor(float(np.sqrt(np.square(off).mean())), float(off.max()), unsettled=unsettled)


def _far_in_any(moved: Sequence[Array], truth: Array, least: float) -> Mask:
    """Return the elements that are far from the truth in any of the runs."""
    found: Mask = np.any([np.zeros(truth.shape, np.bool_), *(_is_far(one, truth, least) for one in moved)], axis=0)
    return found


def _is_far(moved: Array, truth: Array, least: float) -> Mask:
    """Return the elements that are further from the truth than so much of its largest one."""
    finite = np.isfinite(truth)
    largest = float(np.abs(truth, where=finite, out=np.zeros(truth.shape)).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        near = np.abs(moved - truth) <= least * largest
    far: Mask = ~(near | (moved == truth) | (np.isnan(moved) & np.isnan(truth)))
    return far
