"""Coordinate attention: gate each position by a mean along its row and a mean along its column.

Hou et al., CVPR 2021, https://arxiv.org/abs/2103.02907, eq. 4-9. Parameter names follow the authors' ``coordatt.py``.
Differs: plain means instead of adaptive pooling, whose kernel the torch.export-based ONNX exporter bakes at the
traced size (pytorch#147720); and in eval mode the shared convolution and normalisation, which act on each position
alone, run on the rows and on the columns instead of on their concatenation: the same numbers, and no split by a
size that varies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError


class CoordAtt(nn.Module):
    """Row and column gates through ``max(8, channels // reduction)`` shared channels.

    Raises InputError if the reduction is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 32) -> None:
        super().__init__()
        if reduction < 1:
            raise InputError(f"received coord_att with reduction {reduction}; expected 1 or more; choose 32")
        shared = max(8, channels // reduction)
        self.conv1 = nn.Conv2d(channels, shared, 1)
        self.bn1 = nn.BatchNorm2d(shared)
        self.conv_h = nn.Conv2d(shared, channels, 1)
        self.conv_w = nn.Conv2d(shared, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        rows = x.mean(3, keepdim=True)  # (n, c, h, 1)
        columns = x.mean(2, keepdim=True)  # (n, c, 1, w)
        if self.training:  # batch statistics are over rows and columns together
            mixed = self._mix(torch.cat((rows, columns.transpose(2, 3)), 2))
            rows, columns = torch.split(mixed, [x.shape[2], x.shape[3]], 2)
            columns = columns.transpose(2, 3)
        else:
            rows, columns = self._mix(rows), self._mix(columns)
        gate_h = torch.sigmoid(self.conv_h(rows))  # (n, c, h, 1)
        gate_w = torch.sigmoid(self.conv_w(columns))  # (n, c, 1, w)
        return x * gate_w * gate_h

    def _mix(self, means: Tensor) -> Tensor:
        return functional.hardswish(self.bn1(self.conv1(means)))
