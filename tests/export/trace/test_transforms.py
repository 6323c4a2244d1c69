"""torch.vmap is traced away; derivatives are refused, and leave the process as it was."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module


class Mapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: row.softmax(0) * row.amax())(x)


class Derived(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: x.sin().sum())(x)


class Forward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.jvp(torch.sin, (x,), (x,))[1]


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: self.mix(row[None])[0])(x)


def test_a_vectorised_function_is_written_for_every_batch(tmp_path: Path) -> None:
    target = from_module(Mapped(), torch.ones(2, 4), dynamic="batch=1:2:4")
    trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    model = onnx.load(tmp_path / "model.onnx")
    assert "Softmax" in [node.op_type for node in model.graph.node]
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_vectorised_convolution_has_one_batch() -> None:
    target = from_module(Convolved(), torch.ones(2, 4, 8), dynamic="batch=1:2:4")
    with pytest.raises(ModuleRefused, match=r"traces torch\.vmap for one size alone: leave 'batch' out"):
        trace(target, target.build(), Path("model.onnx"), opset=17)


@pytest.mark.parametrize("kind", [Derived, Forward])
def test_derivatives_are_refused(kind: type[nn.Module]) -> None:
    target = from_module(kind(), torch.ones(2, 4), dynamic="none")
    with pytest.raises(ModuleRefused, match=r"takes derivatives at .*which a graph cannot; write the derivative out"):
        trace(target, target.build(), Path("model.onnx"), opset=17)
    assert torch._C._functorch.maybe_current_level() is None
