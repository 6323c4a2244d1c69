"""The formula of ``bot`` and what its options may be."""

from __future__ import annotations

import itertools

import numpy as np
from block_formulas.operations import conv, softmax

VARIANTS = [{}, {"heads": 8, "qkv_bias": True}, {"scale_pos_embed": False}]
KEYS = {"qkv.weight", "pos_embed.height_rel", "pos_embed.width_rel"}
REFUSED = [
    (64, {"heads": 3}, "heads 3 on 64 channels; expected a divisor"),
    (64, {"stride": 3}, "stride 3; expected 1 or 2"),
]


def formula(x, w, *, stride=1, heads=4, scale_pos_embed=True, **_):
    n, _, height, width = x.shape
    query, key, value = np.split(conv(x, w["qkv.weight"], w.get("qkv.bias")), 3, 1)
    deep = query.shape[1] // heads
    query, key, value = (part.reshape(n, heads, deep, height, width) for part in (query, key, value))
    out = np.zeros_like(value)
    for i, j in itertools.product(range(height), range(width)):
        asked = query[:, :, :, i, j]  # (n, head, d)
        scores = np.einsum("nad,nadkl->nakl", asked, key) / np.sqrt(deep)
        rows = w["pos_embed.height_rel"][height - 1 - i : 2 * height - 1 - i]  # of the distances k - i
        columns = w["pos_embed.width_rel"][width - 1 - j : 2 * width - 1 - j]
        places = (asked @ rows.T)[..., None] + (asked @ columns.T)[:, :, None]
        scores += places / np.sqrt(deep) if scale_pos_embed else places
        weights = softmax(scores.reshape(n, heads, -1), 2).reshape(scores.shape)
        out[:, :, :, i, j] = np.einsum("nakl,nadkl->nad", weights, value)
    out = out.reshape(n, -1, height, width)
    if stride == 1:
        return out
    small = np.empty((n, out.shape[1], -(-height // 2), -(-width // 2)))
    for i, j in itertools.product(*map(range, small.shape[2:])):
        small[:, :, i, j] = out[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3))
    return small
