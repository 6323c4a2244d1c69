"""Sums of float32 numbers in the order in which ONNX Runtime's kernels add them up.

A loop loses the more, the fewer accumulators it has. Of 4096 numbers of 0.7 eight accumulators lose 47 roundings, one
that takes four numbers at a time 170, and one that takes them one by one 679.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from .arrays import Array

Sum = Callable[[Array], Array]
LANES = 8
# Between other axes a sum is a product with a row of ones, in which MLAS takes so many terms at a time.
AT_ONCE = 4


def sum_in_lanes(x: Array, lanes: int = LANES) -> Array:
    """Return the sum over the last axis with one accumulator for each lane of a vector, which are then added."""
    rest = -x.shape[-1] % lanes
    padded = np.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, rest)]) if rest else np.ascontiguousarray(x)
    total = np.zeros((*x.shape[:-1], lanes), x.dtype)
    # NumPy adds along an axis that is not the last one row by row
    np.add.reduce(padded.reshape(*x.shape[:-1], -1, lanes), axis=-2, out=total)
    return sum_in_order(total)


def sum_in_order(x: Array, at_once: int = 1) -> Array:
    """Return the sum over the last axis, not empty, with one accumulator, which takes so many terms ``at_once``."""
    if at_once > 1:
        padded = np.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, -x.shape[-1] % at_once)])
        x = padded.reshape(*x.shape[:-1], -1, at_once).sum(-1)
    found: Array = np.add.accumulate(x, axis=-1)[..., -1].copy()
    return found


def sum_over(shape: Sequence[int], dims: Sequence[int]) -> Sum:
    """Return what adds up the terms of the axes ``dims`` of an array of this ``shape``, in order.

    ONNX Runtime merges neighbouring axes that are both summed, or both kept, and has faster ways for four patterns. It
    takes two of these, kept-summed-kept and summed-kept-summed, only if the first kept size is at least 2 and at least
    the number of its threads. That depends on the machine, so both are taken to be a sum between the two orders.
    """
    runs = [(is_summed, [*places]) for is_summed, places in groupby(range(len(shape)), lambda dim: dim in dims)]
    sizes = [int(np.prod([shape[place] for place in places])) for _, places in runs]
    kinds = "".join("R" if is_summed else "K" for is_summed, _ in runs)
    if kinds in ("R", "KR"):
        return sum_in_lanes
    is_faster = (kinds == "KRK" and sizes[0] > 1) or (kinds == "RKR" and sizes[1] > 1)
    return partial(sum_in_order, at_once=AT_ONCE if is_faster else 1)
