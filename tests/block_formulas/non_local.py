"""The formula of ``non_local`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import conv, norm, softmax

VARIANTS = [{}, {"sub_sample": False}, {"reduction": 8}]
KEYS = {f"{part}.{kind}" for part in ("g.0", "theta", "phi.0", "W.0", "W.1") for kind in ("weight", "bias")}
REFUSED = [
    (8, {"reduction": 9}, "reduction 9 on 8 channels; expected 1 <= reduction <= 8"),
]


def formula(x, w, *, sub_sample=True, **_):
    def embed(name):
        name = f"{name}.0" if f"{name}.0.weight" in w else name
        return conv(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def halve(x):
        n, c, height, width = x.shape
        even = x[:, :, : height // 2 * 2, : width // 2 * 2]
        return even.reshape(n, c, height // 2, 2, width // 2, 2).max((3, 5))

    n, _, height, width = x.shape
    theta, phi, g = embed("theta"), embed("phi"), embed("g")
    if sub_sample:
        phi, g = halve(phi), halve(g)
    theta, phi, g = (part.reshape(n, part.shape[1], -1) for part in (theta, phi, g))
    likeness = softmax(theta.swapaxes(1, 2) @ phi, 2)  # (n, receiver, giver)
    mixed = (g @ likeness.swapaxes(1, 2)).reshape(n, -1, height, width)
    return x + norm(conv(mixed, w["W.0.weight"], w["W.0.bias"]), w, "W.1")
