"""The numbers of a case: normal ones, and the kinds that reach past the easy middle.

Uniform or plain normal noise has a mean near zero in every channel, so that each gate of a squeeze-style block stays
near sigmoid(bias) and hides errors. The normal case therefore adds an offset per channel and one per position, and
the saturated case is the same at 16 times the size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.tensor_spec import TensorSpec
from .arrays import Array

SATURATION = 16.0
SPREAD = 4.0
LEVEL = 4.0
HOT = 10.0
CONSTANT = 0.75
VALUES = {
    "saturated": f"{SATURATION:g} times the normal values: gates at both ends",
    "flat": "channels of distant means and nearly flat, of the other sign in every other row: a ReLU shuts them off",
    "level": f"nearly {-LEVEL:g} everywhere, {LEVEL:g} in every other row: what pooling by maximum leaves shut",
    "zeros": "all zeros: what only biases produce",
    "hot_channel": "one large channel among zeros: a mixed-up channel shows",
    "constant": "one constant: no variance, borders stand out",
}
# Made to reach what data seldom reaches: judged in units of PyTorch's own rounding, which may be large there. Whether
# a precision is good enough (the budget) is asked of ordinary inputs.
STRESS_KINDS = frozenset(VALUES)


def make_values(spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    """Return numbers of a kind (a key of VALUES, "normal", "random_int", "lowest", "highest") for an input."""
    if spec.layout == "nhwc" and len(shape) == 4:
        n, h, w, c = shape
        first = make_values(replace(spec, layout="nchw"), (n, c, h, w), kind, rng)
        return np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    if not spec.dtype.startswith("float"):
        return _integers(spec, shape, kind, rng)
    values = _floats(np.dtype(spec.dtype), shape, kind, rng)
    return values if spec.bounds is None else _within(*spec.bounds, values, kind)


def _within(low: float, high: float, values: Array, kind: str) -> Array:
    """Return ``values`` squeezed between two bounds: normal ones fill the range, large ones lie at its ends, and a zero
    becomes the allowed value nearest to zero."""
    nearest = min(max(0.0, low), high)
    squeezed = low + (high - low) * (1 + np.tanh(0.8 * values.astype(np.float64))) / 2
    if kind in ("zeros", "hot_channel"):
        squeezed = np.where(values == 0, nearest, squeezed)
    return np.asarray(np.clip(squeezed, low, high)).astype(values.dtype)


def _floats(dtype: np.dtype[Any], shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    if kind == "zeros":
        return np.zeros(shape, dtype)
    if kind == "constant":
        return np.full(shape, CONSTANT, dtype)
    if kind == "hot_channel":
        return _hot_channel(shape, rng).astype(dtype, copy=False)
    if kind == "flat":
        values = np.float32(SPREAD) * _flat(shape, rng)
    elif kind == "level":
        values = _flat(shape, rng) / 2 + _alternating(shape)
    else:
        values = _normal(shape, rng) * np.float32(SATURATION if kind == "saturated" else 1)
    return values.astype(dtype, copy=False)


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return noise, an offset per (row, channel) with alternating sign, and one per (row, position): unit variance."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) >= 3:
        values += _channel_offsets(shape, rng)
        values += rng.standard_normal((shape[0], 1, *shape[2:]), dtype=np.float32)
        values *= np.float32(1 / math.sqrt(3))
    return values


def _flat(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return an offset per (row, channel) with little noise, so that maxima of channels have both signs as well."""
    values = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) >= 3:
        values *= np.float32(0.2)
        values += _channel_offsets(shape, rng)
    return values


def _alternating(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The level of every row, (n, 1, ...): down, up, down, ..."""
    levels = np.full((*shape[:1], *(1 for _ in shape[1:])), -LEVEL, np.float32)
    if shape:
        levels[1::2] = LEVEL
    return levels


def _channel_offsets(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return normal numbers (row, channel), negated in every other row, which shows what a ReLU cuts in the first."""
    offsets = rng.standard_normal((*shape[:2], *(1 for _ in shape[2:])), dtype=np.float32)
    offsets[1::2] = -offsets[: offsets[1::2].shape[0] * 2 : 2]
    return offsets


def _hot_channel(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    values = np.zeros(shape, np.float32)
    if not shape or not values.size:
        return values
    axis = 1 if len(shape) > 1 else 0
    where: list[slice | int] = [slice(None)] * len(shape)
    where[axis] = shape[axis] // 3
    rest = shape[:axis] + shape[axis + 1 :]
    values[tuple(where)] = HOT * rng.standard_normal(rest, dtype=np.float32)
    return values


def _integers(spec: TensorSpec, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype)
    low, high = map(int, spec.bounds or (0, 1))
    fixed = {"zeros": min(max(0, low), high), "lowest": low, "highest": high}.get(kind)
    if fixed is not None:
        return np.full(shape, fixed, dtype)
    values = np.asarray(rng.integers(low, high, size=shape, endpoint=True))
    if values.size > 1:  # an index at an end of a long range is seldom drawn, and the first to be off by one
        values.flat[rng.choice(values.size, 2, replace=False)] = low, high
    return values.astype(dtype)
