"""The formula of ``cpca`` and what its options may be."""

from __future__ import annotations

import math

import numpy as np
from block_formulas.operations import conv, sigmoid

VARIANTS = [{}, {"reduction": 16}]
PARTS = ("ca.fc1", "ca.fc2", "conv", "dconv5_5", *(f"dconv{k}" for k in ("1_7", "7_1", "1_11", "11_1", "1_21", "21_1")))
KEYS = {f"{part}.{kind}" for part in PARTS for kind in ("weight", "bias")}
REFUSED = [
    (8, {"reduction": 9}, "reduction 9 on 8 channels; expected 1 <= reduction <= 8"),
]


def formula(x, w, **_):
    def layer(name, x, groups=1):
        return conv(x, w[f"{name}.weight"], w[f"{name}.bias"], groups=groups)

    def score(pooled):
        return sigmoid(layer("ca.fc2", np.maximum(layer("ca.fc1", pooled[:, :, None, None]), 0)))

    c = x.shape[1]
    x = layer("conv", x)
    x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    x = x * (score(x.mean((2, 3))) + score(x.max((2, 3))))
    local = layer("dconv5_5", x, c)
    strips = [layer(f"dconv{k}_1", layer(f"dconv1_{k}", local, c), c) for k in (7, 11, 21)]
    return layer("conv", layer("conv", local + sum(strips)) * x)
