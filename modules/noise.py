"""Inputs that scale random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATION_BATCH = 8  # enough images that a new one differs little from them
FEW = 2  # images of whatever size was asked for
IMAGE_SEED = 0x5EED  # not the weights' own: images drawn as the weights are would be correlated with them


def images(shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise with a mean of its own per channel and per position: pure noise would leave every pooled value near 0.

    The second axis of ``shape`` is that of the channels, or of the frames of a clip.
    """
    import torch

    generator = torch.Generator().manual_seed(seed ^ IMAGE_SEED)
    channels = torch.randn((*shape[:2], *[1] * (len(shape) - 2)), generator=generator)
    positions = torch.randn((shape[0], 1, *shape[2:]), generator=generator)
    return torch.randn(shape, generator=generator) + channels + positions
