"""The formula of ``gam`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"channel_gate": "sigmoid"}, {"groups": 4}]
KEYS = {
    f"{part}.{kind}"
    for part in (
        *(f"channel_attention.{index}" for index in (0, 2)),
        *(f"spatial_attention.{index}" for index in (0, 1, 3, 4)),
    )
    for kind in ("weight", "bias")
}
REFUSED = [
    (2, {}, "rate 4 on 2 channels"),
    (64, {"groups": 3}, "groups 3; expected a divisor of 64 and of 16"),
    (64, {"groups": 0}, "groups 0; expected a divisor"),
    (64, {"channel_gate": "relu"}, "channel_gate 'relu'; expected none or sigmoid"),
]


def formula(x, w, *, groups=1, channel_gate="none", **_):
    rows = x.transpose(0, 2, 3, 1)
    hidden = np.maximum(rows @ w["channel_attention.0.weight"].T + w["channel_attention.0.bias"], 0)
    channel = (hidden @ w["channel_attention.2.weight"].T + w["channel_attention.2.bias"]).transpose(0, 3, 1, 2)
    x = x * (sigmoid(channel) if channel_gate == "sigmoid" else channel)
    spatial = conv(x, w["spatial_attention.0.weight"], w["spatial_attention.0.bias"], groups=groups)
    spatial = np.maximum(norm(spatial, w, "spatial_attention.1"), 0)
    spatial = conv(spatial, w["spatial_attention.3.weight"], w["spatial_attention.3.bias"], groups=groups)
    gate = sigmoid(norm(spatial, w, "spatial_attention.4"))
    n, c, height, width = gate.shape
    if groups > 1:  # the release's channel shuffle
        gate = gate.reshape(n, groups, c // groups, height, width).swapaxes(1, 2).reshape(n, c, height, width)
    return x * gate
