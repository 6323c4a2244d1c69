"""A gate's layers as 1x1 convolutions of one pixel, or as matrix products of rows.

Which of the two a builder has the faster kernels for, and which of them it takes an activation into, depends on its
version. The axes that go or come stand at the ends of the chain, so that nothing stands between its products.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import sizes
from .gate_chain import PIXELS, ROWS, Rewriter, Step, chain, step_of
from .spatial_mean import with_axes


class GateConvolutions:
    """Linear layers of rows, and the Unsqueeze to a pixel behind them, as 1x1 convolutions."""

    name = "gate as 1x1 convolutions"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; ``node`` is the Unsqueeze."""
        step = self._chain(node)
        return "" if step is None else "layers of a gate"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place the chain of pixels."""
        step = self._chain(node)
        assert step is not None
        rewriter = Rewriter(node, ROWS)
        rewriter.write.put(rewriter.written(step))

    @staticmethod
    def _chain(node: ir.Node) -> Step | None:
        if node.op_type not in ("Unsqueeze", "Reshape") or sizes(node.outputs[0], 4) is None:
            return None
        before, after = sizes(node.inputs[0], 2), sizes(node.outputs[0], 4)
        if before is None or after is None or after[2:] != (1, 1) or before[1] is None or before[1] != after[1]:
            return None
        step = chain(node.inputs[0], ROWS)
        return step if step is not None and any(step.products()) else None


class GateProducts:
    """1x1 convolutions of one pixel as matrix products of rows."""

    name = "gate as matrix products"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; ``node`` is the last of the chain."""
        step = self._chain(node)
        return "" if step is None else "layers of a gate"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place the chain of rows, and an Unsqueeze."""
        step = self._chain(node)
        assert step is not None
        rewriter = Rewriter(node, PIXELS)
        rewriter.write.put(with_axes(rewriter.write, rewriter.written(step), "pixel"))

    @staticmethod
    def _chain(node: ir.Node) -> Step | None:
        """Return the chain that ends in a node; None if it goes on behind it or holds no product."""
        step = step_of(node, PIXELS)
        if step is None or not any(step.products()):
            return None
        readers = [use.node for use in node.outputs[0].uses()]
        goes_on = len(readers) == 1 and step_of(readers[0], PIXELS) is not None
        return None if goes_on else step


TURN = 3
REWRITES = (GateConvolutions(), GateProducts())
