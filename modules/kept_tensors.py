"""Keep what ``functools.lru_cache`` and ``functools.cache`` hold out of runs that compute in another type.

A table of positions is often made behind such a cache, by its sizes and its dtype. A run in float64 tells a module that
it runs in float32, so that both would ask for it by one key: the later run would get what the earlier one computed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from .called_functions import CachedFunction, cached_in_closures, holders


def cached_functions(module: nn.Module) -> list[Any]:
    """Return every function behind a cache that ``module`` may call: of its parts, classes, files and closures."""
    values = [value for held, _ in holders(module) for value in held.values()]
    named = [value.__func__ if isinstance(value, (staticmethod, classmethod)) else value for value in values]
    inner = [cell.cell_contents for value in values for cell in cached_in_closures(value)]
    return list({id(one): one for one in (*named, *inner) if isinstance(one, CachedFunction)}.values())


@contextmanager
def no_kept_tensors(functions: Sequence[Any]) -> Iterator[None]:
    """Within it ``functions`` compute anew what they kept, and nothing that they compute is kept beyond it.

    Only a cache that holds tensors is emptied.
    """
    _empty(functions)
    try:
        yield
    finally:
        _empty(functions)


def _empty(functions: Sequence[Any]) -> None:
    for function in functions:
        # what it refers to: itself, its keys and its results; of a cache without a limit the dict of both
        is_filled = function.cache_info().currsize
        if is_filled and any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(gc.get_referents(function))):
            function.cache_clear()
