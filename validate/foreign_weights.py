"""Weights of a quantised file that no weight of its module is rounded to.

The levels of one weight that are permuted, or a tenth too large, change an output by less than 8 bits lose on the
whole way. So the weights themselves are compared: each with those of its size in the module, as they are or with a
batch normalisation folded into them, to half a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.nodes import attributes_of, constants, nodes
from ..core.operators import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ..core.sentences import first_names
from .arrays import Array, Float64
from .onnx_reference.levels import dequantize_linear, quantize_linear

if TYPE_CHECKING:
    import onnx
    from torch import nn

# Of a half step: tools fold and round in float32.
SLACK = 1.02


def foreign_weights(path: Path, module: nn.Module) -> list[str]:
    """Return a sentence about the weights in few bits of the graph at ``path`` that are none of ``module``.

    None if it has no weight of their size, as where a tool splits or joins weights. A quantiser that moves weights, or
    learns how to round them, is named too.
    """
    own = [value for value in _weights(module) if value.ndim > 1]
    own += [value.T for value in own if value.ndim == 2]
    factors = [*_folded(module)]
    compared, foreign = 0, []
    for name, low, high in _stored(path):
        same = [weight for weight in own if weight.shape == low.shape]
        compared += bool(same)
        if same and not any(_is_between(weight, low, high, factors) for weight in same):
            foreign.append(name)
    if not foreign:
        return []
    return [
        f"{len(foreign)} of {compared} weights in few bits are further than half a step from every weight of the "
        f"module: {first_names(foreign)}; a wrong scale or weight shows only if it changes more than the levels lose"
    ]


def _stored(path: Path) -> Iterator[tuple[str, Float64, Float64]]:
    """Yield the name of each weight in few bits, and the ends between which lies what is rounded to its numbers."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    if not any(node.op_type == DEQUANTIZE_LINEAR for node in nodes(graph)):
        return
    graph = onnx.load(path).graph
    constant = constants(graph)
    rounded = {node.output[0]: node for node in nodes(graph) if node.op_type == QUANTIZE_LINEAR}

    def numbers(names: Sequence[str]) -> list[Array]:
        return [onnx.numpy_helper.to_array(constant[name]) for name in names]

    for node in (node for node in nodes(graph) if node.op_type == DEQUANTIZE_LINEAR):
        name, *steps = node.input
        first = rounded.get(name)
        read = [name, *steps] if first is None else [*first.input, *steps]
        if any(one not in constant for one in read) or len(constant[read[0]].dims) < 2:
            continue
        with suppress(ValueError):  # a scale of another size: the verdict says that it does not run
            if first is None:
                levels, *given = numbers(read)
            else:
                value, scale, *zero = numbers(first.input)
                wide = (value.astype(np.float64), scale.astype(np.float64))
                levels, given = quantize_linear(*wide, *zero, rounds=True, **attributes_of(first)), numbers(steps)
            yield read[0], *_ends(node, levels, *given)


def _ends(node: onnx.NodeProto, levels: Array, scale: Array, zero: Array | None = None) -> tuple[Float64, Float64]:
    """Return the lowest and the highest numbers that are rounded to these levels; none are beyond the last ones."""
    import ml_dtypes

    kind = levels.dtype if zero is None else zero.dtype
    wide, steps = levels.astype(np.float64), scale.astype(np.float64)
    value: Float64 = dequantize_linear(wide, steps, zero, **attributes_of(node))
    half: Float64 = dequantize_linear(np.full(levels.shape, SLACK / 2), steps, **attributes_of(node))
    if "float" in kind.name:
        form: Any = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
        first, last = float(form.min), float(form.max)
        half = half * np.maximum(np.abs(wide) * float(form.eps), float(form.smallest_subnormal))
    else:
        whole: Any = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
        first, last = whole.min + (whole.min < 0), whole.max  # symmetric levels leave the lowest one out
    half = np.add(half, float(ml_dtypes.finfo(scale.dtype).eps) * np.abs(value))  # type: ignore[no-untyped-call]
    return np.where(wide <= first, -np.inf, value - half), np.where(wide >= last, np.inf, value + half)


def _is_between(weight: Array, low: Float64, high: Float64, factors: Sequence[Float64]) -> bool:
    """Return True if a weight lies between two ends, by itself or with the factors of a normalisation."""
    shaped = [np.ones([1] * weight.ndim)]
    for axis in (0, 1):
        sizes = [-1 if place == axis else 1 for place in range(weight.ndim)]
        shaped += [one.reshape(sizes) for one in factors if one.size == weight.shape[axis]]

    def lies(factor: Array, part: slice) -> bool:
        scaled = weight[part] * factor[part]
        return bool(((low[part] <= scaled) & (scaled <= high[part])).all())

    parts = slice(1), slice(None)  # most of the others differ in the first row
    return any(all(lies(np.broadcast_to(one, weight.shape), part) for part in parts) for one in shaped)


def _weights(module: nn.Module) -> Iterator[Array]:
    """Yield every tensor of floats that a module holds, those that it computes by a parametrisation among them."""
    for part in module.modules():
        computed = [getattr(part, name) for name in getattr(part, "parametrizations", ())]
        for value in (*part._parameters.values(), *part._buffers.values(), *computed):
            if value is not None and value.is_floating_point():
                yield value.detach().cpu().float().numpy()


def _folded(module: nn.Module) -> Iterator[Float64]:
    """Yield the factors of each batch normalisation, which exporters fold into the weight before it."""
    for part in module.modules():
        variance = getattr(part, "running_var", None)
        if variance is not None:
            scale = getattr(part, "weight", None)
            factor = (variance.double() + part.eps).rsqrt() * (1 if scale is None else scale.detach().double())
            yield factor.detach().cpu().numpy()
