"""The loss of float32 in kernels that are written plainly, for graphs: sums in a loop, products term by term.

NumPy adds in pairs and OpenBLAS in blocks, which lose next to nothing; no runtime need be that careful. The floor of a
graph is therefore measured with plain kernels as well, as PyTorch's is (``validate.plain_kernels``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..arrays import Array
from ..sums import Sum, sum_in_lanes, sum_in_order, sum_over
from .levels import Ends

# Of a vector that sums whole maps in MLAS's pooling; a layout of channels in blocks has one accumulator instead.
POOL_LANES = 4
# Products with more multiplications are left to BLAS: to add them up term by term would take seconds.
MOST_TERMS = 1 << 26


@dataclass
class Manner:
    """The manner in which operators work, which may change between runs.

    Attributes:
        rounds: QuantizeLinear rounds to levels; else it keeps the fractions between them.
        ends: Where QuantizeLinear cuts off what lies beyond its levels; unless it rounds, it may keep that.
        is_plain: Sums, products and normalisations are those of plain kernels.
        move: Gives the value of an operator, by its name, with last digits of its own.
    """

    rounds: bool = False
    ends: Ends = "all"
    is_plain: bool = False
    move: Callable[[str, Array], Array] = lambda _, value: value


def plain_operators(opset: int, manner: Manner, replaced: Sequence[str]) -> Iterator[type]:
    """Yield operators that work plainly if ``manner`` says so, else as the evaluator's own; not those ``replaced``."""
    from onnx.reference.ops import load_op

    plain: dict[str, Callable[..., Any]] = {**_PLAIN, "Sigmoid": partial(_sigmoid, manner)}
    for kind, of in plain.items():
        if kind in replaced:
            continue
        try:
            own = load_op("", kind, opset)
        except Exception:  # of several unrelated types: the opset does not have it
            continue
        yield _either(own, kind, of, manner)


def _either(own: Any, kind: str, of: Callable[..., Any], manner: Manner) -> type:
    def run(self: Any, *given: Any, **attributes: Any) -> Any:
        if manner.is_plain and isinstance(given[0], np.ndarray) and given[0].dtype == np.float32 and given[0].size:
            # the evaluator's unary operators are called without their attributes
            found = of(*given, **{**{name: getattr(self, name) for name in self.attributes_names_}, **attributes})
            if found is not None:
                return (np.asarray(found, np.float32),)
        return own._run(self, *given, **attributes)

    return type(kind, (own,), {"_run": run, "op_domain": ""})


def product(a: Array, b: Array) -> Array | None:
    """Return ``a @ b`` added up term by term; None if that takes too long."""
    if a.ndim < 2 or b.ndim < 2 or a.size * b.shape[-1] > MOST_TERMS:
        return None
    total: Any = 0
    for term in range(a.shape[-1]):
        total = total + a[..., term : term + 1] * b[..., term : term + 1, :]
    return np.asarray(total)


def _reduce(
    x: Array,
    given: Array | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int | None = None,
    noop_with_empty_axes: int | None = None,
    is_mean: bool = False,
    add: Sum | None = None,
) -> Array | None:
    """Reduce over axes given as an attribute or, in later opsets, as an input."""
    chosen = [*(axes or ())] if given is None else given.tolist()
    if not chosen and noop_with_empty_axes:
        return None
    dims = sorted(int(dim) % x.ndim for dim in (chosen or range(x.ndim)))
    kept = [dim for dim in range(x.ndim) if dim not in dims]
    flat = x.transpose(*kept, *dims).reshape(*(x.shape[dim] for dim in kept), -1)
    total = (add or sum_over(x.shape, dims))(flat) / np.float32(flat.shape[-1] if is_mean else 1)
    if keepdims == 0:
        return total
    return total.reshape([1 if dim in dims else size for dim, size in enumerate(x.shape)])


def _mean(x: Array, given: Array | None = None, **attributes: Any) -> Array | None:
    return _reduce(x, given, **attributes, is_mean=True)


def _reduced(
    prepare: Callable[[Array], Array], finish: Callable[[Array], Array] = lambda total: total
) -> Callable[..., Array | None]:
    """Return a reduction that is a sum of what ``prepare`` makes of the numbers, and ``finish`` of the sum."""

    def reduce(x: Array, given: Array | None = None, **attributes: Any) -> Array | None:
        total = _reduce(prepare(x), given, **attributes, add=sum_in_order)
        return None if total is None else finish(total)

    return reduce


def _log_sum_exp(x: Array, given: Array | None = None, **attributes: Any) -> Array | None:
    mean = _reduce(x, given, **{**attributes, "keepdims": 1})
    if mean is None:
        return None
    dims = tuple(dim for dim in range(x.ndim) if mean.shape[dim] != x.shape[dim])
    largest = x.max(axis=dims, keepdims=True)
    total = _reduce(np.exp(x - largest), given, **attributes, add=sum_in_order)
    return None if total is None else np.log(total) + largest.reshape(total.shape)


def _einsum(*given: Array, equation: str) -> Array | None:
    """Add up an einsum's products in a loop; None for one that is too large, or with a diagonal or an ellipsis."""
    terms, _, result = equation.replace(" ", "").partition("->")
    names = terms.split(",")
    sizes = {
        letter: size
        for name, value in zip(names, given, strict=True)
        for letter, size in zip(name, value.shape, strict=False)
    }
    letters = result + "".join(letter for letter in sizes if letter not in result)
    is_plain = "->" in equation and "." not in terms and all(len({*name}) == len(name) for name in names)
    if not is_plain or math.prod(sizes.values()) > MOST_TERMS or letters == result:
        return None
    product: Any = 1
    for name, value in zip(names, given, strict=True):
        order = sorted(range(len(name)), key=lambda axis: letters.index(name[axis]))
        shape = [sizes[letter] if letter in name else 1 for letter in letters]
        product = product * value.transpose(order).reshape(shape)
    return sum_in_lanes(product.reshape(*(sizes[letter] for letter in result), -1))


def _global_mean(x: Array) -> Array | None:
    return _mean(x, axes=range(2, x.ndim), add=partial(sum_in_lanes, lanes=POOL_LANES))


def _gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    transA: int | None = None,
    transB: int | None = None,
) -> Array | None:
    found = product(a.T if transA else a, b.T if transB else b)
    if found is None:
        return None
    scaled = found * np.float32(1 if alpha is None else alpha)
    return scaled if c is None else scaled + c * np.float32(1 if beta is None else beta)


def _softmax(x: Array, axis: int | None = None) -> Array:
    place = -1 if axis is None else axis
    powers = np.exp(x - x.max(axis=place, keepdims=True))
    found: Array = powers / np.expand_dims(sum_in_lanes(np.moveaxis(powers, place, -1)), place)
    return found


def _sigmoid(manner: Manner, x: Array) -> Array:
    """Compute the sigmoid as a hyperbolic tangent, which is what vectorised kernels come down to, with its own last
    digits."""
    half = np.float32(0.5)
    found: Array = half * manner.move("Tanh", np.tanh(half * x)) + half
    return found


def _layer_norm(
    x: Array,
    scale: Array,
    bias: Array | None = None,
    *,
    axis: int | None = None,
    epsilon: float | None = None,
    stash_type: int | None = None,
) -> Array | None:
    if stash_type not in (None, 1):
        return None
    first = (-1 if axis is None else axis) % x.ndim
    flat = x.reshape(*x.shape[:first], math.prod(x.shape[first:]))
    found = _normalised(flat, epsilon).reshape(x.shape) * scale
    return found if bias is None else found + bias


def _instance_norm(x: Array, scale: Array, bias: Array, *, epsilon: float | None = None) -> Array:
    shape = (-1, *[1] * (x.ndim - 2))
    normal = _normalised(x.reshape(*x.shape[:2], -1), epsilon).reshape(x.shape)
    return np.asarray(normal * scale.reshape(shape) + bias.reshape(shape))


def _normalised(flat: Array, epsilon: float | None) -> Array:
    """Normalise over the last axis by one product and one sum: a large mean cancels more than centring would."""
    count = np.float32(flat.shape[-1])
    mean = sum_in_lanes(flat) / count
    centred = flat - mean[..., None]
    factor = 1 / np.sqrt(sum_in_lanes(centred * centred) / count + np.float32(1e-5 if epsilon is None else epsilon))
    found: Array = flat * factor[..., None] - (mean * factor)[..., None]
    return found


_PLAIN: dict[str, Callable[..., Any]] = {
    "ReduceSum": _reduce,
    "ReduceMean": _mean,
    "ReduceL1": _reduced(np.abs),
    "ReduceL2": _reduced(np.square, np.sqrt),
    "ReduceSumSquare": _reduced(np.square),
    "ReduceLogSum": _reduced(lambda x: x, np.log),
    "ReduceLogSumExp": _log_sum_exp,
    "Einsum": _einsum,
    "GlobalAveragePool": _global_mean,
    "MatMul": product,
    "Gemm": _gemm,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
}
