"""The formula of ``sk`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, softmax

VARIANTS = [{}, {"branches": 3, "groups": 8}, {"reduction": 1, "minimum": 4}]
KEYS = {
    *(f"paths.{index}.{name}" for index in range(2) for name in ("conv.weight", "bn.weight", "bn.bias")),
    *(f"attn.{name}" for name in ("fc_reduce.weight", "bn.weight", "bn.bias", "fc_select.weight")),
}
REFUSED = [
    (64, {"branches": 1}, "1 branches, reduction 16 and minimum 32; expected 2 branches or more"),
    (64, {"groups": 3}, "groups 3 on 64 channels; expected a divisor of 64"),
]


def formula(x, w, *, branches=2, groups=32, **_):
    paths = []
    for index in range(branches):
        path = conv(x, w[f"paths.{index}.conv.weight"], groups=groups, dilation=index + 1)
        paths.append(np.maximum(norm(path, w, f"paths.{index}.bn"), 0))
    fused = sum(paths).mean((2, 3), keepdims=True)
    hidden = np.maximum(norm(conv(fused, w["attn.fc_reduce.weight"]), w, "attn.bn"), 0)
    scores = conv(hidden, w["attn.fc_select.weight"])
    shares = softmax(np.stack(np.split(scores, branches, 1)), 0)  # (branches, n, c, 1, 1)
    return sum(share * path for share, path in zip(shares, paths, strict=True))
