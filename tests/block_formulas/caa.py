"""The formula of ``caa`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"kernel": 3}, {"norm": True}]
KEYS = {f"{part}.conv.{kind}" for part in ("conv1", "h_conv", "v_conv", "conv2") for kind in ("weight", "bias")}
REFUSED = [
    (64, {"kernel": 10}, "kernel 10; expected an odd number"),
]


def formula(x, w, **options):
    n, c, height, width = x.shape
    mean = conv(x.reshape(n * c, 1, height, width), np.full((1, 1, 7, 7), 1 / 49)).reshape(x.shape)

    def pointwise(y, name):
        y = conv(y, w[f"{name}.conv.weight"], w.get(f"{name}.conv.bias"))
        if not options.get("norm"):
            return y
        y = norm(y, w, f"{name}.bn", epsilon=1e-3)
        return y * sigmoid(y)

    spread = pointwise(mean, "conv1")
    for name in ("h_conv", "v_conv"):
        spread = conv(spread, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], groups=c)
    return x * sigmoid(pointwise(spread, "conv2"))
