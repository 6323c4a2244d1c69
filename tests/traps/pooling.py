"""Pooling whose window or output follows the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .trap import CHANNELS, trap


@trap("AdaptiveAvgPool2d((None, 1)) and ((1, None)): the traced image's kernel is written as a number")
class CoordinatePooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        joined = self.mix(torch.cat([self.rows(x), self.columns(x).permute(0, 1, 3, 2)], dim=2))
        rows, columns = torch.split(joined, [h, w], dim=2)
        return x * rows.sigmoid() * columns.permute(0, 1, 3, 2).sigmoid()


@trap("AdaptiveAvgPool2d to a size that divides no image: bins of unequal length")
class AverageNonFactor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((5, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


@trap("AdaptiveMaxPool2d((1, None))")
class MaximumRow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.adaptive_max_pool2d(x, (1, None)).sigmoid()


@trap("AdaptiveMaxPool2d to a size that divides no image")
class MaximumNonFactor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, (4, 5))


@trap("adaptive pooling to the size of another tensor, itself dynamic")
class PoolToOther(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.down(x)
        return small + F.adaptive_avg_pool2d(x, small.shape[2:]) + F.adaptive_max_pool2d(x, small.size()[-2:])


@trap("avg_pool2d(x, x.size()[2:])")
class WholeAverage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.avg_pool2d(x, x.size()[2:]).sigmoid()


@trap("max_pool2d and lp_pool2d with kernel and stride (x.size(2), x.size(3))")
class WholeMaximumAndPower(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        window = (x.size(2), x.size(3))
        largest = F.max_pool2d(x, window, stride=window)
        return x * (largest + F.lp_pool2d(x, 2, window, stride=window)).sigmoid()


@trap("avg_pool2d with a kernel of one whole row, the other side a number")
class RowWindow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        row = F.avg_pool2d(x, kernel_size=(1, x.shape[3]))
        column = F.max_pool2d(x, kernel_size=[x.shape[2], 1])
        return x * (row + column).sigmoid()


@trap("pyramid pooling: bins 1, 2, 3, 6, each resized back to the image")
class PyramidPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), nn.Conv2d(CHANNELS, CHANNELS // 4, 1)) for bins in (1, 2, 3, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        resized = [F.interpolate(b(x), size=(h, w), mode="bilinear", align_corners=True) for b in self.branches]
        return torch.cat([x, *resized], dim=1)


@trap("strip pooling: (1, None) and (None, 1), convolved, expanded back over the image")
class StripPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Conv2d(CHANNELS, CHANNELS, (1, 3), padding=(0, 1))
        self.column = nn.Conv2d(CHANNELS, CHANNELS, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        row = self.row(F.adaptive_avg_pool2d(x, (1, None))).expand(-1, -1, h, w)
        column = F.interpolate(self.column(F.adaptive_avg_pool2d(x, (None, 1))), (h, w))
        return x * (row + column).sigmoid()


@trap("AdaptiveAvgPool1d over flattened positions")
class PooledTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = F.adaptive_avg_pool1d(x.flatten(2), 7)
        return torch.bmm(tokens, F.adaptive_max_pool1d(x.flatten(2), 7).transpose(1, 2))


@trap("generalised-mean pooling: avg_pool2d of a power over the whole image")
class GeneralisedMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.ones(1) * 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.clamp(min=1e-6).pow(self.power), (x.size(-2), x.size(-1))).pow(1.0 / self.power)


@trap("pooling with ceil_mode and padding, its odd last window counted differently")
class CeilMode(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        average = F.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
        return average + F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)


@trap("adaptive max pooling that also returns the index of each maximum")
class MaximumAndWhere(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values, where = F.adaptive_max_pool2d(x, 1, return_indices=True)
        return x.flatten(2).gather(2, where.flatten(2)).unsqueeze(-1) + values


@trap(
    "adaptive average pooling in three dimensions over (depth, height, width)",
    (2, 4, 6, 8, 10),
    dynamic="dim0=1:2:3,dim2=3:6:11,dim3=4:8:13,dim4=5:10:15",
)
class VolumePooling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.adaptive_avg_pool3d(x, (None, 1, 1)).sigmoid() + F.adaptive_max_pool3d(x, 1)


@trap("pooling with half of the image as window: kernel and stride computed from the size")
class HalfWindow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return F.avg_pool2d(x, (h // 2, w // 2), stride=(h // 2, w // 2))


@trap("soft pooling: a softmax over every position, applied by a sum")
class SoftmaxPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        mask = self.mask(x).view(b, 1, h * w).softmax(dim=2).unsqueeze(-1)
        context = torch.matmul(x.view(b, c, h * w).unsqueeze(1), mask)
        return x + context.view(b, c, 1, 1)


@trap("max_pool2d that tells where its maxima are, and max_unpool2d that puts numbers back there, as in SegNet")
class UnpooledMaxima(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        maxima, places = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(self.mix(maxima), places, 2, output_size=x.shape) + x
