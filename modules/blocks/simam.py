"""SimAM: gate every position by how far it stands from its channel's mean, without parameters.

Yang et al., ICML 2021, https://proceedings.mlr.press/v139/yang21o.html, eq. 5-6: ``x · sigmoid(1/e)`` with
``1/e = (x - mean)² / (4 (var + lambda)) + 1/2``, mean and variance those of the channel over (h, w), the variance
divided by ``h · w - 1`` and the option named as in the authors' release. In their ResNets it follows the second
convolution of each unit, the 3x3 of a bottleneck, and comes before its normalisation; in their MobileNetV2 it follows
every depthwise convolution. Their commands for ImageNet set ``e_lambda`` to 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class SimAM(nn.Module):
    """Gate from the energy of each position; needs two positions at least, one has no variance.

    Raises InputError if ``e_lambda`` is not above 0.
    """

    def __init__(self, channels: int, *, e_lambda: float = 1e-4) -> None:
        super().__init__()
        if e_lambda <= 0:
            raise InputError(
                f"received simam with e_lambda {e_lambda}; expected a number above 0, "
                "which keeps a flat channel from dividing by 0; choose 1e-4"
            )
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        deviation = (x - x.mean((2, 3), keepdim=True)).square()
        variance = deviation.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)  # (n, c, 1, 1)
        return x * torch.sigmoid(deviation / (4 * (variance + self.e_lambda)) + 0.5)
