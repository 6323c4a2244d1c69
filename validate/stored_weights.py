"""Weights that a file stores in few bits, while nothing that it computes is rounded to levels."""

from __future__ import annotations

from pathlib import Path

from ..core.nodes import constants, nodes
from ..core.operators import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from ..core.sentences import first_names


def stored_weights(path: Path) -> list[str]:
    """Return a sentence about such weights of the graph at ``path``, which differs from its module; none without."""
    import onnx
    from onnx.helper import tensor_dtype_to_string

    graph = onnx.load(path, load_external_data=False).graph
    if any(node.op_type == QUANTIZE_LINEAR for node in nodes(graph)):
        return []
    stored = constants(graph)
    read = [node.input[0] for node in nodes(graph) if node.op_type == DEQUANTIZE_LINEAR and node.input[0] in stored]
    if not read:
        return []
    types = sorted({tensor_dtype_to_string(stored[name].data_type).split(".")[-1].lower() for name in read})
    return [
        f"the file stores weights in {first_names(types)} and rounds nothing else, so it is held to float32: what "
        "storing them lost is an error beside a module without levels; hold it against a module that has these "
        "weights, or check it without --against"
    ]
