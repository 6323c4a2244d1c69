"""The formula of ``eca`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import sigmoid

VARIANTS = [{}, {"k": 1}, {"k": 7}]
KEYS = {"conv.weight"}
REFUSED = [
    (64, {"k": 4}, "k 4 on 64 channels; expected an odd number"),
    (2, {"k": 5}, "k 5 on 2 channels; expected an odd number below 4"),
]


def formula(x, w, **_):
    kernel = w["conv.weight"][0, 0]
    mean = np.pad(x.mean((2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    gate = sum(tap * mean[:, i : i + x.shape[1]] for i, tap in enumerate(kernel))
    return x * sigmoid(gate)[:, :, None, None]
