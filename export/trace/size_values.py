"""The value of a size that torch has traced, as Python computes it and as a graph does in float32."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]
from sympy.printing.pycode import PythonCodePrinter  # type: ignore[import-untyped]
from torch.utils._sympy.functions import IntTrueDiv, ToFloat

from ...core.dimension import size_of
from ...errors import InputError

# Floats that differ by less are equal: sympy may have put their sums and products in another order.
FLOAT_DIGITS = 1e-12


def size_at(expression: sympy.Basic, sizes: Mapping[str, int], *, in_float32: bool = False) -> Any:
    """Return the value of ``expression`` at these sizes (true is 1), None if it has none."""
    names, function = _compiled(expression, in_float32)
    try:
        return function(*(size_of(name, sizes) for name in names))
    except (ArithmeticError, TypeError, NameError, ValueError, InputError):
        return None


@functools.lru_cache(maxsize=4096)
def _compiled(expression: sympy.Basic, in_float32: bool) -> tuple[tuple[str, ...], Callable[..., Any]]:
    """``expression`` as a Python function of these dimensions: substituting in sympy is a hundred times slower."""
    symbols = {str(symbol): symbol for symbol in expression.free_symbols}
    names = tuple(sorted(symbols))
    if isinstance(expression, (sympy.Eq, sympy.Ne)) and expression.has(sympy.Float):
        gap = sympy.Abs(expression.args[0] - expression.args[1])
        expression = gap < FLOAT_DIGITS if isinstance(expression, sympy.Eq) else gap >= FLOAT_DIGITS
    arguments = [symbols[name] for name in names]
    return names, sympy.lambdify(
        arguments, expression, modules=[_IN_FLOAT32 if in_float32 else _PYTHON], printer=_Printer
    )


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Prints every function as a call: as operators, torch's remainders of sums lose their parentheses."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__({**(settings or {}), "fully_qualified_modules": False, "allow_unknown_functions": True})

    def _print_Float(self, expression: sympy.Basic) -> str:
        return f"Number({float(expression)!r})"  # all of its digits

    def _print_Mod(self, expression: sympy.Basic) -> str:
        return f"Mod({', '.join(map(self._print, expression.args))})"


# torch's own functions of sizes, as Python computes them.
_PYTHON: dict[str, Any] = {
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda a, b: -(-a // b),
    "IntTrueDiv": operator.truediv,
    "FloatTrueDiv": operator.truediv,
    "ToFloat": float,
    "Number": float,
    "FloorToInt": math.floor,
    "CeilToInt": math.ceil,
    "TruncToInt": math.trunc,
    "TruncToFloat": lambda a: float(math.trunc(a)),
    "RoundToInt": round,
    "FloatPow": math.pow,
    "PowByNatural": operator.pow,
    "Max": max,
    "Min": min,
    "Identity": lambda a: a,
    "Abs": abs,
}
# The same as a graph computes them.
_IN_FLOAT32: dict[str, Any] = {
    **_PYTHON,
    "ToFloat": np.float32,
    "Number": np.float32,
    "IntTrueDiv": lambda a, b: np.float32(a) / np.float32(b),
    "FloatPow": lambda a, b: np.float32(a) ** np.float32(b),
    "TruncToFloat": np.trunc,
    "TruncToInt": lambda a: math.trunc(float(a)),
    "FloorToInt": lambda a: math.floor(float(a)),
    "CeilToInt": lambda a: math.ceil(float(a)),
    "RoundToInt": lambda a: round(float(a)),
}
FLOATS = (sympy.Float, ToFloat, IntTrueDiv)
