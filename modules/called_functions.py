"""What a module may call: its parts' classes, functions and hooks, their files, and what these and closures hold."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

CachedFunction: Any = type(functools.lru_cache(len))
# packages whose own code is no model's
_FOREIGN = frozenset({"torch", "numpy", "attn2trt", "onnxscript", "sympy"}) | sys.stdlib_module_names
# Attributes with functions that a module calls besides its forward.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


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
        if id(namespace) in seen or package in _FOREIGN:
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
    return str(kind.__module__).partition(".")[0] in _FOREIGN


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
    return (cell.cell_contents for cell in _filled_cells(function))


def _filled_cells(function: FunctionType) -> Iterator[CellType]:
    for cell in function.__closure__ or ():
        if cell != CellType():  # not filled yet
            yield cell


def holders(module: nn.Module) -> Iterator[tuple[dict[str, Any], Callable[[str, Any], None]]]:
    """Yield what each file, part and class holds by name, and how a name is set there."""
    files = list(namespaces(module))
    named = [value for file in files for value in file.values() if isinstance(value, type)]
    classes = dict.fromkeys([*named, *(kind for part in module.modules() for kind in type(part).__mro__)])
    mappings: list[MutableMapping[str, Any]] = [*files, *map(vars, module.modules())]
    for mapping in mappings:
        yield dict(mapping), mapping.__setitem__
    for kind in classes:
        if not is_foreign(kind):
            yield dict(vars(kind)), functools.partial(setattr, kind)


def cached_in_closures(value: Any) -> Iterator[CellType]:
    """Yield the cells, of the functions that ``value`` stands for, that hold a cached function, as decorators do."""
    cells = (cell for function in functions(value) for cell in _filled_cells(function))
    return (cell for cell in cells if isinstance(cell.cell_contents, CachedFunction))
