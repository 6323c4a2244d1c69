"""Resizing between pixels, bilinear and bicubic, at sizes at which ONNX's Resize loses the places.

PyTorch multiplies places by ``in / out``, ONNX divides them by ``out / in``, both in float32. From 224 to 256 pixels
7 / 8 is a number of float32 and 8 / 7 is not: the places on the right are off by 1e-5 of a pixel, and noise by as much,
284 times PyTorch's own rounding. Such a resize is written as weighted Gathers, at PyTorch's places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from onnxscript import opset18
from torch import Tensor
from torch.fx import Node

from ...core.tensor_spec import Axis, TensorSpec
from .nearest import FLOAT, INT64, SamePixels, axis_names, counted, is_onnx_s, length

op: Any = opset18  # whose annotations know no Python numbers
_LIBRARY = torch.library.Library("attn2trt", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("between(Tensor x, SymInt[] size, bool is_cubic) -> Tensor")  # type: ignore[no-untyped-call]
_BETWEEN = torch.ops.attn2trt.between.default
_RESIZE = re.compile(r"aten\.upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)\.(vec|default)")
SHARPNESS = -0.75  # of PyTorch's cubic
# ONNX's places may be off by as many times PyTorch's own error, or of half the distance of 1 from the next number.
TIMES, LEAST = 4, 2.0**-24


def _meta(x: Tensor, size: Any, is_cubic: bool) -> Tensor:
    """Return a tensor of the result's shape: a graph is what the operator is for, and it is never run."""
    return x.new_empty([*x.shape[:2], *size])


torch.library.register_fake("attn2trt::between", _meta, lib=_LIBRARY)


class SamePlaces(SamePixels):
    """As ``SamePixels``, for places between pixels."""

    def is_same(self, before: int, after: int) -> bool:
        """Return True if ONNX's places are about as near as PyTorch's."""
        return finds_same(before, after)


@lru_cache(maxsize=1 << 16)
def finds_same(before: int, after: int) -> bool:
    """Return True if the places of ``after`` pixels among ``before`` are about as near in ONNX as in PyTorch."""
    middles = np.arange(after, dtype=np.float32) + np.float32(0.5)
    truth = middles.astype(np.float64) * before / after
    ours = middles * np.float32(before / after)
    theirs = middles / np.float32(after / before)
    own, lost = (float(np.abs(places - truth).max()) for places in (ours, theirs))
    return lost <= TIMES * max(own, LEAST)


def write_between(
    program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]
) -> None:
    """Put ``attn2trt::between`` in the place of every resize to a size whose places ONNX's Resize loses at a size of
    ``axes``; ``program`` is changed in place."""
    names, found = axis_names(program, inputs), False
    for node in program.graph.nodes:
        resize = _RESIZE.fullmatch(str(node.target))
        if resize is None or not isinstance(node.args[0], Node) or node.args[2]:  # corners that are aligned
            continue
        size, rest = node.args[1], node.args[3:]
        if size is None or any(rest) or node.args[0].meta["val"].dtype != torch.float32:  # whose places ours are
            continue
        if not is_onnx_s(node, None, names, axes, SamePlaces):
            node.target, node.args, found = _BETWEEN, (node.args[0], size, resize[1] == "bicubic2d"), True
    if found:
        program.graph_module.recompile()


def _taps(part: Any, is_cubic: bool) -> list[tuple[int, Any]]:
    """Return the neighbours of a place that is ``part`` of the way from a pixel to the next, and their weights."""
    rest = op.Sub(1.0, part)
    if not is_cubic:
        return [(0, rest), (1, part)]
    return [
        (-1, _far(op.Add(part, 1.0))),
        (0, _near(part)),
        (1, _near(rest)),
        (2, _far(op.Add(rest, 1.0))),
    ]


def _near(x: Any) -> Any:
    slope = op.Sub(op.Mul(x, SHARPNESS + 2), SHARPNESS + 3)
    return op.Add(op.Mul(slope, op.Mul(x, x)), 1.0)


def _far(x: Any) -> Any:
    found = op.Sub(op.Mul(x, SHARPNESS), 5 * SHARPNESS)
    return op.Sub(op.Mul(op.Add(op.Mul(found, x), 8 * SHARPNESS), x), 4 * SHARPNESS)


def _between(x: Any, size: Any, is_cubic: bool) -> Any:
    """Write the operator in ONNX: weighted Gathers along each side."""
    rank = len(x.shape)
    for number, axis in enumerate(range(2, rank)):
        given, made = op.Shape(x, start=axis, end=axis + 1), length(size[number])
        step = op.Div(op.Cast(given, to=FLOAT), op.Cast(made, to=FLOAT))
        places = op.Sub(op.Mul(op.Add(counted(made), 0.5), step), 0.5)
        pixel = op.Floor(places)
        last, total = op.Sub(given, 1), None
        for offset, weight in _taps(op.Sub(places, pixel), is_cubic):
            index = op.Max(op.Min(op.Add(op.Cast(pixel, to=INT64), offset), last), 0)
            shape = op.Constant(value_ints=[-1, *[1] * (rank - 1 - axis)])
            term = op.Mul(op.Gather(x, index, axis=axis), op.Reshape(weight, shape))
            total = term if total is None else op.Add(total, term)
        x = total
    return x


TRANSLATIONS: dict[Any, Any] = {_BETWEEN: _between}
