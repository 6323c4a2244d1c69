"""The formula of ``cot`` and what its options may be."""

from __future__ import annotations

import itertools

import numpy as np
from block_formulas.operations import conv, group_norm, norm, sigmoid, softmax

VARIANTS = [{}, {"kernel": 5}]
KEYS = {
    *(f"{part}.0.weight" for part in ("key_embed", "embed", "conv1x1", "se")),
    *("se.0.bias", "bn.weight", "bn.bias"),
    *(
        f"{part}.{kind}"
        for part in ("key_embed.1", "embed.1", "embed.3", "embed.4", "conv1x1.1", "se.1", "se.3")
        for kind in ("weight", "bias")
    ),
}
REFUSED = [
    (12, {}, "12 channels; expected a multiple of 8"),
    (64, {"kernel": 2}, "kernel 2; expected an odd number"),
]


def formula(x, w, *, kernel=3):
    n, c, height, width = x.shape
    static = np.maximum(norm(conv(x, w["key_embed.0.weight"], groups=4), w, "key_embed.1"), 0)
    hidden = conv(np.concatenate([x, static], 1), w["embed.0.weight"])
    hidden = np.maximum(norm(hidden, w, "embed.1"), 0)
    weights = group_norm(conv(hidden, w["embed.3.weight"], w["embed.3.bias"]), w, "embed.4", c // 8)
    weights = weights.reshape(n, c // 8, kernel**2, height, width)
    values = norm(conv(x, w["conv1x1.0.weight"]), w, "conv1x1.1")
    values = np.pad(values, ((0, 0), (0, 0), *[(kernel // 2,) * 2] * 2))
    dynamic = np.zeros_like(x)
    for channel, i, j in itertools.product(range(c), range(kernel), range(kernel)):
        window = values[:, channel, i : i + height, j : j + width]
        dynamic[:, channel] += window * weights[:, channel % (c // 8), i * kernel + j]
    dynamic = norm(dynamic, w, "bn")
    dynamic = dynamic * sigmoid(dynamic)

    pooled = (dynamic + static).mean((2, 3))[:, :, None, None]
    hidden = np.maximum(norm(conv(pooled, w["se.0.weight"], w["se.0.bias"]), w, "se.1"), 0)
    shares = softmax(conv(hidden, w["se.3.weight"], w["se.3.bias"]).reshape(n, c, 2), 2)
    return dynamic * shares[:, :, 0, None, None] + static * shares[:, :, 1, None, None]
