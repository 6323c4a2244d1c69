"""The formula of ``ela`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import conv, group_norm, sigmoid

VERSIONS = {"T": (64, 32), "B": (64, 16), "S": (8, 16), "L": (8, 16)}  # groups of the convolution, of the normalisation
VARIANTS = [{}, {"version": "T"}, {"version": "S"}, {"version": "L"}]
KEYS = {"conv.weight", "gn.weight", "gn.bias"}
REFUSED = [
    (64, {"version": "M"}, "version 'M'; expected T, B, S or L"),
    (24, {}, "version B on 24 channels; expected a multiple of 16"),
]


def formula(x, w, *, version="B", **_):
    groups, norm_groups = VERSIONS[version]
    kernel = w["conv.weight"][..., None]  # along the rows of an image one position wide

    def gate(means):
        return sigmoid(group_norm(conv(means[..., None], kernel, groups=groups), w, "gn", norm_groups))

    return x * gate(x.mean(3)) * gate(x.mean(2)).transpose(0, 1, 3, 2)
