"""Resizing by nearest, whose pixels PyTorch and ONNX find by other products: at some sizes they pick others.

The pixel of place ``i`` is ``floor(i * in / out)``. PyTorch multiplies by ``in / out``, ONNX Runtime divides by
``out / in``, both in float32. Where ``i * in / out`` is a whole number, one of them may be just below it: two pixels
made 82 high are not the same. No error, the right shape, one row of the image another one. Such a resize is written
as a Gather of the pixels that PyTorch finds in float32; so is ``nearest-exact``, which torch.onnx rounds otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]
import torch
from onnxscript import opset18
from torch import Tensor
from torch.fx import Node

from ...core.tensor_spec import Axis, TensorSpec
from .guards import Guard
from .narrowing import failing_sizes
from .program import input_sizes
from .size_values import size_at

op: Any = opset18  # whose annotations know no Python numbers
_LIBRARY = torch.library.Library("attn2trt", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "nearest(Tensor x, SymInt[]? size, float[]? factors, bool exact) -> Tensor"
)
_NEAREST = torch.ops.attn2trt.nearest.default


def _meta(x: Tensor, size: Any, factors: Any, exact: bool) -> Tensor:
    """Return a tensor of the result's shape: a graph is what the operator is for, and it is never run."""
    made = size or [torch.sym_int(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True)]
    return x.new_empty([*x.shape[:2], *made])


torch.library.register_fake("attn2trt::nearest", _meta, lib=_LIBRARY)


def write_nearest(
    program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]
) -> None:
    """Put ``attn2trt::nearest`` in the place of every resize that ONNX's Resize does otherwise at a size of ``axes``.

    ``program`` is changed in place.
    """
    names, found = axis_names(program, inputs), False
    for node in program.graph.nodes:
        resize = re.fullmatch(r"aten\.(_?)upsample_nearest(_exact)?[123]d\.(vec|default)", str(node.target))
        if resize is None or not isinstance(node.args[0], Node):
            continue
        size, factors = sizes_and_factors(node, has_several=resize[3] == "vec")
        if factors and None in factors:
            continue
        if resize[2] or not is_onnx_s(node, factors, names, axes, SamePixels):
            node.target, node.args, found = _NEAREST, (node.args[0], size, factors, bool(resize[2])), True
    if found:
        program.graph_module.recompile()


def axis_names(program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec]) -> dict[sympy.Symbol, sympy.Symbol]:
    """Return the axes by their symbols in the program."""
    return {
        size.node.expr: sympy.Symbol(dim, integer=True, positive=True)
        for dim, size in input_sizes(program, inputs)
        if isinstance(dim, str) and isinstance(size, torch.SymInt)
    }


def sizes_and_factors(node: Node, *, has_several: bool) -> tuple[Any, Any]:
    """Return the sizes and the factors of a resize, None for those that it has not; one of the factors may be None."""
    size, *factors = node.args[1:]
    if has_several:
        return size, factors[0] if factors else None
    rank = len(node.meta["val"].shape) - 2
    return size, [*factors, *[None] * (rank - len(factors))] if any(factors) else None


def is_onnx_s(
    node: Node,
    factors: Sequence[float | None] | None,
    names: Mapping[sympy.Symbol, sympy.Symbol],
    axes: Mapping[str, Axis],
    is_same: type[SamePixels],
) -> bool:
    """Return True if ONNX's Resize finds what PyTorch finds, by ``is_same``, at every size of the axes."""
    before, after = (value.meta["val"].shape[2:] for value in (node.all_input_nodes[0], node))
    for *pair, factor in zip(before, after, factors or [None] * len(before), strict=True):
        sizes = sympy.Tuple(*(_expression(size).xreplace(names) for size in pair))
        guard = is_same(sizes, "", factor=factor, rank=len(before))
        if not sizes.free_symbols <= {*names.values()}:
            return False
        if failing_sizes(guard, axes) if guard.axes else not guard.holds({}):
            return False
    return True


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


@dataclass(frozen=True)
class SamePixels(Guard):
    """A side of an image that is resized by nearest. ``condition`` holds its size and the one that it becomes.

    ``factor`` is what PyTorch was given in place of a size, ``rank`` the number of the image's sides.
    """

    factor: float | None = None
    rank: int = 2

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if both pick the same pixels at these sizes."""
        before, after = (size_at(size, sizes) for size in self.condition.args)
        is_known = before is not None and after is not None and before >= 1 and after >= 1
        return not is_known or self.is_same(int(before), int(after))

    def is_same(self, before: int, after: int) -> bool:
        """Return True if both pick the same of ``before`` pixels for each of ``after``."""
        return picks_same(before, after, self.factor, self.rank)


@lru_cache(maxsize=1 << 16)
def picks_same(before: int, after: int, factor: float | None = None, rank: int = 2) -> bool:
    """Return True if ONNX Runtime picks the pixels that PyTorch picks in float64, of ``before`` pixels ``after``."""
    pixels = torch.arange(before, dtype=torch.float64).reshape(1, 1, *[1] * (rank - 1), before)
    resize = getattr(torch.ops.aten, f"upsample_nearest{rank}d")  # kernels of another rank round otherwise
    ours = resize(pixels, [1] * (rank - 1) + [after], *[None] * (rank - 1), factor).reshape(-1).numpy()
    places = np.arange(after, dtype=np.float32)
    theirs = np.floor(places / np.float32(factor or np.float32(after) / np.float32(before))).clip(0, before - 1)
    return bool(np.array_equal(ours, theirs))


def length(size: Any) -> Any:
    """Return a size of the program as a tensor of one whole number."""
    if isinstance(size, int):
        return op.Constant(value_ints=[size])
    return op.Reshape(size, op.Constant(value_ints=[1]))


def counted(made: Any) -> Any:
    """Return 0 to ``made`` - 1 in float32."""
    return op.Cast(op.Range(op.Constant(value_int=0), op.Squeeze(made), op.Constant(value_int=1)), to=FLOAT)


def _nearest(x: Any, size: Any, factors: Any, exact: bool) -> Any:
    """Write the operator in ONNX: a Gather along each side."""
    for number, axis in enumerate(range(2, len(x.shape))):
        factor = factors[number] if factors else None
        if size is None and factor == 1:
            continue
        given = op.Shape(x, start=axis, end=axis + 1)
        if size is None:
            made = op.Cast(op.Floor(op.Mul(op.Cast(given, to=FLOAT), factor)), to=INT64)
        else:
            made = length(size[number])
        step = op.Div(op.Cast(given, to=FLOAT), op.Cast(made, to=FLOAT)) if factor is None else 1 / factor
        places = counted(made)
        if exact:  # in the order of PyTorch, whose rounding it has
            places = op.Relu(op.Sub(op.Mul(step, op.Add(places, 0.5)), 0.5))
            pixel = op.Floor(op.Add(places, 0.5))
        else:
            pixel = op.Floor(op.Mul(step, places))
        x = op.Gather(x, op.Min(op.Cast(pixel, to=INT64), op.Sub(given, 1)), axis=axis)
    return x


FLOAT, INT64 = 1, 7  # of ONNX
TRANSLATIONS: dict[Any, Any] = {_NEAREST: _nearest}
