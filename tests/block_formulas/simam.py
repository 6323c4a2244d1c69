"""The formula of ``simam`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import sigmoid

VARIANTS = [{}, {"e_lambda": 0.5}]
KEYS = set()
REFUSED = [
    (64, {"e_lambda": 0.0}, "e_lambda 0.0; expected a number above 0"),
]


def formula(x, w, *, e_lambda=1e-4, **_):
    mean = x.mean((2, 3), keepdims=True)
    variance = x.var((2, 3), keepdims=True, ddof=1)
    energy = 4 * (variance + e_lambda) / ((x - mean) ** 2 + 2 * variance + 2 * e_lambda)  # the paper's eq. 5
    return x * sigmoid(1 / energy)
