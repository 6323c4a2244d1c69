"""Tiny and huge numbers that a file has and its module has not are named, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from attn2trt.validate.cases import Case
from attn2trt.validate.far_numbers import foreign_numbers

from ..small_graph import small_model

CASE = Case.of("traced", {"x": np.ones((2, 4, 4), np.float32)})


class Attention(nn.Module):
    """Has an epsilon, a norm's own, a limit and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.register_buffer("mask", torch.full((4, 4), -1e9).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.normalize(self.norm(x), dim=-1).clamp(max=1e4)
        return (x @ x.transpose(1, 2) + self.mask).softmax(-1)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, (4,), eps=2e-5).clamp(max=1e4)


class Broken(Attention):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError


def found(
    tmp_path: Path,
    *,
    eps: Any = 1e-12,
    far: Any = 1e4,
    fill: Any = -1e9,
    module: nn.Module | None = None,
    dtype: Any = np.float32,
    **norm: float,
) -> list[str]:
    """Return what is said of a file of the module with these numbers."""
    ones = np.ones(4, dtype)
    stored = {name: np.array(value, dtype) for name, value in (("eps", eps), ("far", far), ("gate", 0.2))}
    stored |= {"mask": np.triu(np.full((4, 4), fill, dtype), 1), "one": ones, "zero": 0 * ones}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "one", "zero"], ["a"], **norm),
        helper.make_node("Max", ["a", "eps"], ["b"]),
        helper.make_node("Clip", ["b", "", "far"], ["c"], name="limit"),
        helper.make_node("Mul", ["c", "gate"], ["d"]),
        helper.make_node("Add", ["d", "mask"], ["y"]),
    ]
    path = tmp_path / "model.onnx"
    onnx.save(small_model(nodes, {"x": (2, 4, 4)}, {"y": (2, 4, 4)}, stored), path)
    return foreign_numbers(path, module or Attention(), CASE, 0)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"epsilon": 1e-5},
        {"epsilon": float(np.finfo(np.float32).eps)},
        {"fill": -np.inf},
        {"fill": np.finfo(np.float32).min},
        {"far": 2.0},
    ],
)
def test_numbers_of_the_module_and_those_that_cases_meet_are_not_named(
    tmp_path: Path, numbers: dict[str, float]
) -> None:
    assert found(tmp_path, **numbers) == []


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"eps": 1e-8}, "1e-08 (Max)"),
        ({"far": 2e4}, "20000 (Clip limit)"),
        ({"fill": -1e4}, "-10000 (Add)"),
        ({"epsilon": 1e-10}, "1e-10 (LayerNormalization)"),
        ({"eps": 1e-8, "fill": -1e4}, "1e-08 (Max), -10000 (Add)"),
    ],
)
def test_other_numbers_are_named_with_their_nodes(tmp_path: Path, numbers: dict[str, float], named: str) -> None:
    (line,) = found(tmp_path, **numbers)
    assert line.startswith(f"the file computes with {named}, which the module does not")


def test_an_epsilon_that_is_not_written_is_the_operators_own(tmp_path: Path) -> None:
    module = Attention()
    module.norm.eps = 1e-12
    assert "1e-05 (LayerNormalization)" in found(tmp_path, module=module)[0]


def test_numbers_of_float16_are_those_of_the_module_in_it(tmp_path: Path) -> None:
    narrow = np.finfo(np.float16)
    assert found(tmp_path, fill=narrow.min, dtype=np.float16) == []
    assert "1.00136e-05 (Max)" in found(tmp_path, eps=1e-5 + 2e-8, fill=narrow.min, dtype=np.float16, module=Plain())[0]


def test_weights_are_no_limits(tmp_path: Path) -> None:
    assert found(tmp_path, far=np.linspace(1e4, 2e4, 4)) == []


def test_of_a_module_that_does_not_run_nothing_is_said(tmp_path: Path) -> None:
    assert found(tmp_path, eps=1e-8, module=Broken()) == []
