"""Functions behind ``functools.lru_cache`` and ``functools.cache``, as einops has them, in a run without data.

A traced size has no hash, so that such a cache raises TypeError. A module that catches it goes another way than with
numbers, and one that does not cannot be traced. While active, a call with a traced size passes by the cache.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...modules.called_functions import CachedFunction, cached_in_closures, holders

_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
_OF_THE_CACHE = ("cache_info", "cache_clear", "cache_parameters")


@contextlib.contextmanager
def caches_take_sizes(module: nn.Module) -> Iterator[None]:
    """While active, the cached functions of ``module``'s parts, classes and files take traced sizes."""
    with contextlib.ExitStack() as stack:
        for held, put in holders(module):
            for name, value in held.items():
                found = _past_the_cache(value)
                if found is not None:
                    stack.callback(put, name, value)
                    put(name, found)
                for cell in cached_in_closures(value):
                    stack.callback(setattr, cell, "cell_contents", cell.cell_contents)
                    cell.cell_contents = _past_the_cache(cell.cell_contents)
        yield


def _past_the_cache(value: Any) -> Any:
    """Return what stands in for a cached function, or a static or class method of one; None for anything else."""
    if isinstance(value, (staticmethod, classmethod)):
        inner = _past_the_cache(value.__func__)
        return None if inner is None else type(value)(inner)
    if not isinstance(value, CachedFunction):
        return None

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        has_sizes = any(isinstance(leaf, _SYMBOLIC) for leaf in tree_leaves((args, kwargs)))
        return (value.__wrapped__ if has_sizes else value)(*args, **kwargs)

    vars(call).update({name: getattr(value, name) for name in _OF_THE_CACHE})
    return call
