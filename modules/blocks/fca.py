"""FCA: Squeeze-and-Excitation whose squeeze reads, beside the average, other frequencies of a cosine transform.

Qin et al., FcaNet, ICCV 2021, https://arxiv.org/abs/2012.11879, section 3: the channels are split into as many parts as
there are frequencies, and each part is squeezed by its own 2-D DCT basis function.
Parameter names, frequencies and the fixed weights' place in the checkpoint follow the authors' release. Its networks
set ``dct`` to the feature map's size by stage (56, 28, 14, 7), as is done here in a ResNet; any other size is averaged
to ``dct`` x ``dct`` first.
Differs: averages always, which at that size changes nothing, so that no size is compared while the graph is traced.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

# The release's choices on a 7x7 grid, a digit each: the rows' frequencies and the columns'. "top" and "bot" are ranked
# by the accuracy of one frequency alone, from the best and from the worst; "low" are the lowest.
_TABLES = {
    "top": ("00600114513000324635526553342261", "01052020060463526333511242113053"),
    "low": ("00110221203401301234501234561234", "01012012230043154321065432106543"),
    "bot": ("61332412445146256162243355625536", "64466314456522514350311242115333"),
}
METHODS = tuple(f"{kind}{count}" for kind in _TABLES for count in (1, 2, 4, 8, 16, 32))


class FCA(nn.Module):
    """Channel gate of ``channels // reduction`` hidden units over the frequencies that ``method`` names.

    Raises InputError if the method is unknown, its frequencies do not divide the channels, ``dct`` is below 7, or
    the reduction leaves no hidden unit.
    """

    def __init__(self, channels: int, *, method: str = "top16", dct: int = 7, reduction: int = 16) -> None:
        super().__init__()
        if method not in METHODS:
            raise InputError(f"received fca with method {method!r}; expected one of {', '.join(METHODS)}; choose top16")
        count = int(method[3:])
        if channels % count:
            raise InputError(
                f"received fca with method {method} on {channels} channels; expected a multiple of its {count} "
                "frequencies; choose fewer"
            )
        if dct < 7:
            raise InputError(f"received fca with dct {dct}; expected 7 or more, the frequencies' own size; choose 7")
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received fca with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        self.dct = dct
        self.dct_layer = _Projection(_weights(channels, method, dct))
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        pooled = functional.adaptive_avg_pool2d(x, self.dct)  # (n, c, dct, dct)
        gate: Tensor = self.fc(self.dct_layer(pooled))  # (n, c)
        return x * gate[:, :, None, None]


class _Projection(nn.Module):
    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)  # fixed, and in the release's checkpoints

    def forward(self, pooled: Tensor) -> Tensor:
        return (pooled * self.weight).sum((2, 3))


def _weights(channels: int, method: str, size: int) -> Tensor:
    """``(channels, size, size)``: one orthonormal DCT-II basis function for each part of the channels."""
    position = torch.arange(size, dtype=torch.float64)[:, None]
    frequency = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(torch.pi * frequency * (position + 0.5) / size) * (2 / size) ** 0.5  # (position, frequency)
    basis[:, 0] = size**-0.5
    count, scale = int(method[3:]), size // 7  # the same waves at every size, as on the 7x7 grid
    rows, columns = ([int(digit) * scale for digit in table[:count]] for table in _TABLES[method[:3]])
    waves = torch.einsum("if,jf->fij", basis[:, rows], basis[:, columns])
    return waves.repeat_interleave(channels // count, 0).float()
