"""Faults in axes, kernels, pads, strides and reductions."""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Patient, attribute, set_attribute

REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin")

# the first is the default
RESIZE_MODES = {
    "coordinate_transformation_mode": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "mode": ("nearest", "linear"),
}


def _spatial(patient: Patient, node: onnx.NodeProto) -> int:
    return max(len(patient.shape(node.input[0])) - 2, 0)


def reduction_replaced(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Max or min in place of mean, mean in place of max."""
    if node.op_type not in REDUCTIONS:
        return ""
    before = node.op_type
    attributes = {found.name: onnx.helper.get_attribute_value(found) for found in node.attribute}
    ops = [op for op in ("ReduceMean", "ReduceMax", "ReduceMin") if op != before]
    patient.become(node, ops[int(rng.integers(len(ops)))], **attributes)
    return f"{before} -> {node.op_type}"


def reduction_axis(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A reduction over another axis, or over one axis fewer."""
    axes = attribute(node, "axes")
    if node.op_type not in REDUCTIONS or not axes:
        return ""
    rank = len(patient.shape(node.input[0]))
    if len(axes) > 1 and rng.integers(2):
        changed = [axes[int(rng.integers(len(axes)))]]
    else:
        place = int(rng.integers(len(axes)))
        free = [axis for axis in range(rank) if axis not in [a % rank for a in axes]]
        if not free:
            return ""
        changed = [free[int(rng.integers(len(free)))] if k == place else axis for k, axis in enumerate(axes)]
    set_attribute(node, "axes", changed)
    return f"axes {axes} -> {changed}"


def keepdims_flipped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A reduction that keeps, or drops, its axes."""
    if node.op_type not in REDUCTIONS:
        return ""
    kept = attribute(node, "keepdims", 1)
    set_attribute(node, "keepdims", 1 - kept)
    return f"keepdims {kept} -> {1 - kept}"


def axis_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A softmax, concatenation, gather or split along another axis."""
    axis = attribute(node, "axis")
    if node.op_type not in ("Softmax", "Concat", "Gather", "Split") or axis is None:
        return ""
    rank = len(patient.shape(node.input[0]))
    others = [k for k in range(rank) if k != axis % rank] if rank else []
    if not others:
        return ""
    changed = others[int(rng.integers(len(others)))]
    set_attribute(node, "axis", changed)
    return f"axis {axis} -> {changed}"


def permutation_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A transposition of other axes."""
    perm = attribute(node, "perm")
    if node.op_type != "Transpose" or not perm or len(perm) < 3:
        return ""
    first, second = (int(k) for k in rng.choice(len(perm), 2, replace=False))
    changed = list(perm)
    changed[first], changed[second] = changed[second], changed[first]
    set_attribute(node, "perm", changed)
    return f"perm {perm} -> {changed}"


def new_axis_moved(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """An axis inserted at another place."""
    axes = patient.weight(node, 1)
    if node.op_type != "Unsqueeze" or axes is None or not patient.shape(node.input[0]):
        return ""
    rank = len(patient.shape(node.input[0])) + axes.size
    sets = [tuple((int(a) % rank + step) % rank for a in axes) for step in (1, rank - 1)]
    changed = sorted(sets[int(rng.integers(2))])
    patient.replace_weight(node, 1, np.array(changed))
    return f"axes {axes.tolist()} -> {changed}"


def pads_shifted(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """All padding of one axis on one side: the shape stays, the picture moves by a pixel or more."""
    pads = attribute(node, "pads")
    if node.op_type not in ("Conv", "MaxPool", "AveragePool") or not pads or not any(pads):
        return ""
    half = len(pads) // 2
    axes = [k for k in range(half) if pads[k] or pads[k + half]]
    axis = axes[int(rng.integers(len(axes)))]
    changed = list(pads)
    changed[axis], changed[axis + half] = 0, pads[axis] + pads[axis + half]
    set_attribute(node, "pads", changed)
    return f"pads {pads} -> {changed}"


def pads_dropped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """No padding, or one pixel more of it at one border."""
    pads = attribute(node, "pads")
    if node.op_type not in ("Conv", "MaxPool", "AveragePool") or not pads or not any(pads):
        return ""
    changed = [0] * len(pads)
    if rng.integers(2):
        changed = list(pads)
        changed[-1] += 1
    set_attribute(node, "pads", changed)
    return f"pads {pads} -> {changed}"


def pads_same(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Explicit pads replaced by auto_pad, which depends on the size."""
    pads = attribute(node, "pads")
    if node.op_type not in ("Conv", "MaxPool") or not pads or not any(pads):
        return ""
    if max(attribute(node, "strides", [1])) == 1:
        return ""  # the same thing there
    kept = [found for found in node.attribute if found.name != "pads"]
    del node.attribute[:]
    node.attribute.extend(kept)
    mode = ("SAME_UPPER", "SAME_LOWER")[int(rng.integers(2))]
    set_attribute(node, "auto_pad", mode)
    return f"pads {pads} -> {mode}"


def pads_edge(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Borders filled by repetition in place of zeros."""
    pads = attribute(node, "pads")
    if node.op_type != "Conv" or not pads or not any(pads) or len(pads) != 2 * _spatial(patient, node):
        return ""
    half = len(pads) // 2
    widths = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
    patient.before(node, 0, "Pad", patient.constant(widths), mode="edge")
    set_attribute(node, "pads", [0] * len(pads))
    return "zero padding -> edge padding"


def stride_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Another stride along one axis."""
    rank = _spatial(patient, node)
    if node.op_type not in ("Conv", "MaxPool", "AveragePool") or not rank:
        return ""
    strides = attribute(node, "strides", [1] * rank)
    changed = list(strides)
    changed[int(rng.integers(rank))] += 1
    set_attribute(node, "strides", changed)
    return f"strides {strides} -> {changed}"


def dilation_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A dilated kernel, padded so that the shape stays."""
    pads, kernel = attribute(node, "pads"), patient.weight(node, 1)
    if node.op_type != "Conv" or kernel is None or not pads or max(kernel.shape[2:]) < 3:
        return ""
    if set(attribute(node, "dilations", [1])) != {1}:
        return ""
    half = len(pads) // 2
    more = [(size - 1) // 2 for size in kernel.shape[2:]]
    set_attribute(node, "dilations", [2] * half)
    set_attribute(node, "pads", [pad + more[k % half] for k, pad in enumerate(pads)])
    return "dilation 1 -> 2"


def pool_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A maximum pooled as a mean, over a smaller window, or with its last window cut off or added."""
    kernel = attribute(node, "kernel_shape")
    if node.op_type != "MaxPool" or not kernel:
        return ""
    kind = int(rng.integers(3))
    if kind == 0:
        attributes = {found.name: onnx.helper.get_attribute_value(found) for found in node.attribute}
        kept = {k: v for k, v in attributes.items() if k in ("kernel_shape", "strides", "pads", "ceil_mode")}
        patient.become(node, "AveragePool", **kept)
        return "MaxPool -> AveragePool"
    if kind == 1:
        set_attribute(node, "ceil_mode", 1 - attribute(node, "ceil_mode", 0))
        return "ceil_mode flipped"
    pads = attribute(node, "pads", [0] * 2 * len(kernel))
    set_attribute(node, "kernel_shape", [kernel[0], kernel[1] - 1])
    set_attribute(node, "pads", [pads[0], pads[1], pads[2], max(pads[3] - 1, 0)])
    return f"kernel {kernel} -> {[kernel[0], kernel[1] - 1]}"


def groups_rolled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The channel groups of a grouped convolution read each other's inputs."""
    group, shape = attribute(node, "group", 1), patient.shape(node.input[0])
    if node.op_type != "Conv" or group < 2 or not shape:
        return ""
    each = shape[1] // group
    order = np.roll(np.arange(shape[1]), each)
    patient.before(node, 0, "Gather", patient.constant(order), axis=1)
    return f"input groups rolled by one of {group}"


def image_mirrored(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor reversed along one of its dynamic axes."""
    axes = patient.anatomy.dynamic_axes(node.output[0])
    if not axes:
        return ""
    axis = axes[int(rng.integers(len(axes)))]
    starts, ends, steps = ([-1], [np.iinfo(np.int64).min], [-1])
    names = [patient.constant(np.array(values, np.int64)) for values in (starts, ends, [axis], steps)]
    patient.after(node, "Slice", *names)
    return f"axis {axis} reversed"


def height_for_width(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The last two axes of an input exchanged."""
    shape = patient.shape(node.input[0])
    if len(shape) != 4 or shape[2] == shape[3] == 1:
        return ""
    patient.before(node, 0, "Transpose", perm=[0, 1, 3, 2])
    return "input transposed: height for width"


def resize_rescaled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Resize by sizes in place of scales, which samples in another ratio, or by the traced scales."""
    before, after = patient.shape(node.input[0]), patient.shape(node.output[0])
    if node.op_type != "Resize" or not before or not after:
        return ""
    given = [*node.input, "", "", ""]
    if given[3]:
        scales = np.array(after, np.float32) / np.array(before, np.float32)
        del node.input[1:]
        node.input.extend(["", patient.constant(scales)])
        return f"sizes -> scales {scales.tolist()}"
    size = patient.fresh("size")
    patient.graph.node.insert(patient.position(node), onnx.helper.make_node("Shape", [given[0]], [size]))
    del node.input[1:]
    node.input.extend(["", "", size])
    # size · scale, rounded down, built in front of the Resize
    for op, more, attributes in (
        ("Cast", [], {"to": onnx.TensorProto.FLOAT}),
        ("Mul", [given[2]], {}),
        ("Floor", [], {}),
        ("Cast", [], {"to": onnx.TensorProto.INT64}),
    ):
        patient.before(node, 3, op, *more, **attributes)
    return "scales -> the sizes that they give"


def resize_mode_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Resize with another coordinate mode, way of rounding to the nearest or interpolation."""
    if node.op_type != "Resize":
        return ""
    name = ("coordinate_transformation_mode", "nearest_mode", "mode")[int(rng.integers(3))]
    default, *others = RESIZE_MODES[name]
    is_nearest = attribute(node, "mode", b"nearest") == b"nearest"
    if name == "nearest_mode" and not is_nearest:
        return ""
    mode = attribute(node, name, default.encode()).decode()
    left = [other for other in (default, *others) if other != mode]
    changed = left[int(rng.integers(len(left)))]
    set_attribute(node, name, changed)
    return f"{name} {mode} -> {changed}"


OPERATORS = (
    reduction_replaced,
    reduction_axis,
    keepdims_flipped,
    axis_changed,
    permutation_changed,
    new_axis_moved,
    pads_shifted,
    pads_dropped,
    pads_same,
    pads_edge,
    stride_changed,
    dilation_changed,
    pool_changed,
    groups_rolled,
    image_mirrored,
    height_for_width,
    resize_rescaled,
    resize_mode_changed,
)
