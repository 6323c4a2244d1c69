"""Deformable convolution written out, at the opsets that have no DeformConv.

ONNX has the operator from opset 19 on, TensorRT from 10.1 on and only as a plugin, which TensorRT for RTX lacks. At
opset 17 and 18 the four pixels around each place are gathered, from a map with a border of zeros, and weighted; a 1x1
convolution adds them up. GridSample would read one pixel in place of four, but its places lie between -1 and 1: on a
map of 256 pixels they are off by 1e-5 of a pixel also where PyTorch's are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnxscript import ir, opset18

from .nearest import FLOAT, INT64, counted

DEFORM_CONV = 19  # the opset that it came with
op: Any = opset18  # whose annotations know no Python numbers


def _deformed(
    x: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    """Write ``torchvision::deform_conv2d`` in ONNX; the arguments are its."""
    outputs, depth, *kernel = weight.shape
    taps = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij")).reshape(2, -1, 1, 1)
    first = taps * np.reshape([dilation_h, dilation_w], (2, 1, 1, 1)) - np.reshape([pad_h, pad_w], (2, 1, 1, 1))
    # of the weights, which are numbers: x may have its channels from a view with -1
    count, inputs = taps.shape[1], depth * groups
    made = [op.Shape(offset, start=axis, end=axis + 1) for axis in (2, 3)]
    moves = op.Reshape(offset, _shape(-1, count, 2, *made))
    counts = op.Reshape(counted(made[0]), _shape(-1, 1)), counted(made[1])
    places = [
        op.Add(op.Add(op.Mul(counts[side], float(stride)), _constant(first[side])), op.Gather(moves, side, axis=2))
        for side, stride in enumerate((stride_h, stride_w))
    ]
    found = _pixels(
        x, inputs // offset_groups, places, op.Reshape(mask, _shape(-1, count, *made)) if use_mask else None
    )
    columns = op.Reshape(op.Transpose(found, perm=[0, 4, 1, 2, 3]), _shape(-1, inputs * count, *made))
    products = op.Reshape(weight, _shape(outputs, depth * count, 1, 1))
    return op.Conv(columns, products, bias, group=groups, kernel_shape=[1, 1])


def _pixels(x: Any, channels: int, places: Sequence[Any], mask: Any) -> Any:
    """Return the map ``x`` between its pixels, at ``places`` along both sides, with ``channels`` as last axis.

    Every ``channels`` of ``x`` have places of their own. Outside of the map there are zeros.
    """
    sides = [op.Shape(x, start=axis, end=axis + 1) for axis in (2, 3)]
    wide = [op.Add(side, 2) for side in sides]
    bordered = op.Pad(x, op.Constant(value_ints=[0, 0, 1, 1, 0, 0, 1, 1]))
    pixels = op.Transpose(op.Reshape(bordered, _shape(-1, channels, op.Mul(*wide))), perm=[0, 2, 1])
    corners = [_corners(place, op.Cast(side, to=FLOAT)) for place, side in zip(places, sides, strict=True)]
    total = None
    for row, row_weight in corners[0]:
        for column, column_weight in corners[1]:
            index = op.Unsqueeze(op.Add(op.Mul(row, wide[1]), column), op.Constant(value_ints=[-1]))
            share = op.Mul(row_weight, column_weight)
            share = op.Unsqueeze(share if mask is None else op.Mul(share, mask), op.Constant(value_ints=[-1]))
            term = op.Mul(op.GatherND(pixels, index, batch_dims=1), share)
            total = term if total is None else op.Add(total, term)
    return total


def _corners(place: Any, side: Any) -> list[tuple[Any, Any]]:
    """Return the pixel before a place and that behind it, in the map with its border, and their weights."""
    pixel = op.Floor(place)
    part = op.Sub(place, pixel)
    before = op.Max(op.Min(op.Add(pixel, 1.0), op.Add(side, 1.0)), 0.0)
    behind = op.Max(op.Min(op.Add(pixel, 2.0), op.Add(side, 1.0)), 0.0)
    return [(op.Cast(before, to=INT64), op.Sub(1.0, part)), (op.Cast(behind, to=INT64), part)]


def _shape(*sizes: Any) -> Any:
    """Return a shape of whole numbers and of tensors of one."""
    return op.Concat(*(op.Constant(value_ints=[size]) if isinstance(size, int) else size for size in sizes), axis=0)


def _constant(values: np.ndarray) -> Any:
    return op.Constant(value=ir.tensor(values.astype(np.float32)))


def deformed(program: torch.export.ExportedProgram, opset: int) -> dict[Any, Any]:
    """Return what writes the deformable convolutions of ``program`` in ONNX; nothing if ``opset`` has the operator."""
    found = {node.target for node in program.graph.nodes if str(node.target) == "torchvision.deform_conv2d.default"}
    return dict.fromkeys(found, _deformed) if opset < DEFORM_CONV else {}
