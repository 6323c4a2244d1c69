"""A half-precision graph as its dtypes say, on kernels that are float32: every operator rounds what it gives.

ONNX Runtime's CPU provider has few half-precision kernels. For float16 it puts casts around the float32 ones and then
takes out those that undo each other, so that what the graph stores in half precision is never rounded; for bfloat16 it
refuses. Here the casts are written out, and ONNX Runtime keeps what a graph says: each operator reads half-precision
values, computes in float32, and rounds its result. An overflow between two operators is an overflow.
"""

from __future__ import annotations

from pathlib import Path

from ..core.element_types import element_types
from ..core.precision import CAST


def float32_kernels(path: Path) -> bytes:
    """The model at ``path`` with a cast before every half-precision operand and after every half-precision result.

    An output without a type, as whoever shows a value declares it, has the rounded numbers in float32.

    Raises ValueError if the rewritten model does not fit into one file of 2 GiB.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(path))
    graph, dtypes = model.graph, element_types(model)
    low = {TensorProto.DataType.Value(row.onnx_type) for row in CAST.values()}
    shown = {value.name for value in graph.output if not value.type.tensor_type.elem_type}
    nodes, wide = [], {}

    def cast(read: str, written: str, dtype: int) -> None:
        nodes.append(helper.make_node("Cast", [read], [written], to=dtype))

    for node in graph.node:
        converts = node.op_type == "Cast"
        for index, name in enumerate(node.input):
            if converts or dtypes.get(name) not in low:
                continue
            if name not in wide:
                wide[name] = f"{name}/read"
                cast(name, wide[name], TensorProto.FLOAT)
            node.input[index] = wide[name]
        nodes.append(node)
        for index, name in enumerate(node.output):
            if dtypes.get(name) not in low:
                continue
            rounded = f"{name}/rounded" if name in shown else name
            node.output[index] = rounded if converts else f"{name}/exact"
            if not converts:
                cast(node.output[index], rounded, dtypes[name])
            if name in shown:
                cast(rounded, name, TensorProto.FLOAT)
                wide[name] = name
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    written: bytes = model.SerializeToString()
    return written
