"""A float32 graph as tensor cores run it in tf32: both operands of every product rounded to eleven significant bits.

tf32 has float32's exponents and float16's digits, and adds up in float32. The graph file is the float32 one; here the
rounding is written out, so that a runtime without tf32 computes what one with it does.
"""

from __future__ import annotations

from pathlib import Path

from ..core.operators import PRODUCTS

# float32 has 24 significant bits, tf32 has 11: what is more than 2^13 times smaller goes.
SPLITTER = 2.0**13 + 1


def tf32_kernels(path: Path) -> bytes:
    """The model at ``path`` with a rounding before each float32 operand of a product but a bias.

    x - (x - s x), s the splitter, in float32 keeps the leading digits, rounded to nearest (Dekker, "A floating-point
    technique for extending the available precision", 1971). Raises ValueError if the rewritten model does not fit
    into one file of 2 GiB.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(SPLITTER, np.float32), "tf32/splitter"))
    rounded: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        operands = range(len(node.input) if node.op_type == "Einsum" else 2)
        for index in operands if node.op_type in PRODUCTS else ():
            name = node.input[index]
            if name not in rounded:
                large, rest, rounded[name] = (f"{name}/{part}" for part in ("tf32_large", "tf32_rest", "tf32"))
                nodes.append(helper.make_node("Mul", [name, "tf32/splitter"], [large]))
                nodes.append(helper.make_node("Sub", [large, name], [rest]))
                nodes.append(helper.make_node("Sub", [large, rest], [rounded[name]]))
            node.input[index] = rounded[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    written: bytes = model.SerializeToString()
    return written
