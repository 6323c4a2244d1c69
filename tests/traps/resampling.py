"""Interpolation, sampling, unfolding and padding to dynamic sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .trap import CHANNELS, trap


@trap("interpolate, nearest, to another tensor's size")
class NearestToOther(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + F.interpolate(F.max_pool2d(x, 2), x.size()[2:])


@trap("interpolate, bilinear with align_corners, to x.shape[2:]")
class AlignedCorners(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, 3, stride=2)
        return x * F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=True).sigmoid()


@trap("interpolate by scale_factor, a fraction that leaves a rest")
class ScaleFactor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=0.6, mode="bilinear", align_corners=False)


@trap("nn.Upsample(scale_factor=2), nearest and bilinear")
class UpsampleTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.nearest = nn.Upsample(scale_factor=2)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.nearest(x) - self.smooth(x)


@trap("interpolate, bicubic, down to half of the size")
class BicubicHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(x.shape[2] // 2, x.shape[3] // 2), mode="bicubic", align_corners=False)


@trap("interpolate with mode nearest-exact to a shrunken size")
class NearestExact(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(x.shape[2] * 2 // 3, x.shape[3] * 2 // 3), mode="nearest-exact")


@trap("interpolate with mode nearest, shrunken to an uneven size")
class NearestShrunken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(x.shape[2] * 2 // 3, x.shape[3] * 2 // 3), mode="nearest")


@trap("interpolate with mode area")
class AreaHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(x.shape[2] // 2, x.shape[3] // 2), mode="area")


@trap("grid_sample on a grid made from the sizes")
class WarpedGrid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(CHANNELS, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.size()
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        grid = torch.stack([columns, rows], -1).unsqueeze(0).expand(b, -1, -1, -1)
        grid = grid + self.offset(x).permute(0, 2, 3, 1).tanh() * 0.1
        return F.grid_sample(x, grid, mode="bilinear", align_corners=True)


@trap("affine_grid to x.size()")
class AffineGrid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Linear(CHANNELS, 6)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x.mean((2, 3))).tanh().view(-1, 2, 3)
        return F.grid_sample(x, F.affine_grid(theta, x.size(), align_corners=False), align_corners=False)


@trap("unfold into k x k neighbourhoods, viewed with h and w")
class Neighbourhoods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(CHANNELS, 9, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        patches = F.unfold(x, 3, padding=1).view(b, c, 9, h, w)
        return (patches * self.kernel(x).softmax(1).unsqueeze(1)).sum(2)


@trap("unfold, then fold back to (h, w): overlapping patches are summed")
class UnfoldFold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.shape
        patches = F.unfold(x, kernel_size=3, padding=1, stride=1)
        return F.fold(patches.softmax(1), output_size=(h, w), kernel_size=3, padding=1, stride=1)


@trap("tensor.unfold along height and width: overlapping blocks")
class OverlappingBlocks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unfold(2, 4, 2).unfold(3, 4, 2).amax((-2, -1))


@trap("a transposed convolution with output_size of another tensor")
class TransposedToSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x), output_size=x.size())


@trap("reflect and replicate padding, then a crop")
class ReflectPadding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (2, 2, 2, 2), mode="reflect") + F.pad(x, (2, 2, 2, 2), mode="replicate")
        return F.avg_pool2d(wide, 5, stride=1)


@trap("circular padding")
class CircularPadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@trap("a smaller map padded by the difference of the sizes, joined to the larger")
class PadByDifference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(F.max_pool2d(x, 2))
        gap_h, gap_w = x.size(2) - up.size(2), x.size(3) - up.size(3)
        up = F.pad(up, [gap_w // 2, gap_w - gap_w // 2, gap_h // 2, gap_h - gap_h // 2])
        return torch.cat([x, up], dim=1)
