"""Counters that a module keeps of its own calls: what it does after many of them, a few runs do not show."""

from __future__ import annotations

import functools
import itertools
import math
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...modules.user_line import is_users
from .held import bound, is_users_function, owners, path_of, users_module

if TYPE_CHECKING:
    from torch import nn

# Past any warm-up, a multiple of what people count in (1 to 16, 20, 25, 30, 50, 100, 1000), exact in float32.
MANY = 18_018_000
# Containers in containers, of so many entries each: deeper and longer ones hold data.
DEPTH = 3
ENTRIES = 64
_PLAIN = (SimpleNamespace, threading.local)
FIXED = (tuple, functools.partial, MethodType)  # what they hold cannot be set
Numbers = Mapping[str, float]


def numbers(module: nn.Module) -> Numbers:
    """Return the numbers in attributes, globals, containers in them and buffers of one element, by their paths."""
    return {path: number for path, _, _, number in _held(module)}


def counters(seen: Sequence[Numbers]) -> dict[str, int]:
    """Return the paths of the numbers that each of two same calls changed by the same step, and its sign.

    ``seen`` are the numbers before, between and after them. A call before these may make what later ones find, as a
    table for the largest size so far.
    """
    first, second, third = seen
    steps = {path: _step(second, third, path) for path in third if _is_step(first, second, third, path)}
    return {path: 1 if step > 0 else -1 for path, step in steps.items()}


@contextmanager
def counted_on(module: nn.Module, signs: Mapping[str, int], reached: int) -> Iterator[None]:
    """Set counters to a number for a while, below zero if they count down: others may count in the same global."""
    held = [one for one in _held(module) if one[0] in signs]
    before = [_get(owner, name) for _, owner, name, _ in held]
    for (path, owner, name, _), value in zip(held, before, strict=True):
        _set(owner, name, _filled(value, signs[path] * reached))
    try:
        yield
    finally:
        for (_, owner, name, _), value in zip(held, before, strict=True):
            _set(owner, name, value)


def _filled(value: Any, number: int) -> Any:
    import torch

    if isinstance(value, np.ndarray):
        return np.full_like(value, _within(np.iinfo(value.dtype), number) if value.dtype.kind in "iu" else number)
    if isinstance(value, torch.Tensor):
        is_whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
        return torch.full_like(value, _within(torch.iinfo(value.dtype), number) if is_whole else number)
    return number


def _within(ends: Any, number: int) -> int:
    return int(min(max(number, ends.min + 1), ends.max - 1))  # one call more does not wrap around


def _step(before: Numbers, after: Numbers, path: str) -> float:
    return after[path] - before[path] if path in before and path in after else 0


def _is_step(first: Numbers, second: Numbers, third: Numbers, path: str) -> bool:
    one, other = _step(first, second, path), _step(second, third, path)
    return one != 0 and math.isclose(one, other, rel_tol=1e-6)  # sums of float32


def _held(module: nn.Module) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield the path, the owner, the name in it and the value of every number that is kept.

    In the module and its classes, and in what its forwards read outside of it: globals, and variables around them.
    """
    for prefix, owner, held in owners(module):
        for name, value in list(held.items()):
            yield from _numbers(path_of(prefix, name), owner, name, value, DEPTH)


def _numbers(path: str, owner: Any, name: Any, value: Any, depth: int) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield what ``_held`` does of one value: a number, or those in a container or in a plain object of the user's."""
    number = _number(value)
    if number is not None:
        if not isinstance(owner, FIXED):
            yield path, owner, name, number
    elif depth:
        for found, key, inner in _entries(value):
            yield from _numbers(f"{path}{found}", value, key, inner, depth - 1)


def _entries(value: Any) -> list[tuple[str, Any, Any]]:
    """Return the path from a container or an object, the key or name, and the value of each that it holds."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", key, one) for key, one in itertools.islice(value.items(), ENTRIES)]
    if isinstance(value, (list, tuple)):
        return [(f"[{key}]", key, one) for key, one in enumerate(value[:ENTRIES])]
    if parts := bound(value):
        return [("", key, one) for key, one in enumerate(parts)]
    if isinstance(value, (FunctionType, ModuleType)):
        held = vars(value) if isinstance(value, FunctionType) and is_users_function(value) else users_module(value)
        return [(f".{name}", name, one) for name, one in itertools.islice(held.items(), ENTRIES)]
    kind = value if isinstance(value, type) else type(value)
    if kind not in _PLAIN and not is_users(getattr(sys.modules.get(kind.__module__), "__file__", None) or "<none>"):
        return []
    slots = [name for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}
    return [(f".{name}", name, one) for name, one in itertools.islice(held.items(), ENTRIES)]


def _get(owner: Any, name: Any) -> Any:
    return owner[name] if isinstance(owner, (dict, list)) else getattr(owner, name)


def _set(owner: Any, name: Any, value: Any) -> None:
    if isinstance(owner, (dict, list)):
        owner[name] = value
    else:
        setattr(owner, name, value)


def _number(value: Any) -> float | None:
    import torch

    if isinstance(value, torch.Tensor):
        is_one = value.numel() == 1 and value.device.type != "meta" and value.layout is torch.strided
        value = value.item() if is_one and not isinstance(value, torch.nn.Parameter) else None
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.item() if value.size == 1 else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
