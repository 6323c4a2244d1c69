"""The formula of ``strip_pooling`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}]
KEYS = {f"{part}.{kind}" for part in ("conv1", "bn1", "conv2", "bn2", "conv3") for kind in ("weight", "bias")}
REFUSED = []


def formula(x, w):
    rows = np.repeat(x.mean(3, keepdims=True), x.shape[3], 3)
    columns = np.repeat(x.mean(2, keepdims=True), x.shape[2], 2)
    total = sum(
        norm(conv(part, w[f"conv{i}.weight"], w[f"conv{i}.bias"]), w, f"bn{i}") for i, part in ((1, rows), (2, columns))
    )
    return x * sigmoid(conv(np.maximum(total, 0), w["conv3.weight"], w["conv3.bias"]))
