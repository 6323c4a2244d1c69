"""A gate's layers as 1x1 convolutions of one pixel, or as matrix products of rows.

Which of the two a builder has the faster kernels for, and which of them it takes an activation into, depends on its
version. The axes that go or come stand at the ends of the chain, so that nothing stands between its products.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Matched, Writer, sizes
from .gate_chain import PIXELS, ROWS, Rewriter, Step, chain, step_of
from .spatial_mean import with_axes


class GateConvolutions(Matched[Step]):
    """Linear layers of rows, and the Unsqueeze to a pixel behind them, as 1x1 convolutions."""

    name = "gate as 1x1 convolutions"
    place = "layers of a gate"

    def match(self, node: ir.Node) -> Step | None:
        """Return the chain that an Unsqueeze ends."""
        if node.op_type not in ("Unsqueeze", "Reshape") or sizes(node.outputs[0], 4) is None:
            return None
        before, after = sizes(node.inputs[0], 2), sizes(node.outputs[0], 4)
        if before is None or after is None or after[2:] != (1, 1) or before[1] is None or before[1] != after[1]:
            return None
        step = chain(node.inputs[0], ROWS)
        return step if step is not None and any(step.products()) else None

    def write(self, write: Writer, node: ir.Node, found: Step) -> ir.Value:
        """Write the chain of pixels."""
        return Rewriter(write, ROWS).written(found)


class GateProducts(Matched[Step]):
    """1x1 convolutions of one pixel as matrix products of rows."""

    name = "gate as matrix products"
    place = "layers of a gate"

    def match(self, node: ir.Node) -> Step | None:
        """Return the chain that ends in a node; None if it goes on behind it or holds no product."""
        step = step_of(node, PIXELS)
        if step is None or not any(step.products()):
            return None
        readers = [use.node for use in node.outputs[0].uses()]
        goes_on = len(readers) == 1 and step_of(readers[0], PIXELS) is not None
        return None if goes_on else step

    def write(self, write: Writer, node: ir.Node, found: Step) -> ir.Value:
        """Write the chain of rows, and an Unsqueeze."""
        return with_axes(write, Rewriter(write, PIXELS).written(found), "pixel")


TURN = 3
REWRITES = (GateConvolutions(), GateProducts())
