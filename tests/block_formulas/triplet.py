"""The formula of ``triplet`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"kernel": 3}, {"spatial": False}]
KEYS = {
    f"{gate}.spatial.{name}"
    for gate in ("ChannelGateH", "ChannelGateW", "SpatialGate")
    for name in ("conv.weight", "bn.weight", "bn.bias")
}
REFUSED = [
    (64, {"kernel": 4}, "kernel 4; expected an odd number"),
]


def formula(x, w, *, spatial=True, **_):
    def branch(axes, name):
        """The spatial gate of the input turned by ``axes`` (its own inverse), turned back."""
        turned = x.transpose(axes)
        pooled = np.stack([turned.max(1), turned.mean(1)], 1)
        gate = sigmoid(norm(conv(pooled, w[f"{name}.spatial.conv.weight"]), w, f"{name}.spatial.bn"))
        return (turned * gate).transpose(axes)

    branches = [branch((0, 2, 1, 3), "ChannelGateH"), branch((0, 3, 2, 1), "ChannelGateW")]
    if spatial:
        branches.append(branch((0, 1, 2, 3), "SpatialGate"))
    return sum(branches) / len(branches)
