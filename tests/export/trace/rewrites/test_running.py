"""Functions without a translation, as others that have one: right at every size of a dynamic axis, places included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sized import exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime

EDGES = torch.tensor([-2.0, -0.5, -0.5, 0.0, 1.5])
FUNCTIONS: tuple[Callable[[Tensor], Any], ...] = (
    lambda x: torch.cummax(x, 1),
    lambda x: x.cummin(dim=-1),
    lambda x: (x / 50).cumprod(1),
    lambda x: torch.cumprod(x.sign().int(), 1) + x.cumprod(1, dtype=torch.float32).sign(),
    lambda x: torch.logcumsumexp(x.cumsum(1), 1),
    lambda x: (x - x.aminmax().min) / torch.aminmax(x).max,
    lambda x: x.mean(0).softmax(0) + F.softmin(x[0], -1) + torch.log_softmax(x[-1], dim=0),
    lambda x: x.median(-1, keepdim=True).values,
    lambda x: x.abs().median(),
    lambda x: x.kthvalue(x.shape[1] // 2, 1)[0],
    lambda x: torch.sort(x.round(decimals=-2), dim=1, stable=True),
    lambda x: x.round(decimals=-2).argsort(dim=1, stable=True, descending=True),
    lambda x: torch.searchsorted(EDGES.to(x.dtype), x),
    lambda x: torch.searchsorted(x.sort(-1)[0], x[:, :3].contiguous(), side="right", out_int32=True),
    lambda x: torch.searchsorted(x[0].sort()[0], 0.5) + torch.searchsorted(EDGES.to(x.dtype), x.mean()),
    lambda x: torch.searchsorted(x, x[:, :2].contiguous(), sorter=x.argsort(-1), right=True),
    lambda x: torch.isin(x.round(decimals=-2), EDGES, invert=True),
    lambda x: (
        x.clamp(0, 6.5) + torch.clip(x, min=-1.5, max=2) + x.long().clamp(-2, 1.5).to(x.dtype) + (x + 1).clip_(-3, 4.5)
    ),
    lambda x: x.clamp(-x.shape[0], 1.5) + x.long().clamp(False, x.shape[1] / 2).to(x.dtype),
    lambda x: F.cross_entropy(x, x.roll(1, 0).softmax(1), label_smoothing=0.1, reduction="none"),
    lambda x: F.cross_entropy(x, x.argmax(1), reduction="none")[:, None] + F.nll_loss(x, x.argmin(1), reduction="none"),
    lambda x: F.rrelu(x) + nn.RReLU(0.1, 0.2).eval()(x),
    lambda x: (
        torch.take_along_dim(x, x[:, :2].argsort(), 1) + torch.take_along_dim(x[:, :2], x[:1, :2].argmin(1, True), 1)
    ),
    lambda x: torch.cdist(x[..., None], x[:, :3, None], p=1),
    lambda x: torch.cdist(x[..., None] + EDGES, x[:, :3, None] - EDGES, p=float("inf")),
)


class Every(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        found = [function(x) for function in FUNCTIONS]
        return [part for one in found for part in (one if isinstance(one, tuple) else (one,))]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> OnnxGraph:
    return exported(Every(), tmp_path_factory.mktemp("every"), "batch=1:2:3,x.dim1=4:9:21", (2, 9))[1]


@pytest.mark.parametrize(("batch", "size"), [(1, 4), (2, 9), (3, 16), (2, 17), (2, 21)])
def test_the_graph_gives_what_pytorch_does(graph: OnnxGraph, batch: int, size: int) -> None:
    x = 60 * torch.randn(batch, size, generator=torch.Generator().manual_seed(size))
    x[:, -1] = x[:, 1]  # of equal numbers the last is the place of a running extreme
    found = [*OrtRuntime(graph.path).run({"x": x.numpy()}).values()]
    for value, truth, eager in zip(found, Every()(x.double()), Every()(x), strict=True):
        assert value.shape == tuple(truth.shape)
        assert value.dtype == eager.numpy().dtype
        np.testing.assert_allclose(value, truth.numpy(), rtol=2e-6, atol=1e-5 if value.dtype.kind == "f" else 0)


def test_a_run_is_written_for_no_larger_size_than_is_claimed(graph: OnnxGraph) -> None:
    """Five steps reach 21 numbers; an extreme takes its place along. There are three products."""
    kinds = [node.op_type for node in onnx.load(str(graph.path)).graph.node]
    assert 4 * (2 + 2 + 3 + 1) < kinds.count("Pad") <= 5 * (2 + 2 + 3 + 1)
