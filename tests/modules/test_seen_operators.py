"""A mode sees what the functions of torch.cond and loops compute, and changes nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._higher_order_ops import scan, while_loop

from attn2trt.modules.seen_operators import OperatorMode, uncompiled


class Seen(OperatorMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def branches(x: Tensor) -> Tensor:
    found: Tensor = torch.cond(x.sum() > 0, torch.sin, lambda x: x.cos(), (x,))
    return found


def turns(x: Tensor) -> Tensor:
    found: Tensor = while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, x.sin()), (torch.tensor(0), x))[1]
    return found


def steps(x: Tensor) -> Tensor:
    found: Tensor = scan(lambda sum, x: (sum + x, sum.sin()), torch.zeros(4), x)[1]
    return found


@pytest.mark.parametrize(("function", "count"), [(branches, 1), (turns, 2), (steps, 3)])
def test_what_bodies_compute_is_seen(function: Callable[[Tensor], Tensor], count: int) -> None:
    x = torch.ones(3, 4)
    ways: list[bool] = []
    expected = function(x)
    with torch.no_grad(), uncompiled(ways.append), Seen() as seen:
        found = function(x)
    assert torch.equal(found, expected)
    assert seen.names.count("sin") == count
    assert ways == ([True] if function is branches else [])
