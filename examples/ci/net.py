"""A small classifier whose attention block is broken on purpose: float16 cannot hold its products.

    attn2trt deploy net.py --shape 2x3x32x32 --precision fp32,fp16 --format github

fails for float16 and puts an annotation on the line of ``Attention.forward``.
"""

from __future__ import annotations

import torch
from torch import nn

# The fault: multiplied in before the product, which passes 65504, the end of float16.
SHARPNESS = 1000.0


class Attention(nn.Module):
    """Attention over the pixels of a map, with a gate for each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (part(x).flatten(2) for part in (self.query, self.key, self.value))  # (n, c, h w)
        scores = (SHARPNESS * query).transpose(1, 2) @ key  # (n, h w, h w)
        gate = torch.tanh(scores @ value.transpose(1, 2)).transpose(1, 2)  # (n, c, h w)
        return x + gate.reshape_as(x)


class Net(nn.Module):
    """A stem, the attention block, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU())
        self.attention = Attention(16)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.attention(self.stem(image)))
        return logits


def make() -> nn.Module:
    """The model that ``attn2trt deploy net.py`` takes."""
    return Net()
