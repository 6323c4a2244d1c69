"""Faults in constants: weights, biases, normalisations' statistics."""

from __future__ import annotations

import numpy as np
import onnx

from .graph import Array, Patient

LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")


def _kernel(patient: Patient, node: onnx.NodeProto) -> Array | None:
    return patient.weight(node, 1) if node.op_type in LAYERS else None


def _out_axis(node: onnx.NodeProto) -> int:
    """The axis of the weight that counts the outputs."""
    if node.op_type in ("MatMul", "ConvTranspose"):
        return 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 0


def _at(array: Array, axis: int, index: int) -> tuple[slice | int, ...]:
    return tuple(index if k == axis else slice(None) for k in range(array.ndim))


def weight_off(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Every weight of one layer 1 % too large."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    patient.replace_weight(node, 1, kernel * np.float32(1.01))
    return "weight x 1.01"


def channel_off(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """The weights of one output channel 1 % too large."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    axis = _out_axis(node)
    channel = int(rng.integers(kernel.shape[axis]))
    kernel[_at(kernel, axis, channel)] *= np.float32(1.01)
    patient.replace_weight(node, 1, kernel)
    return f"output channel {channel} x 1.01"


def element_off(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A single weight 10 % too large."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    at = tuple(int(rng.integers(size)) for size in kernel.shape)
    kernel[at] *= np.float32(1.1)
    patient.replace_weight(node, 1, kernel)
    return f"weight {at} x 1.1"


def bias_element_off(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """One element of a bias off by 0.01."""
    index = {"Conv": 2, "Gemm": 2, "BatchNormalization": 2}.get(node.op_type)
    bias = patient.weight(node, index) if index else None
    if index is None or bias is None:
        return ""
    at = int(rng.integers(bias.size))
    bias.reshape(-1)[at] += np.float32(0.01)
    patient.replace_weight(node, index, bias)
    return f"bias element {at} + 0.01"


def bias_dropped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer without its bias."""
    if node.op_type not in ("Conv", "Gemm") or patient.weight(node, 2) is None:
        return ""
    del node.input[2]
    return "bias dropped"


def weight_negated(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer's weights with the wrong sign."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    patient.replace_weight(node, 1, -kernel)
    return "weight negated"


def element_negated(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A single weight with the wrong sign."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    at = tuple(int(rng.integers(size)) for size in kernel.shape)
    kernel[at] *= -1
    patient.replace_weight(node, 1, kernel)
    return f"weight {at} negated"


def channel_pruned(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """One output channel's weights all zero."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    axis = _out_axis(node)
    channel = int(rng.integers(kernel.shape[axis]))
    kernel[_at(kernel, axis, channel)] = 0
    patient.replace_weight(node, 1, kernel)
    return f"output channel {channel} zeroed"


def nan_weight(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """NaN in a single weight."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    at = tuple(int(rng.integers(size)) for size in kernel.shape)
    kernel[at] = np.nan
    patient.replace_weight(node, 1, kernel)
    return f"weight {at} is NaN"


def weight_fp16(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer's weights rounded to float16."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    patient.replace_weight(node, 1, kernel.astype(np.float16))
    return "weight rounded to float16"


def weight_tf32(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer's weights cut to the 10 bits of mantissa that TF32 keeps."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    bits = np.ascontiguousarray(kernel, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    patient.replace_weight(node, 1, bits.view(np.float32))
    return "weight cut to TF32"


def channels_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Two output channels of a weight exchanged, the bias left as it is."""
    return _swapped(patient, node, rng, is_output=True)


def input_channels_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """Two input channels of a weight exchanged."""
    return _swapped(patient, node, rng, is_output=False)


def _swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator, *, is_output: bool) -> str:
    kernel = _kernel(patient, node)
    if kernel is None or kernel.ndim < 2:
        return ""
    axis = _out_axis(node) if is_output else 1 - _out_axis(node)
    if kernel.shape[axis] < 2:
        return ""
    first, second = (int(k) for k in rng.choice(kernel.shape[axis], 2, replace=False))
    order = np.arange(kernel.shape[axis])
    order[[first, second]] = order[[second, first]]
    patient.replace_weight(node, 1, np.take(kernel, order, axis))
    return f"{'output' if is_output else 'input'} channels {first} and {second} swapped"


def weight_transposed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A square weight transposed: a matrix's two axes, a kernel's height and width or its channels."""
    kernel = _kernel(patient, node)
    if kernel is None or kernel.ndim < 2:
        return ""
    pairs = [(a, b) for a, b in ((0, 1), (2, 3)) if b < kernel.ndim and kernel.shape[a] == kernel.shape[b] > 1]
    if not pairs:
        return ""
    pair = pairs[int(rng.integers(len(pairs)))]
    patient.replace_weight(node, 1, np.ascontiguousarray(kernel.swapaxes(*pair)))
    return f"weight axes {pair} transposed"


def kernel_flipped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A kernel mirrored: convolution in place of correlation."""
    kernel = _kernel(patient, node)
    if kernel is None or kernel.ndim < 3 or max(kernel.shape[2:]) == 1:
        return ""
    patient.replace_weight(node, 1, np.flip(kernel, tuple(range(2, kernel.ndim))).copy())
    return "kernel mirrored"


def kernel_cropped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A kernel without its border: 5 x 5 in place of 7 x 7."""
    kernel = _kernel(patient, node)
    if kernel is None or kernel.ndim < 3 or kernel.shape[-1] < 3:
        return ""
    kernel[..., [0, -1]] = 0
    if kernel.ndim > 3:
        kernel[..., [0, -1], :] = 0
    patient.replace_weight(node, 1, kernel)
    return "kernel without its border"


def weights_exchanged(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer with the weights of another layer of the same shape."""
    kernel = _kernel(patient, node)
    if kernel is None:
        return ""
    others = [
        other
        for other in patient.graph.node
        if other.op_type == node.op_type and other.input[1] != node.input[1] and patient.is_weight(other.input[1])
    ]
    shapes = {t.name: tuple(t.dims) for t in patient.graph.initializer}
    others = [other for other in others if shapes[other.input[1]] == kernel.shape]
    if not others:
        return ""
    other = others[int(rng.integers(len(others)))]
    node.input[1] = other.input[1]
    return f"weight of {other.name}"


def statistics_swapped(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A batch normalisation with two of its constants exchanged."""
    if node.op_type != "BatchNormalization":
        return ""
    names = ("", "scale", "bias", "mean", "variance")
    first, second = ((1, 2), (2, 3), (1, 4))[int(rng.integers(3))]
    node.input[first], node.input[second] = node.input[second], node.input[first]
    return f"{names[first]} and {names[second]} swapped"


def epsilon_changed(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A normalisation with another epsilon."""
    from .graph import attribute, set_attribute

    before = attribute(node, "epsilon", 1e-5)
    if node.op_type not in ("BatchNormalization", "InstanceNormalization", "LayerNormalization"):
        return ""
    after = float((1e-3, 1e-4, 0.0)[int(rng.integers(3))])
    set_attribute(node, "epsilon", after)
    return f"epsilon {before:.3g} -> {after:.3g}"


OPERATORS = (
    weight_off,
    channel_off,
    element_off,
    bias_element_off,
    bias_dropped,
    weight_negated,
    element_negated,
    channel_pruned,
    nan_weight,
    weight_fp16,
    weight_tf32,
    channels_swapped,
    input_channels_swapped,
    weight_transposed,
    kernel_flipped,
    kernel_cropped,
    weights_exchanged,
    statistics_swapped,
    epsilon_changed,
)
