"""Find out if a graph computes each image of a batch for itself.

A list of operators that do, each with its condition: what is not on it, or where the condition is not met or not known,
counts as mixing images. Proven from the graph alone, for every input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from ...core.operators import named
from .pixel_linear import ELEMENTWISE as UNARY
from .rewrite import constant

ELEMENTWISE = UNARY | named("Add Cast Clip Div Identity Log Max Min Mul Pow PRelu Reciprocal Sub")
# of their first input, with weights: the batch stays in place, and nothing is taken from another image
OF_MAPS = named(
    """
    AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalMaxPool
    InstanceNormalization LpPool MaxPool SpaceToDepth
    """
)
REDUCTIONS = named("ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare")
ALONG = named("Concat Gather LayerNormalization LogSoftmax Softmax Split")
DEFAULT_AXIS = {"Gather": 0, "Split": 0}  # of ALONG; Concat has to say it, the others take the last
Size = int | ir.SymbolicDim
Values = frozenset[ir.Value] | set[ir.Value]


def batch_of(graph: ir.Graph) -> Size | None:
    """Return the size of the first axis of every input and output; None if they differ or are not known."""
    sizes = [value.shape[0] if value.shape else None for value in (*graph.inputs, *graph.outputs)]
    first = sizes[0] if sizes else None
    if first is None or any(size is None or size != first for size in sizes):
        return None
    return first if isinstance(first, int) or first.value is not None else None


def images_of(graph: ir.Graph) -> frozenset[ir.Value]:
    """Return the values whose first axis are the images of the batch; none if a node may mix them, or is not known."""
    batch = batch_of(graph)
    if batch is None:
        return frozenset()
    images: set[ir.Value] = set(graph.inputs)
    for node in graph:
        if not any(value in images for value in node.inputs):
            continue
        kept = node.domain in ("", "ai.onnx") and all(_starts_with(value, batch) for value in node.outputs)
        if not kept or not _keeps_images_separate(node, images):
            return frozenset()
        images.update(node.outputs)
    return frozenset(images) if all(value in images for value in graph.outputs) else frozenset()


def _starts_with(value: ir.Value, batch: Size) -> bool:
    return _rank(value) > 0 and value.shape is not None and value.shape[0] == batch


def _keeps_images_separate(node: ir.Node, images: Values) -> bool:
    if node.op_type in ELEMENTWISE:
        return _elementwise(node, images)
    if node.op_type in OF_MAPS:
        # what MaxPool says of places counts from the first image on; a normalisation in training is over the batch
        in_training = node.attributes.get_int("training_mode", 0) != 0
        return _first_only(node, images) and len(node.outputs) == 1 and not in_training
    if node.op_type in REDUCTIONS or node.op_type in ("Squeeze", "Unsqueeze", "Slice"):
        return _first_only(node, images) and _without_first_axis(node)
    if node.op_type in ALONG:
        return _along(node, images)
    found = OTHERS.get(node.op_type)
    return found is not None and found(node, images)


def _elementwise(node: ir.Node, images: Values) -> bool:
    """Return True if weights are the same for every image, and images meet only themselves."""
    rank = _rank(node.outputs[0])
    for value in node.inputs:
        if value in images and _rank(value) != rank:
            return False
        if value is not None and value not in images and not _same_for_all(value, rank):
            return False
    return rank > 0


def _same_for_all(value: ir.Value, rank: int) -> bool:
    """Return True if broadcasting gives every image the same part of it."""
    shape = value.shape if value.const_value is None else value.const_value.shape
    return shape is not None and (len(shape) < rank or shape[0] == 1)


def _first_only(node: ir.Node, images: Values) -> bool:
    return node.inputs[0] in images and not any(value in images for value in node.inputs[1:])


def _axes(node: ir.Node) -> Sequence[int]:
    """Return the axes that the node names, none if they are computed or not named."""
    if "axes" in node.attributes:
        return tuple(node.attributes["axes"].as_ints())
    place = 3 if node.op_type == "Slice" else 1
    numbers = constant(node.inputs[place]) if len(node.inputs) > place else None
    return () if numbers is None else tuple(int(number) for number in numbers.ravel())


def _without_first_axis(node: ir.Node) -> bool:
    rank = _rank(node.outputs[0] if node.op_type == "Unsqueeze" else node.inputs[0])
    axes = _axes(node)
    return rank > 0 and bool(axes) and all(axis % rank for axis in axes)


def _along(node: ir.Node, images: Values) -> bool:
    rank = _rank(node.inputs[0])
    axis = node.attributes.get_int("axis", DEFAULT_AXIS.get(node.op_type, -1))
    if node.op_type == "Concat":
        return rank > 0 and axis % rank != 0 and all(value in images for value in node.inputs)
    return rank > 0 and axis % rank != 0 and _first_only(node, images)


def _gemm(node: ir.Node, images: Values) -> bool:
    added = node.inputs[2] if len(node.inputs) > 2 else None
    return (
        _first_only(node, images)
        and node.attributes.get_int("transA", 0) == 0
        and (added is None or _same_for_all(added, 2))
    )


def _matmul(node: ir.Node, images: Values) -> bool:
    """Return True for a product of each image with weights, or of two maps of the same image."""
    rank = _rank(node.outputs[0])
    first, second = node.inputs
    if second not in images:
        return _rank(first) == rank >= 2 and second is not None and (rank == 2 or _same_for_all(second, rank))
    if first not in images:
        return _rank(second) == rank >= 3 and first is not None and _same_for_all(first, rank)
    return _rank(first) == _rank(second) == rank >= 3


def _reshape(node: ir.Node, images: Values) -> bool:
    """Return True if the first axis stays: the order of numbers does, so each image keeps its own."""
    target = constant(node.inputs[1])
    return _first_only(node, images) and target is not None


def _resize(node: ir.Node, images: Values) -> bool:
    """Return True if the factors leave the batch, the first axis, as it is."""
    factors = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    return _first_only(node, images) and nearest and factors is not None and bool(factors.size) and factors[0] == 1


OTHERS: dict[str, Callable[[ir.Node, Values], bool]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Resize": _resize,
    "Flatten": lambda node, images: _first_only(node, images) and node.attributes.get_int("axis", 1) == 1,
    "Transpose": lambda node, images: node.attributes.get_ints("perm", (1,))[0] == 0,
}


def _rank(value: ir.Value | None) -> int:
    """Return the rank, 0 if it is not known."""
    return 0 if value is None or value.shape is None else len(value.shape)
