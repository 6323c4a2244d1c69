"""Ways to write a graph that TensorRT may run faster, one file each; a file is found by existing.

``REWRITES`` of a file change the float32 graph and are exact in real arithmetic. ``LOWERINGS`` choose which nodes of a
half-precision graph compute in float32. Rewrites are applied in the order of their ``TURN``, whatever order they are
chosen in: one that changes how a mean is taken comes before one that changes what reads the mean.

Kinds of places carry no numbers of channels, unlike those of the CPU: a build takes minutes, so that one choice is for
all stages of a backbone.
"""

from __future__ import annotations

from .. import Rewrite, found_rewrites
from .lowering import Lowering

REWRITES: tuple[Rewrite, ...] = found_rewrites("REWRITES", __name__)
LOWERINGS: tuple[Lowering, ...] = found_rewrites("LOWERINGS", __name__)

# What is tried first: it saved most where it was timed or counted.
FIRST = (
    *("means in half precision", "products at the border in float32", "gate widened to a row by a product"),
    *("gate widened to a row by Expand", "linear layers on pixels as 1x1 convolutions", "gate as 1x1 convolutions"),
    *("convolutions of one map merged", "shared layers on all values at once", "multiply row and column gates first"),
    *("activation beside what reads it", "softmax in half precision", "mean as a matrix product"),
)


def promise(name: str) -> int:
    """Return the place of a rewrite or choice in the order in which they are tried."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


__all__ = ["LOWERINGS", "REWRITES", "Lowering", "promise"]
