"""A run of the truth is watched: the largest number on the way, and what depends on the inputs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from attn2trt.validate.cases import Case
from attn2trt.validate.eager import Eager
from attn2trt.validate.reached import Reached
from attn2trt.validate.watch import Watch

X = np.full((1, 6), 1e-3, np.float32)


class Transposed(nn.Module):
    """Reads a large weight in another shape, and writes into a view of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4, 6), 1000.0))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.t()
        y.view(2, 2).add_(1.0)
        return y


class Written(nn.Module):
    """Compares a tensor that the input was written into by a view of it, and one that it was not."""

    def forward(self, x: Tensor) -> Tensor:
        written, constant = torch.zeros(2, 6), torch.zeros(2, 6)
        written[0].copy_(x[0])
        return torch.where(written > 5, written, x) + (constant > 5)


def test_a_weight_in_another_shape_is_nothing_that_is_met_on_the_way() -> None:
    eager = Eager(Transposed(), (), 0, is_double=True)
    eager.run({"x": X}, Case.of("case", {"x": X}))
    assert 6.9 < eager.largest < 7.1


def test_what_an_input_is_written_into_by_a_view_depends_on_it() -> None:
    eager, reached = Eager(Written(), (), 0, is_double=True), Reached()
    eager.watch.reached = reached
    eager.run({"x": X}, Case.of("case", {"x": X}))
    assert [sentence.split(" everywhere")[0].split("`")[-1] for sentence in reached.findings()] == [" is False"]
    assert "torch.where(written > 5" in reached.findings()[0]


def test_a_watch_that_nothing_is_told_to_knows_the_largest_number_alone() -> None:
    watch = Watch(lambda: "")
    watch.start({"x": -3 * X, "empty": X[:0]})
    assert watch.largest == np.float32(3e-3)
    watch.see(torch.ops.aten.relu.default, (torch.ones(2),), {}, torch.tensor([2.0, float("inf")]))
    assert watch.largest == np.float32(3e-3)
    watch.see(torch.ops.aten.relu.default, (torch.ones(2),), {}, torch.tensor([2.0, -7.0]))
    assert watch.largest == 7
