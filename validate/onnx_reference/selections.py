"""The choices inside a graph (TopK, ArgMax, comparisons, integers of floats), noted and moved while it is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..choice import QUANTISES, Choice, Grid, is_among_places, moved_scores
from .levels import grid_of

if TYPE_CHECKING:
    import onnx

COMPARED = frozenset({"Greater", "Less", "GreaterOrEqual", "LessOrEqual"})
ROUNDED = frozenset({"Round", "Floor", "Ceil", "Cast"})
AMONG_PLACES = frozenset({"ArgMax", "ArgMin", "TopK", "NonMaxSuppression"})
# Names of arrays in messages to and from the child process; no name of a tensor begins with a space.
SCORES, PICKED, FAR, PLACES = " scores/{}", " picked/{}", " far/{}", " places/{}"
STEP, ZERO, THRESHOLD = " step/{}", " zero/{}", " threshold/{}"
Inputs = Sequence[Any]
Compute = Callable[[Inputs], Sequence[Any]]


class Choices:
    """Notes every choice of a run in ``found``; that of levels if it ``notes_levels``, without its scores."""

    def __init__(self, *, notes_levels: bool = False) -> None:
        self.found: list[Choice] = []
        self._notes_levels = notes_levels

    def __call__(self, node: onnx.NodeProto, given: Inputs, compute: Compute) -> Sequence[Any]:
        """Return what a node computes of what it is given."""
        result = compute(given)
        if node.op_type == "QuantizeLinear":
            if self._notes_levels and (grid := grid_of(node, given)) is not None:
                self.found.append(_levels(node, given, result, grid))
        elif _chooses(node, given, result):
            self.found.append(_choice(node, given, result))
        return result


class Given(Choices):
    """Notes every choice, and has those among places, and quantisers, give the ``places`` of their line.

    The scores of quantisers are noted for the lines that are ``kept``.
    """

    def __init__(self, places: Mapping[str, Array], kept: Collection[str] = (), *, notes_levels: bool = False) -> None:
        super().__init__(notes_levels=notes_levels)
        self._places, self._kept = places, frozenset(kept)

    def __call__(self, node: onnx.NodeProto, given: Inputs, compute: Compute) -> Sequence[Any]:
        """Return what a node computes of what it is given, or the places of its line."""
        before = len(self.found)
        result = super().__call__(node, given, compute)
        choice = self.found[-1] if len(self.found) > before else None
        if choice is None or choice.line not in self._places:
            return result
        places = self._places[choice.line].reshape(result[-1].shape).astype(result[-1].dtype)
        if choice.grid is None:
            self.found[-1] = replace(choice, picked=places)
        elif choice.line in self._kept:
            self.found[-1] = replace(choice, scores=choice.grid.held(given[0]).astype(given[0].dtype))
        if len(result) < 2:
            return [places]
        assert choice.dim is not None  # TopK
        return [np.take_along_axis(given[0], places, choice.dim), places]


class Moved:
    """Moves the scores of every choice as far as ``allowed`` says, in the order of the choices."""

    def __init__(self, allowed: Sequence[Array], draw: int) -> None:
        self._allowed, self._draw, self._number = allowed, draw, 0

    def __call__(self, node: onnx.NodeProto, given: Inputs, compute: Compute) -> Sequence[Any]:
        """Return what a node computes of what it is given, the scores moved."""
        result = compute(given)
        if not _chooses(node, given, result):
            return result
        far = self._allowed[self._number] if self._number < len(self._allowed) else np.zeros(())
        self._number += 1
        place = _place(node)
        if not far.any() or far.shape != given[place].shape:
            return result
        choice = _choice(node, given, result)
        scores = moved_scores(choice, far, self._draw).astype(given[place].dtype)
        other = compute([scores if number == place else value for number, value in enumerate(given)])
        if len(other) < 2:
            return other
        assert choice.dim is not None  # TopK: the values are those of the places
        return [np.take_along_axis(given[place], other[1], choice.dim), *other[1:]]


def aligned(choices: Sequence[Choice], rounded: Sequence[Choice]) -> list[Choice]:
    """Return for each choice that of another run, maybe of another graph, by the names of the nodes' outputs.

    One that the other run does not have stands for itself: nothing is known of its rounding.
    """
    known = {one.line: one for one in rounded}
    found = [known.get(one.line, one) for one in choices]
    return [other if other.key == one.key else one for one, other in zip(choices, found, strict=True)]


def to_arrays(choices: Sequence[Choice]) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """Return choices as plain data and arrays by name, for a message."""
    headers, arrays = [], {}
    for number, one in enumerate(choices):
        arrays[SCORES.format(number)] = one.scores
        if one.picked is not None:
            arrays[PICKED.format(number)] = one.picked
        if one.threshold is not None:
            arrays[THRESHOLD.format(number)] = one.threshold
        header = {"operator": one.operator, "line": one.line, "dim": one.dim, "descending": one.descending}
        if one.grid is not None:
            arrays |= {STEP.format(number): one.grid.step, ZERO.format(number): one.grid.zero}
            header |= {"low": one.grid.low, "high": one.grid.high}
        headers.append(header)
    return headers, arrays


def from_arrays(headers: Sequence[Mapping[str, Any]], arrays: dict[str, Array]) -> list[Choice]:
    """Return the choices of a message, and take their arrays out of it."""
    return [
        Choice(
            header["operator"],
            header["line"],
            arrays.pop(SCORES.format(number)),
            arrays.pop(PICKED.format(number), None),
            header["dim"],
            header["descending"],
            grid=_grid(header, number, arrays),
            threshold=arrays.pop(THRESHOLD.format(number), None),
        )
        for number, header in enumerate(headers)
    ]


def _grid(header: Mapping[str, Any], number: int, arrays: dict[str, Array]) -> Grid | None:
    """Return the levels of a quantiser in a message, and take their arrays out of it; None for another choice."""
    if "low" not in header:
        return None
    step, zero = (arrays.pop(name.format(number)) for name in (STEP, ZERO))
    return Grid(step, zero, int(header["low"]), int(header["high"]))


def _levels(node: onnx.NodeProto, given: Inputs, result: Sequence[Any], grid: Grid) -> Choice:
    """Return the levels that a quantiser picked."""
    return Choice(QUANTISES, node.output[0], np.zeros(0), np.asarray(result[0]).astype(np.int16), grid=grid)


def _choice(node: onnx.NodeProto, given: Inputs, result: Sequence[Any]) -> Choice:
    """Return what a node chose, and by what."""
    attributes = {one.name: one.i for one in node.attribute}
    scores = given[_place(node)].astype(np.float64)
    line = next(name for name in node.output if name)
    threshold = given[1].astype(np.float64) if node.op_type in COMPARED else None
    choice = Choice(node.op_type, line, scores, None, threshold=threshold)
    if not is_among_places(node.op_type):
        return choice
    if node.op_type == "NonMaxSuppression":  # of all, since how many it gives hangs on the choice itself
        return replace(choice, picked=np.argsort(-scores, -1), dim=-1)
    default = -1 if node.op_type == "TopK" else 0
    picked = np.asarray(result[-1])
    descending = bool(attributes.get("largest", 1))
    return replace(choice, picked=picked, dim=attributes.get("axis", default), descending=descending)


def _place(node: onnx.NodeProto) -> int:
    """Return the input of a node that has the scores."""
    return 1 if node.op_type == "NonMaxSuppression" else 0


def _chooses(node: onnx.NodeProto, given: Inputs, result: Sequence[Any]) -> bool:
    """Return True for a node that makes a choice or a whole number of floats."""
    if node.op_type not in AMONG_PLACES | COMPARED | ROUNDED:
        return False
    scores = given[_place(node)]
    if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or not scores.size:
        return False
    return node.op_type != "Cast" or np.asarray(result[0]).dtype.kind in "iub"
