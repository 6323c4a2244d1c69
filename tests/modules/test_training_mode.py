"""A module that came in training mode trains on afterwards, part by part, whether or not it was deployed."""

from __future__ import annotations

import pytest
from torch import nn

from attn2trt.modules.training_mode import keeps_training_mode


def network() -> nn.Module:
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(4)).train()
    module[1].eval()
    return module


@keeps_training_mode
def evaluate(target: nn.Module | str, *, fail: bool = False) -> int:
    if isinstance(target, nn.Module):
        target.eval()
    if fail:
        raise ValueError("refused")
    return 3


def test_every_part_is_put_back() -> None:
    module = network()
    assert evaluate(module) == evaluate(target=module) == evaluate("se") == 3
    assert [part.training for part in module.modules()] == [True, True, False]


def test_it_is_put_back_after_an_error_too() -> None:
    module = network()
    with pytest.raises(ValueError, match="refused"):
        evaluate(module, fail=True)
    assert [part.training for part in module.modules()] == [True, True, False]
