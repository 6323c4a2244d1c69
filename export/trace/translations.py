"""Functions of one number or two that torch.onnx writes with a loss, or has no translation for.

It writes ``expm1(x)`` as ``exp(x) - 1`` and ``log1p(x)`` as ``log(1 + x)``, which lose a small x, and ``logsigmoid(x)``
as ``log(sigmoid(x))``, which is minus infinity below -104. Mish is an operator from opset 18 on alone.
"""

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset18

from . import between_pixels, nearest, quantisers

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


def _copysign(x: Any, y: Any) -> Any:
    is_negative = op.Less(op.Where(op.Equal(y, 0.0), op.Div(1.0, y), y), 0.0)  # a zero has a sign, too
    return op.Where(is_negative, op.Neg(op.Abs(x)), op.Abs(x))


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
    **dict.fromkeys((_ATEN.expm1.default, _ATEN.special_expm1.default), _expm1),
    **dict.fromkeys((_ATEN.log1p.default, _ATEN.special_log1p.default), _log1p),
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.mish.default: _mish,
    _ATEN.hypot.default: _hypot,
    _ATEN.copysign.Tensor: _copysign,
    _ATEN.logaddexp.default: _logaddexp,
    _ATEN.fmin.default: _fmin,
    _ATEN.fmax.default: _fmax,
}
