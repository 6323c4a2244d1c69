"""The formula of ``gc`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import group_norm, sigmoid, softmax

VARIANTS = [{}, {"reduction": 4}, {"fusion": "mul"}, {"fusion": "both"}]
KEYS = {
    f"{part}.{kind}"
    for part in ("conv_mask", *(f"channel_add_conv.{index}" for index in (0, 1, 3)))
    for kind in ("weight", "bias")
}
REFUSED = [
    (8, {}, "reduction 16 on 8 channels"),
    (64, {"fusion": "max"}, "fusion 'max'; expected add, mul or both"),
]


def formula(x, w, *, fusion="add", **_):
    positions = x.reshape(*x.shape[:2], -1)
    scores = w["conv_mask.weight"][0, :, 0, 0] @ positions + w["conv_mask.bias"]  # (n, h·w)
    context = np.einsum("ncp,np->nc", positions, softmax(scores, 1))

    def transform(name):
        hidden = context @ w[f"{name}.0.weight"][:, :, 0, 0].T + w[f"{name}.0.bias"]
        flat = {f"{name}.1.{kind}": w[f"{name}.1.{kind}"].reshape(-1) for kind in ("weight", "bias")}
        hidden = np.maximum(group_norm(hidden, flat, f"{name}.1", 1), 0)
        return (hidden @ w[f"{name}.3.weight"][:, :, 0, 0].T + w[f"{name}.3.bias"])[:, :, None, None]

    if fusion != "add":
        x = x * sigmoid(transform("channel_mul_conv"))
    return x + transform("channel_add_conv") if fusion != "mul" else x
