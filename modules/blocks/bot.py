"""BoT: multi-head self-attention between all positions, with learned row and column offsets as their positions.

Srinivas et al., Bottleneck Transformers, CVPR 2021, https://arxiv.org/abs/2101.11605, figure 4: per head,
``softmax((q k^T + q r^T) / sqrt(d)) v`` with ``r = r_height + r_width``, one vector for each distance along an axis.
It stands in for the 3x3 convolution of a bottleneck in the last stage of a ResNet, before its normalisation; if that
had a stride, a 2x2 mean follows. The layer is timm's ``BottleneckAttn``, whose parameter names it has; as in the
authors' TensorFlow code, and unlike timm's default, the positions' scores are scaled with the others
(``scale_pos_embed``). timm's own ``botnet`` weights need it false.
A network has one vector per distance, so it belongs to one height and width: only the batch may be dynamic.
Differs from timm: an odd height or width is halved upwards, as the TensorFlow code and a convolution do.
"""

from __future__ import annotations

from timm.layers.bottleneck_attn import BottleneckAttn
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

REPLACES_CONV3X3 = True
AXES = ("batch",)


class BoT(BottleneckAttn):
    """Attention over feature maps of ``size`` (height, width) as they come in, halved after it by a ``stride`` of 2.

    Raises InputError if the heads do not divide the channels, the stride is neither 1 nor 2, or x has another size.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        size: tuple[int, int] = (14, 14),
        *,
        heads: int = 4,
        qkv_bias: bool = False,
        scale_pos_embed: bool = True,
    ) -> None:
        out_channels = channels if out_channels is None else out_channels
        if heads < 1 or out_channels % heads:
            raise InputError(
                f"received bot with heads {heads} on {out_channels} channels; expected a divisor; "
                "choose another number of heads"
            )
        if stride not in (1, 2):
            raise InputError(f"received bot with stride {stride}; expected 1 or 2; choose another place")
        super().__init__(
            channels,
            out_channels,
            feat_size=size,
            stride=stride,
            num_heads=heads,
            dim_head=out_channels // heads,
            qkv_bias=qkv_bias,
            scale_pos_embed=scale_pos_embed,
        )
        if stride == 2:
            self.add_module("pool", _HalvedUp())

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, out_channels, ceil(h / stride), ceil(w / stride))``."""
        expected = (self.pos_embed.height, self.pos_embed.width)
        if (x.shape[2], x.shape[3]) != expected:
            raise InputError(
                f"received feature maps of {x.shape[2]}x{x.shape[3]} for bot; expected {expected[0]}x{expected[1]}, "
                "which its positions were made for; give the size that it was built with"
            )
        attended: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return attended


class _HalvedUp(nn.Module):
    """2x2 means; a last odd row or column is the mean of itself, as its repetition makes it."""

    def forward(self, x: Tensor) -> Tensor:
        beyond = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
        return functional.avg_pool2d(functional.pad(x, beyond, mode="replicate") if any(beyond) else x, 2)
