"""Operands with tf32's eleven significant bits, as ``validate.tf32`` shortens PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import Array
from ..last_digits import SEED
from ..tf32 import DROPPED_BITS


def shortening(draw: int | None) -> Callable[[Array], Array]:
    """Return the function that shortens an operand in a run.

    Operands are rounded to nearest in the run without a ``draw``, cut off in draw 0, and scaled by a factor before they
    are rounded, and back, in every other: if a normalisation is folded into a weight, the weight is rounded elsewhere.
    """
    if draw is None:
        return lambda value: _shortened(value, is_nearest=True)
    if draw == 0:
        return lambda value: _shortened(value, is_nearest=False)
    factors = np.random.default_rng([SEED, draw])

    def scaled(value: Array) -> Array:
        factor = np.float32(1 + factors.random())
        return _shortened(value * factor, is_nearest=True) / factor

    return scaled


def _shortened(value: Array, *, is_nearest: bool) -> Array:
    bits = np.ascontiguousarray(value, np.float32).reshape(value.shape).view(np.int32)
    if is_nearest:
        bits = bits + np.int32(1 << (DROPPED_BITS - 1))
    found: Array = (bits & np.int32(-(1 << DROPPED_BITS))).view(np.float32)
    return found
