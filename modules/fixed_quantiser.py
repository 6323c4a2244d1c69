"""A quantiser whose levels stay what they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FixedQuantiser(nn.Module):
    """Puts numbers on levels.

    Args:
        step: The distance of two levels, or one for each channel.
        zero: The level that stands for zero, likewise.
        low: The first level.
        high: The last one.
        axis: That of the channels; None if there is one step.
    """

    step: Tensor
    zero: Tensor

    def __init__(self, step: Tensor, zero: Tensor, low: int, high: int, axis: int | None) -> None:
        super().__init__()
        self.register_buffer("step", step.detach().float().reshape(-1).clone())
        self.register_buffer("zero", zero.detach().to(torch.int32).reshape(-1).clone())
        self.low, self.high, self.axis = low, high, axis

    def forward(self, x: Tensor) -> Tensor:
        """Numbers of the same shape, each on the nearest level."""
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(x, self.step, self.zero, self.low, self.high)
        return torch.fake_quantize_per_channel_affine(x, self.step, self.zero, self.axis, self.low, self.high)
