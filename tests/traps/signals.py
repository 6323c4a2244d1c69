"""Coordinates, gathers, transforms: tensors made from the sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .trap import CHANNELS, trap


@trap("atan2 of zeros, and of zeros with a minus, and the angle of complex numbers")
class AnglesOfZeros(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, x = x.round().chunk(2, dim=1)
        return torch.atan2(y, x), torch.complex(x, y).angle()


@trap("meshgrid coordinates of the image, concatenated as channels")
class Coordinates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS + 2, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([rows / (h - 1), columns / (w - 1)]).to(x).unsqueeze(0).expand(b, -1, -1, -1)
        return self.conv(torch.cat([x, grid], 1))


@trap("sine-cosine position encoding from arange(h) and arange(w)")
class SinePositions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        frequency = torch.exp(torch.arange(0, c // 2, 2) * (-math.log(10000.0) / (c // 2)))
        row = torch.arange(h).unsqueeze(1) * frequency
        column = torch.arange(w).unsqueeze(1) * frequency
        rows = torch.cat([row.sin(), row.cos()], 1).t().unsqueeze(2).expand(-1, h, w)
        columns = torch.cat([column.sin(), column.cos()], 1).t().unsqueeze(1).expand(-1, h, w)
        return x + torch.cat([rows, columns], 0)


@trap("a position encoding sized by torch.ones(...).cumsum over the mask of the image")
class CountedPositions(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[0], x.shape[2], x.shape[3], device=x.device)
        rows, columns = mask.cumsum(1), mask.cumsum(2)
        rows = rows / (rows[:, -1:, :] + 1e-6) * 2 * math.pi
        return x * rows.sin().unsqueeze(1) + columns.unsqueeze(1) / x.shape[3]


@trap("gather of the strongest positions, scattered back")
class GatherScatter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.view(b, c, h * w)
        places = tokens.sum(1).topk(5, dim=-1)[1].unsqueeze(1).expand(-1, c, -1)
        picked = tokens.gather(2, places).softmax(-1)
        return tokens.scatter(2, places, picked).view(b, c, h, w)


@trap("scatter_add into zeros made from the sizes")
class ScatterAdd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, _ = x.shape
        bins = torch.arange(h, device=x.device) // 2
        rows = x.mean(3)
        return torch.zeros(b, c, (h + 1) // 2).scatter_add(2, bins.expand(b, c, h), rows)


@trap("index_select and flip along the height")
class ReversedRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(x.size(2) - 1, -1, -1, device=x.device)
        return x.index_select(2, order) * x.flip(3)


@trap("advanced indexing by two index tensors made from the sizes")
class IndexedDiagonal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        rows = torch.arange(h)
        return x[:, :, rows, rows % w]


@trap("torch.where on coordinates, a band around the diagonal")
class DiagonalBand(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        near = (torch.arange(h).view(-1, 1) - torch.arange(w).view(1, -1)).abs() < 3
        return torch.where(near, x, torch.zeros_like(x)) + x.tril()


@trap("rfft2, a learned filter, irfft2 back to (h, w)")
class FourierFilter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        spectrum = torch.fft.rfft2(x, dim=(2, 3), norm="ortho")
        return torch.fft.irfft2(spectrum * 0.5, s=(h, w), dim=(2, 3), norm="ortho")


@trap("fft2 over positions, the real part kept (token mixing)")
class FourierMixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, dim=(-2, -1)).real


@trap("the magnitude of rfft along the width")
class FourierMagnitude(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x, dim=-1).abs()


@trap("complex numbers: view_as_complex, a learned complex weight, view_as_real")
class ComplexWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS // 2, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        pairs = x.view(b, c // 2, 2, h, w).permute(0, 1, 3, 4, 2).contiguous()
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(self.weight)
        return torch.view_as_real(turned).permute(0, 1, 4, 2, 3).reshape(b, c, h, w)


@trap("fixed cosine-transform weights, the image pooled to their size first")
class CosineWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        place = (torch.arange(7) + 0.5) * math.pi / 7
        basis = torch.stack([torch.cos(place * k) for k in range(CHANNELS)])
        self.register_buffer("weight", basis.unsqueeze(2) * basis.flip(0).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        pooled = x
        if h != 7 or w != 7:
            pooled = F.adaptive_avg_pool2d(x, (7, 7))
        gate = (pooled * self.weight).sum(dim=[2, 3]).sigmoid()
        return x * gate.view(n, c, 1, 1).expand_as(x)


@trap("cosine similarity of every position with the mean")
class CosineSimilarity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.cosine_similarity(x, x.mean((2, 3), keepdim=True), dim=1).unsqueeze(1)


@trap("distances between all positions, by cdist")
class PositionDistances(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return (-torch.cdist(tokens, tokens[:, :4])).softmax(-1)


@trap("a kernel made from the input, applied to unfolded rows: dynamic convolution by matmul")
class RowConvolution(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        kernel = x.mean(2)[:, :, :3].softmax(-1)
        rows = F.pad(x, (1, 1)).unfold(3, 3, 1)
        return torch.matmul(rows.reshape(b, c, h * w, 3), kernel.unsqueeze(-1)).view(b, c, h, w)


@trap("a graph built from the nearest neighbours of every token")
class NearestNeighbours(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.view(b, c, -1).transpose(1, 2)
        closeness = tokens @ tokens.transpose(1, 2)
        near = closeness.topk(4, dim=-1)[1]
        rows = torch.arange(b, device=x.device).view(-1, 1, 1)
        return tokens[rows, near].amax(2).transpose(1, 2).reshape(b, c, h, w)
