"""Diagonals, read and written: right at every size, and in operators that TensorRT takes at dynamic ones."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.modules.target import Target


def written(x: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    x = x * 2
    write(x)
    return x


def hidden(x: Tensor) -> Tensor:
    mask = torch.zeros(x.shape[1], x.shape[2])
    mask.fill_diagonal_(float("-inf"))
    return (x + mask).softmax(-1)


FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x.diagonal(dim1=-2, dim2=-1),
    lambda x: torch.diagonal(x, -2, 2, 1),
    lambda x: x.diagonal(2, 0, 2).sum(-1),
    lambda x: torch.trace(x[0]) + torch.diag(x[1], 1).sum(),
    lambda x: written(x, lambda y: y.diagonal(dim1=-2, dim2=-1).fill_(float("-inf"))).softmax(-1),
    lambda x: written(x, lambda y: y.diagonal(-1, 1, 2).mul_(0.5)),
    lambda x: written(x, lambda y: y.diagonal(1, 0, 2).copy_(y[0, :, :2] + 1)),
    lambda x: torch.diagonal_scatter(x, x.diagonal(1, 1, 2) + 1, 1, 1, 2),
    hidden,
)


class Every(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in FUNCTIONS)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, OnnxGraph]:
    return exported(Every(), tmp_path_factory.mktemp("every"), "dim1=4:6:9,dim2=4:7:9", (2, 6, 7))


@pytest.mark.parametrize(("rows", "columns"), [(6, 7), (4, 4), (9, 4), (4, 9), (5, 8)])
def test_a_diagonal_is_right(every: tuple[Target, OnnxGraph], rows: int, columns: int) -> None:
    check_right(*every, {"dim1": rows, "dim2": columns})


def test_it_is_written_without_eyelike(every: tuple[Target, OnnxGraph]) -> None:
    graph = onnx.load(every[1].path).graph
    assert not {node.op_type for node in graph.node} & {"EyeLike", "NonZero", "ScatterND"}
