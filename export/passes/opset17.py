"""Convert a graph from opset 18 to 17, the newest that TensorRT 8.6 reads.

The converters at hand leave the graph at 18 with no more than a log line, because the axes of most reductions moved
from an attribute (17) to an input (18). This pass turns back what opset 18 changed:

- ``Reduce*`` but ReduceSum: axes from a constant input to the attribute;
- ``Split``: the attribute ``num_outputs`` goes, with the sizes spelt out if the split is not even;
- ``Pad``: the input ``axes`` goes, the pads spread over every dimension;
- ``Resize``: the attributes ``antialias``, ``axes`` and ``keep_aspect_ratio_policy`` go if they hold the default;
- ``ScatterElements``/``ScatterND``: kept, as long as the reduction is one that 17 knows.

An operator that first appeared in 18 has no form in 17 and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ...errors import ModuleRefused
from ..node_line import at, line_of_node

_REDUCTIONS = {
    f"Reduce{kind}" for kind in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"]
}
_NEW_IN_18 = {
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "CenterCropPad",
    "Col2Im",
    "Mish",
    "OptionalGetElement",
}


def _refuse(node: ir.Node, reason: str, taken_by: str = "TensorRT 10 and later") -> ModuleRefused:
    line = line_of_node(node)
    return ModuleRefused(
        f"{node.op_type}{at(line) or f' (node {node.name})'} {reason}, so this module has no opset 17 form; "
        f"export with --opset 18 ({taken_by}), or replace the operation"
    )


def _constant(value: ir.Value | None) -> np.ndarray | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _drop_input(node: ir.Node, index: int) -> None:
    node.replace_input_with(index, None)
    node.resize_inputs(index)


def _replace_input(node: ir.Node, index: int, numbers: Sequence[int] | np.ndarray) -> None:
    value = ir.tensor(np.asarray(numbers, np.int64))
    constant = ir.node("Constant", [], attributes={"value": value})
    (node.graph.insert_before(node, constant)) if node.graph is not None else None
    node.replace_input_with(index, constant.outputs[0])


def _reduction(node: ir.Node) -> None:
    no_op = node.attributes.pop("noop_with_empty_axes", None)
    if len(node.inputs) < 2 or node.inputs[1] is None:
        if no_op is not None and no_op.as_int():
            raise _refuse(node, "keeps every axis")
        return
    axes = _constant(node.inputs[1])
    if axes is None:
        raise _refuse(node, "reduces axes that are only known at run time")
    if axes.size == 0 and no_op is not None and no_op.as_int():
        raise _refuse(node, "keeps every axis")
    if axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.ravel()])
    _drop_input(node, 1)


def _split(node: ir.Node) -> None:
    given = node.attributes.pop("num_outputs", None)
    if given is None or (len(node.inputs) > 1 and node.inputs[1] is not None):
        return
    parts = given.as_int()
    axis = node.attributes.get_int("axis", 0)
    source = node.inputs[0]
    size = source.shape[axis] if source is not None and source.shape is not None else None
    if not isinstance(size, int):
        raise _refuse(node, "splits along a dynamic axis")
    if size % parts:
        longest = -(-size // parts)
        last = size - (parts - 1) * longest
        if last < 0:
            raise _refuse(node, f"splits {size} elements into {parts} parts")
        node.resize_inputs(2)
        _replace_input(node, 1, [longest] * (parts - 1) + [last])


def _pad(node: ir.Node) -> None:
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return
    axes, pads, source = _constant(node.inputs[3]), _constant(node.inputs[1]), node.inputs[0]
    if axes is None or pads is None or source is None or source.shape is None:
        raise _refuse(node, "pads by amounts or along axes that are only known at run time")
    rank = len(source.shape)
    spread = np.zeros(2 * rank, dtype=np.int64)
    for position, axis in enumerate(int(a) % rank for a in axes.ravel()):
        spread[axis], spread[axis + rank] = pads[position], pads[position + axes.size]
    _replace_input(node, 1, spread)
    _drop_input(node, 3)


def _resize(node: ir.Node) -> None:
    if node.attributes.get_int("antialias", 0):
        raise _refuse(
            node, "resizes with antialiasing", "and --for none: ONNX Runtime has it, TensorRT's parser has not"
        )
    if "axes" in node.attributes:
        raise _refuse(node, "resizes along chosen axes")
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise _refuse(node, "resizes with a kept aspect ratio")
    for name in ("antialias", "keep_aspect_ratio_policy"):
        node.attributes.pop(name, None)


def _scatter(node: ir.Node) -> None:
    if node.attributes.get_string("reduction", "none") not in ("none", "add", "mul"):
        raise _refuse(node, "scatters with a minimum or maximum")


_CONVERT: dict[str, Callable[[ir.Node], None]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
}


class ToOpset17(ir.passes.InPlacePass):
    """Rewrite a model of opset 18 in place as opset 17 with IR version 8; raises ModuleRefused if it cannot."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert every node, the bodies of If and Loop included."""
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            if node.domain not in ("", "ai.onnx"):
                continue
            if node.op_type in _NEW_IN_18:
                raise _refuse(node, "first appeared in opset 18")
            if (convert := _CONVERT.get(node.op_type)) is not None:
                convert(node)
            node.version = None
        model.graph.opset_imports[""] = 17
        model.ir_version = 8
        return ir.passes.PassResult(model, modified=True)
