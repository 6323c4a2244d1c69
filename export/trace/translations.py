"""Functions of one number or two that torch.onnx writes with a loss, or has no translation for.

It writes ``expm1(x)`` as ``exp(x) - 1`` and ``log1p(x)`` as ``log(1 + x)``, which lose a small x, and ``logsigmoid(x)``
as ``log(sigmoid(x))``, which is minus infinity below -104. ``erfc(x)`` as ``1 - erf(x)`` is zero above 4. Mish is an
operator from opset 18 on alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from onnxscript import opset18

from . import between_pixels, diagonals, nearest
from .rewrites import quantisers

op: Any = opset18  # whose annotations know no Python numbers


def _expm1(x: Any) -> Any:
    # e^x - 1 = tanh(x / 2) (e^x + 1)
    return op.Mul(op.Tanh(op.Mul(x, 0.5)), op.Add(op.Exp(x), 1.0))


def _log1p(x: Any) -> Any:
    """Add what rounding took of ``1 + x`` to its logarithm, whose slope is one by it."""
    total = op.Add(x, 1.0)
    rest = op.Div(op.Sub(x, op.Sub(total, 1.0)), total)
    return op.Add(op.Log(total), op.Where(op.Less(op.Abs(x), 1.0), rest, 0.0))


def _log_sigmoid(x: Any) -> Any:
    return op.Sub(op.Neg(op.Relu(op.Neg(x))), _log1p(op.Exp(op.Neg(op.Abs(x)))))


def _mish(x: Any) -> Any:
    return op.Mul(x, op.Tanh(op.Softplus(x)))


def _hypot(x: Any, y: Any) -> Any:
    """Divide by the longer side first: its square may be out of range."""
    x, y = op.Abs(x), op.Abs(y)
    longer = op.Max(x, y)
    slope = op.Div(op.Min(x, y), op.Where(op.Equal(longer, 0.0), 1.0, longer))
    return op.Mul(longer, op.Sqrt(op.Add(op.Mul(slope, slope), 1.0)))


def _logaddexp(x: Any, y: Any) -> Any:
    apart = op.Where(op.Equal(x, y), 0.0, op.Sub(x, y))  # of equal infinities the difference is no number
    return op.Add(op.Max(x, y), _log1p(op.Exp(op.Neg(op.Abs(apart)))))


# (1 + 2 x) e^(x^2) erfc(x) over x >= 0, in powers of u = (x - 2) / (x + 2): fitted at Chebyshev's points to 2e-8
_SCALED_TAIL = (
    *(1.276978391, -0.0927637628, -0.1660310956, 0.1640494548, -0.05421195911, -0.008018967528, 0.008689161616),
    *(0.001217422032, -0.001395709463, -0.000357933159, 0.0001608047004, 6.337454285e-05),
)


def _scaled_tail(x: Any) -> Any:
    """Return ``e^(x^2) erfc(|x|)``."""
    size = op.Min(op.Abs(x), 1e38)
    u = op.Div(op.Sub(size, 2.0), op.Add(size, 2.0))
    total = op.Add(op.Mul(u, _SCALED_TAIL[-1]), _SCALED_TAIL[-2])
    for factor in _SCALED_TAIL[-3::-1]:
        total = op.Add(op.Mul(total, u), factor)
    return op.Div(total, op.Add(op.Mul(size, 2.0), 1.0))


def _power_of_square(x: Any, factor: float) -> Any:
    """Return ``e^(factor x^2)``: the square of a number of 16ths has no rounding, and the rest of it is small."""
    size = op.Min(op.Abs(x), 1e4)
    near = op.Mul(op.Floor(op.Mul(size, 16.0)), 0.0625)
    rest = op.Mul(op.Sub(size, near), op.Add(size, near))
    return op.Mul(op.Exp(op.Mul(op.Mul(near, near), factor)), op.Exp(op.Mul(rest, factor)))


def _erfc(x: Any) -> Any:
    tail = op.Mul(_scaled_tail(x), _power_of_square(x, -1.0))
    return op.Where(op.Less(x, 0.0), op.Sub(2.0, tail), tail)


def _erfcx(x: Any) -> Any:
    tail = _scaled_tail(x)
    return op.Where(op.Less(x, 0.0), op.Sub(op.Mul(_power_of_square(x, 1.0), 2.0), tail), tail)


def _log_ndtr(x: Any) -> Any:
    half = op.Mul(_scaled_tail(op.Mul(x, math.sqrt(0.5))), 0.5)
    below = op.Sub(op.Log(half), op.Mul(op.Mul(x, x), 0.5))
    return op.Where(op.Less(x, 0.0), below, _log1p(op.Neg(op.Mul(half, _power_of_square(x, -0.5)))))


def _copysign(x: Any, y: Any) -> Any:
    is_negative = op.Less(op.Where(op.Equal(y, 0.0), op.Div(1.0, y), y), 0.0)  # a zero has a sign, too
    return op.Where(is_negative, op.Neg(op.Abs(x)), op.Abs(x))


def _copysign_of_number(x: Any, y: float) -> Any:
    return op.Neg(op.Abs(x)) if math.copysign(1.0, y) < 0 else op.Abs(x)


def _fmin(x: Any, y: Any) -> Any:
    return op.Where(op.IsNaN(x), y, op.Where(op.IsNaN(y), x, op.Min(x, y)))


def _fmax(x: Any, y: Any) -> Any:
    return op.Where(op.IsNaN(x), y, op.Where(op.IsNaN(y), x, op.Max(x, y)))


_ATEN = torch.ops.aten
# operator of a program -> what writes it in ONNX
TRANSLATIONS: dict[Any, Any] = {
    **quantisers.TRANSLATIONS,
    **nearest.TRANSLATIONS,
    **between_pixels.TRANSLATIONS,
    **diagonals.TRANSLATIONS,
    **dict.fromkeys((_ATEN.expm1.default, _ATEN.special_expm1.default), _expm1),
    **dict.fromkeys((_ATEN.log1p.default, _ATEN.special_log1p.default), _log1p),
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.mish.default: _mish,
    **dict.fromkeys((_ATEN.erfc.default, _ATEN.special_erfc.default), _erfc),
    _ATEN.special_erfcx.default: _erfcx,
    _ATEN.special_log_ndtr.default: _log_ndtr,
    _ATEN.hypot.default: _hypot,
    _ATEN.copysign.Tensor: _copysign,
    _ATEN.copysign.Scalar: _copysign_of_number,
    _ATEN.logaddexp.default: _logaddexp,
    _ATEN.fmin.default: _fmin,
    _ATEN.fmax.default: _fmax,
}
