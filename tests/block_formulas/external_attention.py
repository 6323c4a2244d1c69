"""The formula of ``external_attention`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, softmax

VARIANTS = [{}, {"slots": 8}]
KEYS = {
    "conv1.weight",
    "conv1.bias",
    "linear_0.weight",
    "linear_1.weight",
    "conv2.0.weight",
    "conv2.1.weight",
    "conv2.1.bias",
}
REFUSED = [
    (64, {"slots": 0}, "slots 0; expected 1 or more"),
]


def formula(x, w, **_):
    n, c, height, width = x.shape
    queries = conv(x, w["conv1.weight"], w["conv1.bias"]).reshape(n, c, -1)
    attention = softmax(w["linear_0.weight"][:, :, 0] @ queries, 2)
    attention = attention / (attention.sum(1, keepdims=True) + 1e-9)
    mixed = (w["linear_1.weight"][:, :, 0] @ attention).reshape(n, c, height, width)
    return np.maximum(x + norm(conv(mixed, w["conv2.0.weight"]), w, "conv2.1"), 0)
