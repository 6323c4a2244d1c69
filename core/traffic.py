"""Bytes that move and operations that are done when a graph runs operator by operator, counted from the graph.

Every operator reads each of its different inputs once, weights included, and writes each of its outputs once. Views
(Reshape and its like) move nothing; an operator that picks a part of its input (Slice, Gather) reads no more than it
gives. A multiplication and the addition that follows it in a sum are two operations; anything but sums of products is
one for each element of the largest tensor that the operator reads or writes, and moving data is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    Sizes = tuple[int, ...]

VIEWS = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
PICKS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
MOVES = PICKS | {
    *("Cast", "Concat", "DepthToSpace", "Expand", "Pad", "Range", "ScatterElements", "ScatterND", "SpaceToDepth"),
    *("Split", "Tile", "Transpose", "Trilu"),
}
POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})


@dataclass(frozen=True)
class Operator:
    """One node: its name, its type, and what it costs."""

    name: str
    kind: str
    bytes: int
    operations: int


@dataclass(frozen=True)
class Traffic:
    """A graph's operators, views left out.

    ``least_bytes`` move whatever the runtime fuses: the graph's inputs, its outputs and the weights, each once.
    ``uncounted`` names the nodes whose sizes shape inference did not find, or that hold graphs of their own.
    """

    operators: tuple[Operator, ...]
    least_bytes: int
    uncounted: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes that move if nothing is fused."""
        return sum(operator.bytes for operator in self.operators)

    @property
    def operations(self) -> int:
        """Operations that are computed, fused or not."""
        return sum(operator.operations for operator in self.operators)


def traffic(path: Path, sizes: Mapping[str, int]) -> Traffic:
    """Count the graph file at these ``sizes`` of its dynamic axes."""
    import onnx

    # the sizes of weights that lie beside the graph are in the graph
    return count(onnx.load(str(path), load_external_data=False), sizes)


def count(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Traffic:
    """Count ``model``, whose value infos are replaced by those at the given ``sizes``."""
    tensors = tensors_at(model, sizes)
    weights = {entry.name for entry in model.graph.initializer}
    operators, uncounted, read = [], [], set()
    for node in model.graph.node:
        if node.op_type in VIEWS:
            continue
        names = [*dict.fromkeys(filter(None, node.input)), *filter(None, node.output)]
        if any(name not in tensors for name in names) or any(entry.HasField("g") for entry in node.attribute):
            uncounted.append(node.name)
            continue
        read.update(weights.intersection(node.input))
        operators.append(Operator(node.name, node.op_type, _bytes(node, tensors), _operations(node, tensors)))
    ends = {value.name for value in (*model.graph.input, *model.graph.output)} - weights
    least = sum(tensors[name].bytes for name in ends | read if name in tensors)
    return Traffic(tuple(operators), least, tuple(uncounted))


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph: its sizes, and the bytes of one element."""

    sizes: Sizes
    item: int

    @property
    def elements(self) -> int:
        """Return how many numbers it holds."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Return the bytes that it takes."""
        return self.elements * self.item


def tensors_at(model: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return every tensor whose sizes are known once the dynamic axes have theirs; ``model`` loses its value infos."""
    import onnx

    del model.graph.value_info[:]  # what was inferred for any size
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    found: dict[str, Tensor] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = Tensor(tuple(dim.dim_value for dim in kind.shape.dim), _item(kind.elem_type))
    for entry in model.graph.initializer:
        found[entry.name] = Tensor(tuple(entry.dims), _item(entry.data_type))
    return found


def _item(kind: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _bytes(node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> int:
    written = sum(tensors[name].bytes for name in node.output if name)
    names = list(dict.fromkeys(filter(None, node.input)))
    if node.op_type in PICKS:
        return 2 * written + sum(tensors[name].bytes for name in names[1:])
    return written + sum(tensors[name].bytes for name in names)


def _operations(node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> int:
    given = [tensors[name] for name in node.input if name]
    made = [tensors[name] for name in node.output if name]
    if products := _products(node, given, made[0]):
        return 2 * products
    if node.op_type in POOLS:
        return made[0].elements * int(math.prod(_attribute(node, "kernel_shape")))
    return 0 if node.op_type in MOVES else max(tensor.elements for tensor in (*given, *made))


def _products(node: onnx.NodeProto, given: Sequence[Tensor], made: Tensor) -> int:
    """Count the products that a sum of products adds up; 0 if the node is none."""
    match node.op_type:
        case "Conv":
            return made.elements * math.prod(given[1].sizes[1:])
        case "ConvTranspose":
            return given[0].elements * math.prod(given[1].sizes[1:])
        case "MatMul":
            return made.elements * given[0].sizes[-1]
        case "Gemm":
            return made.elements * given[0].sizes[0 if _attribute(node, "transA") else 1]
        case "Einsum" if len(given) == 2:
            return _einsum(_attribute(node, "equation").decode(), given)
    return 0


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), None)


def _einsum(equation: str, given: Sequence[Tensor]) -> int:
    """Products of an Einsum of two tensors: one for each combination of its indices."""
    sizes: dict[str, int] = {}
    for term, tensor in zip(equation.split("->", maxsplit=1)[0].split(","), given, strict=True):
        # the axes that an ellipsis stands for are counted from the left, as one index each
        letters = re.findall(r"\.\.\.|[A-Za-z]", term)
        rest = len(tensor.sizes) - len(letters) + 1
        spread = [
            name for letter in letters for name in ([f"...{n}" for n in range(rest)] if letter == "..." else [letter])
        ]
        sizes.update(zip(spread, tensor.sizes, strict=True))
    return math.prod(sizes.values())
