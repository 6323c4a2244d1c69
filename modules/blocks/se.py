"""Squeeze-and-Excitation: gate each channel by its global average.

Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507, eq. 2-4: ``x · sigmoid(W2 relu(W1 mean(x)))``.
Parameter names follow the PyTorch port (``fc.0``, ``fc.2``), which has no bias; the Caffe release has one.
Differs: a plain mean over (h, w) instead of adaptive pooling, so that the exported graph holds for every h, w.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import InputError


class SE(nn.Module):
    """Channel gate of ``channels // reduction`` hidden units.

    Raises InputError if the reduction leaves no hidden unit.
    """

    def __init__(self, channels: int, *, reduction: int = 16, bias: bool = False) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received se with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=bias), nn.ReLU(), nn.Linear(hidden, channels, bias=bias), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        gate: Tensor = self.fc(x.mean((2, 3)))  # (n, c)
        return x * gate[:, :, None, None]
