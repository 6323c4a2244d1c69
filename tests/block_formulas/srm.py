"""The formula of ``srm`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import norm, sigmoid

VARIANTS = [{}]
KEYS = {"cfc", "bn.weight", "bn.bias"}
REFUSED = []


def formula(x, w):
    mean, deviation = x.mean((2, 3)), x.std((2, 3), ddof=1)
    score = w["cfc"][:, 0] * mean + w["cfc"][:, 1] * deviation
    return x * sigmoid(norm(score[:, :, None, None], w, "bn"))
