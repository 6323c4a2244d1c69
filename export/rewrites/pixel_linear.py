"""Linear layers that are given every pixel's channels, as 1x1 convolutions.

``nn.Linear`` wants the channels last: GAM's channel attention and many public blocks transpose the map, flatten it to a
matrix, and bring it back, each a pass over the map and a chain of shapes. A 1x1 convolution is the same product with
the channels in place. Does not apply if something else reads the map in between, or an operator stands there that mixes
channels or pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .rewrite import Matched, Writer, constant, sizes

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
# one number in, one number out
ELEMENTWISE = frozenset(
    {
        *("Abs", "Celu", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu"),
        *("Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"),
    }
)


@dataclass(frozen=True)
class _Linear:
    """A weight (outputs, inputs) and a bias (outputs)."""

    weight: np.ndarray
    bias: np.ndarray | None


_Step = _Linear | ir.Node
_Chain = tuple[ir.Value, list[_Step]]  # what the first Transpose reads, and the steps from there on


class PixelLinear(Matched[_Chain]):
    """Transpose, linear layers and elementwise operators, Transpose, as convolutions and the same operators."""

    name = "linear layers on pixels as 1x1 convolutions"

    def match(self, node: ir.Node) -> _Chain | None:
        """Return the chain that ends in a Transpose."""
        return _chain(node)

    def kind_of(self, node: ir.Node, found: _Chain) -> str:
        """Return the kind by the channels from layer to layer."""
        weights = [step.weight for step in found[1] if isinstance(step, _Linear)]
        channels = [weights[0].shape[1], *(weight.shape[0] for weight in weights)]
        return f"linear layers on pixels, {' to '.join(map(str, channels))} channels"

    def write(self, write: Writer, node: ir.Node, found: _Chain) -> ir.Value:
        """Write the operators without transposes."""
        value, steps = found
        for number, step in enumerate(steps):
            if isinstance(step, _Linear):
                kernel = write.weight(np.ascontiguousarray(step.weight[:, :, None, None]), f"kernel {number}")
                bias = [] if step.bias is None else [write.weight(step.bias, f"bias {number}")]
                value = write.node("Conv", [value, kernel, *bias], f"layer {number}", kernel_shape=[1, 1])
            else:
                value = write.node(step.op_type, [value], f"operator {number}", **step.attributes)
        return value


def _chain(last: ir.Node) -> _Chain | None:
    """Return the chain that ends in the ``last`` node; None for any other chain."""
    value = last.inputs[0] if _permutes(last, TO_FIRST) else None
    steps: list[_Step] = []
    between: list[ir.Value] = []
    shaped_by: list[ir.Value] = []
    while value is not None and _is_read_once(value):
        between.append(value)
        node = value.producer()
        if node is not None and _permutes(node, TO_LAST):
            is_one = any(isinstance(step, _Linear) for step in steps) and all(shape in between for shape in shaped_by)
            source = node.inputs[0]
            return (source, steps[::-1]) if is_one and source is not None else None
        found = None if node is None else _step(node)
        if found is None:
            return None
        value, step, shape = found
        steps.append(step)
        shaped_by += [] if shape is None else [shape]
    return None


def _permutes(node: ir.Node, axes: list[int]) -> bool:
    return node.op_type == "Transpose" and list(node.attributes.get_ints("perm", [])) == axes


def _step(node: ir.Node) -> tuple[ir.Value | None, _Step, ir.Value | None] | None:
    """Return what the step that ends in ``node`` reads, the step, and the tensor whose sizes it takes over, if any."""
    if node.op_type in ELEMENTWISE:
        return node.inputs[0], node, None
    if node.op_type == "Reshape":
        return _flattened(node)
    bias = None
    if node.op_type == "Add":
        value, bias = _with_constant(node)
        if value is None or not _is_read_once(value):
            return None
        producer = value.producer()
        if producer is None:
            return None
        node = producer
    weight = constant(node.inputs[1]) if node.op_type == "MatMul" else None
    if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[1:]):
        return None
    return node.inputs[0], _Linear(weight.T, bias), None


def _is_read_once(value: ir.Value) -> bool:
    """Return True if a value has one reader, readers of its shape aside."""
    readers = [use.node for use in value.uses() if use.node.op_type != "Shape"]
    return len(readers) == 1 and not value.is_graph_output()


def _with_constant(node: ir.Node) -> tuple[ir.Value | None, np.ndarray | None]:
    """Return the value that is added to, and a constant vector; (None, None) without one."""
    for value, added in (tuple(node.inputs), tuple(reversed(node.inputs))):
        numbers = constant(added)
        if numbers is not None and numbers.ndim == 1:
            return value, numbers
    return None, None


def _flattened(node: ir.Node) -> tuple[ir.Value, _Linear, ir.Value | None] | None:
    """Return of Reshape(Gemm(Reshape(x))) the x, the layer and the tensor whose sizes but the last come back; None for
    the tensor if the sizes are constants and x's own, of which one may be left to the Reshape."""
    matrix = node.inputs[0]
    gemm = None if matrix is None or not _is_read_once(matrix) else matrix.producer()
    if gemm is None or gemm.op_type != "Gemm" or gemm.attributes.get_int("transA", 0) != 0:
        return None
    rows = gemm.inputs[0]
    flat = None if rows is None or not _is_read_once(rows) else rows.producer()
    weight, bias = constant(gemm.inputs[1]), constant(gemm.inputs[2]) if len(gemm.inputs) > 2 else None
    if flat is None or flat.op_type != "Reshape" or weight is None or (len(gemm.inputs) > 2 and bias is None):
        return None
    if gemm.attributes.get_int("transB", 0) == 0:
        weight = weight.T
    given, target = flat.inputs[0], constant(flat.inputs[1])
    outputs, inputs = weight.shape
    found = sizes(given, 4)
    if given is None or target is None or found is None or found[3] != inputs or len(target) != 2:
        return None
    if target[1] != inputs or (bias is not None and bias.shape not in ((outputs,), (1, outputs))):
        return None
    scale, bias_scale = gemm.attributes.get_float("alpha", 1.0), gemm.attributes.get_float("beta", 1.0)
    linear = _Linear(
        (weight * scale).astype(weight.dtype),
        None if bias is None else (bias.reshape(-1) * bias_scale).astype(bias.dtype),
    )
    fixed = constant(node.inputs[1])
    if fixed is not None:
        is_same = len(fixed) == 4 and fixed[3] == outputs and _is_shape(fixed[:3].tolist(), found[:3])
        return (given, linear, None) if is_same else None
    shape = _shape_but_last(node.inputs[1], outputs)
    return None if shape is None else (given, linear, shape)


def _is_shape(asked: Sequence[int], known: Sequence[int | None]) -> bool:
    """Return True if a Reshape to these sizes gives the known ones back. One may be -1, what is left by the others."""
    left = [number for number, size in enumerate(asked) if size == -1]
    return len(left) <= 1 and all(number in left or asked[number] == known[number] for number in range(len(known)))


def _shape_but_last(value: ir.Value | None, last: int) -> ir.Value | None:
    """The tensor whose first three sizes, and then ``last``, make up ``value``; None if it is made otherwise."""
    joined = None if value is None else value.producer()
    if joined is None or joined.op_type != "Concat" or len(joined.inputs) != 2:
        return None
    end = constant(joined.inputs[1])
    cut = None if joined.inputs[0] is None else joined.inputs[0].producer()
    if end is None or end.tolist() != [last] or cut is None or cut.op_type != "Slice":
        return None
    start, stop, *rest = (constant(part) for part in cut.inputs[1:])
    from_start = start is not None and start.tolist() == [0]
    to_end = stop is not None and stop.tolist() in ([3], [-1])
    usual = all(numbers is not None and numbers.tolist() in ([0], [1]) for numbers in rest)
    shape = None if cut.inputs[0] is None else cut.inputs[0].producer()
    if not (from_start and to_end and usual) or shape is None or shape.op_type != "Shape" or shape.attributes:
        return None
    return shape.inputs[0]


TURN = 5
REWRITES = (PixelLinear(),)
