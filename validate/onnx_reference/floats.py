"""Floats of NumPy and of ml_dtypes: their kind, their magnitude, and what a narrower type makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array


def is_float(value: Any) -> bool:
    """Return True for floats of NumPy and of ml_dtypes, whose kind NumPy does not know."""
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or "float" in str(value.dtype))


def magnitude(value: Array) -> float:
    """Return the largest finite magnitude; 0 for what is no float or empty."""
    if not is_float(value) or not value.size:
        return 0.0
    return float(np.abs(value, where=np.isfinite(value), out=np.zeros(value.shape, value.dtype)).max())


def rounded(value: Array, dtype: str) -> Array:
    """Return the value rounded to a half precision, in its own type."""
    import ml_dtypes

    narrow = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    with np.errstate(over="ignore"):
        return value.astype(narrow).astype(value.dtype)


def fits(value: Array) -> bool:
    """Return True if float32 holds every number."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(value, value.astype(np.float32), equal_nan=True))
