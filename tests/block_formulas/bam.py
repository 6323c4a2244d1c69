"""The formula of ``bam`` and what its options may be."""

from __future__ import annotations

import numpy as np
from block_formulas.operations import conv, norm, sigmoid

VARIANTS = [{}, {"reduction": 8, "dilation": 1}, {"combine": "sum"}]
CHANNEL = "channel_att.gate_c.gate_c_"
SPATIAL = "spatial_att.gate_s.gate_s_"
KEYS = {
    f"{part}.{kind}"
    for part in (
        *(f"{CHANNEL}{name}" for name in ("fc_0", "bn_1", "fc_final")),
        *(f"{SPATIAL}{kind}_{place}" for kind in ("conv", "bn") for place in ("reduce0", "di_0", "di_1")),
        f"{SPATIAL}conv_final",
    )
    for kind in ("weight", "bias")
}
REFUSED = [
    (8, {}, "reduction 16 on 8 channels"),
    (64, {"dilation": 0}, "dilation 0; expected 1 or more"),
    (64, {"combine": "mean"}, "combine 'mean'; expected product or sum"),
]


def formula(x, w, *, dilation=4, combine="product", **_):
    hidden = x.mean((2, 3)) @ w[f"{CHANNEL}fc_0.weight"].T + w[f"{CHANNEL}fc_0.bias"]
    hidden = np.maximum(norm(hidden[:, :, None, None], w, f"{CHANNEL}bn_1"), 0)[:, :, 0, 0]
    channel = (hidden @ w[f"{CHANNEL}fc_final.weight"].T + w[f"{CHANNEL}fc_final.bias"])[:, :, None, None]
    spatial = x
    for place, step in (("reduce0", 1), ("di_0", dilation), ("di_1", dilation)):
        conv_name = f"{SPATIAL}conv_{place}"
        spatial = conv(spatial, w[f"{conv_name}.weight"], w[f"{conv_name}.bias"], dilation=step)
        spatial = np.maximum(norm(spatial, w, f"{SPATIAL}bn_{place}"), 0)
    spatial = conv(spatial, w[f"{SPATIAL}conv_final.weight"], w[f"{SPATIAL}conv_final.bias"])
    return x + x * sigmoid(channel * spatial if combine == "product" else channel + spatial)
