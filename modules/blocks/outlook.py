"""Outlook attention: each position writes a window of values, weighed by what it sees at the window's centre.

Yuan et al., VOLO, IEEE TPAMI 2023, https://arxiv.org/abs/2106.13112, section 3.1: a linear layer gives the k·k by k·k
weights of each window directly, softmax over the values read, and the windows written are added, overlaps included.
Parameter names follow the authors' release. Its networks have heads of 32 channels and a ``stride`` of 2 (windows at
every second position, their weights from a 2x2 mean). It stands in for a transformer's self-attention, between a
layer normalisation and the addition.
Differs: windows are read and written by convolutions with unit kernels instead of unfold and fold, since the latter
has no operator in ONNX opset 17; and the mean of a cut last window divides by its own size without the rounding-up
mode of pooling, which runtimes read differently.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError


class Outlook(nn.Module):
    """Windows of an odd ``kernel`` at every ``stride``-th position; without ``heads``, of 32 channels or a few more.

    Raises InputError if the heads do not divide the channels, the kernel is even or the stride exceeds it.
    """

    unit: Tensor

    def __init__(
        self, channels: int, *, heads: int | None = None, kernel: int = 3, stride: int = 2, qkv_bias: bool = False
    ) -> None:
        super().__init__()
        if heads is None:
            heads = next((count for count in range(channels // 32, 0, -1) if channels % count == 0), 1)
        if heads < 1 or channels % heads:
            raise InputError(
                f"received outlook with heads {heads} on {channels} channels; expected a divisor; "
                "choose another number of heads"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"received outlook with kernel {kernel}; expected an odd number; choose 3")
        if not 1 <= stride <= kernel:
            raise InputError(f"received outlook with stride {stride}; expected 1 to {kernel}, the kernel; choose 2")
        self.channels, self.heads, self.kernel, self.stride = channels, heads, kernel, stride
        self.v = nn.Linear(channels, channels, bias=qkv_bias)
        self.attn = nn.Linear(channels, kernel**4 * heads)
        self.proj = nn.Linear(channels, channels)
        taps = torch.eye(kernel**2).reshape(kernel**2, 1, kernel, kernel)
        self.register_buffer("unit", taps.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        area, stride, reach = self.kernel**2, self.stride, self.kernel // 2
        value = self.v(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        windows = functional.conv2d(value, self.unit, None, stride, reach, 1, self.channels)  # (n, c·k·k, h', w')
        read = torch.unflatten(windows, 1, (self.heads, -1, area)).permute(
            0, 1, 4, 5, 3, 2
        )  # (n, head, h', w', k·k, c/head)
        scores = self.attn(self._centres(x).permute(0, 2, 3, 1))
        scores = torch.unflatten(scores, 3, (self.heads, area, area)).permute(0, 3, 1, 2, 4, 5)
        scale = (self.channels // self.heads) ** -0.5
        weights = torch.softmax(scores * scale, 5)  # (n, head, h', w', k·k, k·k)
        written = (weights @ read).permute(0, 1, 5, 4, 2, 3).flatten(1, 3)  # (n, c·k·k, h', w')
        added = functional.conv_transpose2d(written, self.unit, None, stride, reach, stride - 1, self.channels)
        out: Tensor = self.proj(added.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        # At a stride, the last window reaches past the image. It is cut off last: whether the rest fills its memory, as
        # a layer would ask, depends on the size.
        return out[:, :, : x.shape[2], : x.shape[3]].clone(memory_format=torch.contiguous_format)

    def _centres(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        beyond = (0, self.stride - 1) * 2
        total = functional.avg_pool2d(functional.pad(x, beyond), self.stride)  # (n, c, h', w')
        inside = functional.avg_pool2d(functional.pad(torch.ones_like(x[:, :1]), beyond), self.stride)
        return total / inside
