"""Decide which tensors a graph hands from kernel to kernel in 8 bits: all between products, none inside a fusion.

A pair of QuantizeLinear and DequantizeLinear costs a rounding and saves bytes where a tensor is written to memory and
read again. The rules are NVIDIA's for explicit quantisation ("Q/DQ placement recommendations" in TensorRT's guide):

- what a quantised product reads has a pair, and every other reader of it reads the same 8 bits (the residual, a gate);
- no pair stands between a product and the activation or addition that is fused with it;
- of an addition of two products one is fused with it, the last; the other hands over 8 bits;
- a map that several kernels read, or that is pooled or concatenated, has a pair: a squeeze and its gate read 8 bits;
- what pools or concatenates 8 bits gives 8 bits; maximum pooling and concatenation have one scale on both sides.

Not touched are outputs, what one global pooling has left, and maps that no quantised product has a part in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from ...core.operators import named
from .quantize_policy import QuantizePlan, pooled_values

# Operators whose result lies between products if what they read does.
CARRIERS = named(
    "Relu LeakyRelu PRelu Clip HardSwish Add Sub Mul Max Min Concat MaxPool AveragePool Sigmoid HardSigmoid"
)
POOLS = named("MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean ReduceMax")
JOINS = named("MaxPool AveragePool Concat")
ONE_SCALE = named("MaxPool Concat")
GATES = named("Sigmoid HardSigmoid Tanh")
MAP_AXES = 3
Reader = tuple[str, int]  # the name of a node, and which of its inputs


@dataclass(frozen=True)
class Pairs:
    """``readers`` are the inputs that read 8 bits of each tensor, by its name; ``like`` names the tensor whose scale it
    has in place of its own."""

    readers: Mapping[str, tuple[Reader, ...]]
    like: Mapping[str, str] = field(default_factory=dict)

    def ranges(self, own: Mapping[str, float]) -> dict[str, float]:
        """Return the range of each tensor: the largest of those that share its scale."""
        found: dict[str, float] = {}
        for name in self.readers:
            first = self.like.get(name, name)
            found[first] = max(found.get(first, 0.0), own[name])
        return {name: found[self.like.get(name, name)] for name in self.readers}

    def without(self, names: set[str]) -> Pairs:
        """Return the pairs without those of some tensors and of all that share their scale."""
        gone = {self.like.get(name, name) for name in names}
        kept = {name: found for name, found in self.readers.items() if self.like.get(name, name) not in gone}
        return Pairs(kept, {name: first for name, first in self.like.items() if name in kept})


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
        self._paired: set[ir.Value] = set()

    def place(self) -> Pairs:
        for value in self._maps():
            if self._is_read_by_product(value) or (value in self._between and self._crosses(value)):
                self._paired.add(value)
        for node in self._graph:
            if node.op_type in ("Add", "Sum"):
                self._paired.update(self._not_fused(node))
            if node.op_type in JOINS and self._inputs_are_paired(node) and self._readers(node.outputs[0]):
                self._paired.add(node.outputs[0])
        readers = {str(value.name): self._readers(value) for value in self._maps() if value in self._paired}
        return Pairs({name: found for name, found in readers.items() if found}, self._shared())

    def _maps(self) -> Iterator[ir.Value]:
        """Yield every value that may have a pair: floats that depend on the input, in the order of the graph."""
        yield from (value for value in self._graph.inputs if value.dtype == ir.DataType.FLOAT)
        for node in self._graph:
            yield from (value for value in node.outputs if value.dtype == ir.DataType.FLOAT)

    def _found_between(self) -> set[ir.Value]:
        found: set[ir.Value] = set()
        for node in self._graph:
            carries = node.op_type in CARRIERS and any(value in found for value in node.inputs)
            if str(node.name) in self._products or carries:
                found.update(value for value in node.outputs if value not in self._pooled and _is_map(value))
        return found

    def _readers(self, value: ir.Value) -> tuple[Reader, ...]:
        """Return the inputs that can read 8 bits of a value."""
        found = []
        for node, index in value.uses():
            name = str(node.name)
            is_product = name in self._products and index == 0
            carries = node.op_type in CARRIERS | POOLS and not self._is_kept(name)
            if is_product or (carries and value in self._between):
                found.append((name, index))
        return tuple(sorted(found, key=lambda reader: reader[0]))

    def _is_read_by_product(self, value: ir.Value) -> bool:
        return any(str(node.name) in self._products and index == 0 for node, index in value.uses())

    def _crosses(self, value: ir.Value) -> bool:
        """Return True if a value is written to memory whatever a compiler fuses."""
        users = [node for node, _ in value.uses()]
        gated = {user for gate in users if _is_own_gate(gate, value) for user, _ in gate.outputs[0].uses()}
        kernels = {node for node in users if not _is_own_gate(node, value)} | gated
        return len(kernels) > 1 or any(node.op_type in POOLS or node.op_type == "Concat" for node in users)

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
        return all(value in self._paired for value in node.inputs if value is not None)

    def _shared(self) -> dict[str, str]:
        """Return the tensor whose scale each has, of those that share one."""
        like: dict[str, str] = {}

        def first(name: str) -> str:
            while name in like:
                name = like[name]
            return name

        for node in self._graph:
            values = [*node.inputs, *node.outputs] if node.op_type in ONE_SCALE else []
            names = [str(value.name) for value in values if value in self._paired]
            for name in names[1:]:
                if first(name) != first(names[0]):
                    like[first(name)] = first(names[0])
        return {name: first(name) for name in like}


def _is_map(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) >= MAP_AXES


def _is_own_gate(node: ir.Node, value: ir.Value) -> bool:
    """Return True for the sigmoid of ``x * sigmoid(x)``, which one kernel computes."""
    uses = list(node.outputs[0].uses())
    return node.op_type in GATES and len(uses) == 1 and uses[0].node.op_type == "Mul" and value in uses[0].node.inputs
