"""Look at what every operator of a run of the truth gives: the largest number, and what the case reaches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..modules.user_line import frames, line_of
from .arrays import Array
from .reached import Reached, is_comparison, is_followed, name_of
from .sources import Sources

if TYPE_CHECKING:
    from torch import Tensor


class Watch:
    """Look at runs of the truth, one after the other.

    Attributes:
        largest: The largest finite magnitude that the last run met.
        reached: Takes note of what the inputs reach; None asks for nothing.
    """

    def __init__(self, inside: Callable[[], str]) -> None:
        self.largest = 0.0
        self.reached: Reached | None = None
        self._inside = inside
        self._calls: Counter[tuple[str, str]] = Counter()
        self._sources = Sources()

    def start(self, feeds: Mapping[str, Array]) -> None:
        """Begin a run on these inputs."""
        self._calls.clear()
        self.largest = max((float(np.abs(value).max()) for value in feeds.values() if value.size), default=0.0)

    def follow(self, inputs: Iterable[Tensor]) -> None:
        """Know what is made of these tensors, the inputs of the run."""
        self._sources = Sources()
        self._sources.add(list(inputs), 1)

    def see(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Look at the ``result`` of an operator."""
        import torch
        from torch.utils._pytree import tree_leaves

        depends = self.reached is not None and self._sources.follow(args, kwargs, result) != 0
        if _is_view(func):
            return
        operator = name_of(func.overloadpacket.__name__)
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.numel():
                self._look(operator, args, leaf.detach(), depends)

    def _look(self, operator: str, args: Any, value: Tensor, depends: bool) -> None:
        if depends and self.reached is not None:
            if is_comparison(operator) and _is_open(args):
                self.reached.side(operator, line_of(frames()), value.numpy())
            elif is_followed(operator) and value.is_floating_point():
                place = (self._inside(), operator)
                self.reached.value((*place, self._calls[place]), value.double().numpy())
                self._calls[place] += 1
        if value.is_floating_point():
            low, high = value.aminmax()
            largest = max(-float(low), float(high))
            if self.largest < largest < math.inf:
                self.largest = largest


def _is_open(args: Any) -> bool:
    """Tell whether cases may differ in a comparison, as of nothing with itself or with infinity, which no case has."""
    import torch

    return args[0] is not args[1] and (isinstance(args[1], torch.Tensor) or abs(args[1]) < math.inf)


def _is_view(func: Any) -> bool:
    """Return True if ``func`` returns its argument in another shape: nothing new, and weights may be large."""
    aliases = [result.alias_info for result in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
