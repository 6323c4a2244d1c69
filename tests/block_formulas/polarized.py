"""The formula of ``polarized`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, sigmoid, softmax

VARIANTS = [{}, {"mode": "sequential"}]
KEYS = {f"conv_{part}.weight" for part in ("q_right", "v_right", "up", "q_left", "v_left")}
REFUSED = [
    (64, {"mode": "both"}, "mode 'both'; expected parallel or sequential"),
    (6, {"mode": "sequential"}, "mode sequential on 6 channels; expected 8 or more"),
    (1, {}, "mode parallel on 1 channels; expected 2 or more"),
]


def formula(x, w, *, mode="parallel"):
    def rows(x, name):
        projected = conv(x, w[f"conv_{name}.weight"])
        return projected.reshape(*projected.shape[:2], -1)

    def expand(context):
        if mode == "parallel":
            return context @ w["conv_up.weight"][:, :, 0, 0].T
        hidden = context @ w["conv_up.0.weight"][:, :, 0, 0].T + w["conv_up.0.bias"]
        centred = hidden - hidden.mean(1, keepdims=True)
        hidden = centred / np.sqrt(hidden.var(1, keepdims=True) + 1e-5)
        hidden = hidden * w["conv_up.1.weight"][:, 0, 0] + w["conv_up.1.bias"][:, 0, 0]
        return np.maximum(hidden, 0) @ w["conv_up.3.weight"][:, :, 0, 0].T + w["conv_up.3.bias"]

    def gate_positions(x):
        query, value = rows(x, "q_left").mean(2), rows(x, "v_left")
        if mode == "parallel":
            scores = softmax(np.einsum("nc,nci->ni", query, value), 1)
        else:
            scores = np.einsum("nc,nci->ni", query, softmax(value, 2))
        return sigmoid(scores).reshape(x.shape[0], 1, *x.shape[2:])

    context = np.einsum("nci,ni->nc", rows(x, "v_right"), softmax(rows(x, "q_right"), 2)[:, 0])
    by_channel = x * sigmoid(expand(context))[:, :, None, None]
    if mode == "sequential":
        return by_channel * gate_positions(by_channel)
    return by_channel + x * gate_positions(x)
