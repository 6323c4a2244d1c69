"""Quantised values: the numbers of a type between which nothing is, and which of them stands for a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...core.nodes import attributes_of
from ..arrays import Array
from ..choice import Grid

if TYPE_CHECKING:
    import onnx


# The ends of levels beyond which a value is cut off: all; those of levels that begin at zero, as an activation gives
# them; zero itself. Quantisers leave an activation out if the levels end where it does, or below. Numbers are the ends
# of activations: levels that begin at zero are cut off at the first of these that they do not exceed.
Ends = Literal["all", "from zero", "zero"] | Sequence[float]


def ends_without_levels(of_activations: Sequence[float]) -> tuple[Ends, ...]:
    """Return what a graph may be without its levels: a range that begins at zero ends at an activation's end, as that
    of ReLU6, or where calibration put it, below an activation's end or with none. The graph does not tell which."""
    return ("from zero", "zero", *([[*of_activations]] if of_activations else []))


def quantize_linear(
    x: Array, scale: Array, zero: Array | None = None, *, rounds: bool, ends: Ends = "all", **attributes: Any
) -> Array:
    """QuantizeLinear, in the type of ``x``; unless it ``rounds``, the fractions between the levels are kept.

    A value beyond the levels is cut off at their ``ends``, all or some; only what has fractions goes beyond an end.
    """
    shaped = _shaper(x, attributes)
    offset = np.zeros((), x.dtype) if zero is None else shaped(zero).astype(x.dtype)
    kind, value = _level_type(zero, attributes), x / shaped(scale)
    if rounds or ends == "all":
        return _on_levels(value, offset, kind, rounds=rounds)
    return _beyond(value, offset, kind, ends, shaped(scale))


def dequantize_linear(x: Array, scale: Array, zero: Array | None = None, **attributes: Any) -> Array:
    """DequantizeLinear, in the type of the scale."""
    shaped = _shaper(x, attributes)
    wide = x.astype(scale.dtype)
    found: Array = (wide if zero is None else wide - shaped(zero).astype(scale.dtype)) * shaped(scale)
    return found


def grid_of(node: onnx.NodeProto, given: Sequence[Any]) -> Grid | None:
    """Return the levels of a QuantizeLinear node with these inputs, in at most 16 bits; None for those of floats."""
    import ml_dtypes

    attributes = attributes_of(node)
    x, step, zero = given[0], given[1], given[2] if len(given) > 2 else None
    kind = _level_type(zero, attributes)
    if "float" in kind.name or not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return None
    shaped = _shaper(x, attributes)
    offset = np.zeros(()) if zero is None else shaped(zero).astype(np.float64)
    ends = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    return Grid(shaped(step).astype(np.float64), offset, int(ends.min), int(ends.max))


def _level_type(zero: Array | None, attributes: dict[str, Any]) -> np.dtype[Any]:
    """Return the type that is quantised to, whose numbers are the levels."""
    from onnx.helper import tensor_dtype_to_np_dtype

    if zero is not None:
        return zero.dtype
    return np.dtype(tensor_dtype_to_np_dtype(attributes["output_dtype"]) if attributes.get("output_dtype") else "uint8")


def _on_levels(value: Array, offset: Array, kind: np.dtype[Any], *, rounds: bool = True) -> Array:
    """Return the nearest numbers of a type, in the type of ``value``; what lies beyond its ends is put on them.

    Unless it ``rounds``, what lies between two numbers stays there.
    """
    import ml_dtypes

    if "float" in kind.name:
        largest = float(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]
        held = np.clip(value, -largest, largest)
        return held.astype(kind).astype(value.dtype) if rounds else held
    ends = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    return np.clip((np.round(value) if rounds else value) + offset, ends.min, ends.max)


def within_half_a_step(
    levels: Array, scale: Array, zero: Array | None, rng: np.random.Generator, **attributes: Any
) -> Array:
    """Return numbers that are rounded to these stored ``levels``, in the type of the scale.

    What shares a scale and is zero throughout stays: quantisers give it any scale.
    """
    import ml_dtypes

    offset = np.zeros((), scale.dtype) if zero is None else _shaper(levels, attributes)(zero)
    wide = levels.astype(scale.dtype)
    is_zero = wide == offset.astype(scale.dtype)
    axis = int(attributes.get("axis", 1)) % max(levels.ndim, 1)
    others = None if scale.size == 1 else tuple(place for place in range(levels.ndim) if place != axis)
    step: Any = 1.0
    if "float" in levels.dtype.name:
        step = float(ml_dtypes.finfo(levels.dtype).eps) * wide  # type: ignore[no-untyped-call]
    moves = rng.uniform(-0.5, 0.5, levels.shape) * step
    found: Array = np.where(is_zero.all(axis=others, keepdims=True), wide, wide + moves).astype(scale.dtype)
    return found


def _beyond(value: Array, offset: Array, kind: np.dtype[Any], ends: Ends, scale: Array) -> Array:
    """Return numbers between the levels of a type and beyond; where levels begin at zero they are cut off there."""
    import ml_dtypes

    if "float" in kind.name:
        return value
    limits = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
    begins = offset == limits.min
    reach = limits.max - limits.min
    most = np.where(begins & (ends == "from zero"), reach, np.inf)
    for end in () if isinstance(ends, str) else ends:
        most = np.minimum(most, np.where(begins & (end / scale > reach - 1), end / scale, np.inf))
    return (np.clip(value, np.where(begins, 0, -np.inf), most) + offset).astype(value.dtype)


def quantised(value: Array, scale: Array, dtype: str) -> Array:
    """Return the value on the levels of a type: rounded to multiples of ``scale`` by its numbers."""
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    with np.errstate(invalid="ignore"):
        found: Array = (_on_levels(value / scale, np.zeros((), value.dtype), kind) * scale).astype(value.dtype)
    return found


def largest_of(dtype: str) -> float:
    """Return the largest number of a type, to which the largest magnitude of a tensor is mapped."""
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if "float" in kind.name:
        return float(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]
    return float(np.iinfo(kind).max)


def _shaper(x: Array, attributes: dict[str, Any]) -> Callable[[Array], Array]:
    """Return what shapes a scale so that it fits ``x``: one, one for each index of an axis, or one for a block."""
    axis = 1 if attributes.get("axis") is None else int(attributes["axis"])
    block = int(attributes.get("block_size") or 0)

    def shaped(value: Array) -> Array:
        if value.size == 1:
            return value.reshape(())
        if block:
            return np.repeat(value, block, axis=axis)[tuple(slice(size) for size in x.shape)]
        return value.reshape([-1 if place == axis % x.ndim else 1 for place in range(x.ndim)])

    return shaped
