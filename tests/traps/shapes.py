"""Sizes read as Python numbers, and rearrangements built from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .trap import CHANNELS, FOURS, trap


@trap("b, c, h, w = x.size(); x.view(b, c, -1)")
class ViewBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        gate = x.view(b, c, -1).mean(-1).view(b, c, 1, 1).expand(b, c, h, w)
        return x * gate.sigmoid()


@trap("int(x.shape[0]), int(h): the size becomes a number")
class IntSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, h, w = int(x.shape[0]), int(x.size(2)), int(x.size(3))
        tokens = x.reshape(b, CHANNELS, h * w)
        return tokens.softmax(-1).reshape(b, CHANNELS, h, w)


@trap("int(h / 2) and math.ceil(w / 4): a size through a Python float")
class FloatSizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        small = F.interpolate(x, size=(int(h / 2), math.ceil(w / 4)), mode="bilinear", align_corners=False)
        return small.tanh()


@trap("h ** 0.5 and math.sqrt(h * w) as a scale")
class SquareRootOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return x.sum((2, 3)) / math.sqrt(h * w) + x.amax((2, 3)) * h**-0.5


@trap("float(h * w) as a divisor")
class FloatOfSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3)) / float(x.shape[2] * x.shape[3])


@trap("n = h * w - 1 as a divisor: an energy over positions")
class PositionsMinusOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        n = w * h - 1
        deviation = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        return x * (deviation / (4 * (deviation.sum(dim=[2, 3], keepdim=True) / n + 1e-4)) + 0.5).sigmoid()


@trap("expand(b, c, h, w) and repeat(b, 1, h, w) of a parameter")
class ExpandSizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, CHANNELS, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x * self.token.expand(b, c, h, w) + self.token.repeat(b, 1, h, w)


@trap("a class token expanded by x.shape[0], concatenated to tokens of a flattened image")
class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1).softmax(1)


@trap("channel shuffle with the batch in the view")
class ChannelShuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.view(b, 4, c // 4, h, w).permute(0, 2, 1, 3, 4).reshape(b, -1, h, w)


@trap("groups folded into the batch: reshape(b * groups, -1, h, w) and back")
class GroupsInBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        groups = x.reshape(b * 4, -1, h, w)
        halves = groups.chunk(2, dim=1)
        gate = halves[0] * halves[1].mean((2, 3), keepdim=True).sigmoid()
        joined = torch.cat([self.norm(groups) * gate, gate], 1)
        return joined.reshape(b, -1, h, w)[:, :c]


@trap("pixel shuffle to twice the size")
class PixelShuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)


@trap("pixel unshuffle: height and width must be even", dynamic=FOURS)
class PixelUnshuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)


@trap("window partition without padding: the window must divide the image", dynamic=FOURS)
class WindowPartition(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        windows = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        mixed = (windows @ windows.transpose(1, 2)).softmax(-1) @ windows
        back = mixed.view(b, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
        return back.reshape(b, c, h, w)


@trap("window partition with padding to the next multiple, cropped again")
class PaddedWindows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = F.pad(x, (0, (4 - w % 4) % 4, 0, (4 - h % 4) % 4))
        padded_h, padded_w = x.shape[2:]
        windows = x.view(b, c, padded_h // 4, 4, padded_w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        mixed = (windows @ windows.transpose(1, 2)).softmax(-1) @ windows
        back = mixed.view(b, padded_h // 4, padded_w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
        return back.reshape(b, c, padded_h, padded_w)[:, :, :h, :w]


@trap("if h % 2: pad — the branch of the traced size is all that a graph holds")
class PadIfOdd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.shape
        if h % 2 == 1 or w % 2 == 1:
            x = F.pad(x, (0, w % 2, 0, h % 2))
        return x[:, :, 0::2, 0::2] + x[:, :, 1::2, 1::2]


@trap("torch.roll by half of the image")
class RollByHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.roll(x, shifts=(x.shape[2] // 2, -2), dims=(2, 3))


@trap("split into [h // 2, h - h // 2] along a dynamic dimension")
class SplitHalves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h = x.size(2)
        top, bottom = torch.split(x, [h // 2, h - h // 2], dim=2)
        return torch.cat([bottom, top], dim=2) - x


@trap("chunk(2) along a dynamic dimension")
class ChunkWidth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=3)
        return torch.cat([right, left], 3)


@trap("slices by half sizes, with steps and negative ends")
class SlicedQuarters(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        return x[:, :, h // 2 :, : w // 2].mean((2, 3)) + x[..., ::3, 1:-1].amax((2, 3))


@trap("assignment into slices: groups of channels moved by one pixel")
class ShiftedInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        out = x.clone()
        out[:, :2, :, 1:] = x[:, :2, :, : w - 1]
        out[:, 2:4, 1:, :] = x[:, 2:4, : h - 1, :]
        return out


@trap("assignment into a tensor of zeros made from the sizes")
class FilledZeros(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        canvas = torch.zeros(b, c, h + 2, w + 2, device=x.device, dtype=x.dtype)
        canvas[:, :, 1:-1, 1:-1] = x
        return canvas[:, :, 2:, 2:] - canvas[:, :, :-2, :-2]


@trap("isinstance(size, int) decides what is done")
class AsksForInt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2]
        size = (size, x.shape[3]) if isinstance(size, int) else (4, 4)
        return F.interpolate(x[:, :, ::2, ::2], size=size) + 1


@trap("a Python loop over rows: the number of rows is fixed by the trace", needs="height")
class LoopOverRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, :, 0])
        for row in range(x.shape[2]):
            state = torch.tanh(state + x[:, :, row])
        return state


@trap("a branch on which side is longer: only one side of it is in the graph", needs="width")
class LongerSide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[3] > x.shape[2]:
            return x.mean(3)
        return x.mean(2)


@trap("a table by the text of a size, which no trace writes as a number", needs="width")
class TableByText(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * {"20": 2.0}.get(f"{x.shape[3]}", 1.0)


@trap("flatten, then unflatten with the sizes")
class Unflatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).softmax(-1).unflatten(2, (x.shape[2], x.shape[3])) * x


@trap("the batch in the groups of a convolution: one kernel per image")
class KernelPerImage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bank = nn.Parameter(torch.randn(3, CHANNELS, CHANNELS, 3, 3) * 0.1)
        self.route = nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        share = self.route(x.mean((2, 3))).softmax(-1)
        kernels = (share @ self.bank.view(3, -1)).view(b * CHANNELS, c, 3, 3)
        out = F.conv2d(x.reshape(1, b * c, h, w), kernels, padding=1, groups=b)
        return out.view(b, CHANNELS, h, w)
