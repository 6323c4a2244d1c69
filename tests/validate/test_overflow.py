"""Modules that overflow in float16 are named in the order in which they do, and nothing overflows without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.validate.cases import Case
from attn2trt.validate.eager import Eager
from attn2trt.validate.half_precision import Half
from attn2trt.validate.overflow import Overflows, overflowing
from attn2trt.validate.sensitivity import LayerSensitivity


class Residual(nn.Module):
    """A branch that is added to its input; ``gain`` is how much louder it is."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.b.weight.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())  # type: ignore[no-any-return]


class Masked(nn.Module):
    """Minus infinity among its scores is meant."""

    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(x < 0, float("-inf")).softmax(1)


class Loud(nn.Module):
    """Its own operators overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1e5 * 1e-5


X = np.random.default_rng(0).standard_normal((2, 4, 5, 5)).astype(np.float32)
CASE = Case.of("one", {"x": X})


def network(*gains: float) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_var = torch.full((4,), 1e10)
    return nn.Sequential(*(Residual(gain) for gain in gains), norm)


class Loose(nn.Module):
    """A residual of the model's own forward, behind a convolution that is loud itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(1e6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body[0](x)
        return self.body[1](x + y * 10)  # type: ignore[no-any-return]


def found(module: nn.Module, half: Half) -> Overflows:
    single = Eager(module.eval(), (), 0, is_double=False)
    single.follow_modules()
    return overflowing(single, CASE, half)


@pytest.mark.parametrize(
    ("module", "paths"),
    [
        (network(1.0, 1.0), []),
        (network(1.0, 1e6), ["1.b", "1", "2"]),
        (network(1e6, 1.0), ["0.b", "0", "1.a", "1.b", "2"]),
        (nn.Sequential(Masked(), nn.Conv2d(4, 4, 1)), []),
        (nn.Sequential(Loud()), ["0"]),
    ],
)
def test_what_overflows_is_named_first_the_first(module: nn.Module, paths: list[str]) -> None:
    named = found(module, Half("fp16"))
    assert named == Overflows(tuple(paths))
    assert found(module, Half("bf16")) == Overflows()
    assert found(module, Half("fp16", kept_within=named.paths)) == Overflows()


def test_the_line_of_the_models_own_forward_is_named_behind_the_modules_before_it() -> None:
    loud, loose = found(Loud(), Half("fp16")), found(Loose(), Half("fp16"))
    assert loud.paths == ()
    assert loud.own.startswith("at ")
    assert loud.own.endswith("`return x * 1e5 * 1e-5`")
    assert loose.paths == ("body.0.b", "body.0")
    assert loose.own.endswith("`return self.body[1](x + y * 10)  # type: ignore[no-any-return]`")


def test_of_several_cases_the_smallest_comes_first() -> None:
    module = network(1.0, 1e6)
    losses = LayerSensitivity(module.eval(), [CASE, Case.of("two", {"x": X[:1]}, kind="saturated")], (), 0)
    assert losses.overflowing(Half("fp16"), ["one", "two"]) == Overflows(("1.b", "1", "2"))
    assert losses.overflowing(Half("fp16"), []) == Overflows()
