"""The bytes that cross between kernels of a graph if a builder fuses as NVIDIA documents for TensorRT.

QuantizeLinear is fused with what makes its input, DequantizeLinear and a cast to float32 with what reads their output.
Elementwise operators are fused with the kernel of their last operand if they alone read it, so that a product takes
bias, activation and residual addition with it. Pooling, reductions and products begin kernels of their own. Weights
are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import onnx

from attn2trt.core.operators import named

ELEMENTWISE = named(
    """
    Add Sub Mul Div Max Min Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Erf Sqrt Pow Neg Abs Exp Cast
    Identity Unsqueeze Squeeze Reshape Flatten QuantizeLinear
    """
)
GATES = named("Sigmoid HardSigmoid Tanh")


class Kernels:
    """The nodes of a graph in groups, each one kernel."""

    def __init__(self, path: Path) -> None:
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
        graph = model.graph
        self._values = {
            value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)
        }
        constants = {tensor.name for tensor in graph.initializer}
        self._nodes = [node for node in graph.node if not self._is_constant(node, constants)]
        self._outputs = {value.name for value in graph.output}
        self._made = {name: place for place, node in enumerate(self._nodes) for name in node.output}
        self._inputs = {value.name for value in graph.input}
        # what such a node gives is read as what it reads
        self._same = {node.output[0]: node.input[0] for node in self._nodes if self._is_read_through(node)}
        self._readers: dict[str, list[int]] = {}
        for place, node in enumerate(self._nodes):
            for name in () if node.output[0] in self._same else self._read(node):
                self._readers.setdefault(name, []).append(place)
        self._kernel = list(range(len(self._nodes)))
        for place, node in enumerate(self._nodes):
            if node.op_type in ELEMENTWISE and (before := self._fused_with(place, node)) is not None:
                self._kernel[place] = self._kernel[before]

    def crossing(self) -> Counter[str]:
        """Return the bytes for one image that kernels write and read, by the bits of their type."""
        moved: Counter[str] = Counter()
        for name, readers in self._readers.items():
            own = self._kernel[self._made[name]] if name in self._made else None
            others = {self._kernel[place] for place in readers} - {own}
            if others or name in self._outputs:
                bits, size = self._size(name)
                moved[str(bits)] += size * (len(others) + (own is not None))
        for name in self._outputs - self._readers.keys():
            bits, size = self._size(name)
            moved[str(bits)] += size
        return moved

    @staticmethod
    def _is_constant(node: onnx.NodeProto, constants: set[str]) -> bool:
        """Return True for a node of constants alone, which a builder folds; its results are constants from then on."""
        if all(name in constants for name in node.input if name):
            constants.update(node.output)
            return True
        return False

    def _is_read_through(self, node: onnx.NodeProto) -> bool:
        """Return True for what is fused with its readers."""
        widens = node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT
        return node.op_type == "DequantizeLinear" or (widens and node.output[0] not in self._outputs)

    def _read(self, node: onnx.NodeProto) -> list[str]:
        names = [self._same.get(name, name) for name in node.input]
        return [name for name in dict.fromkeys(names) if name in self._made or name in self._inputs]

    def _fused_with(self, place: int, node: onnx.NodeProto) -> int | None:
        """Return the node whose kernel takes an elementwise one in."""
        made = [name for name in self._read(node) if name in self._made and not self._is_levels(name)]
        if not made:
            return None
        last = max(made, key=lambda name: self._made[name])
        if node.op_type == "QuantizeLinear":
            return self._made[last]
        alone = {place, *(gate for gate in self._readers[last] if self._is_own_gate(gate, last))}
        others = {reader for reader in self._readers[last] if self._nodes[reader].op_type != "QuantizeLinear"} - alone
        if node.op_type in GATES and self._is_own_gate(place, last):
            others -= {reader for reader in others if self._nodes[reader].op_type == "Mul"}
        return None if others else self._made[last]

    def _is_levels(self, name: str) -> bool:
        return bool(self._values[name].elem_type == onnx.TensorProto.INT8)

    def _is_own_gate(self, place: int, name: str) -> bool:
        """Return True for the sigmoid of ``x * sigmoid(x)``."""
        node = self._nodes[place]
        readers = self._readers.get(node.output[0], [])
        return (
            node.op_type in GATES
            and len(readers) == 1
            and self._nodes[readers[0]].op_type == "Mul"
            and name in self._read(self._nodes[readers[0]])
        )

    def _size(self, name: str) -> tuple[int, int]:
        """Return the bits of a number and the bytes of a value for one image."""
        kind = self._values[name]
        bits = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize * 8
        sizes = [dim.dim_value or 1 for dim in kind.shape.dim]
        return bits, math.prod(sizes) * bits // 8
