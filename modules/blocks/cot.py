"""Contextual transformer: a 3x3 static context chooses, position by position, the weights of a dynamic one.

Li et al., CoTNet, IEEE TPAMI 2022, https://arxiv.org/abs/2107.12292, section 3.2: the static context is a
grouped 3x3 convolution; it and the input give the k·k weights of a local sum over the values, the dynamic context; both
contexts are mixed by a selective-kernel softmax.
Parameter names follow the authors' ``CotLayer``, as do its weights shared by the channels that are equal modulo
``channels // 8`` and its group normalisation, which the paper does not mention. It stands in for the 3x3 convolution of
a bottleneck, its normalisation and its ReLU, after a 3x3 mean if that one had a stride.
Differs: the local sum is one of k·k shifted images, in place of the release's CUDA kernel; and the group normalisation
averages in two steps, since a runtime that sums all positions in one go loses several times PyTorch's own rounding
if they are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

REPLACES_CONV3X3 = True
OWN_NORM = True
SHARED = 8  # channels that share the weights of a local sum
RADIX = 2  # contexts: static and dynamic


class CoT(nn.Module):
    """Local sums of an odd ``kernel``.

    Raises InputError if the channels are not a multiple of 8 or differ, or the kernel is even.
    """

    def __init__(self, channels: int, out_channels: int | None = None, stride: int = 1, *, kernel: int = 3) -> None:
        super().__init__()
        if out_channels not in (None, channels):
            raise InputError(
                f"received cot with {channels} channels in and {out_channels} out; expected as many; "
                "choose another place"
            )
        if channels < 1 or channels % SHARED:
            raise InputError(
                f"received cot with {channels} channels; expected a multiple of {SHARED}, the channels that share "
                "weights; choose a wider place"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"received cot with kernel {kernel}; expected an odd number; choose 3")
        self.kernel = kernel
        self.avd = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.key_embed = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=4, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        groups, hidden = channels // SHARED, channels // 2
        self.embed = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, kernel**2 * groups, 1),
            _GroupNorm(groups, kernel**2 * groups),
        )
        self.conv1x1 = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.bn = nn.BatchNorm2d(channels)
        narrow = max(channels * RADIX // 4, 32)
        self.se = nn.Sequential(
            nn.Conv2d(channels, narrow, 1), nn.BatchNorm2d(narrow), nn.ReLU(), nn.Conv2d(narrow, RADIX * channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, ceil(h / stride), ceil(w / stride))``."""
        x = self.avd(x)
        static: Tensor = self.key_embed(x)
        weights: Tensor = self.embed(torch.cat((x, static), 1))
        dynamic = functional.silu(self.bn(self._local_sum(self.conv1x1(x), weights)))
        mean = (dynamic + static).mean((2, 3), keepdim=True)  # (n, c, 1, 1)
        shares = torch.softmax(torch.unflatten(self.se(mean), 1, (-1, RADIX)), 2)  # (n, c, 2, 1, 1)
        return dynamic * shares[:, :, 0] + static * shares[:, :, 1]

    def _local_sum(self, values: Tensor, weights: Tensor) -> Tensor:
        reach = self.kernel // 2
        values = torch.unflatten(functional.pad(values, (reach,) * 4), 1, (SHARED, -1))  # (n, 8, g, h + 2r, w + 2r)
        weights = torch.unflatten(weights, 1, (-1, self.kernel**2))  # (n, g, k·k, h, w)
        total = None
        for i in range(self.kernel):
            for j in range(self.kernel):
                shifted = values[..., i : i - 2 * reach or None, j : j - 2 * reach or None]
                term = shifted * weights[:, None, :, i * self.kernel + j]  # (n, 8, g, h, w)
                total = term if total is None else total + term
        assert total is not None
        return total.flatten(1, 2)


class _GroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        groups = torch.unflatten(x, 1, (self.num_groups, -1))  # (n, g, c/g, h, w)
        centred = groups - self._mean(x)
        normal = centred * torch.rsqrt(self._mean(centred.square().flatten(1, 2)) + self.eps)
        return normal.flatten(1, 2) * self.weight[:, None, None] + self.bias[:, None, None]

    def _mean(self, x: Tensor) -> Tensor:
        rows = x.mean(3)  # (n, c, h); the reshape after it keeps a simplifier from joining the two means
        return torch.unflatten(rows, 1, (self.num_groups, -1)).mean((2, 3))[:, :, None, None, None]
