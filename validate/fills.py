"""Numbers that are written into an output, as the -1e9 of a mask, beside those that are computed.

An error relative to the whole output is relative to its largest number. Beside a -1e9 a score of 1 could be anything:
its error is a billionth. What is written is therefore shrunk to the size of the rest before anything is compared, in
the truth and in what is judged by the same factor: each part has its own scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Array

# Numbers that masks are filled with are no smaller, and as much above all others: below that, float32 shows what an
# error of the others is.
SMALLEST, ABOVE = 1e4, 1e3
# A mask that is added to scores leaves their digits in its numbers.
ALIKE = 1e-3


def shrunk(out: Array, ref64: Array) -> tuple[Array, Array]:
    """Return both with the numbers that are written into ``ref64`` no larger than all others; finite ones alone."""
    if ref64.dtype.kind != "f" or ref64.size < 2 or out.shape != ref64.shape:
        return out, ref64
    found = _written(ref64)
    if found is None:
        return out, ref64
    where, factor = found
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.where(where, out.astype(np.float64) * factor, out), np.where(where, ref64 * factor, ref64)


def _written(ref64: Array) -> tuple[npt.NDArray[np.bool_], float] | None:
    """Return the places of written numbers, and the factor that makes them as large as the rest; None without any.

    Two or more numbers of one magnitude count as written.
    """
    sizes = np.abs(ref64, where=np.isfinite(ref64), out=np.zeros(ref64.shape))
    largest = float(sizes.max())
    if largest < SMALLEST:
        return None
    where = sizes >= (1 - ALIKE) * largest
    rest = float(sizes.max(where=~where, initial=0.0))
    return (where, rest / largest) if rest and where.sum() > 1 and largest >= ABOVE * rest else None
