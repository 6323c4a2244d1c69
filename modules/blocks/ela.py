"""ELA: gate each position by a 1-D convolution along the row means and one along the column means.

Xu and Wan, 2024, https://arxiv.org/abs/2403.01123:
``x · sigmoid(GN(conv(mean_w))) · sigmoid(GN(conv(mean_h)))``, one convolution without bias and one normalisation for
both directions. The authors publish no code; parameter names follow the code in circulation. ``version`` is the
paper's: kernel 5 (T, S) or 7 (B, L), one channel per convolution group (T, B) or eight (S, L), 32 normalisation
groups (T) or 16.
Differs: plain means, and no view of the means by the input's sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError

# version: kernel, channels per convolution group, normalisation groups
VERSIONS = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, 8, 16), "L": (7, 8, 16)}


class ELA(nn.Module):
    """The row and the column gate of the paper's ``version`` T, B, S or L.

    Raises InputError if the version is none of them, or its groups do not divide the channels.
    """

    def __init__(self, channels: int, *, version: str = "B") -> None:
        super().__init__()
        if version not in VERSIONS:
            raise InputError(f"received ela with version {version!r}; expected T, B, S or L; choose one of them")
        kernel, width, groups = VERSIONS[version]
        if channels < 1 or channels % width or channels % groups:
            raise InputError(
                f"received ela with version {version} on {channels} channels; expected a multiple of {groups}, "
                "its normalisation groups; choose B or other channels"
            )
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels // width, bias=False)
        self.gn = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        rows = torch.sigmoid(self.gn(self.conv(x.mean(3))))  # (n, c, h)
        columns = torch.sigmoid(self.gn(self.conv(x.mean(2))))  # (n, c, w)
        return x * rows[..., None] * columns[:, :, None]
