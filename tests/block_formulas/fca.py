"""The formula of ``fca`` and what its options may be."""

from __future__ import annotations

import math

import numpy as np
from block_formulas.operations import average_bins, sigmoid

# (rows' frequency, columns' frequency) of the release's choices, as it counts them on a 7x7 grid
FREQUENCIES = {
    "top16": "00 01 60 05 02 10 12 40 50 16 30 04 06 03 35 22",
    "low8": "00 01 10 11 02 20 21 12",
    "bot4": "66 14 34 36",
}
VARIANTS = [{}, {"method": "low8", "reduction": 4}, {"method": "bot4", "dct": 14}]
KEYS = {"fc.0.weight", "fc.2.weight"}
BUFFERS = {"dct_layer.weight"}
REFUSED = [
    (64, {"method": "top3"}, "method 'top3'; expected one of top1, top2"),
    (40, {}, "method top16 on 40 channels; expected a multiple of its 16 frequencies"),
    (64, {"dct": 6}, "dct 6; expected 7 or more"),
    (64, {"reduction": 65}, "reduction 65 on 64 channels; expected 1 <= reduction <= 64"),
]


def formula(x, w, *, method="top16", dct=7, **_):
    def wave(frequency, position):
        amplitude = math.sqrt(2 if frequency else 1) / math.sqrt(dct)
        return amplitude * math.cos(math.pi * frequency * (position + 0.5) / dct)

    pooled = average_bins(x, dct, dct)
    pairs = [(int(u) * (dct // 7), int(v) * (dct // 7)) for u, v in FREQUENCIES[method].split()]
    parts = []
    for part, (u, v) in zip(np.split(pooled, len(pairs), 1), pairs, strict=True):
        basis = np.array([[wave(u, i) * wave(v, j) for j in range(dct)] for i in range(dct)])
        parts.append((part * basis.astype(np.float32)).sum((2, 3)))  # a checkpoint holds them as float32
    hidden = np.maximum(np.concatenate(parts, 1) @ w["fc.0.weight"].T, 0)
    return x * sigmoid(hidden @ w["fc.2.weight"].T)[:, :, None, None]
