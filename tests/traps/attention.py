"""Attention over positions, rows, columns, windows and tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from .trap import CHANNELS, SHAPE, trap


def _three() -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    return nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(CHANNELS, CHANNELS, 1)


@trap("attention over h * w positions by bmm, views with every size")
class PositionAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = _three()
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        query = self.query(x).view(b, -1, w * h).permute(0, 2, 1)
        weight = torch.bmm(query, self.key(x).view(b, -1, w * h)).softmax(-1)
        out = torch.bmm(self.value(x).view(b, -1, w * h), weight.permute(0, 2, 1))
        return self.gamma * out.view(b, c, h, w) + x


@trap("attention over channels: max(energy, -1, keepdim=True)[0].expand_as(energy) - energy")
class ChannelAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        energy = torch.bmm(x.view(b, c, -1), x.view(b, c, -1).permute(0, 2, 1))
        weight = (torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy).softmax(-1)
        return torch.bmm(weight, x.view(b, c, -1)).view(b, c, h, w) + x


@trap("F.scaled_dot_product_attention over heads and positions")
class ScaledDotProduct(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.reshape(b, 2, c // 2, h * w).transpose(2, 3)
        out = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return out.transpose(2, 3).reshape(b, c, h, w)


@trap("F.scaled_dot_product_attention, causal, over rows")
class CausalRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(3).transpose(1, 2).unsqueeze(1)
        return F.scaled_dot_product_attention(rows, rows, rows, is_causal=True).squeeze(1)


@trap("F.scaled_dot_product_attention in windows: an axis more than heads and positions")
class AttentionInWindows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.reshape(b, 2, c // 2, h, w).permute(0, 1, 3, 4, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).permute(0, 1, 4, 2, 3).reshape(b, c, h, w)


@trap("F.scaled_dot_product_attention without heads, causal and scaled")
class AttentionWithoutHeads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        out = F.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True, scale=0.2)
        return out.transpose(1, 2).view_as(x)


@trap("F.scaled_dot_product_attention in windows, behind a mask")
class MaskedWindows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unsqueeze(1).transpose(2, 4)  # (b, 1, w, h, c)
        near = (tokens.mean(-1, keepdim=True) - tokens.mean(-1).unsqueeze(-2)).abs() < 0.5
        out = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=near)
        return out.transpose(2, 4).squeeze(1)


@trap("F.scaled_dot_product_attention with heads, behind a boolean mask that leaves some rows nothing")
class WhollyMaskedRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unflatten(1, (2, -1)).flatten(3).transpose(2, 3)  # (b, 2, hw, c / 2)
        open_rows = tokens.mean(-1, keepdim=True) > 0
        near = open_rows & (tokens.mean(-1).unsqueeze(-2) < 1)
        out = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=near)
        return out.transpose(2, 3).reshape(x.shape)


@trap("F.scaled_dot_product_attention with heads, behind an additive mask of minus infinities")
class MinusInfinityRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unflatten(1, (2, -1)).flatten(3).transpose(2, 3)
        scores = torch.zeros_like(tokens[..., :1]).masked_fill(tokens.mean(-1, keepdim=True) < 0, float("-inf"))
        out = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=scores + tokens.mean(-1).unsqueeze(-2))
        return out.transpose(2, 3).reshape(x.shape)


@trap("flex_attention over positions: capped scores and a bias by a table, within a window of columns")
class FlexibleWindow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2, 64))

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[3]

        def changed(score: Tensor, _batch: Tensor, head: Tensor, at: Tensor, to: Tensor) -> Tensor:
            apart = (at % width - to % width).abs()
            return torch.where(apart <= 4, 8 * torch.tanh(score / 8) + self.table[head, apart], -float("inf"))

        tokens = x.unflatten(1, (2, -1)).flatten(3).transpose(2, 3)  # (b, 2, hw, c / 2)
        out = flex_attention(tokens, tokens, tokens, score_mod=changed)
        return out.transpose(2, 3).reshape(x.shape)


@trap("nn.MultiheadAttention over flattened positions")
class Multihead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).permute(0, 2, 1)
        out, _ = self.attention(tokens, tokens, tokens)
        return out.permute(0, 2, 1).view_as(x)


@trap("an nn.TransformerEncoderLayer, whose fast path is a single fused operator in eval mode")
class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(CHANNELS, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(2).transpose(1, 2))


@trap("einsum over heads with named positions")
class EinsumHeads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        heads = x.view(b, 2, c // 2, h * w)
        weight = torch.einsum("bhdi,bhdj->bhij", heads, heads).softmax(-1)
        return torch.einsum("bhij,bhdj->bhdi", weight, heads).reshape(b, c, h, w)


@trap("einsum with an ellipsis and a transposed result")
class EinsumEllipsis(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CHANNELS, 5))

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.einsum("...hw,...xw->...hx", x, x)
        return torch.einsum("nc...,ck->nk...", mixed, self.weight)


@trap("criss-cross: rows and columns attended together, the diagonal masked with -inf made from sizes")
class CrissCross(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = _three()

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.size()
        query, key, value = self.query(x), self.key(x), self.value(x)
        columns = [t.permute(0, 3, 1, 2).contiguous().view(b * w, -1, h) for t in (query, key, value)]
        rows = [t.permute(0, 2, 1, 3).contiguous().view(b * h, -1, w) for t in (query, key, value)]
        mask = -torch.diag(torch.tensor(float("inf")).repeat(h), 0).unsqueeze(0).repeat(b * w, 1, 1)
        energy_h = (torch.bmm(columns[0].transpose(1, 2), columns[1]) + mask).view(b, w, h, h).permute(0, 2, 1, 3)
        energy_w = torch.bmm(rows[0].transpose(1, 2), rows[1]).view(b, h, w, w)
        weight = torch.cat([energy_h, energy_w], 3).softmax(3)
        weight_h = weight[:, :, :, 0:h].permute(0, 2, 1, 3).contiguous().view(b * w, h, h)
        weight_w = weight[:, :, :, h : h + w].contiguous().view(b * h, w, w)
        out_h = torch.bmm(columns[2], weight_h.permute(0, 2, 1)).view(b, w, -1, h).permute(0, 2, 3, 1)
        out_w = torch.bmm(rows[2], weight_w.permute(0, 2, 1)).view(b, h, -1, w).permute(0, 2, 1, 3)
        return out_h + out_w + x


@trap("the diagonal of the scores filled with -inf, which hides a position from itself")
class HiddenFromItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = _three()

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        scores = query.transpose(1, 2) @ key
        scores.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))
        return (value @ scores.softmax(-1).transpose(1, 2)).reshape(x.shape) + x


@trap("polarised: softmax over positions against channels, layer norm in between")
class Polarised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.query = nn.Conv2d(CHANNELS, 4, 1), nn.Conv2d(CHANNELS, 1, 1)
        self.up, self.norm = nn.Conv2d(4, CHANNELS, 1), nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        value = self.value(x).reshape(b, c // 2, -1)
        query = self.query(x).reshape(b, -1, 1).softmax(1)
        channel = self.up(torch.matmul(value, query).unsqueeze(-1))
        gate = self.norm(channel.reshape(b, c, 1).permute(0, 2, 1)).sigmoid().permute(0, 2, 1).reshape(b, c, 1, 1)
        pooled = F.adaptive_avg_pool2d(x, (1, 1)).permute(0, 2, 3, 1).reshape(b, 1, c)
        spatial = torch.matmul(pooled.softmax(-1), x.reshape(b, c, -1)).reshape(b, 1, h, w)
        return x * gate + x * spatial.sigmoid()


@trap("axial attention: rows in the batch, then columns in the batch")
class Axial(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(b * h, w, c)
        rows = ((rows @ rows.mT).softmax(-1) @ rows).reshape(b, h, w, c)
        columns = rows.permute(0, 2, 1, 3).reshape(b * w, h, c)
        columns = (columns @ columns.mT).softmax(-1) @ columns
        return columns.view(b, w, h, c).permute(0, 3, 2, 1)


@trap("external attention: a double normalisation, softmax over positions, then a sum over the memory")
class ExternalMemory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Conv1d(CHANNELS, 6, 1, bias=False), nn.Conv1d(6, CHANNELS, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        weight = self.into(x.view(b, c, h * w)).softmax(dim=-1)
        weight = weight / (1e-9 + weight.sum(dim=1, keepdim=True))
        return x + self.out(weight).view(b, c, h, w)


@trap("keys and values from a pooled image of fixed size, queries from every position")
class PooledKeys(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.reshape(b, c, h * w).transpose(1, 2)
        keys = F.adaptive_avg_pool2d(x, 7).flatten(2)
        return ((tokens @ keys * c**-0.5).softmax(-1) @ keys.transpose(1, 2)).transpose(1, 2).reshape(b, c, h, w)


@trap("token attention over (b, n, c) with heads", (2, 20, CHANNELS), dynamic="dim0=1:2:4,dim1=5:20:41")
class TokenAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weight = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(dim=-1)
        return (weight @ v).transpose(1, 2).reshape(b, n, c)


@trap(
    "a mask as second input, added as -inf at zeros",
    (2, 20, CHANNELS),
    (2, 20),
    dynamic="batch=1:2:4,x.dim1=5:20:41,mask.dim1=5:20:41",
    needs="x.dim1",
)
class MaskedTokens(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weight = x @ x.transpose(1, 2)
        weight = weight.masked_fill((mask > 1.5).unsqueeze(1), float("-inf"))
        return weight.softmax(-1) @ x


@trap("a triangular mask made from the number of tokens", (2, 20, CHANNELS), dynamic="dim0=1:2:4,dim1=5:20:41")
class TriangularMask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = x.size(1)
        mask = torch.triu(torch.ones(n, n, dtype=torch.bool, device=x.device), diagonal=1)
        return (x @ x.transpose(1, 2)).masked_fill(mask, float("-inf")).softmax(-1) @ x


@trap("learned positional embedding interpolated to the image")
class InterpolatedPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, CHANNELS, 14, 14))

    def forward(self, x: Tensor) -> Tensor:
        resized = F.interpolate(self.position, size=x.shape[-2:], mode="bicubic", align_corners=False)
        return x + resized


@trap("learned positional embedding cropped to the image")
class CroppedPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.Embedding(50, CHANNELS // 2), nn.Embedding(50, CHANNELS // 2)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        rows, columns = self.rows(torch.arange(h)), self.columns(torch.arange(w))
        grid = torch.cat([columns.unsqueeze(0).repeat(h, 1, 1), rows.unsqueeze(1).repeat(1, w, 1)], dim=-1)
        return x + grid.permute(2, 0, 1).unsqueeze(0).repeat(b, 1, 1, 1)


@trap("learned positional embedding of the traced size, added as it is", needs="height")
class FixedPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, CHANNELS, *SHAPE[2:]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position


@trap("relative position bias gathered by an index made from the sizes")
class RelativeBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * 64 - 1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(3).transpose(1, 2)
        place = torch.arange(x.size(2), device=x.device)
        bias = self.table[place[:, None] - place[None, :] + 63]
        return (rows @ rows.transpose(1, 2) + bias).softmax(-1) @ rows


@trap("linear attention: keys summed over positions, divided by their count")
class LinearAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q = F.elu(x.view(b, c, -1)) + 1
        context = torch.matmul(q, x.view(b, c, -1).transpose(1, 2)) / (h * w)
        scale = 1 / (torch.einsum("bcn,bc->bn", q, q.mean(-1)) + 1e-6)
        return (torch.einsum("bcn,bcd->bdn", q, context) * scale.unsqueeze(1)).view(b, c, h, w)


@trap("selective kernels: branches stacked, fused, softmax across branches")
class SelectiveKernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, k, padding=k // 2) for k in (1, 3, 5))
        self.fc = nn.Linear(CHANNELS, 4)
        self.fcs = nn.ModuleList(nn.Linear(4, CHANNELS) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        feats = torch.stack([conv(x) for conv in self.convs], 0)
        z = self.fc(sum(feats).mean(-1).mean(-1))
        weights = torch.stack([fc(z).view(b, c, 1, 1) for fc in self.fcs], 0).softmax(dim=0)
        return (weights * feats).sum(0)


@trap("split attention: radix softmax with the batch in the view")
class SplitAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, padding=1, groups=2)
        self.fc = nn.Conv2d(CHANNELS, 2 * CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        batch, channels = x.shape[:2]
        splits = torch.split(x, channels // 2, dim=1)
        gap = F.adaptive_avg_pool2d(sum(splits), 1)
        weight = self.fc(gap).view(batch, 2, 1, -1).transpose(1, 2).softmax(dim=1).reshape(batch, -1, 1, 1)
        return sum(w * s for w, s in zip(torch.split(weight, channels // 2, dim=1), splits, strict=True))
