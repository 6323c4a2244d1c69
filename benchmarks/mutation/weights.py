"""Faults in constants: weights, biases, normalisations' statistics."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx

from .graph import Array, Operator, Patient, attribute, set_attribute

LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")
# Returns the weight of a layer as it is changed, and the change in words; None if it does not apply.
KernelChange = Callable[[Array, onnx.NodeProto, np.random.Generator], "tuple[Array, str] | None"]


def _of_kernel(change: KernelChange) -> Operator:
    """Return the operator that makes this change to the weight of a layer."""

    @functools.wraps(change)
    def operator(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
        kernel = patient.weight(node, 1) if node.op_type in LAYERS else None
        changed = None if kernel is None else change(kernel, node, rng)
        if changed is None:
            return ""
        values, words = changed
        patient.replace_weight(node, 1, values)
        return words

    return operator


def _out_axis(node: onnx.NodeProto) -> int:
    """The axis of the weight that counts the outputs."""
    if node.op_type in ("MatMul", "ConvTranspose"):
        return 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 0


def _one_channel(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[int, tuple[slice | int, ...]]:
    """Return one output channel, and the index of its weights."""
    axis = _out_axis(node)
    channel = int(rng.integers(kernel.shape[axis]))
    return channel, tuple(channel if k == axis else slice(None) for k in range(kernel.ndim))


def _any_element(kernel: Array, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(rng.integers(size)) for size in kernel.shape)


@_of_kernel
def weight_off(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """Every weight of one layer 1 % too large."""
    return kernel * np.float32(1.01), "weight x 1.01"


@_of_kernel
def channel_off(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """The weights of one output channel 1 % too large."""
    channel, at = _one_channel(kernel, node, rng)
    kernel[at] *= np.float32(1.01)
    return kernel, f"output channel {channel} x 1.01"


@_of_kernel
def element_off(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A single weight 10 % too large."""
    at = _any_element(kernel, rng)
    kernel[at] *= np.float32(1.1)
    return kernel, f"weight {at} x 1.1"


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


@_of_kernel
def weight_negated(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A layer's weights with the wrong sign."""
    return -kernel, "weight negated"


@_of_kernel
def element_negated(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A single weight with the wrong sign."""
    at = _any_element(kernel, rng)
    kernel[at] *= -1
    return kernel, f"weight {at} negated"


@_of_kernel
def channel_pruned(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """One output channel's weights all zero."""
    channel, at = _one_channel(kernel, node, rng)
    kernel[at] = 0
    return kernel, f"output channel {channel} zeroed"


@_of_kernel
def nan_weight(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """NaN in a single weight."""
    at = _any_element(kernel, rng)
    kernel[at] = np.nan
    return kernel, f"weight {at} is NaN"


@_of_kernel
def weight_fp16(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A layer's weights rounded to float16."""
    return kernel.astype(np.float16), "weight rounded to float16"


@_of_kernel
def weight_tf32(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A layer's weights cut to the 10 bits of mantissa that TF32 keeps."""
    bits = np.ascontiguousarray(kernel, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32), "weight cut to TF32"


@_of_kernel
def channels_swapped(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """Two output channels of a weight exchanged, the bias left as it is."""
    return _swapped(kernel, _out_axis(node), "output", rng)


@_of_kernel
def input_channels_swapped(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """Two input channels of a weight exchanged."""
    return _swapped(kernel, 1 - _out_axis(node), "input", rng)


def _swapped(kernel: Array, axis: int, which: str, rng: np.random.Generator) -> tuple[Array, str] | None:
    """Exchange two channels along an axis."""
    if kernel.ndim < 2 or kernel.shape[axis] < 2:
        return None
    first, second = (int(k) for k in rng.choice(kernel.shape[axis], 2, replace=False))
    order = np.arange(kernel.shape[axis])
    order[[first, second]] = order[[second, first]]
    return np.take(kernel, order, axis), f"{which} channels {first} and {second} swapped"


@_of_kernel
def weight_transposed(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A square weight transposed: a matrix's two axes, a kernel's height and width or its channels."""
    pairs = [(a, b) for a, b in ((0, 1), (2, 3)) if b < kernel.ndim and kernel.shape[a] == kernel.shape[b] > 1]
    if not pairs:
        return None
    pair = pairs[int(rng.integers(len(pairs)))]
    return np.ascontiguousarray(kernel.swapaxes(*pair)), f"weight axes {pair} transposed"


@_of_kernel
def kernel_flipped(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A kernel mirrored: convolution in place of correlation."""
    if kernel.ndim < 3 or max(kernel.shape[2:]) == 1:
        return None
    return np.flip(kernel, tuple(range(2, kernel.ndim))).copy(), "kernel mirrored"


@_of_kernel
def kernel_cropped(kernel: Array, node: onnx.NodeProto, rng: np.random.Generator) -> tuple[Array, str] | None:
    """A kernel without its border: 5 x 5 in place of 7 x 7."""
    if kernel.ndim < 3 or kernel.shape[-1] < 3:
        return None
    kernel[..., [0, -1]] = 0
    if kernel.ndim > 3:
        kernel[..., [0, -1], :] = 0
    return kernel, "kernel without its border"


def weights_exchanged(patient: Patient, node: onnx.NodeProto, rng: np.random.Generator) -> str:
    """A layer with the weights of another layer of the same shape."""
    kernel = patient.weight(node, 1) if node.op_type in LAYERS else None
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
