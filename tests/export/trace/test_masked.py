"""What is read by a mask becomes a choice among all elements, if nothing asks for the elements by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attn2trt.export.trace.masked import with_chosen_elements


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def traced(function: Callable[[Tensor], Any]) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(Function(function), (torch.randn(2, 3, 6),), dynamic_shapes=shapes, strict=False)


def scaled(x: Tensor) -> Tensor:
    y, mask = x.clone(), x > 0.3
    y[mask] *= 0.1
    return y


def of_another(x: Tensor) -> Tensor:
    y, mask = x * 0, x.mean(2) > 0  # (n, 3), an axis behind it
    chosen = x[mask]
    y[mask] = chosen.exp() / chosen.clamp(min=0.1) + chosen.double().float()
    return y


def behind_an_axis(x: Tensor) -> Tensor:
    y, mask = x.clone(), x.mean((0, 2)) > 0
    y[:, mask] = torch.where(y[:, mask] > 0, y[:, mask], 0.5)
    return y


def twice(x: Tensor) -> Tensor:
    y = x + 0
    y[y > 0] = -y[y > 0]
    y[y < -1] = y[y < -1] ** 2
    return y


def read_before(x: Tensor) -> tuple[Tensor, Tensor]:
    y, mask = x.clone(), x > 0
    chosen = y[mask].mul_(2)
    y.mul_(3)
    return y, chosen.sum()


def centred(x: Tensor) -> Tensor:
    y, mask = x.clone(), x > 0
    y[mask] = x[mask] - x.masked_select(mask).mean()
    return y


def in_a_body(x: Tensor) -> Tensor:
    found: Tensor = torch.cond(x.sum() > 0, scaled, lambda x: x.cos(), (x,))
    return found


def counted(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen = x[x > 0]
    centred = (chosen - chosen.mean()).square().sum()
    return chosen.sum() / chosen.shape[0], centred / max(chosen.numel() - 1, 1), (chosen / chosen.shape[0]).sum()


def weighted(x: Tensor) -> Tensor:
    rows = x[x.mean(2) > 0]  # an axis behind it
    share = rows.shape[0] / x.shape[0] + max(x.shape[0], rows.shape[0])
    return x * (2 / (1 + rows.shape[0])) + rows.sum() / rows.numel() + share


def of_none(x: Tensor) -> Tensor:
    return x[x > 1e9].mean()


def with_a_row(x: Tensor) -> Tensor:
    """As SAM embeds the points of a prompt, each by its label."""
    y, mask = x + 0, x.mean(-1) > 0
    y[mask] += torch.arange(6.0)[None]
    y[~mask] *= torch.arange(6.0)
    return y


REWRITTEN = [
    scaled,
    of_another,
    behind_an_axis,
    twice,
    read_before,
    centred,
    in_a_body,
    counted,
    weighted,
    of_none,
    with_a_row,
]


@pytest.mark.parametrize("function", REWRITTEN)
def test_a_read_by_a_mask_is_a_choice(function: Callable[[Tensor], Any]) -> None:
    program = with_chosen_elements(traced(function))
    parts = [part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    called = {str(node.target).split(".")[1] for part in parts for node in part.graph.nodes if "." in str(node.target)}
    assert not called & {"index", "masked_select", "index_put", "index_put_", "nonzero", "sym_constrain_range"}
    for x in (torch.randn(5, 3, 6) + 0.5, torch.randn(1, 3, 6) - 0.5):
        torch.testing.assert_close(program.module()(x), Function(function)(x), rtol=1e-5, atol=1e-6, equal_nan=True)


def normalised(x: Tensor) -> Tensor:
    y, mask = x.clone(), x > 0
    y[mask] = y[mask].softmax(-1)
    return y


def of_a_size(x: Tensor) -> Tensor:
    return torch.arange(x[x > 0].shape[0]).float().sum()


def given(x: Tensor) -> int:
    return x[x > 0].shape[0]


def other_masks(x: Tensor) -> Tensor:
    y = x.clone()
    y[y > 0] = y[y >= 0]
    return y


def changed_between(x: Tensor) -> Tensor:
    y = x.clone()
    other, chosen = y.view(-1, 18), y[y > 0]
    other.neg_()
    y[y < 0] = chosen
    return y


def by_places(x: Tensor) -> Tensor:
    return x[torch.tensor([1, 0])].exp()


def with_rows_of_the_batch(x: Tensor) -> Tensor:
    y, mask = x + 0, x.mean((0, 2)) > -9
    y[:, mask] += torch.arange(float(3))[:, None]
    return y


LEFT = [normalised, of_a_size, given, other_masks, changed_between, by_places, with_rows_of_the_batch]


@pytest.mark.parametrize("function", [*LEFT, lambda x: x[x > 0]])
def test_what_needs_the_elements_by_themselves_is_left_as_it_is(function: Callable[[Tensor], Any]) -> None:
    program = traced(function)
    code = program.graph_module.code
    assert with_chosen_elements(program) is program
    assert program.graph_module.code == code
