"""Convolutions and poolings of (n, c, ...) in any float type, by the windows of a kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays import Array
from .plain_kernels import product


def convolve(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str | None = None,
    dilations: Sequence[int] | None = None,
    group: int | None = None,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    is_plain: bool = False,
) -> Array:
    """Convolve (n, c, ...) with (m, c / group, ...): a matrix product for each row of the batch."""
    frame = Frame.of(x, w.shape[2:], strides, dilations, pads, auto_pad)
    groups, axes = group or 1, len(frame.sizes)
    weight = w.reshape(groups, w.shape[0] // groups, -1)
    y = np.empty((x.shape[0], groups, weight.shape[1], math.prod(frame.sizes)), x.dtype)
    behind = (0, *range(1 + axes, 1 + 2 * axes), *range(1, 1 + axes))  # the kernel's places before the windows'
    for row, windows in enumerate(frame.windows(frame.padded(x, 0))):
        columns = windows.transpose(behind).reshape(groups, weight.shape[2], -1)
        plain = product(weight, columns) if is_plain and x.dtype == np.float32 else None
        if plain is None:
            np.matmul(weight, columns, out=y[row])
        else:
            y[row] = plain
    found = y.reshape(x.shape[0], w.shape[0], *frame.sizes)
    return found if b is None else found + b.reshape(-1, *[1] * axes)


def convolve_transposed(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str | None = None,
    dilations: Sequence[int] | None = None,
    group: int | None = None,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """The transpose of ``convolve`` with explicit pads: (n, c, ...) and (c, m / group, ...)."""
    axes = x.ndim - 2
    steps, gaps = strides or [1] * axes, dilations or [1] * axes
    around, more = pads or [0] * 2 * axes, output_padding or [0] * axes
    groups, n = group or 1, x.shape[0]
    weight = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    rows = x.reshape(n, groups, w.shape[0] // groups, -1)
    sizes = [
        (x.shape[2 + axis] - 1) * steps[axis] + (w.shape[2 + axis] - 1) * gaps[axis] + 1 + more[axis]
        for axis in range(axes)
    ]
    y = np.zeros((n, groups * w.shape[1], *sizes), x.dtype)
    for place, at in enumerate(np.ndindex(*w.shape[2:])):
        found = np.swapaxes(weight[..., place], 1, 2) @ rows
        where = tuple(
            slice(at[axis] * gaps[axis], at[axis] * gaps[axis] + (x.shape[2 + axis] - 1) * steps[axis] + 1, steps[axis])
            for axis in range(axes)
        )
        y[(slice(None), slice(None), *where)] += found.reshape(n, -1, *x.shape[2:])
    kept = tuple(slice(around[axis], sizes[axis] - around[axes + axis]) for axis in range(axes))
    y = y[(slice(None), slice(None), *kept)]
    return y if b is None else y + b.reshape(-1, *[1] * axes)


def pool_max(
    x: Array,
    *,
    auto_pad: str | None = None,
    ceil_mode: int | None = None,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    storage_order: int | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """The largest value of every window of (n, c, ...); padding is never the largest."""
    frame = Frame.of(x, kernel_shape, strides, dilations, pads, auto_pad, is_ceil=bool(ceil_mode))
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    found: Array | None = None
    for part in frame.parts(frame.padded(x, lowest)):
        found = part.copy() if found is None else np.maximum(found, part, out=found)
    assert found is not None
    return found


def pool_mean(
    x: Array,
    *,
    auto_pad: str | None = None,
    ceil_mode: int | None = None,
    count_include_pad: int | None = None,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Array:
    """The mean of every window of (n, c, ...); what ``ceil_mode`` adds behind the padding counts never."""
    frame = Frame.of(x, kernel_shape, strides, dilations, pads, auto_pad, is_ceil=bool(ceil_mode))
    total: Any = sum(frame.parts(frame.padded(x, 0)))
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if count_include_pad:
        ones = np.pad(ones, [(0, 0), (0, 0), *frame.around], constant_values=1)
        counted = frame.extended(ones, 0)
    else:
        counted = frame.padded(ones, 0)
    found: Array = total / sum(frame.parts(counted))
    return found


class Frame:
    """The windows of a kernel over (n, c, ...): strides, dilations and padding, and how many there are."""

    def __init__(
        self, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], around: list[tuple[int, int]]
    ) -> None:
        self.kernel, self.strides, self.dilations, self.around = kernel, strides, dilations, around
        self.sizes: list[int] = []
        self.beyond: list[tuple[int, int]] = []

    @classmethod
    def of(
        cls,
        x: Array,
        kernel: Sequence[int],
        strides: Sequence[int] | None,
        dilations: Sequence[int] | None,
        pads: Sequence[int] | None,
        auto_pad: str | None,
        *,
        is_ceil: bool = False,
    ) -> Frame:
        """Return the frame for an operator's attributes; those that are None have ONNX's defaults."""
        axes = len(kernel)
        steps, gaps = list(strides or [1] * axes), list(dilations or [1] * axes)
        spans = [(size - 1) * gap + 1 for size, gap in zip(kernel, gaps, strict=True)]
        around = _around(x.shape[2:], spans, steps, pads, auto_pad or "NOTSET")
        frame = cls(kernel, steps, gaps, around)
        for size, span, step, (low, high) in zip(x.shape[2:], spans, steps, around, strict=True):
            room = size + low + high - span
            count = (-(-room // step) if is_ceil else room // step) + 1
            if is_ceil and (count - 1) * step >= size + low:  # the last window begins inside the image
                count -= 1
            frame.sizes.append(count)
            frame.beyond.append((0, max(0, (count - 1) * step + span - size - low - high)))
        return frame

    def padded(self, x: Array, value: float) -> Array:
        """Return ``x`` with its padding, and behind it what the last windows reach."""
        return self.extended(np.pad(x, [(0, 0), (0, 0), *self.around], constant_values=value), value)

    def extended(self, x: Array, value: float) -> Array:
        """Return what is padded already, with what the last windows reach."""
        if not any(end for _, end in self.beyond):
            return x
        return np.pad(x, [(0, 0), (0, 0), *self.beyond], constant_values=value)

    def windows(self, padded: Array) -> Array:
        """Return every window as a view: (n, c, windows ..., kernel ...)."""
        spans = [(size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations, strict=True)]
        axes = tuple(range(2, 2 + len(spans)))
        found = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=axes)
        every = [slice(0, (count - 1) * step + 1, step) for count, step in zip(self.sizes, self.strides, strict=True)]
        inside = [slice(None, None, gap) for gap in self.dilations]
        return found[(slice(None), slice(None), *every, *inside)]

    def parts(self, padded: Array) -> Iterator[Array]:
        """Yield for each place of the kernel what all windows have there: (n, c, ...)."""
        for at in np.ndindex(*self.kernel):
            where = tuple(
                slice(place * gap, place * gap + (count - 1) * step + 1, step)
                for place, gap, step, count in zip(at, self.dilations, self.strides, self.sizes, strict=True)
            )
            yield padded[(slice(None), slice(None), *where)]


def _around(
    sizes: Sequence[int], spans: Sequence[int], steps: Sequence[int], pads: Sequence[int] | None, auto_pad: str
) -> list[tuple[int, int]]:
    """Return how much is padded before and behind each axis."""
    axes = len(sizes)
    if auto_pad == "NOTSET":
        given = pads or [0] * 2 * axes
        return [(given[axis], given[axes + axis]) for axis in range(axes)]
    if auto_pad == "VALID":
        return [(0, 0)] * axes
    found = []
    for size, span, step in zip(sizes, spans, steps, strict=True):
        needed = max(0, (-(-size // step) - 1) * step + span - size)
        small, large = needed // 2, needed - needed // 2
        found.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return found
