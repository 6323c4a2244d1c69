"""The formula of ``swin`` and what its options may be."""

from __future__ import annotations

import itertools

import numpy as np
from block_formulas.operations import softmax

VARIANTS = [{}, {"window": 4, "shifted": True, "heads": 4}, {"window": 5, "shifted": True, "qkv_bias": False}]
KEYS = {
    "relative_position_bias_table",
    *(f"{part}.{kind}" for part in ("qkv", "proj") for kind in ("weight", "bias")),
}
REFUSED = [
    (64, {"heads": 3}, "heads 3 on 64 channels; expected a divisor"),
    (64, {"window": 1}, "window 1; expected 2 or more"),
]


def formula(x, w, *, window=7, shifted=False, heads=None, **_):
    n, c, height, width = x.shape
    heads = c // 32 if heads is None else heads
    shift, deep = window // 2 if shifted else 0, c // heads
    tall, wide = (-(-size // window) * window for size in (height, width))
    image = np.pad(x, ((0, 0), (0, 0), (0, tall - height), (0, wide - width)))
    projected = np.einsum("nchw,oc->nohw", image, w["qkv.weight"]) + w.get("qkv.bias", np.zeros(3 * c))[:, None, None]
    query, key, value = projected.reshape(n, 3, heads, deep, tall, wide).transpose(1, 0, 2, 3, 4, 5)
    out = np.zeros((n, heads, deep, tall, wide))
    for top, left in itertools.product(range(0, tall, window), range(0, wide, window)):
        inside = list(
            itertools.product(range(top + shift, top + shift + window), range(left + shift, left + shift + window))
        )
        for i, j in inside:
            scores = np.empty((n, heads, window**2))
            for index, (k, m) in enumerate(inside):
                pair = query[:, :, :, i % tall, j % wide] * key[:, :, :, k % tall, m % wide]
                entry = (i - k + window - 1) * (2 * window - 1) + j - m + window - 1
                scores[:, :, index] = pair.sum(2) / np.sqrt(deep) + w["relative_position_bias_table"][entry]
                # a window over the edge holds the other side of the image too
                scores[:, :, index] -= 100 * ((i >= tall, j >= wide) != (k >= tall, m >= wide))
            weights = softmax(scores, 2)
            for index, (k, m) in enumerate(inside):
                out[:, :, :, i % tall, j % wide] += weights[:, :, index, None] * value[:, :, :, k % tall, m % wide]
    mixed = np.einsum("nchw,oc->nohw", out.reshape(n, c, tall, wide), w["proj.weight"]) + w["proj.bias"][:, None, None]
    return mixed[:, :, :height, :width]
