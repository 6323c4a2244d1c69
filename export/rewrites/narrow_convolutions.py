"""Convolutions in groups so narrow that a runtime's vectors are not filled, rewritten in two ways that fill them.

ONNX Runtime computes channels in blocks of 8, with AVX-512 of 16. A group whose output channels do not fill blocks, as
PSA and split-attention networks have, falls back to a product of small matrices. Either the convolution becomes a sum
of depthwise ones, one for each input channel of a group, which does no more work; or groups are merged, with zeros
between them, which does more work in wider kernels. Neither applies to depthwise convolutions, to groups of
sixteen or more output channels, or to weights that are computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .rewrite import Matched, Writer, constant

BLOCKS = (8, 16)
MOST_TERMS = 32  # a graph of more nodes than this for one convolution is no longer faster anywhere that we saw


@dataclass(frozen=True)
class _Convolution:
    """The weight (outputs, inputs of a group, height, width) and the number of groups."""

    weight: np.ndarray
    groups: int

    @property
    def outputs_each(self) -> int:
        """Output channels of one group."""
        return int(self.weight.shape[0]) // self.groups

    @property
    def inputs_each(self) -> int:
        """Input channels of one group."""
        return int(self.weight.shape[1])

    def merged(self, block: int) -> int:
        """Return how many groups make one whose outputs fill blocks; 1 if no number of them does."""
        wanted = block // math.gcd(block, self.outputs_each)
        return wanted if self.groups % wanted == 0 else 1

    def __str__(self) -> str:
        outputs, inputs, *kernel = self.weight.shape
        size = "x".join(map(str, kernel))
        return f"Conv {size}, {inputs * self.groups} to {outputs} channels in {self.groups} groups"


def _narrow(node: ir.Node) -> _Convolution | None:
    groups = node.attributes.get_int("group", 1) if node.op_type == "Conv" else 1
    weight = constant(node.inputs[1]) if groups > 1 else None
    if weight is None or weight.ndim != 4:
        return None
    found = _Convolution(weight, groups)
    return found if found.outputs_each < max(BLOCKS) and found.inputs_each > 1 else None


class DepthwiseSum(Matched[_Convolution]):
    """A convolution in groups as a sum of depthwise ones."""

    name = "narrow groups as a sum of depthwise convolutions"

    def match(self, node: ir.Node) -> _Convolution | None:
        """Return a convolution whose groups have few input channels."""
        found = _narrow(node)
        return found if found is not None and found.inputs_each <= MOST_TERMS else None

    def kind_of(self, node: ir.Node, found: _Convolution) -> str:
        """Return the kind by kernel, channels and groups."""
        return str(found)

    def write(self, write: Writer, node: ir.Node, found: _Convolution) -> ir.Value:
        """Write for each input channel of a group a Gather and a Conv, added up."""
        outputs = len(found.weight)
        first_inputs = np.arange(outputs) // found.outputs_each * found.inputs_each
        total: ir.Value | None = None
        for number in range(found.inputs_each):
            places = write.weight((first_inputs + number).astype(np.int64), f"inputs {number}")
            given = write.node("Gather", [node.inputs[0], places], f"gathered {number}", axis=1)
            kernel = write.weight(np.ascontiguousarray(found.weight[:, number : number + 1]), f"kernel {number}")
            # the bias once
            bias = [] if number or len(node.inputs) < 3 else [node.inputs[2]]
            term = write.node("Conv", [given, kernel, *bias], f"term {number}", **_attributes(node, outputs))
            total = term if total is None else write.node("Add", [term, total], f"sum {number}")
        assert total is not None
        return total


class WiderGroups(Matched[_Convolution]):
    """A convolution in fewer groups, with zeros between those that became one; their outputs fill blocks of ``block``
    channels."""

    def __init__(self, block: int) -> None:
        self.name = f"narrow groups merged to blocks of {block}"
        self._block = block

    def match(self, node: ir.Node) -> _Convolution | None:
        """Return a convolution some of whose groups together fill a block."""
        found = _narrow(node)
        return found if found is not None and found.merged(self._block) > 1 else None

    def kind_of(self, node: ir.Node, found: _Convolution) -> str:
        """Return the kind by kernel, channels and groups."""
        return str(found)

    def write(self, write: Writer, node: ir.Node, found: _Convolution) -> ir.Value:
        """Write one Conv."""
        merged, outputs, inputs = found.merged(self._block), found.outputs_each, found.inputs_each
        wide = np.zeros((len(found.weight), inputs * merged, *found.weight.shape[2:]), found.weight.dtype)
        for group in range(found.groups):
            place = group % merged * inputs
            rows = slice(group * outputs, (group + 1) * outputs)
            wide[rows, place : place + inputs] = found.weight[rows]
        kernel, attributes = write.weight(wide, "merged weight"), _attributes(node, found.groups // merged)
        return write.node("Conv", [node.inputs[0], kernel, *node.inputs[2:]], "merged", **attributes)


def _attributes(node: ir.Node, groups: int) -> dict[str, ir.Attr | int]:
    return {**{name: entry for name, entry in node.attributes.items() if name != "kernel_shape"}, "group": groups}


TURN = 6
REWRITES = (DepthwiseSum(), *map(WiderGroups, BLOCKS))
