"""Statistics and normalisations over dynamic sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .trap import CHANNELS, trap


@trap("torch.max(x, dim) returns a pair; [0] of it joined with the mean")
class MaximumPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        largest, _ = torch.max(x, dim=1, keepdim=True)
        return x * self.conv(torch.cat([largest, torch.mean(x, 1, keepdim=True)], 1)).sigmoid()


@trap("torch.max over positions, its indices returned too")
class MaximumOverPositions(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = torch.max(x.flatten(2), dim=2)
        return values.sigmoid(), indices


@trap("unbiased standard deviation: the divisor is h * w - 1")
class StandardDeviation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        deviation = x.view(b, c, -1).std(dim=2)
        return x * (x.mean((2, 3)) + deviation).view(b, c, 1, 1).sigmoid()


@trap("torch.var, unbiased and not, over dynamic dimensions")
class Variances(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.var(dim=(2, 3)) + x.var(dim=(2, 3), unbiased=False) + torch.var_mean(x, dim=3)[0].mean(2)


@trap("GroupNorm with one group over dynamic sizes")
class GroupNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.four = nn.GroupNorm(1, CHANNELS), nn.GroupNorm(4, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.four(x.relu())


@trap("InstanceNorm2d with affine weights")
class InstanceNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(CHANNELS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * F.instance_norm(x.flatten(2)).view_as(x)


@trap("layer_norm over x.shape[1:]: the normalised shape is dynamic")
class LayerNormWhole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:])


@trap("layer_norm over x.size()[2:]: every channel by its own image")
class LayerNormImage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.size()[2:])


@trap("LayerNorm over channels after a permute")
class LayerNormChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


@trap("batch norm of a batch folded with positions")
class BatchNormTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(b * h * w, c)
        return self.norm(tokens).view(b, h, w, c).permute(0, 3, 1, 2)


@trap("torch.norm over positions and F.normalize over tokens")
class Norms(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        length = torch.norm(x, p=2, dim=(2, 3), keepdim=True)
        share = length / (length.mean(dim=1, keepdim=True) + 1e-6)
        return x * share + F.normalize(x.flatten(2), dim=-1).view_as(x)


@trap("mean and std of a spatial-group attention, in groups folded into the batch")
class SpatialGroups(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.view(b * 2, -1, h, w)
        similarity = (x * F.adaptive_avg_pool2d(x, 1)).sum(dim=1, keepdim=True).view(b * 2, -1)
        similarity = similarity - similarity.mean(dim=1, keepdim=True)
        similarity = similarity / (similarity.std(dim=1, keepdim=True) + 1e-5)
        return (x * similarity.view(b * 2, 1, h, w).sigmoid()).view(b, c, h, w)


@trap("cumulative sum along rows and columns")
class CumulativeSum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(2) / x.size(2) + x.cumsum(-1) / x.size(-1)


@trap("logsumexp over positions")
class LogSumExp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.logsumexp(x.view(x.size(0), x.size(1), -1), dim=2)


@trap("x / (1e-9 + sum) with a sum that can be 0: the exporter takes 1e-9 for 0")
class SmallEpsilon(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        kept = F.relu(x - 2.5)
        share = kept / (1e-9 + kept.sum((2, 3), keepdim=True))
        return x * share * 1.000001


@trap("topk with a k that is a share of the positions")
class TopShare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        k = x.shape[2] * x.shape[3] // 4
        return x.flatten(2).topk(k, dim=-1)[0].mean(-1)


@trap("topk of channels, the rest masked to -inf before a softmax")
class TopMasked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        scores = tokens @ tokens.transpose(1, 2)
        kept = scores.topk(3, dim=-1)[1]
        mask = torch.zeros_like(scores).scatter_(-1, kept, 1.0)
        return scores.masked_fill(mask == 0, float("-inf")).softmax(-1) @ tokens


@trap("sort and median over positions")
class SortedPositions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x.flatten(2), dim=-1, descending=True)[0][..., :5]
