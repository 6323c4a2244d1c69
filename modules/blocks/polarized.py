"""Polarized self-attention: a gate of the channels and a gate of the positions, each at full resolution of its own.

Liu et al., 2021, https://arxiv.org/abs/2107.00782, section 3: the gates side by side and added (``mode`` "parallel"),
or the positions' after the channels' ("sequential").
Parameter names and arithmetic follow the authors' release, which differs from the paper: the positions' softmax runs
over the positions, in parallel mode after the product of query and value and in sequential mode on the value, while
the paper takes it over the pooled query's channels; and only the sequential mode narrows and normalises ``conv_up``.
Differs: a plain mean over (h, w) instead of adaptive pooling, so that the exported graph holds for every h, w.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError

RATIO = 4


class Polarized(nn.Module):
    """Half the channels inside; ``mode`` is "parallel" or "sequential".

    Raises InputError if the mode is neither, or the channels are too few for it.
    """

    def __init__(self, channels: int, *, mode: str = "parallel") -> None:
        super().__init__()
        if mode not in ("parallel", "sequential"):
            raise InputError(
                f"received polarized with mode {mode!r}; expected parallel or sequential; choose one of them"
            )
        least = 2 if mode == "parallel" else 2 * RATIO
        if channels < least:
            raise InputError(
                f"received polarized in mode {mode} on {channels} channels; expected {least} or more; "
                "choose a wider place"
            )
        self.mode = mode
        inner = channels // 2
        self.conv_q_right = nn.Conv2d(channels, 1, 1, bias=False)
        self.conv_v_right = nn.Conv2d(channels, inner, 1, bias=False)
        self.conv_up: nn.Module = nn.Conv2d(inner, channels, 1, bias=False)
        if mode == "sequential":
            narrow = inner // RATIO
            self.conv_up = nn.Sequential(
                nn.Conv2d(inner, narrow, 1), nn.LayerNorm([narrow, 1, 1]), nn.ReLU(), nn.Conv2d(narrow, channels, 1)
            )
        self.conv_q_left = nn.Conv2d(channels, inner, 1, bias=False)
        self.conv_v_left = nn.Conv2d(channels, inner, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        by_channel = x * self._channel_gate(x)
        if self.mode == "sequential":
            return by_channel * self._position_gate(by_channel)
        return x * self._position_gate(x) + by_channel

    def _channel_gate(self, x: Tensor) -> Tensor:
        share = torch.softmax(self.conv_q_right(x).flatten(2), 2)  # (n, 1, hw)
        context = self.conv_v_right(x).flatten(2) @ share.transpose(1, 2)  # (n, i, 1)
        return torch.sigmoid(self.conv_up(context[..., None]))  # (n, c, 1, 1)

    def _position_gate(self, x: Tensor) -> Tensor:
        query = self.conv_q_left(x).mean((2, 3))[:, None]  # (n, 1, i)
        value = self.conv_v_left(x).flatten(2)  # (n, i, hw)
        scores = query @ torch.softmax(value, 2) if self.mode == "sequential" else torch.softmax(query @ value, 2)
        return torch.sigmoid(torch.unflatten(scores, 2, x.shape[2:]))  # (n, 1, h, w)
