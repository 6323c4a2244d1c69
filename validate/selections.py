"""The choices inside a module (top-k, argmax, comparisons, integers of floats, levels), noted and moved in a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from ..modules.quantisers import Quantiser, quantiser
from ..modules.seen_operators import OperatorMode
from ..modules.user_line import frames, line_of
from .choice import BEST, QUANTISES, Choice, Grid, is_among_places, moved_scores
from .half_precision import mark_as
from .window_maxima import with_places

COMPARED = frozenset({"gt", "lt", "ge", "le"})
_ARGMAX = torch.ops.aten.argmax.default
ROUNDED = frozenset({"round", "floor", "ceil", "trunc", "_to_copy"})


class _Choosing(OperatorMode):
    """Hands every operator to ``_called``, the windows of a pooling whose places are wanted as an argmax."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        pooled = with_places(func, args, kwargs, lambda windows: self._called(_ARGMAX, (windows, -1), {}))
        return self._called(func, args, kwargs) if pooled is None else pooled

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError


class Choices(_Choosing):
    """Notes every choice of a run in ``found``; emptied by ``take``."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[Choice] = []

    def take(self) -> list[Choice]:
        """Return what was noted since the last call."""
        found, self._found = self._found, []
        return found

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        if (levels := _quantiser(func, args, kwargs)) is not None:
            self._found.append(_levels(levels, line_of(frames())))
        elif _chooses(_operator(func), args, result):
            self._found.append(_choice(func, args, kwargs, result, line_of(frames())))
        return result


class Moved(_Choosing):
    """Moves the scores of every choice as far as ``allowed`` says, in the order of the choices."""

    def __init__(self, allowed: Sequence[np.ndarray], draw: int) -> None:
        super().__init__()
        self._allowed, self._draw, self._number = allowed, draw, 0

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        name = _operator(func)
        if not _chooses(name, args, result):
            return result
        far = self._allowed[self._number] if self._number < len(self._allowed) else np.zeros(())
        self._number += 1
        if not far.any() or far.shape != tuple(args[0].shape):
            return result
        moved = moved_scores(_choice(func, args, kwargs, result), far, self._draw)
        other = func(torch.from_numpy(moved).to(args[0].dtype), *args[1:], **kwargs)
        return _of_places(func, args, kwargs, other) if is_among_places(name) else other


class Given(_Choosing):
    """Has choices among places, and quantisers, pick what they are given, by their number among all of them.

    ``met`` are the numbers of those that came, and ``scores`` what the ``kept`` of them read, in its own type.
    """

    def __init__(self, picks: Mapping[int, np.ndarray], kept: Collection[int] = ()) -> None:
        super().__init__()
        self._picks, self._kept, self._number = picks, kept, 0
        self.met: set[int] = set()
        self.scores: dict[int, np.ndarray] = {}

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        levels = _quantiser(func, args, kwargs)
        if levels is not None:
            picked = self._next(levels.x, _grid(levels))
            if picked is None:
                return func(*args, **kwargs)
            found = levels.result(torch.from_numpy(picked).to(levels.x.dtype).reshape(levels.x.shape))
            for leaf in tree_leaves(found):
                mark_as(leaf, levels.x)
            return found
        result = func(*args, **kwargs)
        name = _operator(func)
        if not is_among_places(name) or not _chooses(name, args, result):
            return result
        picked = self._next(args[0])
        if picked is None:
            return result
        places = torch.from_numpy(picked)
        if isinstance(result, torch.Tensor):
            return places.reshape(result.shape)
        given = type(result)((result[0], places.reshape(result[1].shape)))
        # the best value is itself whichever of two equal ones is named; ranked values are those of the places
        return given if name in BEST else _of_places(func, args, kwargs, given)

    def _next(self, scores: torch.Tensor, grid: Grid | None = None) -> np.ndarray | None:
        """Return what the next choice, which reads ``scores``, is given; None for nothing."""
        number, self._number = self._number, self._number + 1
        if number not in self._picks:
            return None
        self.met.add(number)
        if number in self._kept:
            read = scores.detach().numpy()
            self.scores[number] = read.copy() if grid is None else grid.held(read).astype(read.dtype)
        return self._picks[number]


def _quantiser(func: Any, args: Any, kwargs: Any) -> Quantiser | None:
    """Return the quantiser that a call is, if it is on and gives levels."""
    found = quantiser(func, args, kwargs)
    return None if found is None or found.gives == "dequantised" or found.is_pass else found


def _levels(found: Quantiser, line: str) -> Choice:
    """Return what a quantiser picks; its scores are not kept, since there are as many as there are activations."""
    grid = _grid(found)
    fits = grid.low >= -(2**15) and grid.high < 2**15
    picked = found.levels().to(torch.int16 if fits else torch.int64).numpy().copy()
    return Choice(QUANTISES, line, np.broadcast_to(np.float64(np.nan), picked.shape), picked, grid=grid)


def _grid(found: Quantiser) -> Grid:
    step, zero = (one.numpy().copy() for one in found.grid(torch.float64))
    return Grid(step, zero, int(found.low), int(found.high))


def _of_places(func: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Return what a choice gives, the values those of its places; of one that gives places alone, those."""
    if not isinstance(result, (tuple, list)):
        return result
    options = _options(func, args, kwargs)
    dim, keep = options["dim"], bool(options.get("keepdim", True))
    places = result[1] if keep else result[1].unsqueeze(dim)
    values = args[0].gather(dim, places)
    return type(result)((values if keep else values.squeeze(dim), result[1]))


def _choice(func: Any, args: Any, kwargs: Any, result: Any, line: str = "") -> Choice:
    """Return what an operator chose, and by what."""
    name, options = _operator(func), _options(func, args, kwargs)
    scores = args[0].detach().to(torch.float64).numpy().copy()
    picked = _indices(result) if is_among_places(name) else None
    descending = bool(options.get("largest", options.get("descending", True)))
    is_sorted = bool(options.get("sorted", True))
    threshold = None
    if name in COMPARED:
        threshold = torch.as_tensor(args[1], dtype=torch.float64).detach().numpy().copy()
    return Choice(name, line, scores, picked, options.get("dim"), descending, is_sorted, threshold=threshold)


def _options(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, defaults among them."""
    schema = func._schema.arguments
    given = dict(zip((argument.name for argument in schema), args, strict=False)) | kwargs
    return {argument.name: given.get(argument.name, argument.default_value) for argument in schema}


def _operator(func: Any) -> str:
    name: str = func.overloadpacket.__name__
    return name


def _chooses(name: str, args: Any, result: Any) -> bool:
    """Return True for an operator that makes a choice or a whole number of floats."""
    if not args or not isinstance(args[0], torch.Tensor) or not args[0].is_floating_point() or not args[0].numel():
        return False
    if name in ("max", "min"):
        return isinstance(result, (tuple, list))
    if name == "_to_copy":
        return not result.is_floating_point() and not result.is_complex()
    return is_among_places(name) or name in COMPARED or name in ROUNDED


def _indices(result: Any) -> np.ndarray:
    places = result if isinstance(result, torch.Tensor) else result[1]
    found: np.ndarray = places.detach().numpy().copy()
    return found
