"""Small networks as quantisation-aware training leaves them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (2, 3, 8, 8)


class Quantised(nn.Module):
    """Two convolutions, quantised by PyTorch's own functions; the first one's input ends before its type does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3)
        self.register_buffer("step", self.first.weight.detach().abs().amax((1, 2, 3)) / 127)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(
            self.first.weight, self.step, torch.zeros(8, dtype=torch.int32), 0, -128, 127
        )
        x = torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -100, 100)
        x = F.relu(F.conv2d(x, weight, self.first.bias, padding=1))
        return self.second(torch.fake_quantize_per_tensor_affine(x, torch.tensor(0.01), torch.tensor(3), 0, 255))


class Gated(nn.Module):
    """A squeeze, which stays in float32, and a product, both on one map of 8 bits; its gate reads that as well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(self.first(x), 0.013, 0, -128, 127)
        weight = torch.fake_quantize_per_tensor_affine(self.gate.weight, 0.0031, 0, -128, 127)
        return F.conv2d(x, weight, self.gate.bias) * torch.sigmoid(x.mean((2, 3), keepdim=True))


def trained(*, watches: bool = False) -> nn.Module:
    """A convolution with a batch normalisation and a linear layer, prepared by torch.ao.quantization and trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao import quantization

        ends = {"quant_min": -128, "quant_max": 127, "dtype": torch.qint8}
        fake = quantization.FakeQuantize
        config = quantization.QConfig(
            activation=fake.with_args(
                observer=quantization.MovingAverageMinMaxObserver, qscheme=torch.per_tensor_symmetric, **ends
            ),
            weight=fake.with_args(
                observer=quantization.MovingAveragePerChannelMinMaxObserver,
                qscheme=torch.per_channel_symmetric,
                ch_axis=0,
                **ends,
            ),
        )
        torch.manual_seed(0)
        layers = [quantization.QuantStub(), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).train()
        net.qconfig = config
        net = quantization.prepare_qat(quantization.fuse_modules_qat(net, [["1", "2", "3"]]))
        for _ in range(2):
            net(torch.randn(SHAPE))
        if not watches:
            net.apply(quantization.disable_observer)
        return net.eval()
