"""Keep what ``functools.lru_cache`` and ``functools.cache`` hold out of runs that compute in another type.

A table of positions is often made behind such a cache, by its sizes and its dtype. A run in float64 tells a module that
it runs in float32, so that both would ask for it by one key: the later run would get what the earlier one computed.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

CachedFunction: Any = type(functools.lru_cache(len))
# packages whose own code is no model's
FOREIGN = frozenset({"torch", "numpy", "attn2trt", "onnxscript", "sympy"}) | sys.stdlib_module_names


def cached_functions() -> list[Any]:
    """Return every function behind a cache in this process that models may call, wherever it is held."""
    found = (one for one in gc.get_objects() if type(one) is CachedFunction)
    return [one for one in found if str(getattr(one, "__module__", "")).partition(".")[0] not in FOREIGN]


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
