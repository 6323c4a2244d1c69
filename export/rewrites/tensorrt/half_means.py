"""Means in half precision.

In float32 the mean of a squeeze reads a half-precision map behind a Cast of all of it, unless the builder takes the
Cast into the reduction. Lowered, the reduction reads the map as it is; its kernel decides in what type it adds up. A
sum that leaves the range of the type, or that loses too many digits, fails the verdict.
"""

from __future__ import annotations

import onnx_ir as ir

MEANS = frozenset({"ReduceMean", "GlobalAveragePool", "AveragePool"})


class HalfMeans:
    """Every mean in half precision."""

    name = "means in half precision"
    kind = "precision of means"
    is_low = True

    def nodes(self, graph: ir.Graph, *, io: str) -> frozenset[str]:
        """Return the reductions and poolings that give a mean."""
        return frozenset(str(node.name) for node in graph if node.op_type in MEANS)


LOWERINGS = (HalfMeans(),)
