"""Whole numbers with a number that sizes decide are computed in a float type, as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = ((2, 9), (3, 4), (7, 7), (10, 2), (13, 6))


class Calling(nn.Module):
    def __init__(self, function: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape
        return x + self.function(torch.arange(columns), rows / 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda whole, number: whole * number,
        lambda whole, number: max(number, 1.0) * whole,
        lambda whole, number: whole - number,
        lambda whole, number: number - whole,
        lambda whole, number: whole // number,
        lambda whole, number: (whole > 2) * number,
        lambda whole, number: (whole.to(torch.int32) * number + whole).long(),
        lambda whole, number: whole.float().masked_fill(whole > 2, number),
        lambda whole, number: torch.where(whole > 2, whole, number),
    ],
)
def test_a_number_of_sizes(function: Callable[[Tensor, float], Tensor], tmp_path: Path) -> None:
    target, graph = exported(Calling(function), tmp_path, "dim0=2:6:14,dim1=2:5:9", (6, 5))
    for sizes in SIZES:
        check_right(target, graph, dict(zip(("dim0", "dim1"), sizes, strict=True)))


class RelativePositions(nn.Module):
    """The decomposed relative positions of MViTv2, as SAM and ViTDet have them: a table is resized to the map."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(11, 8))

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2:]
        return x + torch.einsum("bchw,hkc->bhwk", x, self.between(rows, columns)).sum(-1)[:, None]

    def between(self, queries: int, keys: int) -> Tensor:
        count = int(2 * max(queries, keys) - 1)
        table = self.table
        if len(table) != count:
            table = F.interpolate(table.T[None], size=count, mode="linear")[0].T
        places = torch.arange(queries)[:, None] * max(keys / queries, 1.0)
        others = torch.arange(keys)[None, :] * max(queries / keys, 1.0)
        return table[((places - others) + (keys - 1) * max(queries / keys, 1.0)).long()]


def test_relative_positions_of_a_map(tmp_path: Path) -> None:
    ranges = "batch=1:2:4,height=4:8:12,width=4:8:12"
    target, graph = exported(RelativePositions(), tmp_path, ranges, (2, 8, 8, 8))
    assert graph.axes == target.axes
    for height, width in ((4, 4), (6, 6), (5, 12), (12, 4), (6, 7), (11, 11)):
        check_right(target, graph, {"batch": 3, "height": height, "width": width})
