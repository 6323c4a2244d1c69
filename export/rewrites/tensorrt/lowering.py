"""Choices of the precision of nodes, as the files of this folder give them."""

from __future__ import annotations

from typing import Protocol

import onnx_ir as ir


class Lowering(Protocol):
    """A choice of nodes that are not in the precision that the policy gives them.

    Attributes:
        name: The choice in words.
        kind: The nodes in words. Of two choices of one kind only one can be taken.
        is_low: True if the nodes are lowered, False if they stay in float32.
    """

    name: str
    kind: str
    is_low: bool

    def nodes(self, graph: ir.Graph, *, io: str) -> frozenset[str]:
        """Return the names of the nodes of a float32 graph; none if the choice does not apply.

        ``io`` is the type that its inputs and outputs will have.
        """
        ...
