"""Rewrites that pay off on the CPU and may on the GPU too: their home is the folder above.

Linear layers on pixels as convolutions need no transposed copy of a map. The product of two gates before the map makes
one elementwise kernel of two. Merged groups fill the units that multiply matrices, which narrow groups cannot use.
"""

from __future__ import annotations

import onnx_ir as ir

from ..few_outputs import FewOutputs
from ..narrow_convolutions import BLOCKS, WiderGroups
from ..pixel_linear import PixelLinear
from ..rewrite import Rewrite
from ..row_column_gates import OuterProduct


class Everywhere:
    """A rewrite at all its places alike, whatever their sizes are; ``kind`` is what they have in common."""

    def __init__(self, rewrite: Rewrite, kind: str) -> None:
        self.name = rewrite.name
        self._rewrite, self._kind = rewrite, kind

    def kind(self, node: ir.Node) -> str:
        """Return the one kind of all places."""
        return self._kind if self._rewrite.kind(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write what the rewrite writes."""
        self._rewrite.apply(node)


TURN = 5
REWRITES = (
    Everywhere(PixelLinear(), "linear layers on pixels"),
    Everywhere(OuterProduct(), "row and column gates"),
    Everywhere(WiderGroups(max(BLOCKS)), "convolution in narrow groups"),
    Everywhere(FewOutputs(), "convolution to one channel"),
)
