"""The formula of ``se`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import sigmoid

VARIANTS = [{}, {"reduction": 4}, {"bias": True}]
KEYS = {"fc.0.weight", "fc.2.weight"}
REFUSED = [
    (8, {}, "reduction 16 on 8 channels; expected 1 <= reduction <= 8"),
    (8, {"reduction": 0}, "reduction 0 on 8 channels"),
]


def formula(x, w, **_):
    hidden = np.maximum(x.mean((2, 3)) @ w["fc.0.weight"].T + w.get("fc.0.bias", 0), 0)
    return x * sigmoid(hidden @ w["fc.2.weight"].T + w.get("fc.2.bias", 0))[:, :, None, None]
