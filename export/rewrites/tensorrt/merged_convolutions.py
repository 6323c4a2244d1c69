"""Convolutions of one map as one, whose channels are then taken apart again.

PSA convolves its map with kernels of four sizes in groups so narrow that no unit that multiplies matrices is used;
attention makes its queries, keys and values of one map. One convolution with the largest kernel, zeros around the
smaller ones and between groups, reads the map once. It does more arithmetic, at most MOST_WORK times as much.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, constant, moves_by_one, take_over

MOST_WORK = 16


class MergedConvolutions(Matched[list[ir.Node]]):
    """Every Conv of one map as a part of one Conv."""

    name = "convolutions of one map merged"
    place = "convolutions of one map"

    def match(self, node: ir.Node) -> list[ir.Node] | None:
        """Return the convolutions of one map of which this is the last."""
        found = _siblings(node)
        return found if found and found[-1] is node else None

    def write(self, write: Writer, node: ir.Node, found: list[ir.Node]) -> ir.Value:
        """Write in the place of all one Conv and a Split."""
        kernel, pads = _merged(found)
        operands = [node.inputs[0], write.weight(kernel, "merged weight")]
        if any(len(one.inputs) > 2 for one in found):
            operands.append(write.weight(np.concatenate([_bias(one) for one in found]), "merged bias"))
        joined = write.node("Conv", operands, "merged", pads=pads)
        counts = [len(_weight(one)) for one in found]
        ends = np.cumsum(counts)
        axis = write.number(1, "axis")
        for number, one in enumerate(found):
            bounds = [
                write.number(int(ends[number] - counts[number]), f"first {number}"),
                write.number(int(ends[number]), f"end {number}"),
            ]
            part = write.node("Slice", [joined, *bounds, axis], f"part {number}")
            if one is node:
                last = part
            else:
                take_over(part, one.outputs[0])
        return last


def _siblings(node: ir.Node) -> list[ir.Node]:
    """Return the convolutions that read the map that a node reads and can be merged, in the order of the graph."""
    if not _fits(node):
        return []
    value = node.inputs[0]
    assert value is not None
    readers = {use.node for use in value.uses() if use.idx == 0 and _fits(use.node)}
    graph = node.graph
    assert graph is not None
    found = [one for one in graph if one in readers]
    if len(found) < 2:
        return []
    size = int(np.prod(_merged_shape(found)))
    return found if size <= MOST_WORK * sum(_weight(one).size for one in found) else []


def _fits(node: ir.Node) -> bool:
    """Return True for a convolution of maps that gives a map of the same size."""
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    if weight is None or weight.ndim != 4 or not moves_by_one(node) or node.outputs[0].is_graph_output():
        return False
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        return False
    half = [size // 2 for size in weight.shape[2:]]
    is_odd = all(size % 2 for size in weight.shape[2:])
    return is_odd and list(node.attributes.get_ints("pads", (0, 0, 0, 0))) == half * 2


def _merged_shape(found: list[ir.Node]) -> tuple[int, int, int, int]:
    """Return the outputs, inputs, height and width of one kernel of all convolutions without groups."""
    weights = [_weight(one) for one in found]
    height, width = (max(weight.shape[axis] for weight in weights) for axis in (2, 3))
    inputs = weights[0].shape[1] * found[0].attributes.get_int("group", 1)
    return sum(map(len, weights)), inputs, height, width


def _merged(found: list[ir.Node]) -> tuple[np.ndarray, list[int]]:
    """Return one weight of all convolutions without groups, and its padding."""
    weights = [_weight(one) for one in found]
    kernel = np.zeros(_merged_shape(found), weights[0].dtype)
    height, width = kernel.shape[2:]
    start = 0
    for one, weight in zip(found, weights, strict=True):
        top, left = (height - weight.shape[2]) // 2, (width - weight.shape[3]) // 2
        groups = one.attributes.get_int("group", 1)
        outputs_each, inputs_each = len(weight) // groups, weight.shape[1]
        for group in range(groups):
            rows = slice(group * outputs_each, (group + 1) * outputs_each)
            columns = slice(group * inputs_each, (group + 1) * inputs_each)
            window = kernel[start : start + len(weight)][rows, columns]
            window[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight[rows]
        start += len(weight)
    return kernel, [height // 2, width // 2] * 2


def _weight(node: ir.Node) -> np.ndarray:
    weight = constant(node.inputs[1])
    assert weight is not None
    return weight


def _bias(node: ir.Node) -> np.ndarray:
    found = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(len(_weight(node)), _weight(node).dtype) if found is None else found


TURN = 2
REWRITES = (MergedConvolutions(),)
