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

# Tried first: these saved most where they were timed or counted.
FIRST = (
    *("means in half precision", "gate widened to a row by a product", "gate as 1x1 convolutions"),
    *("row and column means as pooling", "products at the border in float32", "one product of a sum"),
    *("linear layers on pixels as 1x1 convolutions", "convolutions of one map merged", "softmax in half precision"),
    *("shared layers on all values at once", "convolution along channels as a matrix product"),
    *("one product of joined maps", "mean of means of windows"),
    *("multiply row and column gates first", "gate widened to a row by Expand"),
    *("activation beside what reads it", "gate as matrix products", "mean over one axis of pixels"),
)


def promise(name: str) -> int:
    """Return the place of a rewrite or choice in the order in which they are tried."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


__all__ = ["LOWERINGS", "REWRITES", "Lowering", "promise"]
