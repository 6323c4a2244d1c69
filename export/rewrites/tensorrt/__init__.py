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

__all__ = ["LOWERINGS", "REWRITES", "Lowering"]
