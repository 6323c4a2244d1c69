"""The modules whose results overflow in a lower precision: infinite or NaN there, and finite in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from .cases import Case
from .eager import Eager
from .lower import Lower

# Each is found with the ones before it in float32; a network in which more overflow is not worth lowering.
MOST = 16


def overflowing(single: Eager, case: Case, lower: Lower) -> list[str]:
    """Return the paths of the modules that overflow on a case, each with those before it in float32, the first first.

    ``single`` runs in float32 and follows its modules. With all that are returned in float32 nothing overflows; the
    list is empty if that cannot be reached, as when the whole model's own operators overflow.
    """
    counts: list[int] = []
    single.run_within(case, lambda: _watch(lambda number, count: counts.append(count)))
    kept: list[str] = []
    while len(kept) < MOST:
        path = _first(single, case, lower.without(kept) if kept else lower, counts)
        if path is None:
            return kept
        if not path or path in kept:
            return []
        kept.append(path)
    return []


def _first(single: Eager, case: Case, lower: Lower, counts: list[int]) -> str | None:
    """The path of the first module one of whose operators gives more that is not finite than in float32, if any."""
    found: list[str] = []

    def seen(number: int, count: int) -> None:
        if not found and count > (counts[number] if number < len(counts) else 0):
            found.append(single.inside())

    @contextmanager
    def modes() -> Iterator[None]:
        with lower.mode(single.module, single.inside, lower.draws[0]), _watch(seen):
            yield

    with np.errstate(over="ignore", invalid="ignore"):
        single.run_within(case, modes)
    return found[0] if found else None


def _watch(seen: Callable[[int, int], None]) -> AbstractContextManager[Any]:
    """A mode that gives the number of each operator of a run, and how many of its results' elements are not finite."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        number = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            seen(self.number, sum(int((~leaf.isfinite()).sum()) for leaf in leaves if leaf.is_floating_point()))
            self.number += 1
            return result

    return Watch()  # type: ignore[no-untyped-call]
