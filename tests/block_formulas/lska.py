"""The formula of ``lska`` and what its options may be."""

from __future__ import annotations

from block_formulas.operations import conv

VARIANTS = [{}, *({"k_size": size} for size in (7, 11, 35, 41, 53))]
LAYERS = ("conv0h", "conv0v", "conv_spatial_h", "conv_spatial_v", "conv1")
KEYS = {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}
REFUSED = [
    (64, {"k_size": 21}, "k_size 21; expected 7, 11, 23, 35, 41 or 53"),
]


def formula(x, w, *, k_size=23, **_):
    dilation = 2 if k_size < 23 else 3
    attention = x
    for layer in LAYERS:
        depthwise = {"groups": x.shape[1], "dilation": dilation if "spatial" in layer else 1}
        options = {} if layer == "conv1" else depthwise
        attention = conv(attention, w[f"{layer}.weight"], w[f"{layer}.bias"], **options)
    near, wide = w["conv0h.weight"].shape[3], w["conv_spatial_h.weight"].shape[3]
    assert near + dilation * (wide - 1) == k_size  # what the two kernels span together
    return x * attention
