"""MLCA: ECA twice, over the global averages and over those of a coarse grid, mixed and spread back.

Wan et al., Mixed local channel attention, Engineering Applications of Artificial Intelligence 2023,
https://doi.org/10.1016/j.engappai.2023.106442. The grid's convolution runs over its cells and channels as one
sequence, so that the last channels of a cell meet the first of the next. Parameter names follow the authors' release,
and so does the global average, which is the grid's, not the image's: they differ if the grid does not divide it.
The kernel is ECA's. The spread back takes the averages of adaptive pooling upwards, as the release does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from .eca import kernel_for


class MLCA(nn.Module):
    """``local_weight`` of the gates of a ``local_size`` square grid, the rest of the global gate.

    Raises InputError if the grid is empty or the weight is outside 0 to 1.
    """

    def __init__(self, channels: int, *, local_size: int = 5, local_weight: float = 0.5) -> None:
        super().__init__()
        if local_size < 1:
            raise InputError(f"received mlca with local_size {local_size}; expected 1 or more; choose 5")
        if not 0 <= local_weight <= 1:
            raise InputError(f"received mlca with local_weight {local_weight}; expected 0 to 1; choose 0.5")
        self.channels = channels
        self.local_size = local_size
        self.local_weight = local_weight
        kernel = kernel_for(channels)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.conv_local = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        size = self.local_size
        grid = functional.adaptive_avg_pool2d(x, size)  # (n, c, s, s)
        sequence = grid.flatten(2).transpose(1, 2).flatten(1)  # (n, s·s·c), a cell's channels together
        local = torch.unflatten(self.conv_local(sequence[:, None])[:, 0], 1, (size, size, self.channels)).permute(
            0, 3, 1, 2
        )
        whole = self.conv(grid.mean((2, 3))[:, None])[:, 0, :, None, None]  # (n, c, 1, 1)
        gate = torch.sigmoid(whole) * (1 - self.local_weight) + torch.sigmoid(local) * self.local_weight
        return x * functional.adaptive_avg_pool2d(gate, (x.shape[2], x.shape[3]))
