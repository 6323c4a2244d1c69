"""Faults in what is computed from what: activations, operands, order."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from .graph import Patient, set_attribute

ACTIVATIONS = ("Relu", "Sigmoid", "HardSwish", "HardSigmoid", "Clip", "Softmax", "Tanh")
BRANCHES = ("Add", "Mul")


def _two_activations(patient: Patient, node: onnx.NodeProto) -> bool:
    return node.op_type in BRANCHES and all(patient.shape(name) for name in node.input)


def input_replaced(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """An operator reads another tensor of the same shape."""
    index = int(rng.integers(len(node.input)))
    shape = patient.shape(node.input[index])
    same = [name for name in patient.earlier(node) if patient.shape(name) == shape and name not in node.input]
    if not shape or not same:
        return ""
    other = same[int(rng.integers(len(same)))]
    before, node.input[index] = node.input[index], other
    return f"reads {other} in place of {before}"


def inputs_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The operands of a concatenation, subtraction, division or product of matrices in the wrong order."""
    if node.op_type not in ("Concat", "Sub", "Div", "MatMul") or len(node.input) < 2:
        return ""
    first, second = (int(k) for k in rng.choice(len(node.input), 2, replace=False))
    if not patient.shape(node.input[first]) or node.input[first] == node.input[second]:
        return ""
    node.input[first], node.input[second] = node.input[second], node.input[first]
    return f"operands {first} and {second} swapped"


def parts_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Two parts of a tensor that was split, of a Split or of two Slices, each in place of the other."""
    if node.op_type == "Split" and len(node.output) > 1:
        first, second = (int(k) for k in rng.choice(len(node.output), 2, replace=False))
        node.output[first], node.output[second] = node.output[second], node.output[first]
        return f"outputs {first} and {second} swapped"
    if node.op_type != "Slice":
        return ""
    others = [
        other
        for other in patient.graph.node
        if other.op_type == "Slice"
        and other.input[0] == node.input[0]
        and list(other.input[1:]) != list(node.input[1:])
    ]
    if not others:
        return ""
    other = others[int(rng.integers(len(others)))]
    for index in (1, 2):
        node.input[index], other.input[index] = other.input[index], node.input[index]
    return f"bounds of {other.name}, which has those of this"


def activation_dropped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Remove an activation."""
    if node.op_type not in ACTIVATIONS:
        return ""
    before = node.op_type
    patient.become(node, "Identity", node.input[:1])
    return f"{before} dropped"


def activation_doubled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A gate's activation applied twice."""
    if node.op_type not in ("Sigmoid", "HardSwish", "HardSigmoid", "Softmax", "Tanh"):
        return ""
    attributes = {found.name: onnx.helper.get_attribute_value(found) for found in node.attribute}
    patient.after(node, node.op_type, **attributes)
    return f"{node.op_type} doubled"


def activation_added(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """An activation behind a layer or a sum that has none there."""
    if node.op_type not in ("Conv", "Gemm", "Add", "BatchNormalization", "MatMul") or not patient.shape(node.output[0]):
        return ""
    op = ("Relu", "Sigmoid", "Tanh")[int(rng.integers(3))]
    patient.after(node, op)
    return f"{op} added behind it"


def relu_replaced(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """LeakyRelu, Elu or a ReLU6 in place of Relu."""
    if node.op_type != "Relu":
        return ""
    kind = int(rng.integers(3))
    if kind == 0:
        patient.become(node, "LeakyRelu", alpha=0.01)
    elif kind == 1:
        patient.become(node, "Elu", alpha=1.0)
    else:
        patient.become(node, "Clip", [*node.input, patient.constant(np.float32(0)), patient.constant(np.float32(6))])
    return f"Relu -> {('LeakyRelu 0.01', 'Elu', 'Clip 0, 6')[kind]}"


def sigmoid_replaced(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """HardSigmoid or Tanh in place of Sigmoid."""
    if node.op_type != "Sigmoid":
        return ""
    if rng.integers(2):
        patient.become(node, "HardSigmoid", alpha=1 / 6, beta=0.5)
    else:
        patient.become(node, "Tanh")
    return f"Sigmoid -> {node.op_type}"


def hardswish_replaced(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Swish, or a HardSigmoid without its product, in place of HardSwish."""
    if node.op_type != "HardSwish":
        return ""
    if rng.integers(2):
        patient.become(node, "HardSigmoid", alpha=1 / 6, beta=0.5)
        return "HardSwish -> HardSigmoid"
    x = node.input[0]
    patient.become(node, "Sigmoid")
    patient.after(node, "Mul", x)
    return "HardSwish -> x * sigmoid(x)"


def clip_moved(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Clip with one bound moved a little, or lost."""
    if node.op_type != "Clip":
        return ""
    index = int(rng.integers(1, 3))
    bound = patient.weight(node, index)
    if bound is None:
        return ""
    if rng.integers(3) == 0:
        node.input[index] = ""
        return f"{('', 'lower', 'upper')[index]} bound {float(bound):g} lost"
    moved = bound + np.float32(0.06 if index == 2 else -0.01)
    patient.replace_weight(node, index, moved)
    return f"bound {float(bound):g} -> {float(moved):g}"


def product_to_sum(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Add in place of Mul, Mul, Sub or Max in place of Add."""
    if not _two_activations(patient, node):
        return ""
    before = node.op_type
    patient.become(node, "Add" if before == "Mul" else ("Mul", "Sub", "Max")[int(rng.integers(3))])
    return f"{before} -> {node.op_type}"


def operand_dropped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A gate that is not applied, or a branch that is not added."""
    if not _two_activations(patient, node):
        return ""
    # the larger operand stays: what remains must have the output's shape
    kept = [k for k in (0, 1) if patient.shape(node.input[k]) == patient.shape(node.output[0])]
    if not kept:
        return ""
    keep = kept[int(rng.integers(len(kept)))]
    before, lost = node.op_type, node.input[1 - keep]
    patient.become(node, "Identity", [node.input[keep]])
    return f"{before} without {lost}"


def operand_doubled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A gate that is applied twice, or a branch that is added twice."""
    if not _two_activations(patient, node):
        return ""
    twice = int(rng.integers(2))
    patient.after(node, node.op_type, node.input[twice])
    return f"{node.op_type} with {node.input[twice]} twice"


def through_fp16(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor cast to float16 and back."""
    if not patient.shape(node.output[0]) or node.op_type in ("Cast", "Constant"):
        return ""
    patient.after(node, "Cast", to=TensorProto.FLOAT16)
    cast = patient.graph.node[patient.position(node) + 1]
    patient.after(cast, "Cast", to=TensorProto.FLOAT)
    return "cast to float16 and back"


def slightly_scaled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor off by one part in ten thousand."""
    if not patient.shape(node.output[0]):
        return ""
    patient.after(node, "Mul", patient.constant(np.float32(1.0001)))
    return "output x 1.0001"


def negated(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A tensor with the wrong sign."""
    if not patient.shape(node.output[0]):
        return ""
    patient.after(node, "Neg")
    return "output negated"


def gemm_scaled(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A Gemm with another alpha or beta."""
    if node.op_type != "Gemm":
        return ""
    name, value = (("alpha", 1.01), ("beta", 0.99), ("alpha", -1.0))[int(rng.integers(3))]
    set_attribute(node, name, value)
    return f"{name} = {value:g}"


OPERATORS = (
    input_replaced,
    inputs_swapped,
    parts_swapped,
    activation_dropped,
    activation_doubled,
    activation_added,
    relu_replaced,
    sigmoid_replaced,
    hardswish_replaced,
    clip_moved,
    product_to_sum,
    operand_dropped,
    operand_doubled,
    through_fp16,
    slightly_scaled,
    negated,
    gemm_scaled,
)
