"""Let the user's Python compute with sizes as numbers while a module is traced, without fixing them.

``int(h)``, ``float(h * w)``, ``len(x)``, ``round(h / 2)``, ``math.sqrt(n)``, ``max(h, w)`` and ``isinstance(h, int)``
ask for a number. A traced size answers with the number of the trace, which fixes the axis (pytorch/pytorch#148886).
While active, these names in the files of the user's modules stand for the functions of ``size_functions``.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from ...modules.kept_tensors import FOREIGN, CachedFunction
from .size_functions import BUILTINS, VALUES, comparisons_count, quotients_are_noted

# Attributes with functions that a module calls besides its forward.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@contextlib.contextmanager
def sizes_stay_numbers(module: nn.Module) -> Iterator[None]:
    """While active, the files of ``module`` and of what they call compute with traced sizes without fixing them."""
    stand_ins = {id(original): stand_in for original, stand_in in VALUES}
    with contextlib.ExitStack() as stack:
        for namespace in list(namespaces(module)):
            changes = {name: stand_ins[id(value)] for name, value in namespace.items() if id(value) in stand_ins}
            for name, (original, stand_in) in BUILTINS.items():
                if namespace.get(name, getattr(builtins, name)) is original:
                    changes[name] = stand_in
            before = {name: namespace[name] for name in changes if name in namespace}
            stack.callback(_restore, namespace, changes, before)
            namespace.update(changes)
        stack.enter_context(comparisons_count())
        stack.enter_context(quotients_are_noted())
        yield


def _restore(namespace: dict[str, Any], changed: Iterable[str], before: Mapping[str, Any]) -> None:
    for name in changed:
        if name in before:
            namespace[name] = before[name]
        else:
            del namespace[name]


def namespaces(module: nn.Module) -> Iterator[dict[str, Any]]:
    """The globals of all that ``module`` may call: its parts' classes, functions and hooks, and what these name."""
    waiting = functions_of(module)
    seen: set[int] = set()
    while waiting:
        function = waiting.pop()
        waiting += [inner for value in closure(function) for inner in functions(value) if id(inner) not in seen]
        seen.add(id(function))
        namespace = function.__globals__
        package = _package(namespace)
        if id(namespace) in seen or package in FOREIGN:
            continue
        seen.add(id(namespace))
        yield namespace
        for value in list(namespace.values()):
            if isinstance(value, ModuleType) and _is_own(value, package):
                waiting += [inner for held in list(vars(value).values()) for inner in functions(held)]
            elif not isinstance(value, ModuleType):
                waiting += functions(value)


def functions_of(module: nn.Module) -> list[FunctionType]:
    """Return the functions of all classes of the module's parts, and those that the parts hold, hooks among them."""
    return [function for part in module.modules() for held in _held(part) for function in functions(held)]


def _held(part: nn.Module) -> Iterator[Any]:
    yield from type(part).__mro__
    yield from vars(part).values()
    for name in _HOOKS:
        yield from getattr(part, name).values()


def _package(namespace: dict[str, Any]) -> str:
    return str(namespace.get("__name__", "")).partition(".")[0]


def _is_own(module: ModuleType, package: str) -> bool:
    """Return True if a module that a file of ``package`` names is of the same package, or installed by nobody."""
    file = getattr(module, "__file__", None) or ""
    return _package(vars(module)) == package or (bool(file) and "site-packages" not in file)


def is_foreign(kind: type) -> bool:
    """Return True if a class is of a package whose code is no user's."""
    return str(kind.__module__).partition(".")[0] in FOREIGN


def functions(value: Any) -> list[FunctionType]:
    """The Python functions that a function, cached function, method, partial or class stands for."""
    found: list[FunctionType] = []
    if isinstance(value, type):
        held: Iterable[Any] = () if is_foreign(value) else vars(value).values()
        return [inner for item in held if not isinstance(item, type) for inner in functions(item)]
    while value is not None and not isinstance(value, nn.Module):
        if isinstance(value, FunctionType):
            found.append(value)
        if isinstance(value, (staticmethod, classmethod, MethodType)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, (functools.partial, functools.cached_property)):
            value = value.func
        else:
            value = getattr(value, "__wrapped__", None) if isinstance(value, (FunctionType, CachedFunction)) else None
    return found


def closure(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents
