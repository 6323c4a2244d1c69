"""Operators by their formulas in any float type, which ONNX's reference evaluator lacks or does in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..arrays import Array


def hard_swish(x: Array) -> Array:
    """A linear gate between -3 and 3."""
    return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1), x.dtype)


def mish(x: Array) -> Array:
    """Gate by the hyperbolic tangent of the softplus."""
    return np.asarray(x * np.tanh(np.logaddexp(x, 0)), x.dtype)


def erf(x: Array) -> Array:
    """The error function in the type of ``x``."""
    from scipy.special import erf as of  # takes 0.3 s, which graphs without it need not wait for

    return np.asarray(of(x), x.dtype)


def gelu(x: Array, *, approximate: str | None = None) -> Array:
    """Gate by the normal distribution, or by its approximation with a hyperbolic tangent."""
    if approximate == "tanh":
        gate = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    else:
        gate = erf(x * math.sqrt(0.5))
    return np.asarray(0.5 * x * (1 + gate), x.dtype)


def softmax_of_rest(x: Array, *, axis: int | None = None) -> Array:
    """The softmax of opsets before 13: over an axis and all behind it."""
    return _over_rest(x, axis, lambda rows: np.exp(_log_softmax(rows)))


def log_softmax_of_rest(x: Array, *, axis: int | None = None) -> Array:
    """The logarithm of ``softmax_of_rest``."""
    return _over_rest(x, axis, _log_softmax)


def hardmax_of_rest(x: Array, *, axis: int | None = None) -> Array:
    """One at the first of the largest values of an axis and all behind it, zero elsewhere."""
    return _over_rest(x, axis, lambda rows: np.eye(rows.shape[1], dtype=rows.dtype)[rows.argmax(1)])


def _over_rest(x: Array, axis: int | None, of: Callable[[Array], Array]) -> Array:
    first = (1 if axis is None else axis) % max(x.ndim, 1)
    return of(x.reshape(math.prod(x.shape[:first]), -1)).reshape(x.shape)


def _log_softmax(rows: Array) -> Array:
    shifted = rows - rows.max(1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found


def batch_norm(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float | None = None,
    momentum: float | None = None,
    training_mode: int | None = None,
    spatial: int | None = None,
    is_plain: bool = False,
) -> Array:
    """Normalise the channels of (n, c, ...) by their stored statistics.

    ``is_plain`` takes one product and one sum, as a runtime that folds the statistics; ``momentum`` is for training.
    Raises NotImplementedError for statistics of the batch, or of each position.
    """
    if training_mode or spatial == 0:
        raise NotImplementedError("statistics of the batch, or of each position")
    shape = (-1, *[1] * (x.ndim - 2))
    factor = scale / np.sqrt(variance + x.dtype.type(1e-5 if epsilon is None else epsilon))
    if is_plain:
        return np.asarray(x * factor.reshape(shape) + (bias - mean * factor).reshape(shape), x.dtype)
    return np.asarray((x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape), x.dtype)


def group_norm(
    x: Array,
    scale: Array,
    bias: Array,
    *,
    num_groups: int,
    epsilon: float | None = None,
    stash_type: int | None = None,
) -> Array:
    """Normalise the channels of (n, c, ...) in groups; scale and bias are of the groups or of the channels.

    ``stash_type`` would round to it on the way.
    """
    grouped = x.reshape(x.shape[0], num_groups, -1)
    centred = grouped - grouped.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    normal = (centred / np.sqrt(variance + (1e-5 if epsilon is None else epsilon))).reshape(x.shape)
    shape = (-1, *[1] * (x.ndim - 2))
    factor, shift = (np.repeat(value, x.shape[1] // value.size).reshape(shape) for value in (scale, bias))
    return np.asarray(normal * factor + shift, x.dtype)


def local_response_norm(
    x: Array, *, size: int, alpha: float | None = None, beta: float | None = None, bias: float | None = None
) -> Array:
    """Divide (n, c, ...) by a power of the mean square of ``size`` channels around each, zero beyond the ends."""
    channels, before = x.shape[1], (size - 1) // 2
    squares = np.pad(np.square(x), [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    total = sum(squares[:, first : first + channels] for first in range(size))
    scale = (1.0 if bias is None else bias) + (1e-4 if alpha is None else alpha) / size * total
    return np.asarray(x / scale ** (0.75 if beta is None else beta), x.dtype)


def sample_grid(
    x: Array,
    grid: Array,
    *,
    align_corners: int | None = None,
    mode: str | None = None,
    padding_mode: str | None = None,
) -> Array:
    """Sample (n, c, h, w) at the places of ``grid``, (n, h', w', 2), each from -1 to 1: the nearest value or linearly.

    Raises NotImplementedError for cubic sampling and for volumes.
    """
    if x.ndim != 4 or mode in ("cubic", "bicubic"):
        raise NotImplementedError(f"sampling by {mode} in {x.ndim - 2} dimensions")
    places = []
    for size, at in zip(x.shape[:1:-1], np.moveaxis(grid, -1, 0), strict=True):
        place = (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2
        if padding_mode == "reflection":
            low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
            turned = np.mod(place - low, 2 * span) if span else np.zeros_like(place)
            place = np.minimum(turned, 2 * span - turned) + low
        places.append(place if padding_mode in (None, "zeros") else np.clip(place, 0, size - 1))
    column, row = places
    if mode == "nearest":
        return _picked(x, np.rint(row), np.rint(column))
    return between_pixels(x, row, column)


def between_pixels(x: Array, row: Array, column: Array) -> Array:
    """Return (n, c, h', w'): ``x`` linearly between its pixels, at places of (n, h', w'); zero outside of the image."""
    top, left = np.floor(row), np.floor(column)
    down, right = (row - top)[:, None], (column - left)[:, None]
    upper = _picked(x, top, left) * (1 - right) + _picked(x, top, left + 1) * right
    lower = _picked(x, top + 1, left) * (1 - right) + _picked(x, top + 1, left + 1) * right
    return np.asarray(upper * (1 - down) + lower * down, x.dtype)


def _picked(x: Array, row: Array, column: Array) -> Array:
    """The values at whole places, zero outside of the image: (n, c, h', w')."""
    h, w = x.shape[2:]
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    rows, columns = (np.where(inside, place, 0).astype(np.int64) for place in (row, column))
    found = x[np.arange(x.shape[0])[:, None, None], :, rows, columns]  # (n, h', w', c)
    return np.moveaxis(np.where(inside[..., None], found, 0), -1, 1)


def gather_elements(x: Array, places: Array, *, axis: int | None = None) -> Array:
    """The elements at ``places`` along an axis, 0 by default; the result has their shape.

    Raises ValueError for places that are more than ``x`` has along another axis, and IndexError beyond its end.
    """
    along = (axis or 0) % x.ndim
    rest = [number for number in range(x.ndim) if number != along]
    if places.ndim != x.ndim or any(places.shape[number] > x.shape[number] for number in rest):
        raise ValueError(f"places of shape {places.shape} in {x.shape}, along axis {along}")
    reached = tuple(slice(None) if number == along else slice(size) for number, size in enumerate(places.shape))
    return np.take_along_axis(x[reached], places.astype(np.int64), along)
