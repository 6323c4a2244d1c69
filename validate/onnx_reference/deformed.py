"""Deformable convolution by whole arrays: ONNX's reference evaluator takes minutes for a layer, place by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..arrays import Array
from .formulas import between_pixels


def convolve_deformed(
    x: Array,
    w: Array,
    offset: Array,
    b: Array | None = None,
    mask: Array | None = None,
    *,
    dilations: Sequence[int] | None = None,
    group: int | None = None,
    kernel_shape: Sequence[int] | None = None,
    offset_group: int | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """Convolve (n, c, h, w) with (m, c / group, kh, kw) at places that ``offset``, (n, g * kh * kw * 2, h', w'), moves.

    Raises NotImplementedError for volumes.
    """
    if x.ndim != 4:
        raise NotImplementedError(f"deformable convolution in {x.ndim - 2} dimensions")
    sizes, kernel = offset.shape[2:], w.shape[2:]
    gaps, steps, before = dilations or (1, 1), strides or (1, 1), (pads or (0, 0))[:2]
    moves = offset.reshape(x.shape[0], offset_group or 1, *kernel, 2, *sizes)
    places = []
    for side in (0, 1):
        first = np.arange(kernel[side]).reshape(-1, *[1] * (3 - side)) * gaps[side] - before[side]
        start = np.arange(sizes[side]).reshape(-1, *[1] * (1 - side)) * steps[side]
        places.append(moves[:, :, :, :, side] + (first + start).astype(x.dtype))
    shares = np.ones_like(places[0]) if mask is None else mask.reshape(places[0].shape)
    images = zip(x, places[0], places[1], shares, strict=True)
    found = [_of_image(one, row, column, share, w, group or 1) for one, row, column, share in images]
    y = np.asarray(found, x.dtype)
    return y if b is None else y + b.reshape(-1, 1, 1)


def _of_image(x: Array, row: Array, column: Array, share: Array, w: Array, groups: int) -> Array:
    """Convolve one image, (c, h, w), at the places (g, kh, kw, h', w'), each weighted by its share."""
    sizes = row.shape[-2:]
    maps = x.reshape(row.shape[0], -1, *x.shape[1:])  # (g, c / g, h, w)
    row, column, share = (value.reshape(row.shape[0], -1, sizes[0] * sizes[1]) for value in (row, column, share))
    columns = between_pixels(maps, row, column) * share[:, None]  # (g, c / g, kh * kw, h' * w')
    weight = w.reshape(groups, w.shape[0] // groups, -1)
    return np.asarray((weight @ columns.reshape(groups, weight.shape[2], -1)).reshape(-1, *sizes))
