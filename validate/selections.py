"""Discrete choices inside a module (top-k, argmax, comparisons, integers of floats), and what rounding makes of them.

Two scores that lie closer together than rounding moves them are chosen between by chance. An integer that such a
choice decides is not judged, as a row of class scores is not whose two best are that close; nor is a float that is
gathered by a choice among places. A choice that a precision can move is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.precision import Precision
from ..modules.user_line import frames, line_of

BEST = {"argmax": True, "argmin": False, "max": True, "min": False}
# Mostly called for the values alone.
VALUES_TOO = frozenset({"max", "min"})
RANKED = frozenset({"topk", "sort", "argsort"})
COMPARED = frozenset({"gt", "lt", "ge", "le"})
ROUNDED = frozenset({"round", "floor", "ceil", "trunc", "_to_copy"})


@dataclass(frozen=True)
class Choice:
    """One choice of a run: the operator, the user's line, the scores that it read, and the indices that it gave if it
    is one among places, along the axis ``dim`` (None for all elements)."""

    operator: str
    line: str
    scores: np.ndarray
    picked: np.ndarray | None
    dim: int | None = None
    descending: bool = True


class Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every choice of a run in ``found``; emptied by ``take``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found: list[Choice] = []

    def take(self) -> list[Choice]:
        """Return what was noted since the last call."""
        found, self._found = self._found, []
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = _operator(func)
        if _chooses(name, args, result):
            scores = args[0].detach().to(torch.float64).numpy().copy()
            picked = _indices(result) if name in BEST or name in RANKED else None
            options = _options(func, args, kwargs or {})
            descending = bool(options.get("largest", options.get("descending", True)))
            self._found.append(Choice(name, line_of(frames()), scores, picked, options.get("dim"), descending))
        return result


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the scores of every choice as far as ``allowed`` says, in the order of the choices."""

    def __init__(self, allowed: Sequence[np.ndarray], draw: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._allowed, self._draw, self._number = allowed, draw, 0
        self._generator = torch.Generator().manual_seed(draw)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = _operator(func)
        if not _chooses(name, args, result):
            return result
        far = self._allowed[self._number] if self._number < len(self._allowed) else np.zeros(())
        self._number += 1
        if not far.any() or far.shape != tuple(args[0].shape):
            return result
        options = _options(func, args, kwargs)
        other = func(self._moved(name, args, result, torch.from_numpy(far), options.get("dim")), *args[1:], **kwargs)
        if (name in BEST or name in RANKED) and isinstance(other, (tuple, list)):  # the values are those of the places
            dim, keep = options["dim"], bool(options.get("keepdim", True))
            places = other[1] if keep else other[1].unsqueeze(dim)
            values = args[0].gather(dim, places)
            return type(other)((values if keep else values.squeeze(dim), other[1]))
        return other

    def _moved(self, name: str, args: Any, result: Any, far: Any, dim: int | None) -> Any:
        scores = args[0]
        if name in BEST and self._draw < 2:
            return _without_best(name, args, result, float(far.max()))
        if name in RANKED and self._draw < 2:
            return _neighbours_apart(scores, far, dim, self._draw)
        if self._draw < 2:
            return scores + (0.5 - self._draw) * far
        return scores + far * (torch.rand(scores.shape, generator=self._generator, dtype=scores.dtype) - 0.5)


def _without_best(name: str, args: Any, result: Any, far: float) -> Any:
    """The scores, the picked one of each row moved by ``far`` towards the others: the second wins if it lies within."""
    scores, places = args[0], result if isinstance(result, torch.Tensor) else result[1]
    step = -far if BEST[name] else far
    dim = args[1] if len(args) > 1 else None
    if dim is None:
        flat = scores.reshape(-1).clone()
        flat[places] += step
        return flat.reshape(scores.shape)
    places = places if places.dim() == scores.dim() else places.unsqueeze(dim)
    return scores.scatter_add(dim, places, torch.full(places.shape, step, dtype=scores.dtype))


def _neighbours_apart(scores: Any, far: Any, dim: int | None, draw: int) -> Any:
    """The scores, every second one of a ranking moved up and the others down: neighbours within ``far`` change places.

    Two draws, which begin at the first and at the second rank, reach all pairs of neighbours.
    """
    along = -1 if dim is None else dim
    ranks = scores.argsort(along).argsort(along)
    return scores + far * ((ranks + draw) % 2 - 0.5)


def allowed_moves(truth: Sequence[Choice], rounded: Sequence[Choice], precision: Precision) -> list[np.ndarray]:
    """Return how far two runs of a precision may have the scores of each choice from each other, element by element.

    A score that rounding leaves as it is, as the zeros behind a ReLU, is not moved. None is if the runs do not
    correspond.
    """
    if [(one.operator, one.scores.shape) for one in truth] != [(one.operator, one.scores.shape) for one in rounded]:
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


def loose_picks(
    truth: Sequence[Choice], rounded: Sequence[Choice], allowed: Sequence[np.ndarray]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (operator, line) -> (picks that rounding can change or did, all of them), for choices among places.

    Those whose scores lie within what is ``allowed`` of the next one can change.
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for number, one in enumerate(truth):
        if one.picked is None or one.operator in VALUES_TOO:
            continue
        far = float(allowed[number].max(initial=0.0)) if number < len(allowed) else 0.0
        other = rounded[number].picked if number < len(rounded) else None
        comparable = other is not None and other.shape == one.picked.shape
        differing = int((one.picked != other).sum()) if comparable else 0
        loose = max(differing, _near_ties(one, one.picked, far)) if far else differing
        if loose:
            before, count = found.get((one.operator, one.line), (0, 0))
            found[one.operator, one.line] = (before + loose, count + one.picked.size)
    return found


def _near_ties(choice: Choice, picked: np.ndarray, far: float) -> int:
    """Return how many picks have a score within ``far`` of the next one."""
    scores = choice.scores.reshape(-1) if choice.dim is None else np.moveaxis(choice.scores, choice.dim, -1)
    places = (
        1 if choice.operator in BEST else np.moveaxis(picked, -1 if choice.dim is None else choice.dim, -1).shape[-1]
    )
    ordered = np.sort(scores, axis=-1)
    gaps = np.diff(ordered, axis=-1)
    from_top = BEST.get(choice.operator, choice.descending)
    nearest = gaps[..., ::-1][..., :places] if from_top else gaps[..., :places]
    return int((nearest <= far).sum())


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
    return name in BEST or name in RANKED or name in COMPARED or name in ROUNDED


def _indices(result: Any) -> np.ndarray:
    places = result if isinstance(result, torch.Tensor) else result[1]
    found: np.ndarray = places.detach().numpy().copy()
    return found
