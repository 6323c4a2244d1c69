"""Faults that hide at the traced sizes: baked batches, heights and widths, and indices off by one."""

from __future__ import annotations

import numpy as np
import onnx

from .geometry import REDUCTIONS
from .graph import Patient, attribute


def _pick(rng: np.random.Generator, values: list[int]) -> int:
    return values[int(rng.integers(len(values)))]


def mean_baked(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A mean that divides by the traced number of positions."""
    axes, shape = attribute(node, "axes"), patient.shape(node.input[0])
    if node.op_type != "ReduceMean" or not axes or not shape:
        return ""
    if not any(axis % len(shape) in patient.anatomy.dynamic_axes(node.input[0]) for axis in axes):
        return ""
    count = int(np.prod([shape[axis] for axis in axes]))
    kept = attribute(node, "keepdims", 1)
    patient.become(node, "ReduceSum", [node.input[0], patient.ints(*axes)], keepdims=kept)
    patient.after(node, "Div", patient.constant(np.float32(count)))
    return f"mean divides by {count}, the traced count"


def reduction_cut(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A reduction that sees the traced size at most."""
    axes, shape = attribute(node, "axes"), patient.shape(node.input[0])
    if node.op_type not in REDUCTIONS or not axes or not shape:
        return ""
    dynamic = patient.anatomy.dynamic_axes(node.input[0])
    over = [axis % len(shape) for axis in axes if axis % len(shape) in dynamic]
    if not over:
        return ""
    axis = _pick(rng, over)
    patient.before(node, 0, "Slice", patient.ints(0), patient.ints(shape[axis]), patient.ints(axis))
    return f"reduces the first {shape[axis]} of axis {axis}, the traced size"


def reduction_misses_last(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A reduction that starts one too late or ends one too early."""
    axes, shape = attribute(node, "axes"), patient.shape(node.input[0])
    if node.op_type not in REDUCTIONS or not axes or not shape:
        return ""
    over = [axis % len(shape) for axis in axes if shape[axis % len(shape)] > 2]
    if not over:
        return ""
    axis, late = _pick(rng, over), int(rng.integers(2))
    ends = np.iinfo(np.int64).max if late else -1
    patient.before(node, 0, "Slice", patient.ints(late), patient.ints(ends), patient.ints(axis))
    return f"reduction without the {'first' if late else 'last'} of axis {axis}"


def reduction_floored(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A reduction over the largest multiple of 2, 3 or 4 positions only."""
    axes, shape = attribute(node, "axes"), patient.shape(node.input[0])
    if node.op_type not in REDUCTIONS or not axes or not shape:
        return ""
    dynamic = patient.anatomy.dynamic_axes(node.input[0])
    over = [axis % len(shape) for axis in axes if axis % len(shape) in dynamic]
    if not over:
        return ""
    axis, unit = _pick(rng, over), _pick(rng, [2, 3, 4])
    source = node.input[0]
    size = patient.fresh("size")
    patient.graph.node.insert(patient.position(node), onnx.helper.make_node("Shape", [source], [size]))
    patient.before(node, 0, "Slice", patient.ints(0), size, patient.ints(axis))
    # ends = Shape[axis] // unit * unit, built in front of the Slice
    cut = patient.graph.node[patient.position(node) - 1]
    patient.before(cut, 2, "Gather", patient.ints(axis), axis=0)
    patient.before(cut, 2, "Div", patient.ints(unit))
    patient.before(cut, 2, "Mul", patient.ints(unit))
    return f"reduces axis {axis} up to a multiple of {unit}"


def shape_baked(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Reshape or Expand to the traced sizes, or with one of them written out."""
    if node.op_type not in ("Reshape", "Expand") or not patient.shape(node.output[0]):
        return ""
    sizes = patient.shape(node.output[0])
    dynamic = patient.anatomy.dynamic_axes(node.output[0])
    if not dynamic:
        return ""
    baked = list(sizes)
    if patient.is_weight(node.input[1]) and rng.integers(2):
        baked = [int(size) for size in patient.array(node.input[1])]
        axis = _pick(rng, dynamic)
        baked[axis] = sizes[axis]
    elif rng.integers(2):
        free = _pick(rng, list(range(len(baked))))
        baked[free] = -1
    node.input[1] = patient.ints(*baked)
    return f"{node.op_type} to {baked}"


def size_baked(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor forced to its traced size along one axis: cut if it is larger."""
    dynamic = patient.anatomy.dynamic_axes(node.output[0])
    if not dynamic:
        return ""
    axis = _pick(rng, dynamic)
    size = patient.shape(node.output[0])[axis]
    patient.after(node, "Slice", patient.ints(0), patient.ints(size), patient.ints(axis))
    return f"cut to {size}, the traced size of axis {axis}"


def first_row_for_all(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Every row of the batch gets the first row's gate."""
    if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
        return ""
    index = int(rng.integers(2))
    if 0 not in patient.anatomy.dynamic_axes(node.input[index]):
        return ""
    patient.before(node, index, "Slice", patient.ints(0), patient.ints(1), patient.ints(0))
    return f"operand {index} of row 0 for every row"


def rows_rolled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor shifted by one position, the last one first."""
    shape = patient.shape(node.output[0])
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    if not axes:
        return ""
    axis, largest = _pick(rng, axes), np.iinfo(np.int64).max
    patient.join(node, [(-1, largest), (0, -1)], axis)
    return f"axis {axis} rolled by one"


def index_off_by_one(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Gather or Slice that takes the neighbour."""
    if node.op_type == "Gather":
        indices = patient.weight(node, 1)
        size = (patient.shape(node.input[0]) or (0,))[attribute(node, "axis", 0)]
        if indices is None or size < 2:
            return ""
        changed = (indices + 1) % size
        patient.replace_weight(node, 1, changed)
        return f"index {indices.reshape(-1)[0]} -> {changed.reshape(-1)[0]}"
    if node.op_type == "Slice":
        index = int(rng.integers(1, 3))
        bounds = patient.weight(node, index)
        if bounds is None:
            return ""
        step = 1 if index == 1 else -1
        patient.replace_weight(node, index, bounds + step)
        return f"{'start' if index == 1 else 'end'} {bounds.tolist()} + {step}"
    return ""


def one_pixel_off(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The last column of a tensor replaced by the one before it."""
    shape = patient.shape(node.output[0])
    if len(shape) != 4 or shape[3] < 3:
        return ""
    patient.join(node, [(0, -1), (-2, -1)], 3)
    return "last column repeats the one before"


def middle_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The first two of a middle axis, as heads or channels, exchanged."""
    shape = patient.shape(node.output[0])
    axes = [axis for axis, size in enumerate(shape) if 0 < axis < len(shape) - 1 and size > 1]
    if not axes:
        return ""
    axis = _pick(rng, axes)
    patient.join(node, [(1, 2), (0, 1), (2, np.iinfo(np.int64).max)], axis)
    return f"the first two of axis {axis} swapped"


def output_emptied(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """An output of the graph without elements, at every size or up to the traced one."""
    shape = patient.shape(node.output[0])
    if not shape or node.output[0] not in {value.name for value in patient.graph.output}:
        return ""
    dynamic = patient.anatomy.dynamic_axes(node.output[0])
    if dynamic and rng.integers(2):
        axis, end = _pick(rng, dynamic), np.iinfo(np.int64).max
        start = shape[axis]
    else:
        axis, start, end = _pick(rng, list(range(len(shape)))), 0, 0
    patient.after(node, "Slice", patient.ints(start), patient.ints(end), patient.ints(axis))
    return f"axis {axis} of an output cut to {start}:{end if not start else ''}"


OPERATORS = (
    mean_baked,
    reduction_cut,
    reduction_misses_last,
    reduction_floored,
    shape_baked,
    size_baked,
    first_row_for_all,
    rows_rolled,
    index_off_by_one,
    one_pixel_off,
    middle_swapped,
    output_emptied,
)
