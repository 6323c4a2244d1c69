"""LSKA: multiply by a large depthwise convolution, split into a row and a column, near and dilated.

Lau et al., 2023, https://arxiv.org/abs/2309.01439:
``x · conv1x1(dilated_kx1(dilated_1xk(dw_kx1(dw_1xk(x)))))``, the near and the dilated kernel spanning the size
together. Parameter names and the kernels of each size follow the authors' release. No gate closes it: it is a plain
product. In their Visual Attention Network a 1x1 convolution and GELU stand before it and a 1x1 convolution after.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import InputError

# size: near kernel, dilated kernel, dilation
KERNELS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}


class LSKA(nn.Module):
    """The release's large kernel of size ``k_size``.

    Raises InputError if the release has no such size.
    """

    def __init__(self, channels: int, *, k_size: int = 23) -> None:
        super().__init__()
        if k_size not in KERNELS:
            raise InputError(
                f"received lska with k_size {k_size}; expected 7, 11, 23, 35, 41 or 53; choose one of them"
            )
        near, wide, dilation = KERNELS[k_size]
        self.conv0h = _depthwise(channels, (1, near), 1)
        self.conv0v = _depthwise(channels, (near, 1), 1)
        self.conv_spatial_h = _depthwise(channels, (1, wide), dilation)
        self.conv_spatial_v = _depthwise(channels, (wide, 1), dilation)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        near = self.conv0v(self.conv0h(x))
        attention: Tensor = self.conv1(self.conv_spatial_v(self.conv_spatial_h(near)))
        return x * attention


def _depthwise(channels: int, kernel: tuple[int, int], dilation: int) -> nn.Conv2d:
    padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)
