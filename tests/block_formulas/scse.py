"""The formula of ``scse`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, sigmoid

VARIANTS = [{}, {"reduction": 16}, {"combine": "add"}, {"combine": "mul"}]
KEYS = {f"{part}.{kind}" for part in ("cSE.fc1", "cSE.fc2", "sSE.conv") for kind in ("weight", "bias")}
REFUSED = [
    (1, {}, "reduction 2 on 1 channels"),
    (64, {"combine": "concat"}, "combine 'concat'; expected max, add or mul"),
]


def formula(x, w, *, combine="max", **_):
    hidden = np.maximum(x.mean((2, 3)) @ w["cSE.fc1.weight"].T + w["cSE.fc1.bias"], 0)
    channel = x * sigmoid(hidden @ w["cSE.fc2.weight"].T + w["cSE.fc2.bias"])[:, :, None, None]
    spatial = x * sigmoid(conv(x, w["sSE.conv.weight"], w["sSE.conv.bias"]))
    return {"max": np.maximum, "add": np.add, "mul": np.multiply}[combine](channel, spatial)
