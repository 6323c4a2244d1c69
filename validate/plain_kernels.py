"""The loss of float32 in kernels that are written plainly: sums in a loop, products term by term, gates near one.

PyTorch adds in a cascade, which loses next to nothing, and no runtime need be that careful: over an image of 160 x 160
whose mean is not zero, ONNX Runtime's loop loses several times as much, and a gate or a normalisation behind it shows
that. A context of 784 equal terms, added up one by one, loses six times what blocked products do. The loss of float32
is therefore measured with either kind of kernel, and the floor is the larger. ``sums`` has the order of each sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .last_digits import LastDigits
from .operator_mode import operator_mode
from .sums import Sum, sum_in_lanes, sum_in_order, sum_over

# A product of matrices is added up term by term only if that takes a fraction of a second: gates, scores, contexts.
MOST_TERMS = 1 << 27
# Below so many elements of the result, all terms at once are faster than one step per term.
FEW_ELEMENTS = 1 << 11
# Operators with a sum inside, which is one of those below if PyTorch writes them out.
WITH_SUMS = frozenset(
    [
        *("nansum", "std_mean", "linalg_vector_norm", "logsumexp", "_log_softmax", "renorm", "_fused_rms_norm"),
        *("trace", "dot", "vdot", "mv", "addmv", "baddbmm", "nll_loss_forward", "nll_loss2d_forward"),
        *("mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "multi_margin_loss"),
        *("binary_cross_entropy", "binary_cross_entropy_with_logits"),
    ]
)
# Those of them that are one operator of ONNX: runtimes compute each number's power, and add it to one accumulator.
OF_POWERS = frozenset(["linalg_vector_norm", "logsumexp"])
# Kernels for products keep one accumulator per element, over at most this many terms (MLAS, for narrow matrices).
TERMS_IN_ROW = 1024


def plain_kernels_mode() -> Any:
    """A mode in which a float32 run computes plainly, its last digits drawn as in ``last_digits_mode``.

    Sums, also running ones, small products, softmaxes, sigmoids and normalisations are written out.
    """
    return _mode(LastDigits(draw=0))


def _mode(digits: LastDigits, add: Sum | None = None) -> Any:
    import torch
    from torch._decomp import decomposition_table

    aten = torch.ops.aten
    sigmoid = partial(_sigmoid, digits)
    replaced: dict[Any, Callable[..., Any]] = {
        aten.mean.default: _mean,
        aten.mean.dim: _mean,
        aten.sum.default: partial(_sum, add),
        aten.sum.dim_IntList: partial(_sum, add),
        aten.cumsum.default: _running_sum,
        aten.bmm.default: _product,
        aten.mm.default: _product,
        aten.addmm.default: _affine_product,
        aten._softmax.default: _softmax,
        aten.sigmoid.default: sigmoid,
        aten.silu.default: lambda x: x * sigmoid(x),
        aten.native_batch_norm.default: _batch_norm,
        aten.native_group_norm.default: _group_norm,
        aten.native_layer_norm.default: _layer_norm,
    }
    with_options = {
        aten.var.correction: _variance,
        aten.std.correction: _deviation,
        aten.var_mean.correction: _variance_and_mean,
    }

    def call(func: Any, args: Any, kwargs: Any) -> Any:
        x: Any = args[0] if args else None
        if not isinstance(x, torch.Tensor) or x.dtype != torch.float32 or not x.numel():
            return digits.move(func, func(*args, **kwargs))
        name = func.overloadpacket.__name__
        if name in WITH_SUMS and func in decomposition_table:
            with _mode(digits, sum_in_order if name in OF_POWERS else None):
                return decomposition_table[func](*args, **kwargs)
        is_plain = kwargs in ({}, {"dtype": torch.float32})
        found = replaced[func](*args) if is_plain and func in replaced else None
        if func in with_options:
            found = with_options[func](*args, **kwargs)
        return digits.move(func, func(*args, **kwargs) if found is None else found)

    return operator_mode(call)


def _sum(add: Sum | None, x: Any, axes: Sequence[int] | None = None, keep: bool = False) -> Any:
    return _reduce(x, axes, keep, is_mean=False, add=add)


def _mean(x: Any, axes: Sequence[int] | None = None, keep: bool = False) -> Any:
    return _reduce(x, axes, keep, is_mean=True)


def _running_sum(x: Any, axis: int) -> Any:
    import torch

    return torch.from_numpy(np.cumsum(x.numpy(), axis, np.float32)).reshape(x.shape)


def _reduce(
    x: Any,
    axes: Sequence[int] | None,
    keep: bool,
    *,
    is_mean: bool,
    add: Sum | None = None,
) -> Any:
    if not x.ndim:
        return x.clone()
    dims = sorted(dim % x.ndim for dim in (axes or range(x.ndim)))
    kept = [dim for dim in range(x.ndim) if dim not in dims]
    flat = x.permute(*kept, *dims).reshape(*(x.shape[dim] for dim in kept), -1)
    total = _added(flat, add or sum_over(x.shape, dims))
    result = total / flat.shape[-1] if is_mean else total
    return result.reshape([1 if dim in dims else x.shape[dim] for dim in range(x.ndim)]) if keep else result


def _variance_and_mean(
    x: Any, axes: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Any, Any]:
    mean = _reduce(x, axes, True, is_mean=True)
    terms = x.numel() // mean.numel() - (1 if correction is None else correction)
    variance = _reduce((x - mean) ** 2, axes, keepdim, is_mean=False) / max(terms, 0)
    return variance, mean if keepdim else mean.reshape(variance.shape)


def _variance(x: Any, axes: Sequence[int] | None = None, **options: Any) -> Any:
    return _variance_and_mean(x, axes, **options)[0]


def _deviation(x: Any, axes: Sequence[int] | None = None, **options: Any) -> Any:
    return _variance(x, axes, **options).sqrt()


def _product(a: Any, b: Any) -> Any:
    """``a @ b``, (m, k) by (k, n) or as many of them as a batch has; None if it is too large, or empty."""
    rows, terms, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    if not a.numel() or not b.numel() or a.numel() * columns > MOST_TERMS:
        return None
    if rows * columns < FEW_ELEMENTS:
        return chain_sum(a.unsqueeze(-2) * b.transpose(-1, -2).unsqueeze(-3))
    left, right = a.reshape(-1, rows, terms), b.reshape(-1, terms, columns)
    total: Any = 0
    for start in range(0, terms, TERMS_IN_ROW):
        row = a.new_zeros((left.shape[0], rows, columns))
        for k in range(start, min(start + TERMS_IN_ROW, terms)):
            row.baddbmm_(left[:, :, k : k + 1], right[:, k : k + 1])
        total = row + total
    return total.reshape(*a.shape[:-1], columns)


def _affine_product(bias: Any, a: Any, b: Any) -> Any:
    product = _product(a, b)
    return None if product is None else product + bias


def _softmax(x: Any, dim: int, _is_half: bool) -> Any:
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return powers / _added(powers.movedim(dim, -1)).unsqueeze(dim)


def _sigmoid(digits: LastDigits, x: Any) -> Any:
    """Compute the sigmoid as a hyperbolic tangent, which is what vectorised kernels come down to.

    Nearly shut gates are right to two roundings of an open one, not of themselves: the tangent has last digits of its
    own. ONNX Runtime's sigmoid is off by 2.3 times 2**-24 at most, between -18 and -6 as well.
    """
    import torch

    return 0.5 * digits.move(torch.ops.aten.tanh.default, (0.5 * x).tanh()) + 0.5


def _batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, is_trained: bool, _momentum: float, epsilon: float
) -> Any:
    """Normalise by the input's own statistics, as ``instance_norm`` does; None if running statistics are used."""
    if mean is not None or variance is not None or not is_trained:
        return None
    turned = x.transpose(0, 1)
    normal, mean, scale = _normalised(turned.reshape(x.shape[1], -1), epsilon)
    shape = (1, x.shape[1], *(1 for _ in x.shape[2:]))
    return _affine(normal.reshape(turned.shape).transpose(0, 1), weight, bias, shape), mean, scale


def _group_norm(x: Any, weight: Any, bias: Any, n: int, c: int, _size: int, groups: int, epsilon: float) -> Any:
    normal, mean, scale = _normalised(x.reshape(n, groups, -1), epsilon)
    shape = (1, c, *(1 for _ in x.shape[2:]))
    return _affine(normal.reshape(x.shape), weight, bias, shape), mean, scale


def _layer_norm(x: Any, shape: Sequence[int], weight: Any, bias: Any, epsilon: float) -> Any:
    outer = x.shape[: x.ndim - len(shape)]
    normal, mean, scale = _normalised(x.reshape(*outer, -1), epsilon)
    inner = (*outer, *(1 for _ in shape))
    return _affine(normal.reshape(x.shape), weight, bias, shape), mean.reshape(inner), scale.reshape(inner)


def _normalised(flat: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Return the normalised values over the last axis, the mean and the reciprocal deviation.

    One product and one sum, as in runtimes: if the mean is large, they cancel more than centring would.
    """
    mean = _added(flat) / flat.shape[-1]
    centred = flat - mean.unsqueeze(-1)
    scale = (_added(centred * centred) / flat.shape[-1] + epsilon).rsqrt()
    return flat * scale.unsqueeze(-1) - (mean * scale).unsqueeze(-1), mean, scale


def _affine(x: Any, weight: Any, bias: Any, shape: Sequence[int]) -> Any:
    if weight is not None:
        x = x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def _added(x: Any, add: Sum = sum_in_lanes) -> Any:
    import torch

    return torch.from_numpy(add(x.detach().numpy()))


def chain_sum(x: Any) -> Any:
    """The sum over the last axis, not empty, with one accumulator for every ``TERMS_IN_ROW`` terms."""
    import torch.nn.functional as F

    while x.shape[-1] > 1:
        # Pooling is PyTorch's one kernel that adds in order.
        width = min(x.shape[-1], TERMS_IN_ROW)
        padded = F.pad(x, (0, -x.shape[-1] % width))
        sums = F.avg_pool2d(padded.reshape(-1, 1, 1, padded.shape[-1]), (1, width), divisor_override=1)
        x = sums.reshape(*x.shape[:-1], -1)
    return x.squeeze(-1)
