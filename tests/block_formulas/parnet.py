"""The formula of ``parnet`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}]
KEYS = {
    "se.cvsig.conv.weight",
    *(f"{part}.conv.weight" for part in ("rbr_dense", "rbr_1x1")),
    *(f"{part}.{kind}" for part in ("rbr_identity", "rbr_dense.bn", "rbr_1x1.bn") for kind in ("weight", "bias")),
}
REFUSED = []


def formula(x, w):
    dense = norm(conv(x, w["rbr_dense.conv.weight"]), w, "rbr_dense.bn")
    pointwise = norm(conv(x, w["rbr_1x1.conv.weight"]), w, "rbr_1x1.bn")
    z = norm(x, w, "rbr_identity")
    gate = sigmoid(z.mean((2, 3)) @ w["se.cvsig.conv.weight"][:, :, 0, 0].T)
    total = dense + pointwise + z * gate[:, :, None, None]
    return total * sigmoid(total)
