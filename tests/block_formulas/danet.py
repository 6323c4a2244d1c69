"""The formula of ``danet`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, softmax

VARIANTS = [{}, {"reduction": 2}]
KEYS = {
    "sa.gamma",
    "sc.gamma",
    *(f"sa.{part}_conv.{kind}" for part in ("query", "key", "value") for kind in ("weight", "bias")),
}
REFUSED = [
    (4, {}, "reduction 8 on 4 channels; expected 1 <= reduction <= 4"),
]


def formula(x, w, **_):
    query, key, value = (conv(x, w[f"sa.{p}_conv.weight"], w[f"sa.{p}_conv.bias"]) for p in ("query", "key", "value"))
    n, c, height, width = x.shape
    query, key, value, rows = (part.reshape(n, part.shape[1], -1) for part in (query, key, value, x))
    between_positions = softmax(np.einsum("nci,ncj->nij", query, key), 2)
    by_position = np.einsum("nij,ncj->nci", between_positions, value)
    energy = np.einsum("nci,ndi->ncd", rows, rows)
    between_channels = softmax(energy.max(2, keepdims=True) - energy, 2)
    by_channel = np.einsum("ncd,ndi->nci", between_channels, rows)
    added = w["sa.gamma"] * by_position + w["sc.gamma"] * by_channel
    return 2 * x + added.reshape(n, c, height, width)
