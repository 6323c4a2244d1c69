"""A stand-in for a weakly typed network of TensorRT 8.6, built from an ONNX graph as its parser does.

Every float is reported as FLOAT, whatever the graph has, except a constant's. Some nodes become several layers, whose
inner tensors have names of the parser's own. Whatever the builder of 8.6 refuses is refused here at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
from onnx import TensorProto

KINDS = ["CAST", "CONSTANT", "SHAPE", "ACTIVATION", "ELEMENTWISE", "MATRIX_MULTIPLY", "SHUFFLE", "TOPK", "OTHER"]
TRT: Any = SimpleNamespace(
    BuilderFlag=SimpleNamespace(FP16="FP16", INT8="INT8", TF32="TF32", OBEY_PRECISION_CONSTRAINTS="OBEY"),
    DataType=SimpleNamespace(FLOAT="FLOAT", HALF="HALF", INT32="INT32", BOOL="BOOL"),
    LayerType=SimpleNamespace(**{kind: kind for kind in KINDS}),
)
REFUSED = "castLayer.cpp::validate: Assertion !mOutputTypes.at(0).hasValue() || mOutputTypes.at(0).value() == toType"
COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf", "Not", "And", "Or")
# nodes that become two layers, the first one's output unnamed
PAIRS = {"HardSwish": ("ACTIVATION", "ELEMENTWISE"), "Softmax": ("SHUFFLE", "OTHER"), "Clip": ("ELEMENTWISE",) * 2}
# the inputs that these nodes take as shapes
TAKE_SIZES: dict[str, Sequence[int]] = {
    **dict.fromkeys(["Reshape", "Expand", "Tile", "Pad", "Split", "Squeeze", "Unsqueeze", "TopK"], (1,)),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Slice": (1, 2, 3, 4),
    "Resize": (2, 3),
}


@dataclass
class Tensor:
    name: str
    dtype: str = "FLOAT"
    is_shape_tensor: bool = False


class Layer:
    """A layer of the ``node`` of the graph; ``bound`` are the types that were set for its outputs."""

    def __init__(self, kind: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], node: str = "") -> None:
        self.type, self.inputs, self.outputs, self.node = kind, inputs, outputs, node
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.bound: dict[int, str] = {}
        self._precision = "not set"

    def get_input(self, place: int) -> Tensor | None:
        return self.inputs[place]

    def get_output(self, place: int) -> Tensor:
        return self.outputs[place]

    @property
    def precision(self) -> str:
        return self._precision

    @precision.setter
    def precision(self, dtype: str) -> None:
        self._refuse()
        self._precision = dtype

    def set_output_type(self, place: int, dtype: str) -> None:
        self._refuse()
        assert self.outputs[place].dtype in ("FLOAT", "HALF"), f"{self.node}: an integer bound to {dtype}"
        self.bound[place] = dtype

    def _refuse(self) -> None:
        assert self.type != "CAST", REFUSED
        assert not any(tensor.is_shape_tensor for tensor in self.outputs), f"{self.node}: a shape tensor is bound"


class Network:
    """The layers, in the order in which they compute."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        self.num_layers = len(self.layers)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    def of(self, node: str) -> list[Layer]:
        return [layer for layer in self.layers if layer.node == node]


def parsed(graph: Path) -> Network:
    """The network that the parser of 8.6 would make of the graph."""
    model = onnx.load(str(graph))
    network = Network(_Parser(model).layers())
    sized = {node.name: TAKE_SIZES[node.op_type] for node in model.graph.node if node.op_type in TAKE_SIZES}
    for layer in reversed(network.layers):
        # A tensor is one of shapes if a layer needs it as one; what it is computed from is then one, too.
        places = sized.get(layer.node, ())
        if layer.type != "SHAPE" and any(tensor.is_shape_tensor for tensor in layer.outputs):
            places = range(layer.num_inputs)
        for place in places:
            if place < layer.num_inputs and (tensor := layer.get_input(place)) is not None:
                tensor.is_shape_tensor = True
    return network


class _Parser:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.shape_inference.infer_shapes(model)
        graph = self._model.graph
        self._elements = {
            value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._tensors = {value.name: self._tensor(value.name) for value in graph.input}

    def layers(self) -> Iterator[Layer]:
        weights = {entry.name: entry for entry in self._model.graph.initializer}
        for node in self._model.graph.node:
            for name in node.input:
                if name in weights and name not in self._tensors:
                    kind = _reported(weights[name].data_type, keep_half=True)
                    self._tensors[name] = Tensor(f"(Unnamed Layer* {name}) [Constant]_output", kind)
                    yield Layer("CONSTANT", [], [self._tensors[name]])
            yield from self._of(node)

    def _of(self, node: onnx.NodeProto) -> Iterator[Layer]:
        inputs = [self._tensors[name] if name else None for name in node.input]
        outputs = [self._tensor(name) for name in node.output if name]
        self._tensors |= {tensor.name: tensor for tensor in outputs}
        if node.op_type == "Constant":
            outputs[0].dtype = _reported(node.attribute[0].t.data_type, keep_half=True)
        if node.op_type == "Gemm" and len(inputs) == 3:
            product, bias = Tensor(f"({node.name}) [Matrix Multiply]_output"), Tensor(f"({node.name}) [Shuffle]_output")
            yield Layer("MATRIX_MULTIPLY", inputs[:2], [product], node.name)
            yield Layer("SHUFFLE", inputs[2:], [bias], node.name)
            yield Layer("ELEMENTWISE", [product, bias], outputs, node.name)
        elif node.op_type in PAIRS:
            inner = Tensor(f"({node.name}) [{node.op_type}]_output")
            first, second = PAIRS[node.op_type]
            yield Layer(first, inputs, [inner], node.name)
            # a scalar that the parser adds itself, always in float32, comes before what is computed
            scalar = Tensor(f"({node.name}) [Constant]_output")
            yield Layer("CONSTANT", [], [scalar], node.name)
            yield Layer(second, [scalar, inner], outputs, node.name)
        elif node.op_type == "ArgMax":
            yield Layer("TOPK", inputs, [Tensor(f"({node.name}) [TopK]_output"), *outputs], node.name)
        else:
            kind = {"Cast": "CAST", "Constant": "CONSTANT", "Shape": "SHAPE"}.get(node.op_type, "OTHER")
            yield Layer(kind, inputs, outputs, node.name)

    def _tensor(self, name: str) -> Tensor:
        return Tensor(name, _reported(self._elements[name]))


def _reported(element: int, *, keep_half: bool = False) -> str:
    """Return a type of ONNX as 8.6 reports it: every float is FLOAT, a weight in float16 excepted."""
    if element == TensorProto.FLOAT16 and keep_half:
        return "HALF"
    if element in (TensorProto.FLOAT, TensorProto.FLOAT16):
        return "FLOAT"
    return "BOOL" if element == TensorProto.BOOL else "INT32"
