"""Counters that a module keeps of its own calls: what it does after many of them, a few runs do not show."""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...modules.user_line import is_users

if TYPE_CHECKING:
    from torch import nn

# Past any warm-up, a multiple of what people count in (1 to 16, 20, 25, 30, 50, 100, 1000), exact in float32.
MANY = 18_018_000
# Containers in containers, of so many entries each: deeper and longer ones hold data.
DEPTH = 3
ENTRIES = 64
_PLAIN = (SimpleNamespace, threading.local)
Numbers = Mapping[str, float]
_CELL = "cell_contents"  # of a variable that a function shares with the one around it


def numbers(module: nn.Module) -> Numbers:
    """Return the numbers in attributes, globals, containers in them and buffers of one element, by their paths."""
    return {path: number for path, _, _, number in _held(module)}


def counters(module: nn.Module, call: Callable[[], object]) -> list[str]:
    """Return the paths of the numbers that each of two same calls changes by the same step.

    The first call is not counted: it may make what later ones find, as a table for the largest size so far.
    """
    call()
    seen = [numbers(module)]
    for _ in range(2):
        call()
        seen.append(numbers(module))
    first, second, third = seen
    return [path for path in third if _is_step(_step(first, second, path), _step(second, third, path))]


@contextmanager
def counted_on(module: nn.Module, paths: list[str], reached: int) -> Iterator[None]:
    """Set counters to a number for a while: others than the module may count in a global."""
    held = [one for one in _held(module) if one[0] in paths]
    before = [_get(owner, name) for _, owner, name, _ in held]
    for (_, owner, name, _), value in zip(held, before, strict=True):
        _set(owner, name, _filled(value, reached))
    try:
        yield
    finally:
        for (_, owner, name, _), value in zip(held, before, strict=True):
            _set(owner, name, value)


def _filled(value: Any, number: int) -> Any:
    import torch

    if isinstance(value, np.ndarray):
        return np.full_like(value, number)
    return torch.full_like(value, number) if isinstance(value, torch.Tensor) else number


def _step(before: Numbers, after: Numbers, path: str) -> float:
    return after[path] - before[path] if path in before and path in after else 0


def _is_step(one: float, other: float) -> bool:
    return one != 0 and math.isclose(one, other, rel_tol=1e-6)  # sums of float32


def _held(module: nn.Module) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield the path, the owner, the name in it and the value of every number that is kept.

    In the module and its classes, and in what its forwards read outside of it: globals, and variables around them.
    """
    for prefix, owner, held in _owners(module):
        for name, value in list(held.items()):
            path = f"{prefix}.{name}".lstrip(".").removesuffix(f".{_CELL}")
            yield from _numbers(path, owner, name, value, DEPTH)


def _numbers(path: str, owner: Any, name: Any, value: Any, depth: int) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield what ``_held`` does of one value: a number, or those in a container or in a plain object of the user's."""
    number = _number(value)
    if number is not None:
        if not isinstance(owner, tuple):
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
    if isinstance(value, FunctionType):
        return [(f".{name}", name, one) for name, one in vars(value).items()] if _is_users(value) else []
    kind = value if isinstance(value, type) else type(value)
    if kind not in _PLAIN and not is_users(getattr(sys.modules.get(kind.__module__), "__file__", None) or "<none>"):
        return []
    slots = [name for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    held = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}}
    return [(f".{name}", name, one) for name, one in itertools.islice(held.items(), ENTRIES)]


def _owners(module: nn.Module) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield each owner of values with its path and what it holds; a class or a function of several modules once."""
    import torch

    torchs = vars(torch.nn.Module()).keys()
    for prefix, part in module.named_modules():
        yield prefix, part, {**part._buffers, **{name: one for name, one in vars(part).items() if name not in torchs}}
    kinds = dict.fromkeys(kind for part in module.modules() for kind in type(part).__mro__)
    waiting = [_function(value) for owner in (*kinds, *module.modules()) for value in vars(owner).values()]
    for kind in kinds:
        if _is_users(_function(vars(kind).get("forward"))):
            yield kind.__name__, kind, vars(kind)
    functions: dict[FunctionType, None] = {}
    while waiting:
        function = waiting.pop()
        if function is None or function in functions or not _is_users(function):
            continue
        functions[function] = None
        for name, parameter in inspect.signature(function).parameters.items():
            if isinstance(parameter.default, (dict, list)):  # made once, for all calls
                yield function.__name__, function, {name: parameter.default}
        named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        waiting += map(_function, named.values())
        yield "", function.__globals__, named
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                yield name, cell, {_CELL: cell.cell_contents}


def _function(value: Any) -> FunctionType | None:
    try:
        value = inspect.unwrap(value) if callable(value) else None
    except Exception:  # a stand-in for a package that is not installed, as MONAI's, answers any question with an error
        return None
    return value if isinstance(value, FunctionType) else None


def _is_users(function: FunctionType | None) -> bool:
    return function is not None and is_users(function.__code__.co_filename)


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
