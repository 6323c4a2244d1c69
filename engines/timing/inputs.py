"""The inputs of timed models: so many different ones that the last one is no longer in the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...core.tensor_spec import TensorSpec
from ..runtime import Arrays

MOST_BYTES = 256 << 20
MOST_SETS = 64


def input_bytes(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> int:
    """Bytes of one set of inputs."""
    return sum(math.prod(spec.resolve(sizes)) * np.dtype(spec.dtype).itemsize for spec in specs)


def set_count(one_set: int, cache_bytes: int) -> int:
    """Return how many sets of so many bytes are rotated: twice what the cache holds, at least 2, within the limits."""
    wanted = math.ceil(2 * cache_bytes / max(one_set, 1))
    return max(2, min(wanted, MOST_SETS, MOST_BYTES // max(one_set, 1)))


def make_inputs(specs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int) -> Arrays:
    """Return normal numbers, and uniform ones for an input that has bounds; the same for the same seed."""
    rng = np.random.default_rng(seed)
    feeds: Arrays = {}
    for spec in specs:
        shape, dtype = spec.resolve(sizes), np.dtype(spec.dtype)
        if spec.bounds is None:
            feeds[spec.name] = rng.standard_normal(shape, np.float32).astype(dtype, copy=False)
            continue
        low, high = spec.bounds
        if dtype.kind == "f":
            feeds[spec.name] = rng.uniform(low, high, shape).astype(dtype)
        else:
            feeds[spec.name] = rng.integers(int(low), int(high) + 1, shape).astype(dtype)
    return feeds
