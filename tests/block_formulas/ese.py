"""The formula of ``ese``, which has no options."""

from __future__ import annotations

import numpy as np

VARIANTS = [{}]
KEYS = {"fc.weight", "fc.bias"}
REFUSED = []


def formula(x, w, **_):
    gate = x.mean((2, 3)) @ w["fc.weight"][:, :, 0, 0].T + w["fc.bias"]
    return x * (np.clip(gate + 3, 0, 6) / 6)[:, :, None, None]
