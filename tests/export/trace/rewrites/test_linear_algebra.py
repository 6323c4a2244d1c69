"""Inverses, solutions and triangular factors by elimination equal LAPACK's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sized import exported
from torch import Tensor, nn

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.rewrites.calls import bound
from attn2trt.export.trace.rewrites.linear_algebra import LARGEST, REWRITES

LINALG = torch.linalg


def rewritten(function: Any, *args: Any, **options: Any) -> Any:
    names, rewrite = REWRITES[function]
    return rewrite(bound(names, args, options))


def positive(side: int) -> Tensor:
    x = torch.randn(2, side, side, dtype=torch.float64)
    return x @ x.mT + torch.eye(side)


@pytest.mark.parametrize("function", [LINALG.inv, torch.inverse, Tensor.inverse])
@pytest.mark.parametrize("side", [1, 3, 4, 9])
def test_inverses(function: Callable[[Tensor], Tensor], side: int) -> None:
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(rewritten(function, x), function(x), rtol=1e-8, atol=1e-8)


def test_a_zero_on_the_diagonal_is_no_pivot() -> None:
    turned = torch.tensor([[0.0, 2.0, 0.0], [0.0, 1e-6, -1.0], [4.0, 0.0, 0.0]])
    torch.testing.assert_close(rewritten(LINALG.inv, turned), LINALG.inv(turned))


@pytest.mark.parametrize("right", [(2, 5), (2, 5, 3), (5, 3), (5,)])
def test_solutions(right: tuple[int, ...]) -> None:
    matrix, b = positive(5), torch.randn(right, dtype=torch.float64)
    matrix = matrix[0] if len(right) == 1 else matrix
    torch.testing.assert_close(rewritten(LINALG.solve, matrix, b), LINALG.solve(matrix, b))


@pytest.mark.parametrize("outer", [(2,), ()])
def test_triangular_factors_and_what_they_solve(outer: tuple[int, ...]) -> None:
    x, right = positive(5), torch.randn(*outer, 5, 3, dtype=torch.float64)
    for upper in (False, True):
        factor = LINALG.cholesky(x, upper=upper)
        torch.testing.assert_close(rewritten(LINALG.cholesky, x, upper=upper), factor)
        for options in ({"upper": upper}, {"upper": upper, "unitriangular": True}):
            expected = LINALG.solve_triangular(factor, right, **options)
            torch.testing.assert_close(rewritten(LINALG.solve_triangular, factor, right, **options), expected)


def test_float32_loses_no_more_than_lapack_does() -> None:
    x = torch.randn(200, 6, 6, generator=torch.Generator().manual_seed(0))
    truth = x.double().inverse()
    found, own = (
        ((y - truth).norm(dim=(1, 2)) / truth.norm(dim=(1, 2))) for y in (rewritten(torch.inverse, x), x.inverse())
    )
    assert (found / own).median() < 2
    assert (found / own.clamp(min=2**-24)).max() < 40


def test_large_matrices_and_solutions_from_the_right_are_left_alone() -> None:
    large = torch.eye(LARGEST + 1)
    for function in (LINALG.inv, LINALG.cholesky):
        assert rewritten(function, large) is None
    assert rewritten(LINALG.solve, torch.eye(3), torch.eye(3), left=False) is None
    assert rewritten(LINALG.solve_triangular, torch.eye(3), torch.eye(3), upper=True, left=False) is None


class Warp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.linalg.inv(x.mT)


@pytest.mark.slow
def test_a_graph_of_an_inverse_computes_what_pytorch_does(tmp_path: Path) -> None:
    _, graph = exported(Warp(), tmp_path, "batch=1:2:3", (2, 4, 4))
    x = torch.randn(3, 4, 4)
    found = OrtRuntime(graph.path).run({"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(next(iter(found.values()))), Warp()(x), rtol=1e-4, atol=1e-4)
