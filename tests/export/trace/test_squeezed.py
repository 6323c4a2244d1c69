"""``squeeze`` of whatever is 1: a refusal with its line if that depends on a size, and right if it does not."""

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
