"""Pyramid squeeze attention: four kernel sizes, weighed against each other channel by channel.

Zhang et al., EPSANet, 2021, https://arxiv.org/abs/2105.14447, eq. 1-10: grouped convolutions of 3, 5, 7 and 9, one
squeeze-and-excitation shared by the four branches, a softmax across them, and the weighted branches concatenated.
Parameter names follow the authors' release, and so does the order of the output, last branch first: checkpoints
depend on it. It stands in for a bottleneck's 3x3 convolution and carries its stride.
Differs: the branches are stacked on an axis of their own instead of viewed by the batch size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError

REPLACES_CONV3X3 = True
KERNELS = (3, 5, 7, 9)
GROUPS = (1, 4, 8, 16)


class PSA(nn.Module):
    """Four branches of ``out_channels // 4``; ``reduction`` is that of the shared squeeze-and-excitation.

    ``kernels`` and ``groups`` are those of the four branches. Raises InputError if the groups of a branch do not
    divide its channels, or the reduction leaves no hidden channel.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        stride: int = 1,
        kernels: tuple[int, ...] = KERNELS,
        groups: tuple[int, ...] = GROUPS,
        *,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        out_channels = channels if out_channels is None else out_channels
        branch, widest = out_channels // len(kernels), max(groups)
        multiple = len(kernels) * widest
        if out_channels % multiple or channels % widest:
            raise InputError(
                f"received psa with {channels} channels in and {out_channels} out; "
                f"expected a multiple of {multiple} (4 branches, {widest} groups in the widest); "
                f"choose {multiple}, {2 * multiple}, {4 * multiple} or {8 * multiple}"
            )
        if not 1 <= reduction <= branch:
            raise InputError(
                f"received psa with reduction {reduction} on branches of {branch} channels; "
                f"expected 1 <= reduction <= {branch}; choose another reduction"
            )
        self.branches = len(kernels)
        for index, (kernel, count) in enumerate(zip(kernels, groups, strict=True), 1):
            conv = nn.Conv2d(channels, branch, kernel, stride=stride, padding=kernel // 2, groups=count, bias=False)
            self.add_module(f"conv_{index}", conv)
        self.se = _SharedWeight(branch, branch // reduction)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, out_channels, ceil(h / stride), ceil(w / stride))``."""
        branches = [self.get_submodule(f"conv_{index}")(x) for index in range(1, self.branches + 1)]
        weights = torch.stack([self.se(branch) for branch in branches], 1)  # (n, 4, c/4, 1, 1)
        weights = torch.softmax(weights, 1)
        weighed = [branch * weights[:, index] for index, branch in enumerate(branches)]
        return torch.cat(weighed[::-1], 1)  # (n, c, h, w)


class _SharedWeight(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)  # (n, c, 1, 1)
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(mean))))
