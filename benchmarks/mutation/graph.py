"""A graph under the knife: copies of a healthy model that operators edit in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from attn2trt.engines.ort_runtime import OrtRuntime

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Anatomy:
    """The shape of every float tensor inside a graph, at the traced sizes and at others: if they differ, an axis is
    dynamic."""

    traced: Shapes
    elsewhere: Shapes

    def dynamic_axes(self, tensor: str) -> list[int]:
        pairs = zip(self.traced.get(tensor, ()), self.elsewhere.get(tensor, ()), strict=True)
        return [axis for axis, (here, there) in enumerate(pairs) if here != there]


def examine(model: onnx.ModelProto, traced: Mapping[str, Array], other: Mapping[str, Array]) -> Anatomy:
    """Run the healthy model on feeds of two sizes with every tensor as an output."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    floats = [
        value for value in inferred.graph.value_info if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    made = {name for node in probe.graph.node for name in node.output}
    probe.graph.output.extend(helper.make_empty_tensor_value_info(v.name) for v in floats if v.name in made)
    with OrtRuntime(probe.SerializeToString(), optimise=False, threads=1) as runtime:
        shapes = []
        for feeds in (traced, other):
            values = dict(feeds) | runtime.run(dict(feeds))
            shapes.append({name: value.shape for name, value in values.items()})
    return Anatomy(*shapes)


class Patient:
    """One editable copy of a model."""

    def __init__(self, model: onnx.ModelProto, anatomy: Anatomy) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        # What is noted of the healthy tensors' shapes would give a fault away when it is loaded.
        del self.graph.value_info[:]
        self.anatomy = anatomy
        self._weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self._made = 0

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape at the traced sizes; empty if the tensor is no float activation."""
        return tuple(self.anatomy.traced.get(tensor, ()))

    def is_weight(self, name: str) -> bool:
        return name in self._weights

    def array(self, name: str) -> Array:
        return np.array(numpy_helper.to_array(self._weights[name]))

    def weight(self, node: onnx.NodeProto, index: int) -> Array | None:
        """Return the node's constant input; None if it has none there."""
        if index >= len(node.input) or node.input[index] not in self._weights:
            return None
        return self.array(node.input[index])

    def constant(self, values: Any) -> str:
        """A new initializer's name."""
        name = self.fresh("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        self._weights[name] = self.graph.initializer[-1]
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def replace_weight(self, node: onnx.NodeProto, index: int, values: Array) -> None:
        """Give this node alone other constants: a module that is called twice is broken in one call."""
        node.input[index] = self.constant(values.astype(self.array(node.input[index]).dtype))

    def fresh(self, stem: str) -> str:
        self._made += 1
        return f"broken_{stem}_{self._made}"

    def before(self, node: onnx.NodeProto, index: int, op: str, *more: str, **attributes: Any) -> None:
        """Put an operator in front of one input of one node."""
        name = self.fresh(op)
        new = helper.make_node(op, [node.input[index], *more], [name], name=name, **attributes)
        node.input[index] = name
        self.graph.node.insert(self.position(node), new)

    def after(self, node: onnx.NodeProto, op: str, *more: str, **attributes: Any) -> None:
        """Put an operator behind the first output of a node, for everyone who reads it."""
        wanted, name = node.output[0], self.fresh("healthy")
        node.output[0] = name
        new = helper.make_node(op, [name, *more], [wanted], name=self.fresh(op), **attributes)
        self.graph.node.insert(self.position(node) + 1, new)

    def behind(self, node: onnx.NodeProto, parts: Callable[[str, str], Sequence[onnx.NodeProto]]) -> None:
        """Put several operators behind the first output; ``parts`` makes them from what they read and give."""
        wanted, healthy = node.output[0], self.fresh("healthy")
        node.output[0] = healthy
        for offset, part in enumerate(parts(healthy, wanted), start=self.position(node) + 1):
            self.graph.node.insert(offset, part)

    def join(self, node: onnx.NodeProto, ranges: Sequence[tuple[int, int]], axis: int) -> None:
        """Replace the first output by ranges of itself along one axis, one after the other."""

        def parts(healthy: str, wanted: str) -> list[onnx.NodeProto]:
            names = [self.fresh("range") for _ in ranges]
            slices = [
                helper.make_node("Slice", [healthy, self.ints(start), self.ints(end), self.ints(axis)], [name])
                for (start, end), name in zip(ranges, names, strict=True)
            ]
            return [*slices, helper.make_node("Concat", names, [wanted], axis=axis)]

        self.behind(node, parts)

    def become(self, node: onnx.NodeProto, op: str, inputs: Sequence[str] | None = None, **attributes: Any) -> None:
        """Turn a node into another operator in its place."""
        kept = list(node.input) if inputs is None else list(inputs)
        node.CopyFrom(helper.make_node(op, kept, list(node.output), name=node.name, **attributes))

    def position(self, node: onnx.NodeProto) -> int:
        return next(i for i, other in enumerate(self.graph.node) if other.output[0] == node.output[0])

    def earlier(self, node: onnx.NodeProto) -> list[str]:
        """Every float activation that exists before the node runs."""
        names = [value.name for value in self.graph.input]
        for other in self.graph.node[: self.position(node)]:
            names += list(other.output)
        return [name for name in names if self.shape(name)]


# Breaks one node of a graph; returns what was done in words, empty if it does not apply.
Operator = Callable[[Patient, onnx.NodeProto, np.random.Generator], str]


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, ints as a list."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return list(value) if not isinstance(value, (int, float, bytes)) else value
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Replace or add an attribute."""
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
