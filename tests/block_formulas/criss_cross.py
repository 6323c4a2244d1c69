"""The formula of ``criss_cross`` and what its options may be."""

from __future__ import annotations

import itertools

import numpy as np
from block_formulas.operations import conv, softmax

VARIANTS = [{}, {"recurrence": 1, "reduction": 4}]
KEYS = {
    "gamma",
    *(f"{part}_conv.{kind}" for part in ("query", "key", "value") for kind in ("weight", "bias")),
}
REFUSED = [
    (4, {}, "reduction 8 on 4 channels; expected 1 <= reduction <= 4"),
    (64, {"recurrence": 0}, "recurrence 0; expected 1 or more"),
]


def formula(x, w, *, recurrence=2, **_):
    for _ in range(recurrence):
        query, key, value = (conv(x, w[f"{p}_conv.weight"], w[f"{p}_conv.bias"]) for p in ("query", "key", "value"))
        mixed = np.empty_like(x)
        for i, j in itertools.product(range(x.shape[2]), range(x.shape[3])):
            others = [row for row in range(x.shape[2]) if row != i]

            def cross(part, i=i, j=j, others=others):
                return np.concatenate([part[:, :, i, :], part[:, :, others, j]], 2)  # (n, c, h + w - 1)

            shares = softmax(np.einsum("nc,ncp->np", query[:, :, i, j], cross(key)), 1)
            mixed[:, :, i, j] = np.einsum("np,ncp->nc", shares, cross(value))
        x = x + w["gamma"] * mixed
    return x
