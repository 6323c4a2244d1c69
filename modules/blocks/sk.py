"""Selective kernel: two receptive fields, mixed channel by channel by a softmax between them.

Li et al., CVPR 2019, https://arxiv.org/abs/1903.06586, eq. 1-6: branches of grouped 3x3 convolutions of dilation 1
and 2 (the paper's 3x3 and 5x5), each normalised and rectified; from the mean of their sum, a hidden layer of
``max(c // reduction, minimum)`` and one score per branch and channel. The layer is timm's ``SelectiveKernel``, given
the whole input per branch; the authors' release is for Caffe, so the parameter names are timm's. It stands in for the
3x3 convolution of a bottleneck, its normalisation and its ReLU, and carries the stride: SKNet-50 is
``resnext50_32x4d+sk``.
"""

from __future__ import annotations

import math

from timm.layers.selective_kernel import SelectiveKernel

from ...errors import InputError

REPLACES_CONV3X3 = True
OWN_NORM = True


class SK(SelectiveKernel):
    """``branches`` dilated 3x3 convolutions, ``(n, c, h, w)`` to ``(n, out_channels, h / stride, w / stride)``.

    Without ``groups``, the paper's 32, or the largest divisor of 32 that divides the channels.
    Raises InputError if there are not two branches, the reduction or the minimum is below 1, or the groups do not
    divide the channels.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        *,
        branches: int = 2,
        reduction: int = 16,
        minimum: int = 32,
        groups: int | None = None,
    ) -> None:
        out_channels = channels if out_channels is None else out_channels
        if branches < 2 or reduction < 1 or minimum < 1:
            raise InputError(
                f"received sk with {branches} branches, reduction {reduction} and minimum {minimum}; "
                "expected 2 branches or more, the others 1 or more; choose 2, 16 and 32"
            )
        groups = math.gcd(32, channels, out_channels) if groups is None else groups
        if groups < 1 or channels < 1 or channels % groups or out_channels % groups:
            raise InputError(
                f"received sk with groups {groups} on {channels} channels; expected a divisor of {channels}; "
                "choose 1 or 32"
            )
        super().__init__(
            channels,
            out_channels,
            stride=stride,
            kernel_size=[3 + 2 * index for index in range(branches)],
            groups=groups,
            rd_channels=max(out_channels // reduction, minimum),
            split_input=False,
        )
