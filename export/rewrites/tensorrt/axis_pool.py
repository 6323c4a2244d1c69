"""The mean over height or width as an average pooling, which the CPU has as well, whatever the length of the axis."""

from __future__ import annotations

import onnx_ir as ir

from ..pooled_mean import Pooled, PooledMean
from .mean_product import AxisProduct


class AxisPool(PooledMean):
    """ReduceMean over height or width as AveragePool. Does not apply to an axis that may vary."""

    name = "row and column means as pooling"

    def kind_of(self, node: ir.Node, found: Pooled) -> str:
        """Return one kind for every place."""
        return AxisProduct.place


TURN = 1
REWRITES = (AxisPool(),)
