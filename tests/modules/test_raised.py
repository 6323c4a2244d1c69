"""What a user is advised to change if his module raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from attn2trt.modules.raised import raised, remedy


def advice(run: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # of any type
        run()
    return remedy(caught.value, "nothing better")


def test_a_module_without_a_forward_needs_one() -> None:
    for module in (nn.Module(), nn.ModuleList([nn.ReLU()])):
        assert "has no forward: write one, or call the modules in it" in advice(lambda module=module: module(1))


def test_a_batch_that_is_written_into_a_view_is_taken_from_the_input() -> None:
    assert "take it from x.shape" in advice(lambda: torch.zeros(2, 8).view(1, 8))


def test_a_suppression_of_overlaps_is_left_to_the_program_behind_the_engine() -> None:
    found: dict[str, Any] = {}
    exec(compile("def nms(): raise ValueError('Data-dependent')", "/lib/torchvision/ops/boxes.py", "exec"), found)
    assert advice(found["nms"]).startswith("a suppression of overlaps gives as many boxes as the values say")


def test_of_an_unknown_reason_nothing_is_made_up() -> None:
    assert advice(lambda: torch.zeros(2) + torch.zeros(3)) == "nothing better"


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Sized(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.topk(int((x > 0).sum())).values


class Asserting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(x).all(), "received NaN"
        return x * 2


def test_a_check_of_values_is_taken_out_or_skipped_in_a_trace() -> None:
    assert "skip it if torch.compiler.is_exporting()" in advice(
        lambda: torch.export.export(Asserting(), (torch.ones(4),))
    )


@pytest.mark.parametrize(
    ("module", "words", "line"),
    [(Branching(), "a branch, a loop or a check", "x if x.sum()"), (Sized(), "a number of Python", "x.topk(int(")],
)
def test_what_depends_on_values_is_said_in_words_with_the_line(module: nn.Module, words: str, line: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # of torch's own type
        torch.export.export(module, (torch.ones(4),))
    said = raised(caught.value)
    assert said.startswith(words)
    assert "depends on the values of a tensor at " in said
    assert f"`return {line}" in said
    assert "let a loop run a fixed number of times" in remedy(caught.value, "nothing better")
