"""The operations that the formulas of the papers are made of, in NumPy float64."""

from __future__ import annotations

import itertools

import numpy as np

BN_EPSILON = 1e-5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, weight, bias=None, *, groups=1, stride=1):
    """Grouped 2-D convolution with half the kernel as padding, as the sum over the kernel's taps."""
    out, per_group, kh, kw = weight.shape
    n, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)))
    result = np.zeros((n, out, h, w))
    for group, i, j in itertools.product(range(groups), range(kh), range(kw)):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        taps = padded[:, group * per_group : (group + 1) * per_group, i : i + h, j : j + w]
        result[:, rows] += np.einsum("oc,nchw->nohw", weight[rows, :, i, j], taps)
    if bias is not None:
        result += bias[:, None, None]
    return result[:, :, ::stride, ::stride]


def norm(x, w, prefix):
    scale = w[f"{prefix}.weight"] / np.sqrt(w[f"{prefix}.running_var"] + BN_EPSILON)
    shift = w[f"{prefix}.bias"] - w[f"{prefix}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]
