"""The formula of ``gct`` and what its options may be."""

from __future__ import annotations

import numpy as np

VARIANTS = [{}, {"mode": "l1"}, {"epsilon": 0.5}]
KEYS = {"alpha", "gamma", "beta"}
REFUSED = [
    (64, {"mode": "l3"}, "mode 'l3'; expected l1 or l2"),
    (64, {"epsilon": 0.0}, "epsilon 0.0; expected more than 0"),
]


def formula(x, w, *, mode="l2", epsilon=1e-5):
    alpha, gamma, beta = (w[name][0, :, 0, 0] for name in ("alpha", "gamma", "beta"))
    if mode == "l2":
        s = alpha * np.sqrt((x**2).sum((2, 3)) + epsilon)
        size = np.sqrt((s**2).mean(1) + epsilon)
    else:
        s = alpha * np.abs(x).sum((2, 3))
        size = np.abs(s).mean(1) + epsilon
    return x * (1 + np.tanh(gamma * s / size[:, None] + beta))[:, :, None, None]
