"""What a module keeps, and what its functions reach outside of it: globals, variables around them, classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from ...modules.user_line import is_users

if TYPE_CHECKING:
    from torch import nn

CELL = "cell_contents"  # of a variable that a function shares with the one around it


def owners(module: nn.Module) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield each owner of values with its path and what it holds; a class or a function of several modules once."""
    import torch

    torchs = vars(torch.nn.Module()).keys()
    for prefix, part in module.named_modules():
        yield prefix, part, {**part._buffers, **{name: one for name, one in vars(part).items() if name not in torchs}}
    kinds = dict.fromkeys(kind for part in module.modules() for kind in type(part).__mro__)
    waiting = [_function(value) for owner in (*kinds, *module.modules()) for value in vars(owner).values()]
    for kind in kinds:
        if is_users_function(_function(vars(kind).get("forward"))):
            yield kind.__name__, kind, vars(kind)
    functions: dict[FunctionType, None] = {}
    globals_seen: set[tuple[int, str]] = set()
    while waiting:
        function = waiting.pop()
        if function is None or function in functions or not is_users_function(function):
            continue
        functions[function] = None
        for name, parameter in inspect.signature(function).parameters.items():
            if isinstance(parameter.default, (dict, list)):  # made once, for all calls
                yield function.__name__, function, {name: parameter.default}
        outside = function.__globals__
        named = {name: outside[name] for name in function.__code__.co_names if name in outside}
        waiting += map(_function, named.values())
        new = {name: value for name, value in named.items() if (id(outside), name) not in globals_seen}
        globals_seen |= {(id(outside), name) for name in new}
        yield "", outside, new
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                yield name, cell, {CELL: cell.cell_contents}


def path_of(prefix: str, name: str) -> str:
    """Return the path of what an owner holds by a name, as a message names it."""
    return f"{prefix}.{name}".lstrip(".").removesuffix(f".{CELL}")


def bound(value: Any) -> tuple[Any, ...]:
    """Return what a bound method or a partial function brings to its calls; () for anything else."""
    if isinstance(value, MethodType):
        return (value.__self__,)
    return (*value.args, *value.keywords.values()) if isinstance(value, functools.partial) else ()


def users_module(value: Any) -> Mapping[str, Any]:
    """Return what a module of Python holds if it is the user's, as one of settings; nothing of any other value."""
    is_one = isinstance(value, ModuleType) and is_users(getattr(value, "__file__", None) or "<none>")
    return {name: one for name, one in vars(value).items() if not name.startswith("__")} if is_one else {}


def is_users_function(function: FunctionType | None) -> bool:
    """Return True if a function is written in a file of the user's."""
    return function is not None and is_users(function.__code__.co_filename)


def _function(value: Any) -> FunctionType | None:
    try:
        value = inspect.unwrap(value) if callable(value) else None
    except Exception:  # a stand-in for a package that is not installed, as MONAI's, answers any question with an error
        return None
    value = value.func if isinstance(value, functools.partial) else value
    value = value.__func__ if isinstance(value, MethodType) else value
    return value if isinstance(value, FunctionType) else None
