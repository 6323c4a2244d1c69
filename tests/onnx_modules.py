"""The PyTorch modules that files of foreign_files.py are."""

from __future__ import annotations

import onnx
import torch
from foreign_files import convolution
from torch import nn


class Net(nn.Module):
    """The module of ``convolution``, with its weights."""

    def __init__(self) -> None:
        super().__init__()
        weights = {one.name: onnx.numpy_helper.to_array(one) for one in convolution().graph.initializer}
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.conv.weight.data = torch.from_numpy(weights["w"].copy())
        self.conv.bias.data = torch.from_numpy(weights["b"].copy())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        c = self.conv(image)
        return c * c.sigmoid()
