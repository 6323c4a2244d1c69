"""The formula of ``coord_att`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"reduction": 4}]
KEYS = {f"{part}.{kind}" for part in ("conv1", "bn1", "conv_h", "conv_w") for kind in ("weight", "bias")}
REFUSED = [
    (64, {"reduction": 0}, "reduction 0; expected 1 or more"),
]


def formula(x, w, **_):
    h = x.shape[2]
    joined = np.concatenate([x.mean(3), x.mean(2)], 2)[..., None]  # (n, c, h + w, 1)
    joined = norm(conv(joined, w["conv1.weight"], w["conv1.bias"]), w, "bn1")
    joined = joined * np.clip(joined + 3, 0, 6) / 6
    gate_h = sigmoid(conv(joined[:, :, :h], w["conv_h.weight"], w["conv_h.bias"]))
    gate_w = sigmoid(conv(joined[:, :, h:], w["conv_w.weight"], w["conv_w.bias"])).transpose(0, 1, 3, 2)
    return x * gate_h * gate_w
