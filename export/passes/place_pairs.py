"""Decide which tensors a graph hands from kernel to kernel in 8 bits: all between products, none inside a fusion.

A pair of QuantizeLinear and DequantizeLinear costs a rounding and saves bytes where a tensor is written to memory and
read again. The rules are NVIDIA's for explicit quantisation ("Q/DQ placement recommendations" in TensorRT's guide):

- what a quantised product reads has a pair, and every other reader of it reads the same 8 bits (the residual, a gate);
- no pair stands between a product and the activation or addition that is fused with it;
- of an addition of two products one is fused with it, the last; the other passes on 8 bits;
- a map that several kernels read, or that is pooled, has a pair: a squeeze and its gate read 8 bits;
- so has one that is concatenated, split, turned or moved otherwise for a product or a pooling;
- what pools, concatenates or moves 8 bits gives 8 bits; maximum pooling and moves have one scale on both sides, and so
  has a concatenation, but for tensors of a much smaller range.

Not touched are outputs, what one global pooling has left, and maps that no quantised product has a part in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import onnx_ir as ir

from ...core.operators import named
from .pairs import Pairs, Reader, pairs_of
from .quantize_policy import QuantizePlan, pooled_values

# Operators whose result lies between products if what they read does.
CARRIERS = named(
    "Relu LeakyRelu PRelu Clip HardSwish Add Sub Mul Max Min Concat MaxPool AveragePool Sigmoid HardSigmoid"
)
POOLS = named("MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceMax")
# Operators that compute nothing. Resize is one if it takes the nearest pixel.
MOVES = named("Split Slice Transpose Reshape Flatten Squeeze Unsqueeze DepthToSpace SpaceToDepth Resize")
POOLED_IN_8_BITS = named("MaxPool AveragePool")
GATES = named("Sigmoid HardSigmoid Tanh")
MAP_AXES = 3


def place_pairs(model: ir.Model, planned: QuantizePlan, is_kept: Callable[[str], str] = lambda _name: "") -> Pairs:
    """Return the pairs of a float32 model whose products are ``planned``; what ``is_kept`` reads no 8 bits."""
    return _Placer(model.graph, planned, is_kept).place()


def pairs_at(
    model: ir.Model,
    planned: QuantizePlan,
    readers: Collection[Reader],
    is_kept: Callable[[str], str] = lambda _name: "",
) -> Pairs:
    """Return the pairs of a float32 model at ``readers`` that somebody else chose.

    Products are those of the plan: an input of another one, of a kept node or of an operator that is no carrier or
    pooling is left out.
    """
    products = {product.node for product in planned.quantized}
    found: dict[str, list[Reader]] = {}
    for node in model.graph:
        name = str(node.name)
        for index, value in enumerate(node.inputs):
            is_product = name in products and index == 0
            carries = node.op_type in CARRIERS | POOLS and not is_kept(name)
            if value is None or value.dtype != ir.DataType.FLOAT or ir.convenience.get_const_tensor(value) is not None:
                continue
            if (name, index) in readers and (is_product or carries):
                found.setdefault(str(value.name), []).append((name, index))
    return Pairs({name: tuple(sorted(readers_of_one)) for name, readers_of_one in found.items()})


class _Placer:
    def __init__(self, graph: ir.Graph, planned: QuantizePlan, is_kept: Callable[[str], str]) -> None:
        self._graph, self._is_kept = graph, is_kept
        self._order = {node: place for place, node in enumerate(graph)}
        self._products = {product.node for product in planned.quantized}
        self._pooled = pooled_values(graph)
        self._between = self._found_between()
        self._joined = self._found_joined()
        self._moved = self._found_moved()
        self._rearranged = self._joined | self._moved
        self._paired: set[ir.Value] = set()

    def place(self) -> Pairs:
        for value in self._maps():
            if self._is_read_by_product(value) or (value in self._between and self._crosses(value)):
                self._paired.add(value)
        for node in self._graph:
            if node.op_type in ("Add", "Sum"):
                self._paired.update(self._not_fused(node))
            keeps_8_bits = node.op_type in POOLED_IN_8_BITS or node in self._rearranged
            if keeps_8_bits and self._inputs_are_paired(node):
                self._paired.update(value for value in node.outputs if self._readers(value))
        readers = {str(value.name): self._readers(value) for value in self._maps() if value in self._paired}
        read = {name: found for name, found in readers.items() if found}
        return pairs_of(read, self._sources(), self._concatenated())

    def _maps(self) -> Iterator[ir.Value]:
        """Yield every value that may have a pair: floats that depend on the input, in the order of the graph."""
        yield from (value for value in self._graph.inputs if value.dtype == ir.DataType.FLOAT)
        for node in self._graph:
            yield from (value for value in node.outputs if value.dtype == ir.DataType.FLOAT)

    def _found_between(self) -> set[ir.Value]:
        found: set[ir.Value] = set()
        for node in self._graph:
            carries = (node.op_type in CARRIERS or _moves(node)) and any(value in found for value in node.inputs)
            if str(node.name) in self._products or carries:
                found.update(value for value in node.outputs if value not in self._pooled and _is_map(value))
        return found

    def _found_joined(self) -> set[ir.Node]:
        """Return the concatenations that a product or a pooling reads, maybe over activations, gates and additions.

        Boxes and classes of a detector that are concatenated for an output stay as they are.
        """
        found: set[ir.Node] = set()
        leading: set[ir.Value] = set()
        for node in reversed(list(self._graph)):
            if any(value in leading or self._is_read(value) for value in node.outputs):
                if node.op_type == "Concat" and not self._is_kept(str(node.name)):
                    found.add(node)
                if node.op_type in CARRIERS or _moves(node):
                    leading.update(value for value in node.inputs if value is not None)
        return found

    def _found_moved(self) -> set[ir.Node]:
        """Return the nodes that move what is between products to readers of 8 bits, maybe over others of them.

        All that such a node gives is read in 8 bits: queries, keys and values that float32 multiplies are not.
        """
        found: set[ir.Node] = set()
        for node in reversed(list(self._graph)):
            is_read = all(self._is_read(value, found | self._joined) for value in node.outputs)
            if is_read and _moves(node) and node.inputs[0] in self._between and not self._is_kept(str(node.name)):
                found.add(node)
        return found

    def _is_read(self, value: ir.Value, others: Collection[ir.Node] = ()) -> bool:
        """Return True if a product, a pooling or one of ``others`` reads 8 bits of a value."""
        for node, index in value.uses():
            is_pool = node.op_type in POOLS and not self._is_kept(str(node.name))
            if is_pool or node in others or self._is_product(node, index):
                return True
        return False

    def _readers(self, value: ir.Value) -> tuple[Reader, ...]:
        """Return the inputs that can read 8 bits of a value."""
        found = []
        for node, index in value.uses():
            if node not in self._order:  # in a body of If or Loop, which stays in float32
                continue
            name = str(node.name)
            carries = node.op_type in CARRIERS | POOLS and not self._is_kept(name)
            if self._is_product(node, index) or ((carries or node in self._moved) and value in self._between):
                found.append((name, index))
        return tuple(sorted(found, key=lambda reader: reader[0]))

    def _is_read_by_product(self, value: ir.Value) -> bool:
        return any(self._is_product(node, index) for node, index in value.uses())

    def _is_product(self, node: ir.Node, index: int) -> bool:
        """Return True if a quantised product reads its map by this input."""
        return index == 0 and str(node.name) in self._products

    def _crosses(self, value: ir.Value) -> bool:
        """Return True if a value is written to memory whatever a compiler fuses."""
        users = [node for node, _ in value.uses()]
        gated = {user for gate in users if _is_own_gate(gate, value) for user, _ in gate.outputs[0].uses()}
        kernels = {node for node in users if not _is_own_gate(node, value)} | gated
        return len(kernels) > 1 or any(node.op_type in POOLS or node in self._rearranged for node in users)

    def _not_fused(self, node: ir.Node) -> list[ir.Value]:
        """Return the operands of an addition of products that are not fused with it: all but the last."""
        operands = [value for value in node.inputs if value is not None and self._is_bare_product(value)]
        if len(operands) < len([value for value in node.inputs if value is not None]) or len(operands) < 2:
            return []
        last = max(operands, key=lambda value: self._order[value.producer()])  # type: ignore[index]
        return [value for value in operands if value is not last]

    def _is_bare_product(self, value: ir.Value) -> bool:
        producer = value.producer()
        return producer is not None and str(producer.name) in self._products and value not in self._paired

    def _inputs_are_paired(self, node: ir.Node) -> bool:
        read = node.inputs[:1] if _moves(node) else node.inputs
        return all(value in self._paired for value in read if value is not None)

    def _sources(self) -> dict[str, str]:
        """Return the tensor whose numbers each is made of, of those that a maximum or a move makes."""
        sources: dict[str, str] = {}
        for node in self._graph:
            read = node.inputs[0] if node.op_type == "MaxPool" or node in self._moved else None
            if read in self._paired:
                source = sources.get(str(read.name), str(read.name))
                sources.update((str(value.name), source) for value in node.outputs if value in self._paired)
        return sources

    def _concatenated(self) -> list[tuple[str, ...]]:
        """Return the tensors that each concatenation reads in 8 bits, behind the one that it gives in 8 bits."""
        nodes = [node for node in self._graph if node in self._joined and node.outputs[0] in self._paired]
        values = [[node.outputs[0], *(value for value in node.inputs if value in self._paired)] for node in nodes]
        return [tuple(str(value.name) for value in of_one if value is not None) for of_one in values]


def _moves(node: ir.Node) -> bool:
    """Return True for an operator that only moves numbers of its first input."""
    is_nearest = node.op_type != "Resize" or node.attributes.get_string("mode", "nearest") == "nearest"
    return node.op_type in MOVES and is_nearest


def _is_map(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) >= MAP_AXES


def _is_own_gate(node: ir.Node, value: ir.Value) -> bool:
    """Return True for the sigmoid of ``x * sigmoid(x)``, which one kernel computes."""
    uses = list(node.outputs[0].uses())
    return node.op_type in GATES and len(uses) == 1 and uses[0].node.op_type == "Mul" and value in uses[0].node.inputs
