"""The formula of ``outlook`` and what its options may be."""

from __future__ import annotations

import itertools

import numpy as np
from block_formulas.operations import softmax

VARIANTS = [{}, {"stride": 1, "heads": 4}, {"kernel": 5, "stride": 3, "qkv_bias": True}]
KEYS = {"v.weight", *(f"{part}.{kind}" for part in ("attn", "proj") for kind in ("weight", "bias"))}
REFUSED = [
    (64, {"heads": 3}, "heads 3 on 64 channels; expected a divisor"),
    (64, {"kernel": 4}, "kernel 4; expected an odd number"),
    (64, {"stride": 4}, "stride 4; expected 1 to 3"),
]


def formula(x, w, *, heads=None, kernel=3, stride=2, **_):
    n, c, height, width = x.shape
    heads = c // 32 if heads is None else heads
    area, reach, deep = kernel**2, kernel // 2, c // heads
    value = np.einsum("nchw,oc->nohw", x, w["v.weight"]) + w.get("v.bias", np.zeros(c))[:, None, None]
    added = np.zeros_like(x)
    offsets = list(itertools.product(range(-reach, reach + 1), repeat=2))
    for row, column in itertools.product(range(0, height, stride), range(0, width, stride)):
        centre = x[:, :, row : row + stride, column : column + stride].mean((2, 3))
        scores = (centre @ w["attn.weight"].T + w["attn.bias"]).reshape(n, heads, area, area)
        weights = softmax(scores / np.sqrt(deep), 3)
        inside = [
            (index, row + i, column + j)
            for index, (i, j) in enumerate(offsets)
            if 0 <= row + i < height and 0 <= column + j < width
        ]
        for (written, i, j), (read, k, m) in itertools.product(inside, inside):
            term = weights[:, :, written, read, None] * value[:, :, k, m].reshape(n, heads, deep)
            added[:, :, i, j] += term.reshape(n, c)
    return np.einsum("nchw,oc->nohw", added, w["proj.weight"]) + w["proj.bias"][:, None, None]
