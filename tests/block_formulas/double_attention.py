"""The formula of ``double_attention`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, softmax

VARIANTS = [{}, {"reduction": 8}, {"residual": False}]
KEYS = {f"{part}.{kind}" for part in ("convA", "convB", "convV", "conv_reconstruct") for kind in ("weight", "bias")}
REFUSED = [
    (2, {}, "reduction 4 on 2 channels; expected 1 <= reduction <= 2"),
]


def formula(x, w, *, residual=True, **_):
    n, _, height, width = x.shape
    a, b, v = (conv(x, w[f"conv{p}.weight"], w[f"conv{p}.bias"]).reshape(n, -1, height * width) for p in "ABV")
    descriptors = np.einsum("nmi,nki->nmk", a, softmax(b, 2))
    mixed = np.einsum("nmk,nki->nmi", descriptors, softmax(v, 1)).reshape(n, -1, height, width)
    added = conv(mixed, w["conv_reconstruct.weight"], w["conv_reconstruct.bias"])
    return x + added if residual else added
