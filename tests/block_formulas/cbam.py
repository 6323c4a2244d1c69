"""The formula of ``cbam`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"reduction": 8, "kernel": 3}]
KEYS = {
    *(f"ChannelGate.mlp.{index}.{kind}" for index in (1, 3) for kind in ("weight", "bias")),
    "SpatialGate.spatial.conv.weight",
    *(f"SpatialGate.spatial.bn.{kind}" for kind in ("weight", "bias")),
}
REFUSED = [
    (8, {}, "reduction 16 on 8 channels"),
    (64, {"kernel": 4}, "kernel 4; expected an odd number"),
]


def formula(x, w, **_):
    def mlp(pooled):
        hidden = np.maximum(pooled @ w["ChannelGate.mlp.1.weight"].T + w["ChannelGate.mlp.1.bias"], 0)
        return hidden @ w["ChannelGate.mlp.3.weight"].T + w["ChannelGate.mlp.3.bias"]

    x = x * sigmoid(mlp(x.mean((2, 3))) + mlp(x.max((2, 3))))[:, :, None, None]
    pooled = np.stack([x.max(1), x.mean(1)], 1)
    spatial = conv(pooled, w["SpatialGate.spatial.conv.weight"])
    return x * sigmoid(norm(spatial, w, "SpatialGate.spatial.bn"))
