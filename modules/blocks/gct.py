"""GCT: let channels compete or cooperate through their normalised norms.

Yang et al., Gated Channel Transformation, CVPR 2020, https://arxiv.org/abs/1909.11519, section 3: embedding
``s = alpha · ||x||``, channel normalisation ``s · gamma / rms(s)``, gate ``1 + tanh(. + beta)``.
Parameter names follow the authors' release, and so does the place of epsilon in both square roots. In its ResNets one
stands before every convolution.
Differs: ``mode`` "l1" always takes absolute values; the release may leave them out after a ReLU, which makes them idle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class GCT(nn.Module):
    """Channel gate in (0, 2) of three numbers per channel; ``mode`` is the norm, "l2" or "l1".

    Raises InputError if the mode is neither, or epsilon is not positive.
    """

    def __init__(self, channels: int, *, mode: str = "l2", epsilon: float = 1e-5) -> None:
        super().__init__()
        if mode not in ("l1", "l2"):
            raise InputError(f"received gct with mode {mode!r}; expected l1 or l2; choose one of them")
        if epsilon <= 0:
            raise InputError(f"received gct with epsilon {epsilon}; expected more than 0; choose 1e-5")
        self.mode = mode
        self.epsilon = epsilon
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        if self.mode == "l2":
            embedding = torch.sqrt(x.square().sum((2, 3), keepdim=True) + self.epsilon) * self.alpha  # (n, c, 1, 1)
            size = torch.sqrt(embedding.square().mean(1, keepdim=True) + self.epsilon)  # (n, 1, 1, 1)
        else:
            embedding = x.abs().sum((2, 3), keepdim=True) * self.alpha
            size = embedding.abs().mean(1, keepdim=True) + self.epsilon
        return x * (1 + torch.tanh(embedding * self.gamma / size + self.beta))
