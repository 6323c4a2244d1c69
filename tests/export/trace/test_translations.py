"""Functions that torch.onnx writes with a loss, or not at all: the graph is as near to float64 as PyTorch's float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sized import exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.engines.ort_runtime import OrtRuntime

FUNCTIONS = (
    torch.expm1,
    lambda x: torch.log1p(x.clamp_min(-1)),
    F.logsigmoid,
    F.mish,
    lambda x: torch.hypot(x, x.flip(1)),
    torch.erfc,
    torch.special.erfcx,
    torch.special.log_ndtr,
    lambda x: torch.logaddexp(x, x.flip(1)),
    lambda x: torch.copysign(x, -x.flip(1)),
    lambda x: torch.copysign(x, -2) + x.copysign(0.5),
    lambda x: torch.fmin(x / x.relu(), x.flip(1)),
    lambda x: torch.fmax(x.flip(1), x / x.relu()),
)


class Every(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in FUNCTIONS)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> OrtRuntime:
    _, graph = exported(Every(), tmp_path_factory.mktemp("every"), "batch=1:2:3", (2, 9))
    return OrtRuntime(graph.path)


@pytest.mark.parametrize("size", [1e-30, 1e-7, 1e-3, 0.3, 1, 20, 90, 1e25])
def test_no_size_of_a_number_is_lost(size: float, runtime: OrtRuntime) -> None:
    x = torch.tensor([-3, -1, -0.6, -1e-4, 0, 1e-4, 0.5, 1, 2.5]) * size
    x = torch.stack([x, x.flip(0) * 0.9])
    found = runtime.run({"x": x.numpy()})
    for value, truth, eager in zip(found.values(), Every()(x.double()), Every()(x), strict=True):
        is_out = ~torch.isfinite(eager)
        assert np.array_equal(value[is_out], eager[is_out], equal_nan=True)
        slack = 4e-7 * truth.abs() + 1e-37  # the least number that is not rounded to fewer digits
        assert ((torch.from_numpy(value) - truth).abs() <= slack)[~is_out].all(), (value, truth)


class Tails(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.erfc(x), torch.special.erfcx(x), torch.special.log_ndtr(x)


def test_a_tail_keeps_its_digits(tmp_path: Path) -> None:
    x = torch.linspace(-9, 9, 4001)[None].repeat(2, 1)
    _, graph = exported(Tails(), tmp_path, "batch=1:2:3", tuple(x.shape))
    found = OrtRuntime(graph.path).run({"x": x.numpy()})
    for value, truth in zip(found.values(), Tails()(x.double()), strict=True):
        assert ((torch.from_numpy(value) - truth).abs() <= 8 * 2**-24 * truth.abs()).all()
