"""eSE: gate each channel by one full layer over the global averages, without a bottleneck.

Lee and Park, CenterMask and VoVNetV2, CVPR 2020, https://arxiv.org/abs/1911.06667: ``x · hsigmoid(W mean(x))``,
``hsigmoid(x) = relu6(x + 3) / 6`` as in the authors' release (the paper writes a sigmoid), W with a bias. The layer is
timm's, which keeps the release's parameter name. In VoVNetV2 it closes each one-shot aggregation, before the addition.
"""

from __future__ import annotations

from timm.layers.squeeze_excite import EffectiveSEModule


class ESE(EffectiveSEModule):
    """Channel gate, ``(n, c, h, w)`` to ``(n, c, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
