"""Two clamps of one value, as Gemma's clipped linear layers have, each keep their own limits in the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sized import exported
from torch import Tensor, nn

from attn2trt.engines.ort_runtime import OrtRuntime


class TwoClamps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, value in (("low", -0.5), ("high", 0.6), ("lower", -0.7), ("higher", 0.9)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        return torch.clamp(y, self.low, self.high) + 10 * torch.clamp(y, self.lower, self.higher)


def test_limits_of_two_clamps_of_one_value_are_kept_apart(tmp_path: Path) -> None:
    module = TwoClamps()
    _, graph = exported(module, tmp_path, "none", (1, 2, 3, 4))
    x = torch.linspace(-1, 1, 24).reshape(1, 2, 3, 4)
    with OrtRuntime(graph.path, optimise=False) as session:
        (found,) = session.run({graph.inputs[0].name: x.numpy()}).values()
    np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-6)
