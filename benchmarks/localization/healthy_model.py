"""The modules whose graphs are broken: blocks, small networks, and three with structures that no block has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from attn2trt.core.graph import OnnxGraph
from attn2trt.export.simplify import simplify
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference
from attn2trt.validate.reference import references

AXES = "batch=1:2:3,height=6:8:12,width=6:8:12"
CASES = ("traced", "size_uneven")


class Windows(nn.Module):
    """Attention inside of 4 x 4 windows, with a position bias: ``(n, 16, h, w)``, h and w multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.proj = nn.Linear(16, 16)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        tokens = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        q, k, v = self.qkv(self.norm(tokens)).reshape(-1, 16, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) * (c // 2) ** -0.5 + self.bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, c)
        out = self.proj(mixed).reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        return x + out


class Selective(nn.Module):
    """Two branches fused by a softmax over both (selective kernels), the activation of each a function."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(16, 16, k, padding=k // 2, bias=False) for k in (3, 5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))
        self.squeeze = nn.Sequential(nn.Conv2d(16, 8, 1), nn.SiLU())
        self.select = nn.Conv2d(8, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        feats = torch.stack([F.relu(norm(conv(x))) for conv, norm in zip(self.branches, self.norms, strict=True)], 1)
        pooled = feats.sum(1).mean((2, 3), keepdim=True)
        gates = self.select(self.squeeze(pooled)).reshape(-1, 2, 16, 1, 1).softmax(1)
        return (feats * gates).sum(1)


class Shuffled(nn.Module):
    """Channel shuffle, a group normalisation and two gates, one by subtraction; one block called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)
        self.gate = nn.Sequential(nn.Conv2d(16, 16, 1), nn.GELU(), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.mix = nn.Conv2d(16, 16, 3, padding=1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        y = self.norm(x).reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.mix(y)
        return y * self.gate(y) - x * self.gate(x)


OWN: dict[str, tuple[type[nn.Module], str]] = {
    "windows": (Windows, "batch=1:2:3"),
    "selective": (Selective, AXES),
    "shuffled": (Shuffled, AXES),
}
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
NETWORKS = {"resnet18+cbam": "2x3x64x64", "mobilenetv2_050+coord_att": "2x3x64x64"}
TARGETS = (*BLOCKS, *NETWORKS, *OWN)


@dataclass(frozen=True)
class HealthyModel:
    """An exported module, its graphs by name, and the cases to break it on."""

    name: str
    module: nn.Module
    graphs: dict[str, OnnxGraph]
    pairs: tuple[tuple[Case, Reference], ...]


def healthy_model(name: str, folder: Path) -> HealthyModel:
    """Export and simplify one target into ``folder``."""
    if name in OWN:
        kind, axes = OWN[name]
        torch.manual_seed(0)
        module = _lively(kind()).eval()
        target = from_module(module, torch.randn(2, 16, 8, 8), dynamic=axes)
    else:
        is_block = name in BLOCKS
        shape = f"2x{64 if name == 'psa' else 16}x8x8" if is_block else NETWORKS[name]
        target = resolve(name, shapes=[shape], dynamic=AXES if is_block else "batch=1:2:3")
        module = target.build()
    exported = trace(target, module, folder / "exported.onnx", opset=17)
    simplified, _ = simplify(exported, folder / "simplified.onnx")
    cases = [case for case in make_cases(target.inputs, target.axes, seed=0) if case.name in CASES]
    names = [spec.name for spec in exported.outputs]
    pairs = tuple(zip(cases, references(module, cases, names), strict=True))
    return HealthyModel(name, module, {"exported": exported, "simplified": simplified}, pairs)


def _lively(module: nn.Module) -> nn.Module:
    """Normalisations that have seen data: no mean at 0, no scale at 1."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module
