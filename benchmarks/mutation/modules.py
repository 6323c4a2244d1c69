"""Modules with what no block of the catalog has: a mask's fill, whole numbers, and maps resized by a fraction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedAttention(nn.Module):
    """Causal attention over rows, shifted windows' mask included: (n, 2, w, h, c/2), and its scores (n, w, 2, h, h)."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.scale = (channels // 2) ** -0.5

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.project(x).unflatten(1, (6, -1)).permute(0, 4, 1, 3, 2)  # (n, w, 6, h, c/2)
        queries, keys, values = heads.chunk(3, 2)
        rows = torch.arange(x.shape[2], device=x.device)
        later = rows[None, :] > rows[:, None]
        scores = (queries @ keys.transpose(-1, -2) * self.scale).masked_fill(later, -1e9)
        weights = scores.masked_fill(keys.mean(-1)[..., None, :] > 0.3, float("-inf")).softmax(-1).nan_to_num(0.0)
        return (weights @ values).transpose(1, 2), scores


class Pyramid(nn.Module):
    """A map made smaller and larger by fractions, its parts in another order: (n, c, ⌊h·0.7⌋·2, ⌊w·0.7⌋·2)."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(channels, channels, 1)
        self.smooth = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        smaller = functional.interpolate(self.lateral(x), scale_factor=0.7)
        gate, kept = smaller.split(smaller.shape[1] // 2, 1)
        larger = functional.interpolate(self.smooth(kept * gate.sigmoid()), scale_factor=2.0, mode="nearest")
        return larger + functional.interpolate(x, size=larger.shape[2:], mode="bilinear", align_corners=False)


class FixedPoint(nn.Module):
    """A map in sixteenths, as integers (n, c, h, w), and each place's best channel (n, h, w)."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.score(x)
        return (scores.clamp(-7, 7) * 16).round().to(torch.int32), scores.argmax(1)
