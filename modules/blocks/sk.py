"""Selective kernel: two receptive fields, mixed channel by channel by a softmax between them.

Li et al., CVPR 2019, https://arxiv.org/abs/1903.06586, eq. 1-6: branches of grouped 3x3 convolutions of dilation 1
and 2 (the paper's 3x3 and 5x5), each normalised and rectified; from the mean of their sum, a hidden layer of
``max(c // reduction, minimum)`` and one score per branch and channel. The layer is timm's ``SelectiveKernel``, given
the whole input per branch; the authors' release is for Caffe, so the parameter names are timm's. In SKNet it stands
in for each bottleneck's 3x3 convolution; here it keeps the channels and the size, as any other block.
"""

from __future__ import annotations

import math

from timm.layers.selective_kernel import SelectiveKernel

from ...errors import InputError


class SK(SelectiveKernel):
    """``branches`` dilated 3x3 convolutions, ``(n, c, h, w)`` to ``(n, c, h, w)``.

    Without ``groups``, the paper's 32, or the largest divisor of 32 that divides the channels.
    Raises InputError where there are not two branches, the reduction or the minimum is below 1, or the groups do not
    divide the channels.
    """

    def __init__(
        self, channels: int, *, branches: int = 2, reduction: int = 16, minimum: int = 32, groups: int | None = None
    ) -> None:
        if branches < 2 or reduction < 1 or minimum < 1:
            raise InputError(
                f"received sk with {branches} branches, reduction {reduction} and minimum {minimum}; "
                "expected 2 branches or more, the others 1 or more; choose 2, 16 and 32"
            )
        groups = math.gcd(32, channels) if groups is None else groups
        if groups < 1 or channels < 1 or channels % groups:
            raise InputError(
                f"received sk with groups {groups} on {channels} channels; expected a divisor of {channels}; "
                "choose 1 or 32"
            )
        super().__init__(
            channels,
            kernel_size=[3 + 2 * index for index in range(branches)],
            groups=groups,
            rd_channels=max(channels // reduction, minimum),
            split_input=False,
        )
