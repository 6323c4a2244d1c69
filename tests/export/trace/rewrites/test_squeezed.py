"""What a module does to a size of 1 alone: a refusal with its line if that shows, and right if it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sized import check_right, exported
from torch import Tensor, nn

from attn2trt.errors import ModuleRefused


class Pooled(nn.Module):
    def __init__(self, squeeze: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.squeeze = squeeze

    def forward(self, x: Tensor) -> Tensor:
        return self.squeeze(x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("squeeze", [lambda y: y.squeeze(), lambda y: y.squeeze(0), lambda y: y.squeeze((0, 2))])
def test_a_batch_that_is_squeezed_if_it_is_one_is_refused(squeeze: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    message = (
        r"Pooled holds only for batch 2 to 5 at .*test_squeezed.py:\d+ `.*squeeze.*`; squeeze dimensions that are 1 at "
        r"every size, by name, as squeeze\(1\), or narrow it to batch=2:3:5 in --dynamic"
    )
    with pytest.raises(ModuleRefused, match=message):
        exported(Pooled(squeeze), tmp_path, "batch=1:3:5", (3, 4, 6, 6))
    target, graph = exported(Pooled(squeeze), tmp_path, "batch=2:3:5", (3, 4, 6, 6))
    for batch in (2, 3, 5):
        check_right(target, graph, {"batch": batch})


@pytest.mark.parametrize(
    "squeeze", [lambda y: y.squeeze(-1).squeeze((1, -1)), lambda y: y.squeeze().reshape(-1, 4), lambda y: y.squeeze(1)]
)
def test_a_squeeze_after_which_one_image_is_the_same_is_taken(
    squeeze: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    target, graph = exported(Pooled(squeeze), tmp_path, "batch=1:3:5", (3, 4, 6, 6))
    for batch in (1, 3, 5):
        check_right(target, graph, {"batch": batch})


class Branch(nn.Module):
    def __init__(self, choose: Callable[[Tensor], bool], one: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.choose, self.one = choose, one

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if self.choose(x) else x.relu()


@pytest.mark.parametrize(
    "choose",
    [
        lambda x: x.shape[0] == 1,
        lambda x: not x.size(0) > 1,
        lambda x: x.shape[0] in [1],
        lambda x: x.shape == (1, 4, 6, 6),
        lambda x: not x.shape[0] - 1,
        lambda x: x.numel() == 4 * 6 * 6,
    ],
)
def test_a_branch_for_a_batch_of_one_is_refused_with_its_line(choose: Callable[[Tensor], bool], tmp_path: Path) -> None:
    message = r"Branch holds only for batch 2 to 5 at .*test_squeezed.py:\d+ `.*x.*`; .* narrow it to batch=2:3:5"
    with pytest.raises(ModuleRefused, match=message):
        exported(Branch(choose, lambda x: x.tanh()), tmp_path, "batch=1:3:5", (3, 4, 6, 6))


def test_a_branch_for_a_batch_of_one_that_computes_the_same_is_taken(tmp_path: Path) -> None:
    same = Branch(lambda x: x.shape[0] == 1, lambda x: x.squeeze(0).relu().unsqueeze(0))
    target, graph = exported(same, tmp_path, "batch=1:3:5", (3, 4, 6, 6))
    for batch in (1, 3, 5):
        check_right(target, graph, {"batch": batch})
