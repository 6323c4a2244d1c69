"""The formula of ``shuffle_attention`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import group_norm, sigmoid

VARIANTS = [{}, {"groups": 4}]
KEYS = {"cweight", "cbias", "sweight", "sbias", "gn.weight", "gn.bias"}
REFUSED = [
    (64, {"groups": 64}, "groups 64 on 64 channels; expected twice the groups to divide the channels"),
    (7, {}, "groups 1 on 7 channels"),
]


def formula(x, w, *, groups=32, **_):
    width = x.shape[1] // (2 * groups)
    parts = []
    for group in np.split(x, groups, 1):
        first, second = group[:, :width], group[:, width:]
        parts.append(first * sigmoid(w["cweight"] * first.mean((2, 3), keepdims=True) + w["cbias"]))
        parts.append(second * sigmoid(w["sweight"] * group_norm(second, w, "gn", width) + w["sbias"]))
    joined = np.concatenate(parts, 1)
    shuffled = np.empty_like(joined)
    shuffled[:, ::2], shuffled[:, 1::2] = np.split(joined, 2, 1)
    return shuffled
