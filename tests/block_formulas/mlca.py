"""The formula of ``mlca`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import average_bins, sigmoid

VARIANTS = [{}, {"local_size": 3, "local_weight": 0.2}]
KEYS = {"conv.weight", "conv_local.weight"}
REFUSED = [
    (64, {"local_size": 0}, "local_size 0; expected 1 or more"),
    (64, {"local_weight": 1.5}, "local_weight 1.5; expected 0 to 1"),
]


def formula(x, w, *, local_size=5, local_weight=0.5):
    def along(sequence, kernel):
        return np.stack([np.convolve(row, kernel[0, 0, ::-1], "same") for row in sequence])

    n, c, height, width = x.shape
    grid = average_bins(x, local_size, local_size)
    cells = along(grid.transpose(0, 2, 3, 1).reshape(n, -1), w["conv_local.weight"])
    local = sigmoid(cells).reshape(n, local_size, local_size, c).transpose(0, 3, 1, 2)
    whole = sigmoid(along(grid.mean((2, 3)), w["conv.weight"]))[:, :, None, None]
    return x * average_bins(local_weight * local + (1 - local_weight) * whole, height, width)
