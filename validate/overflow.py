"""The modules whose results overflow in a lower precision: infinite or NaN there, and finite in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..modules.user_line import frames, line_of
from .cases import Case
from .eager import Eager
from .lower import Lower
from .operator_mode import operator_mode

# Each is found with the ones before it in float32; a network in which more overflow is not worth lowering.
MOST = 16


@dataclass(frozen=True)
class Overflows:
    """The modules that overflow in a lower precision.

    Attributes:
        paths: The modules in order; each overflows although those before it stay in float32.
        own: The place at which the model's own forward overflows with ``paths`` in float32: "at" the line or "in" the
            operator; "" if it does not.
    """

    paths: tuple[str, ...] = ()
    own: str = ""


def overflowing(single: Eager, case: Case, lower: Lower) -> Overflows:
    """Return what overflows on a case.

    ``single`` runs in float32 and follows its modules. With all that are returned in float32 nothing overflows but in
    the model's own forward; nothing is returned if that cannot be reached.
    """
    counts: list[int] = []
    single.run_within(case, lambda: _watch(lambda number, count, operator: counts.append(count)))
    kept: list[str] = []
    while len(kept) < MOST:
        found = _first(single, case, lower.without(kept) if kept else lower, counts)
        if found is None:
            return Overflows(tuple(kept))
        path, place = found
        if not path:
            return Overflows(tuple(kept), place)
        if path in kept:
            return Overflows()
        kept.append(path)
    return Overflows()


def _first(single: Eager, case: Case, lower: Lower, counts: list[int]) -> tuple[str, str] | None:
    """Return the first module that gives more NaN or infinity than in float32, and the user's line or the operator.

    None if no module does.
    """
    found: list[tuple[str, str]] = []

    def seen(number: int, count: int, operator: str) -> None:
        if not found and count > (counts[number] if number < len(counts) else 0):
            line = line_of(frames())
            found.append((single.inside(), f"at {line}" if line else f"in {operator}"))

    @contextmanager
    def modes() -> Iterator[None]:
        with lower.mode(single.module, single.inside, lower.draws[0]), _watch(seen):
            yield

    with np.errstate(over="ignore", invalid="ignore"):
        single.run_within(case, modes)
    return found[0] if found else None


def _watch(seen: Callable[[int, int, str], None]) -> AbstractContextManager[Any]:
    """Return a mode that calls ``seen`` for each operator: its number, how many results are not finite, its name."""
    import torch
    from torch.utils._pytree import tree_leaves

    numbers = itertools.count()

    def watched(func: Any, args: Any, kwargs: Any) -> Any:
        result = func(*args, **kwargs)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        count = sum(int((~leaf.isfinite()).sum()) for leaf in leaves if leaf.is_floating_point())
        seen(next(numbers), count, func.overloadpacket.__name__)
        return result

    return operator_mode(watched)
