"""ResNet50 as quantisation-aware training by PyTorch leaves it, but for the training: ranges of one random batch."""

from __future__ import annotations

import torch
from torch import nn
from torch.ao import quantization
from torchvision.models.quantization import resnet50 as quantizable

LEVELS = {"dtype": torch.qint8, "quant_min": -128, "quant_max": 127}


def resnet50() -> nn.Module:
    """Return the network with symmetric levels, as TensorRT wants them, those of weights for each channel."""
    torch.manual_seed(0)
    fake = quantization.FakeQuantize
    one_scale = fake.with_args(
        observer=quantization.MovingAverageMinMaxObserver, qscheme=torch.per_tensor_symmetric, **LEVELS
    )
    by_channel = fake.with_args(
        observer=quantization.MovingAveragePerChannelMinMaxObserver, qscheme=torch.per_channel_symmetric, **LEVELS
    )
    model = quantizable(weights=None).train()
    model.fuse_model(is_qat=True)
    model.qconfig = quantization.QConfig(activation=one_scale, weight=by_channel)
    quantization.prepare_qat(model, inplace=True)
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    model.apply(quantization.disable_observer)
    return model.eval()
