"""Counters that a module keeps of its own calls: what it does after many of them, a few runs do not show."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ...modules.user_line import is_users

if TYPE_CHECKING:
    from torch import nn

# Past any warm-up, a multiple of what people count in (1 to 16, 20, 25, 30, 50, 100, 1000), exact in float32.
MANY = 18_018_000
Numbers = Mapping[str, int]
_CELL = "cell_contents"  # of a variable that a function shares with the one around it


def whole_numbers(module: nn.Module) -> Numbers:
    """Return the whole numbers in attributes, globals and buffers of one element, by their paths."""
    return {path: number for path, _, _, number in _held(module)}


def counters(module: nn.Module, call: Callable[[], object]) -> list[str]:
    """Return the paths of the whole numbers that each of two same calls changes by the same step.

    The first call is not counted: it may make what later ones find, as a table for the largest size so far.
    """
    call()
    seen = [whole_numbers(module)]
    for _ in range(2):
        call()
        seen.append(whole_numbers(module))
    first, second, third = seen
    return [path for path in third if _step(first, second, path) == _step(second, third, path) != 0]


@contextmanager
def counted_on(module: nn.Module, paths: list[str], reached: int) -> Iterator[None]:
    """Set counters to a number for a while: others than the module may count in a global."""
    import torch

    held = [one for one in _held(module) if one[0] in paths]
    before = [_get(owner, name) for _, owner, name, _ in held]
    for (_, owner, name, _), value in zip(held, before, strict=True):
        _set(owner, name, torch.full_like(value, reached) if isinstance(value, torch.Tensor) else reached)
    try:
        yield
    finally:
        for (_, owner, name, _), value in zip(held, before, strict=True):
            _set(owner, name, value)


def _step(before: Numbers, after: Numbers, path: str) -> int:
    return after[path] - before.get(path, after[path])


def _held(module: nn.Module) -> Iterator[tuple[str, Any, str, int]]:
    """Yield the path, the owner, the name in it and the value of every whole number that is kept.

    In the module and its classes, and in what its forwards read outside of it: globals, and variables around them.
    """
    for prefix, owner, held in _owners(module):
        for name, value in list(held.items()):
            for inner, one, key, found in ((owner, value, name, ""), *_entries(value)):
                number = _whole(one)
                if number is not None:
                    yield f"{prefix}.{name}{found}".lstrip(".").removesuffix(f".{_CELL}"), inner, key, number


def _entries(value: Any) -> list[tuple[Any, Any, Any, str]]:
    return [(value, one, key, f"[{key!r}]") for key, one in value.items()] if type(value) is dict else []


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
    return owner[name] if isinstance(owner, dict) else getattr(owner, name)


def _set(owner: Any, name: Any, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


def _whole(value: Any) -> int | None:
    import torch

    if isinstance(value, torch.Tensor):
        is_number = value.numel() == 1 and value.device.type != "meta" and value.layout is torch.strided
        value = value.item() if is_number and not isinstance(value, torch.nn.Parameter) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
