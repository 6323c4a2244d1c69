"""Python's functions of numbers, as stand-ins that keep a traced size symbolic and are the originals for all else."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

_SYMBOLIC = (torch.SymInt, torch.SymFloat)
# Of a size as a float: the two whole numbers that it is the quotient of, noted where these are divided.
_QUOTIENT = "_attn2trt_quotient"
# Operators whose operands may be answers of comparisons, which count as 0 and 1.
_COUNTING = ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__")


class _NumberKind(type):
    """Stands in for int or float: ``kind(x)`` and ``isinstance(x, kind)`` also take a traced size."""

    original: type
    symbolic: type
    convert: Callable[[Any], Any]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], (*_SYMBOLIC, torch.SymBool)):
            return cls.convert(_counted(args[0]))
        return cls.original(*args, **kwargs)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, (cls.original, cls.symbolic))

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.original)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.original, name)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.original

    def __hash__(cls) -> int:
        return hash(cls.original)


def _whole(value: Any) -> Any:
    """``int``: of a quotient of whole numbers, their division, which torch simplifies and a graph has without loss."""
    dividend: Any
    divisor: Any
    dividend, divisor = getattr(value, _QUOTIENT, (-1, 1))  # of another float, what is not divided
    if statically_known_true(dividend >= 0) and statically_known_true(divisor > 0):
        return dividend // divisor
    return torch.sym_int(value)


class _Int(metaclass=_NumberKind):
    original, symbolic, convert = int, torch.SymInt, _whole
    __match_args__ = ("real",)  # ``case int(h)``


class _Float(metaclass=_NumberKind):
    original, symbolic, convert = float, torch.SymFloat, torch.sym_float
    __match_args__ = ("real",)


class _TypeKind(type):
    """Stands in for type: that of a traced size is ``_Int``, as ``int`` is, and that of a traced tensor a tensor's."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _type_of(args[0]) if len(args) == 1 and not kwargs else type(*args, **kwargs)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, type)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, type)

    def __getattr__(cls, name: str) -> Any:
        return getattr(type, name)


class _Type(metaclass=_TypeKind):
    pass


def _type_of(value: Any) -> Any:
    kind = type(value)
    if kind in (torch.SymInt, int):
        return _Int
    if kind in (torch.SymFloat, float):
        return _Float
    if kind is torch.SymBool:
        return bool
    if kind in (FakeTensor, FunctionalTensor):
        return torch.nn.Parameter if isinstance(value, torch.nn.Parameter) else torch.Tensor
    return kind


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


def _length(value: Any) -> Any:
    # a tensor's own __len__ has to be a number
    return value.shape[0] if isinstance(value, torch.Tensor) and value.ndim else len(value)


def _round(value: Any, ndigits: int | None = None) -> Any:
    """``round``: to the nearest, of two to the even one. No graph holds torch's own for a size."""
    if isinstance(value, torch.SymInt) and (ndigits is None or ndigits >= 0):
        return value
    if not isinstance(value, torch.SymFloat) or ndigits is not None:
        return round(value) if ndigits is None else round(value, ndigits)
    up: Any = math.floor(value + 0.5)
    is_tie: Any = math.floor(up - value + 0.5)
    return up - is_tie * (up % 2)


def _divide(value: Any, divisor: Any) -> Any:
    if isinstance(value, _SYMBOLIC) or isinstance(divisor, _SYMBOLIC):
        return value // divisor, value % divisor
    return divmod(value, divisor)


def _of_float(plain: Any, symbolic: Callable[[Any], Any]) -> Callable[..., Any]:
    """NumPy's ``plain``, of a size as a float."""
    return lambda *args, **kwargs: (
        torch.sym_float(symbolic(args[0])) if isinstance(args[0], _SYMBOLIC) else plain(*args, **kwargs)
    )


def _product_of_array(values: Any, *args: Any, **kwargs: Any) -> Any:
    is_of_sizes = isinstance(values, (list, tuple)) and any(isinstance(value, _SYMBOLIC) for value in values)
    return _product(values) if is_of_sizes and not args and not kwargs else np.prod(values, *args, **kwargs)


class _Module(ModuleType):
    """A module with some functions replaced."""

    def __init__(self, original: ModuleType, **functions: Any) -> None:
        super().__init__(original.__name__)
        self._original = original
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


_MATH: dict[str, Any] = {"sqrt": _square_root, "pow": _power, "prod": _product}
_NUMPY: dict[str, Any] = {
    "sqrt": _of_float(np.sqrt, _square_root),
    "ceil": _of_float(np.ceil, math.ceil),
    "floor": _of_float(np.floor, math.floor),
    "prod": _product_of_array,
}
# Builtin names, which a namespace holds only if it hides them.
BUILTINS: dict[str, tuple[Any, Any]] = {
    "int": (int, _Int),
    "float": (float, _Float),
    "min": (min, _choose(min, torch.sym_min)),
    "max": (max, _choose(max, torch.sym_max)),
    "len": (len, _length),
    "round": (round, _round),
    "divmod": (divmod, _divide),
    "type": (type, _Type),
}
# Modules and functions, under whatever name a namespace holds them.
VALUES: list[tuple[Any, Any]] = [
    (math, _Module(math, **_MATH)),
    (np, _Module(np, **_NUMPY)),
    *((getattr(math, name), new) for name, new in _MATH.items()),
    *((getattr(np, name), new) for name, new in _NUMPY.items()),
]


def _counted(value: Any) -> Any:
    """Return the answer of a comparison of sizes as 0 or 1, and anything else unchanged."""
    return torch.sym_ite(value, 1, 0) if isinstance(value, torch.SymBool) else value


@contextmanager
def comparisons_count() -> Iterator[None]:
    """While active, ``h + (h % 2 != 0)`` and the like compute with the answer of a comparison, without fixing it."""
    kinds = (torch.SymInt, torch.SymFloat, torch.SymBool)
    saved = [(kind, name, vars(kind)[name]) for kind in kinds for name in _COUNTING if name in vars(kind)]

    def counting(original: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
        plain = getattr(operator, name.replace("__r", "__"))

        def apply(left: Any, right: Any) -> Any:
            if not isinstance(left, torch.SymBool) and not isinstance(right, torch.SymBool):
                return original(left, right)
            left, right = _counted(left), _counted(right)
            return plain(right, left) if name.startswith("__r") else plain(left, right)

        return apply

    try:
        for kind, name, original in saved:
            setattr(kind, name, counting(original, name))
        for kind in _SYMBOLIC:  # as of an int, which ``case int(h)`` takes
            setattr(kind, "real", property(lambda size: size))  # noqa: B010
        yield
    finally:
        for kind in _SYMBOLIC:
            delattr(kind, "real")
        for kind, name, original in saved:
            setattr(kind, name, original)


@contextmanager
def quotients_are_noted() -> Iterator[None]:
    """While active, ``int(n / 64.0)`` knows the whole numbers that it divides."""
    original = torch.SymInt.__truediv__

    def divide(size: torch.SymInt, divisor: Any) -> Any:
        found = original(size, divisor)
        whole = int(divisor) if isinstance(divisor, float) and divisor.is_integer() else divisor
        if isinstance(found, torch.SymFloat) and isinstance(whole, (int, torch.SymInt)):
            setattr(found, _QUOTIENT, (size, whole))
        return found

    setattr(torch.SymInt, "__truediv__", divide)  # noqa: B010
    try:
        yield
    finally:
        setattr(torch.SymInt, "__truediv__", original)  # noqa: B010
