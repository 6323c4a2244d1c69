"""Strip pooling: gate every position by convolved means along its row and its column.

Hou et al., CVPR 2020, https://arxiv.org/abs/2003.13328, eq. 1-4: ``x · sigmoid(conv1(relu(rows + columns)))``, rows and
columns each a mean, a convolution of three and a batch normalisation. It is the paper's strip pooling module, for
inside a backbone; its mixed pooling module is a segmentation head. Parameter names follow the authors' ``SPBlock``,
which puts it between the second and third convolution of the last bottleneck of each stage, and of every one of the
last stage.
Differs: plain means instead of adaptive pooling, whose kernel the torch.export-based ONNX exporter bakes at the traced
size (pytorch#147720), and broadcasting instead of expansion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StripPooling(nn.Module):
    """A block with as many channels inside as outside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        rows = self.bn1(self.conv1(x.mean(3, keepdim=True)))  # (n, c, h, 1)
        columns = self.bn2(self.conv2(x.mean(2, keepdim=True)))  # (n, c, 1, w)
        return x * torch.sigmoid(self.conv3(torch.relu(rows + columns)))
