"""Triplet attention: the spatial gate of CBAM on each of the three planes (c, w), (h, c) and (h, w), averaged.

Misra et al., WACV 2021, https://arxiv.org/abs/2010.03045: ``mean of x · sigmoid(BN(conv7x7([max, mean])))``,
max and mean taken over the axis that is not in the plane. Parameter names follow the authors' networks and
checkpoints (``ChannelGateH`` pools over h, ``ChannelGateW`` over w); their later file for reuse says ``cw``, ``hc``
and ``hw`` for the three and ``conv`` for ``spatial``.
Differs: the two reductions are taken in place and the gates turned, not the input and its two products, all of
them full-sized copies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class Triplet(nn.Module):
    """Three gates of an odd ``kernel``, whatever the channels; ``spatial=False`` leaves the plane (h, w) out.

    Raises InputError if the kernel is even.
    """

    def __init__(self, channels: int, *, kernel: int = 7, spatial: bool = True) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"received triplet with kernel {kernel}; expected an odd number; choose 7 or 3")
        self.ChannelGateH = _Gate(kernel)
        self.ChannelGateW = _Gate(kernel)
        self.SpatialGate = _Gate(kernel) if spatial else None

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        gate_cw = self.ChannelGateH(x.amax(2), x.mean(2))  # (n, 1, c, w)
        gate_hc = self.ChannelGateW(x.amax(3).transpose(1, 2), x.mean(3).transpose(1, 2))  # (n, 1, h, c)
        gates = [gate_cw.transpose(1, 2), gate_hc.permute(0, 3, 2, 1)]  # (n, c, 1, w), (n, c, h, 1)
        if self.SpatialGate is not None:
            gates.append(self.SpatialGate(x.amax(1), x.mean(1)))  # (n, 1, h, w)
        total: Tensor = sum((x * gate for gate in gates[1:]), x * gates[0])
        return total / len(gates)


class _Gate(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential()
        self.spatial.add_module("conv", nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False))
        self.spatial.add_module("bn", nn.BatchNorm2d(1, momentum=0.01))

    def forward(self, largest: Tensor, mean: Tensor) -> Tensor:
        return torch.sigmoid(self.spatial(torch.stack((largest, mean), 1)))
