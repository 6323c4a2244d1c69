"""Operators of complex numbers that torch.onnx does not translate, as operators of their two parts.

Its translations hold a complex tensor as a real one whose last dimension is 2. They know the operators of a filter
in frequencies, and neither the shifts, the writes into a slice nor the scalar ``1j`` around it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_any, tree_map

_ATEN = torch.ops.aten
_OF_PARTS = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def spell_out(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return ``program`` with its complex numbers in operators that torch.onnx has; itself if it has none."""
    done: set[Any] = set()
    while targets := _of_complex_numbers(program) - done:
        done |= targets
        known = torch.export.default_decompositions()  # of the operators that are others' names
        composed = {target: known[target] for target in targets if target in known and _is_composed(target)}
        program = program.run_decompositions({**composed, **TABLE})
    return program


def _of_complex_numbers(program: torch.export.ExportedProgram) -> set[Any]:
    """Return the operators that take or give complex numbers."""
    return {
        node.target
        for node in program.graph.nodes
        if node.op == "call_function"
        and tree_any(_is_complex, [one.meta.get("val") for one in (node, *node.all_input_nodes)])
    }


def _is_composed(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._can_decompose()


def _is_complex(value: Any) -> bool:
    return isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex())


def _parts(value: Any) -> tuple[Any, Any]:
    if isinstance(value, Tensor) and value.is_complex():
        pair = torch.view_as_real(value)
        return pair[..., 0], pair[..., 1]
    if isinstance(value, complex):
        return value.real, value.imag
    return value, torch.zeros_like(value) if isinstance(value, Tensor) else 0.0


def _move(operator: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Do with each part what ``operator`` does, which moves or adds up numbers."""
    return torch.complex(*(operator(*of[0], **of[1]) for of in map(partial(_part_of, (args, kwargs)), (0, 1))))


def _part_of(values: Any, part: int) -> Any:
    return tree_map(lambda value: _parts(value)[part] if _is_part(value) else value, values)


def _is_part(value: Any) -> bool:
    return isinstance(value, complex) or (
        isinstance(value, Tensor) and (value.is_complex() or value.is_floating_point())
    )


def _pad(operator: Any, x: Tensor, sides: Any, value: Any = 0) -> Tensor:
    parts = zip(_parts(x), _parts(complex(value)), strict=True)
    return torch.complex(*(operator(part, sides, fill) for part, fill in parts))


def _make(operator: Any, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
    """Make a tensor of numbers that are all real."""
    dtype = next(value.dtype for value in args if isinstance(value, Tensor)) if dtype is None else dtype
    made: Tensor = operator(*_part_of(args, 0), dtype=_OF_PARTS.get(dtype, dtype), **kwargs)
    return torch.complex(made, torch.zeros_like(made)) if dtype.is_complex else made


def _multiply(_: Any, x: Any, y: Any) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    if not _is_complex(y):
        return torch.complex(a * c, b * c)
    if not _is_complex(x):
        return torch.complex(a * c, a * d)
    return torch.complex(a * c - b * d, a * d + b * c)


def _add(sign: int, _: Any, x: Any, y: Any, alpha: float = 1) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    return torch.complex(a + sign * alpha * c, b + sign * alpha * d)


def _divide(_: Any, x: Any, y: Any) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    if not _is_complex(y):
        return torch.complex(a / c, b / c)
    size = c * c + d * d
    return torch.complex((a * c + b * d) / size, (b * c - a * d) / size)


def _power(_: Any, x: Tensor, exponent: Any) -> Any:
    if not isinstance(exponent, int) or not 1 <= exponent <= 8:
        return NotImplemented
    found = x
    for _count in range(exponent - 1):
        found = _multiply(None, found, x)
    return found


def _exponential(_: Any, x: Tensor) -> Tensor:
    real, imaginary = _parts(x)
    size = real.exp()
    return torch.complex(size * imaginary.cos(), size * imaginary.sin())


def _unit(_: Any, x: Tensor) -> Tensor:
    real, imaginary = _parts(x)
    size = torch.hypot(real, imaginary)
    size = torch.where(size == 0, 1.0, size)
    return torch.complex(real / size, imaginary / size)


def _product(operator: Any, x: Tensor, y: Tensor) -> Tensor:
    (a, b), (c, d) = _parts(x), _parts(y)
    return torch.complex(operator(a, c) - operator(b, d), operator(a, d) + operator(b, c))


def _affine_product(_: Any, bias: Tensor, x: Tensor, y: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    return beta * bias + alpha * (x @ y)


def _linear(_: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    found = _product(torch.matmul, x, weight.mT)
    return found if bias is None else _add(1, None, found, bias)


def _cast(_: Any, x: Tensor, *, dtype: torch.dtype | None = None, **_options: Any) -> Tensor:
    dtype = x.dtype if dtype is None else dtype
    real, imaginary = (part.to(_OF_PARTS.get(dtype, dtype)) for part in _parts(x))
    return torch.complex(real, imaginary) if dtype.is_complex else real


def _rewrite(operator: Any, rewrite: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``rewrite`` for calls with complex numbers; torch leaves calls that are NotImplemented as they are."""

    def decompose(*args: Any, **kwargs: Any) -> Any:
        asked = kwargs.get("dtype")
        is_of_complex = tree_any(_is_complex, (args, kwargs)) or (asked is not None and asked.is_complex)
        return rewrite(operator, *args, **kwargs) if is_of_complex else NotImplemented

    return decompose


_MOVES = (
    *("index_select.default", "select.int", "slice_scatter.default", "select_scatter.default", "index.Tensor"),
    *("repeat.default", "expand.default", "gather.default", "where.self", "copy.default"),
    *("index_put.default", "unsqueeze.default", "squeeze.default", "squeeze.dims", "tril.default", "triu.default"),
    *("cumsum.default", "scatter.src", "index_add.default", "diagonal.default", "unfold.default", "alias.default"),
)
_MAKES = ("zeros.default", "ones.default", "zeros_like.default", "ones_like.default", "new_zeros.default")
_FORMULAS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mul.Tensor", "mul.Scalar"), _multiply),
    **dict.fromkeys(("add.Tensor", "add.Scalar"), partial(_add, 1)),
    **dict.fromkeys(("sub.Tensor", "sub.Scalar"), partial(_add, -1)),
    **dict.fromkeys(("div.Tensor", "div.Scalar"), _divide),
    "constant_pad_nd.default": _pad,
    "pow.Tensor_Scalar": _power,
    "exp.default": _exponential,
    "sgn.default": _unit,
    "mm.default": _product,
    "bmm.default": _product,
    "matmul.default": _product,
    "addmm.default": _affine_product,
    "linear.default": _linear,
    "_to_copy.default": _cast,
}


def _named(name: str) -> Any:
    packet, overload = name.split(".")
    return getattr(getattr(_ATEN, packet), overload)


TABLE: dict[Any, Callable[..., Any]] = {
    **{_named(name): _rewrite(_named(name), _move) for name in _MOVES},
    **{_named(name): _rewrite(_named(name), _make) for name in _MAKES},
    **{_named(name): _rewrite(_named(name), formula) for name, formula in _FORMULAS.items()},
}
