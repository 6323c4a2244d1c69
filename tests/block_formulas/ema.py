"""The formula of ``ema`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, group_norm, sigmoid, softmax

VARIANTS = [{}, {"factor": 8}]
KEYS = {f"{part}.{kind}" for part in ("gn", "conv1x1", "conv3x3") for kind in ("weight", "bias")}
REFUSED = [
    (64, {"factor": 3}, "factor 3 on 64 channels; expected a divisor of 64"),
    (64, {"factor": 0}, "factor 0 on 64 channels"),
]


def formula(x, w, *, factor=32, **_):
    return np.concatenate([gated(group, w) for group in np.split(x, factor, 1)], 1)


def gated(group, w):
    h = group.shape[2]
    means = np.concatenate([group.mean(3), group.mean(2)], 2)[..., None]  # (n, c/g, h + w, 1)
    means = sigmoid(conv(means, w["conv1x1.weight"], w["conv1x1.bias"]))
    along = group * means[:, :, :h] * means[:, :, h:].transpose(0, 1, 3, 2)
    along = group_norm(along, w, "gn", group.shape[1])
    around = conv(group, w["conv3x3.weight"], w["conv3x3.bias"])
    along_means, around_means = softmax(along.mean((2, 3)), 1), softmax(around.mean((2, 3)), 1)
    scores = np.einsum("nc,nchw->nhw", along_means, around) + np.einsum("nc,nchw->nhw", around_means, along)
    return group * sigmoid(scores)[:, None]
