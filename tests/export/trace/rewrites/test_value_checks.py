"""A module that checks the values of a tensor is exported as what it computes, and still checks them eagerly."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from attn2trt.errors import InputError
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module


class Checked(nn.Module):
    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.sizes = nn.Buffer(torch.tensor([[2, 3], [1, 4]]))
        self.wanted = wanted

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._check_tensor_all((self.sizes[:, 0] * self.sizes[:, 1]).sum() == self.wanted, lambda: "not the places")
        return x * 2


def test_a_check_of_values_leaves_nothing_in_the_graph(tmp_path: Path) -> None:
    target = from_module(Checked(10), torch.ones(2, 10), dynamic="batch=1:2:4")
    trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node} == {"Mul"}


def test_a_check_that_fails_is_raised_before_the_trace(tmp_path: Path) -> None:
    target = from_module(Checked(11), torch.ones(2, 10))
    with pytest.raises(InputError, match="not the places"):
        trace(target, target.build(), tmp_path / "model.onnx", opset=17)


def test_a_distribution_checks_its_parameters_eagerly_alone(tmp_path: Path) -> None:
    class Entropy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.distributions.Categorical(logits=x).entropy()

    target = from_module(Entropy(), torch.ones(2, 10), dynamic="batch=1:2:4")
    trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert "ReduceSum" in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
