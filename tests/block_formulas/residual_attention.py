"""The formula of ``residual_attention`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}]
UNITS = (
    "first_residual_blocks",
    "last_blocks",
    *(f"{part}.{index}" for part in ("trunk_branches", "softmax1_blocks") for index in (0, 1)),
)
KEYS = {
    *(f"{unit}.conv{i}.weight" for unit in UNITS for i in (1, 2, 3)),
    *(f"{unit}.bn{i}.{kind}" for unit in UNITS for i in (1, 2, 3) for kind in ("weight", "bias")),
    *(f"softmax2_blocks.{i}.weight" for i in (2, 5)),
    *(f"softmax2_blocks.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")),
}
REFUSED = [
    (3, {}, "on 3 channels; expected 4 or more"),
]


def formula(x, w):
    def unit(x, name):
        inner = x
        for i in (1, 2, 3):
            inner = conv(np.maximum(norm(inner, w, f"{name}.bn{i}"), 0), w[f"{name}.conv{i}.weight"])
        return x + inner

    def units(x, name):
        return unit(unit(x, f"{name}.0"), f"{name}.1")

    x = unit(x, "first_residual_blocks")
    trunk = units(x, "trunk_branches")
    mask = _stretch(units(_halve(x), "softmax1_blocks"), *x.shape[2:])
    for i in (0, 3):
        mask = conv(np.maximum(norm(mask, w, f"softmax2_blocks.{i}"), 0), w[f"softmax2_blocks.{i + 2}.weight"])
    return unit((1 + sigmoid(mask)) * trunk, "last_blocks")


def _halve(x):
    """Maxima of 3x3 around every second position."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = x.shape[2:]
    return np.max([padded[:, :, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)], 0)


def _stretch(x, height, width):
    """Bilinear interpolation that keeps the corners."""

    def weights(size, wanted):
        at = np.arange(wanted)[:, None] * ((size - 1) / (wanted - 1))
        return np.maximum(1 - np.abs(at - np.arange(size)), 0)  # (wanted, size)

    return np.einsum("ih,nchw,jw->ncij", weights(x.shape[2], height), x, weights(x.shape[3], width))
