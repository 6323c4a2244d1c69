"""The formula of ``psa`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, sigmoid

VARIANTS = [{}, {"reduction": 4}]
KEYS = {
    *(f"conv_{index}.weight" for index in range(1, 5)),
    *(f"se.fc{index}.{kind}" for index in (1, 2) for kind in ("weight", "bias")),
}
REFUSED = [
    (48, {}, "48 channels in and 48 out; expected a multiple of 64"),
    (64, {"reduction": 17}, "reduction 17 on branches of 16 channels"),
]


def formula(x, w, *, stride=1, **_):
    branches = [
        conv(x, w[f"conv_{index + 1}.weight"], groups=groups, stride=stride)
        for index, groups in enumerate((1, 4, 8, 16))
    ]

    def squeeze(branch):
        hidden = np.maximum(branch.mean((2, 3)) @ w["se.fc1.weight"][:, :, 0, 0].T + w["se.fc1.bias"], 0)
        return sigmoid(hidden @ w["se.fc2.weight"][:, :, 0, 0].T + w["se.fc2.bias"])

    scores = np.exp([squeeze(branch) for branch in branches])
    shares = scores / scores.sum(0)
    weighed = [branch * share[:, :, None, None] for branch, share in zip(branches, shares, strict=True)]
    return np.concatenate(weighed[::-1], 1)
