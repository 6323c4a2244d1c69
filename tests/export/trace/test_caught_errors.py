"""An error that only a trace raises and the module catches decides nothing that was not run, or it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import ModuleRefused
from attn2trt.export.trace import tracing
from attn2trt.modules.own_module import from_module

TABLE = {14: 2.0}


class Calling(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def axes_of(function: Callable[[Tensor], Tensor], dynamic: str) -> Mapping[str, Axis]:
    target = from_module(Calling(function).eval(), torch.randn(2, 3, 12, 16), dynamic=dynamic)
    return tracing.export_program(target, target.build())[1]


def of_a_table(x: Tensor) -> Tensor:
    try:
        return x * TABLE[x.shape[2]]
    except Exception:
        return x * 1.0


def of_an_array(x: Tensor) -> Tensor:
    try:
        size = x.numpy().shape[2]
    except RuntimeError:
        size = 0
    return x * 2 if size == 14 else x * 1.0


@pytest.mark.parametrize(
    ("function", "hidden"),
    [
        (of_a_table, r"a key of height at .*caught_errors.py:.* look nothing up by a size"),
        (of_an_array, r"an error that tracing alone raises at .*caught_errors.py:.* by `if`"),
    ],
)
def test_what_hides_behind_an_error_of_the_trace_is_refused(function: Callable[[Tensor], Tensor], hidden: str) -> None:
    with pytest.raises(ModuleRefused, match=hidden):
        axes_of(function, "batch=1:2:4,height=8:12:40")
    assert axes_of(function, "batch=1:2:4")["batch"] == Axis(1, 2, 4)  # run at each size


def found_twice(x: Tensor) -> Tensor:
    with contextlib.suppress(AttributeError):
        return x.nothing  # type: ignore[attr-defined,no-any-return]
    return x * 2


def viewed_or_copied(x: Tensor) -> Tensor:
    turned = x.permute(0, 2, 3, 1)
    try:
        return turned.view(x.shape[0], -1)
    except RuntimeError:
        return turned.reshape(x.shape[0], -1)


@pytest.mark.parametrize("function", [found_twice, viewed_or_copied])
def test_an_error_without_a_trace_narrows_nothing(function: Callable[[Tensor], Tensor]) -> None:
    assert axes_of(function, "batch=1:2:4,height=8:12:40")["height"] == Axis(8, 12, 40)


def of_the_type(x: Tensor) -> Tensor:
    return x * 2 if type(x.shape[2]) is int and x.shape[2] == 14 else x * 1.0


def of_a_pattern(x: Tensor) -> Tensor:
    match x.shape[2]:
        case int(size) if size == 14:
            return x * 2
        case _:
            return x * 1.0


def of_the_tensors_type(x: Tensor) -> Tensor:
    return x * 2 if type(x) is torch.Tensor and x.shape[2] == 14 else x * 1.0


@pytest.mark.parametrize("function", [of_the_type, of_a_pattern, of_the_tensors_type])
def test_the_type_of_a_size_is_int_in_a_trace(function: Callable[[Tensor], Tensor]) -> None:
    assert 14 not in axes_of(function, "batch=1:2:4,height=8:12:40")["height"].sizes
