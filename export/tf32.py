"""tf32: the float32 graph as it is, for a builder that is allowed to shorten what its products read."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.graph import OnnxGraph
from ..core.operators import PRODUCTS
from ..core.precision import TF32
from ..errors import ModuleRefused
from .precision import LowPrecisionGraph


@dataclass(frozen=True)
class Tf32Graph(LowPrecisionGraph):
    """The float32 graph; ``lowered`` are its products."""

    @property
    def notes(self) -> list[str]:
        """Return what a user should know."""
        return ["the float32 graph; TensorRT builds it in tf32 by default (--noTF32 stops that)"]

    @property
    def lowered_modules(self) -> dict[str, tuple[str, ...]]:
        """Empty: a builder allows tf32 for a whole network."""
        return {}


def allow_tf32(graph: OnnxGraph) -> Tf32Graph:
    """Return the same graph, to be judged with tf32 operands; raises ModuleRefused if it has no product."""
    import onnx

    nodes = onnx.load(str(graph.path), load_external_data=False).graph.node
    lowered = tuple(node.name for node in nodes if node.op_type in PRODUCTS)
    if not lowered:
        raise ModuleRefused("tf32 changes nothing: the graph has no convolution and no matrix product; leave it out")
    others = {node.name: "not a product" for node in nodes if node.op_type not in PRODUCTS}
    return Tf32Graph(TF32, graph, lowered, others, {})
