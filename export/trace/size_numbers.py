"""Let the user's Python compute with sizes as numbers while a module is traced, without fixing them.

``int(h)``, ``float(h * w)``, ``math.sqrt(n)``, ``max(h, w)`` and ``isinstance(h, int)`` ask for a number; a traced size
answers with the number of the trace, which fixes the axis (pytorch/pytorch#148886). While active, the names ``int``,
``float``, ``isinstance``'s classes, ``min``, ``max`` and ``math`` in the files of the user's modules stand for versions
that keep a traced size symbolic and are the originals for everything else.
"""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType, TracebackType
from typing import Any

import torch
from torch import nn

_SYMBOLIC = (torch.SymInt, torch.SymFloat)
_FOREIGN = frozenset({"torch", "numpy", "attn2trt", "onnxscript", "sympy"}) | sys.stdlib_module_names
_ABSENT = object()


class _NumberKind(type):
    """Stands in for int or float: ``kind(x)`` and ``isinstance(x, kind)`` also take a traced size."""

    original: type
    symbolic: type
    convert: Callable[[Any], Any]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], _SYMBOLIC):
            return cls.convert(args[0])
        return cls.original(*args, **kwargs)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, (cls.original, cls.symbolic))

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.original)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.original, name)


class _Int(metaclass=_NumberKind):
    original, symbolic, convert = int, torch.SymInt, torch.sym_int


class _Float(metaclass=_NumberKind):
    original, symbolic, convert = float, torch.SymFloat, torch.sym_float


def _choose(plain: Callable[..., Any], symbolic: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def choose(*args: Any, **kwargs: Any) -> Any:
        values = list(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple, torch.Size)) else list(args)
        if kwargs or len(values) < 2 or not any(isinstance(value, _SYMBOLIC) for value in values):
            return plain(*args, **kwargs)
        result = values[0]
        for value in values[1:]:
            result = symbolic(result, value)
        return result

    return choose


def _square_root(value: Any) -> Any:
    return value**0.5 if isinstance(value, _SYMBOLIC) else math.sqrt(value)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, _SYMBOLIC) and not isinstance(exponent, _SYMBOLIC):
        return torch.sym_float(base) ** exponent
    return math.pow(base, exponent)


def _product(values: Any, *, start: Any = 1) -> Any:
    found = list(values)
    if not any(isinstance(value, _SYMBOLIC) for value in found):
        return math.prod(found, start=start)
    for value in found:
        start = start * value
    return start


class _Math(ModuleType):
    sqrt = staticmethod(_square_root)
    pow = staticmethod(_power)
    prod = staticmethod(_product)

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)


_STAND_INS: dict[str, tuple[Any, Any]] = {
    "int": (int, _Int),
    "float": (float, _Float),
    "min": (min, _choose(min, torch.sym_min)),
    "max": (max, _choose(max, torch.sym_max)),
    "math": (math, _Math("math")),
}


class SizesStayNumbers:
    """While active, the files of ``module`` and of what they call compute with traced sizes without fixing them."""

    def __init__(self, module: nn.Module) -> None:
        self._namespaces = list(_namespaces(module))
        self._saved: list[tuple[dict[str, Any], str, Any]] = []

    def __enter__(self) -> SizesStayNumbers:
        for namespace in self._namespaces:
            for name, (original, stand_in) in _STAND_INS.items():
                found = namespace.get(name, getattr(builtins, name, None))
                if found is original:
                    self._put(namespace, name, stand_in)
            for name, value in list(namespace.items()):
                if value is math.sqrt:
                    self._put(namespace, name, _square_root)
                elif value is math.prod:
                    self._put(namespace, name, _product)
                elif value is math and name != "math":
                    self._put(namespace, name, _STAND_INS["math"][1])
        return self

    def _put(self, namespace: dict[str, Any], name: str, value: Any) -> None:
        self._saved.append((namespace, name, namespace.get(name, _ABSENT)))
        namespace[name] = value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for namespace, name, value in reversed(self._saved):
            if value is _ABSENT:
                del namespace[name]
            else:
                namespace[name] = value
        self._saved.clear()


def _namespaces(module: nn.Module) -> Iterator[dict[str, Any]]:
    """The globals of every class of ``module``'s parts, and of the functions that these globals hold."""
    waiting = [
        function
        for part in module.modules()
        for kind in type(part).__mro__
        for function in vars(kind).values()
        if isinstance(function, FunctionType)
    ]
    seen: set[int] = set()
    while waiting:
        namespace = waiting.pop().__globals__
        if id(namespace) in seen or str(namespace.get("__name__", "")).partition(".")[0] in _FOREIGN:
            continue
        seen.add(id(namespace))
        yield namespace
        for value in list(namespace.values()):
            if isinstance(value, FunctionType):
                waiting.append(value)
            elif isinstance(value, type) and issubclass(value, nn.Module):
                waiting += [function for function in vars(value).values() if isinstance(function, FunctionType)]
