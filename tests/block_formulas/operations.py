"""The operations that the formulas of the papers are made of, in NumPy float64."""

from __future__ import annotations

import itertools

import numpy as np

BN_EPSILON = 1e-5
GN_EPSILON = 1e-5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, weight, bias=None, *, groups=1, stride=1, dilation=1):
    """Grouped 2-D convolution with half the dilated kernel as padding, as the sum over the kernel's taps."""
    out, per_group, kh, kw = weight.shape
    n, _, h, w = x.shape
    rim_h, rim_w = dilation * (kh // 2), dilation * (kw // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (rim_h, rim_h), (rim_w, rim_w)))
    result = np.zeros((n, out, h, w))
    for group, i, j in itertools.product(range(groups), range(kh), range(kw)):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        top, left = dilation * i, dilation * j
        taps = padded[:, group * per_group : (group + 1) * per_group, top : top + h, left : left + w]
        result[:, rows] += np.einsum("oc,nchw->nohw", weight[rows, :, i, j], taps)
    if bias is not None:
        result += bias[:, None, None]
    return result[:, :, ::stride, ::stride]


def softmax(x, axis):
    scores = np.exp(x - x.max(axis, keepdims=True))
    return scores / scores.sum(axis, keepdims=True)


def group_norm(x, w, prefix, groups):
    """Each group of channels to mean 0 and variance 1 over itself, then a scale and a shift per channel."""
    parts = x.reshape(x.shape[0], groups, -1)
    parts = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + GN_EPSILON)
    scale, shift = (w[f"{prefix}.{kind}"].reshape(-1, *[1] * (x.ndim - 2)) for kind in ("weight", "bias"))
    return parts.reshape(x.shape) * scale + shift


def norm(x, w, prefix, epsilon=BN_EPSILON):
    scale = w[f"{prefix}.weight"] / np.sqrt(w[f"{prefix}.running_var"] + epsilon)
    shift = w[f"{prefix}.bias"] - w[f"{prefix}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def average_bins(x, height, width):
    """Adaptive average pooling: bin i of o over s elements is floor(i s / o) to ceil((i + 1) s / o)."""
    n, c, h, w = x.shape
    result = np.empty((n, c, height, width))
    for i, j in itertools.product(range(height), range(width)):
        rows = slice(i * h // height, -(-(i + 1) * h // height))
        columns = slice(j * w // width, -(-(j + 1) * w // width))
        result[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return result
