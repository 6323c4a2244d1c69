"""A text of a size, or a lookup by it, decides nothing that a trace does not have, or the module is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import ModuleRefused
from attn2trt.export.trace import tracing
from attn2trt.modules.own_module import from_module

TABLE = {"8": 2.0, "8x12": 3.0, "(8, 12)": 4.0}


class Calling(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.rows: dict[str, Tensor] = {}
        self.numbers: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def axes_of(function: Callable[[nn.Module, Tensor], Tensor], dynamic: str) -> Mapping[str, Axis]:
    target = from_module(Calling(function).eval(), torch.randn(2, 3, 12, 16), dynamic=dynamic)
    return tracing.export_program(target, target.build())[1]


def of_one(m: nn.Module, x: Tensor) -> Tensor:
    return x * TABLE.get(str(x.shape[2]), 1.0)


def of_the_traced_one(m: nn.Module, x: Tensor) -> Tensor:
    return x * {"12": 2.0}.get(f"{x.shape[2]}", 1.0)


def of_two(m: nn.Module, x: Tensor) -> Tensor:
    return x * TABLE.get(f"{x.shape[2]}x{x.shape[3]}", 1.0)


def of_a_tuple(m: nn.Module, x: Tensor) -> Tensor:
    return x * TABLE.get(repr(tuple(x.shape[2:])), 1.0)


def of_the_last_digit(m: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if str(x.shape[2]).endswith("0") else x


def in_a_branch(m: nn.Module, x: Tensor) -> Tensor:
    return x * TABLE.get(str(x.shape[3]), 1.0) if x.shape[2] > 16 else x * 1


@pytest.mark.parametrize("function", [of_one, of_the_traced_one, of_two, of_a_tuple, of_the_last_digit, in_a_branch])
def test_a_table_by_the_text_of_a_size_is_refused(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    with pytest.raises(ModuleRefused, match=r"nothing depends on a text of (height|width|height and width) at "):
        axes_of(function, "batch=1:2:4,height=4:12:20:4,width=8:16:24:4")


def cached(m: nn.Module, x: Tensor) -> Tensor:
    key = f"{x.shape[2]}"
    if key not in m.rows:
        m.rows[key] = torch.arange(x.shape[2]).view(-1, 1)
    return x + m.rows[key]


def in_windows(m: nn.Module, x: Tensor) -> Tensor:
    cached(m, x)
    return x.view(-1, 3, x.shape[2] // 4, 4, x.shape[3]).amax(3)


def ENSURE_IMAGE(is_true: bool, message: str) -> None:
    if not is_true:
        raise ValueError(message)


def read_by_people(m: nn.Module, x: Tensor) -> Tensor:
    torch._assert(
        x.shape[1] == 3,
        f"received {x.shape[2]}",
    )
    assert x.ndim == 4, f"received {x.shape}"
    ENSURE_IMAGE(x.ndim == 4, f"received {x.shape}")
    logging.getLogger(__name__).debug(f"received {x.shape[3]}")
    with torch.profiler.record_function(f"rows of {x.shape[2]}"):
        return x * 2


@pytest.mark.parametrize("function", [cached, in_windows, read_by_people])
def test_a_text_that_decides_nothing_narrows_nothing(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    dynamic = "batch=1:2:4,height=4:12:20:4,width=8:16:2400"
    assert axes_of(function, dynamic)["height"] == Axis(4, 12, 20, multiple=4)


def by_a_number(m: nn.Module, x: Tensor) -> Tensor:
    return x * {12: 2.0}.get(x.shape[2], 1.0)


def by_a_tuple(m: nn.Module, x: Tensor) -> Tensor:
    return x * {(8, 12): 2.0}.get((x.shape[2], x.shape[3] // 2), 1.0)


def in_a_set(m: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if x.shape[2] in {4, 8} else x


@pytest.mark.parametrize("function", [by_a_number, by_a_tuple, in_a_set])
def test_a_table_by_a_size_is_refused(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    with pytest.raises(ModuleRefused, match=r"on a key of (height|height and width) at .*; look nothing up by a"):
        axes_of(function, "batch=1:2:4,height=4:12:20:4,width=8:16:24:4")


KEPT: dict[object, Tensor] = {}


def kept_by_a_tuple(m: nn.Module, x: Tensor) -> Tensor:
    key = (x.shape[2], (x.shape[3], x.dtype))
    if key not in KEPT:
        KEPT[key] = torch.arange(x.shape[2]).view(-1, 1) + torch.arange(x.shape[3])
    return x + KEPT[key]


def kept_by_a_number(m: nn.Module, x: Tensor) -> Tensor:
    if x.shape[2] not in m.numbers:
        m.numbers[x.shape[2]] = torch.arange(x.shape[2]).view(-1, 1)
    return x + m.numbers[x.shape[2]]


@pytest.mark.parametrize("function", [kept_by_a_tuple, kept_by_a_number])
def test_a_table_that_is_computed_once_for_each_size(function: Callable[[nn.Module, Tensor], Tensor]) -> None:
    KEPT.clear()
    axes = axes_of(function, "batch=1:2:4,height=4:12:20:4,width=8:16:24:4")
    assert axes["height"] == Axis(4, 12, 20, multiple=4)
    assert all(type(size) is int for key in KEPT for size in (key[0], key[1][0]))  # type: ignore[index]


def test_more_sizes_than_are_run_are_refused() -> None:
    advice = r"at most 64 sizes, by a step as height=32:64:256:32, or leave one of the axes out of --dynamic$"
    with pytest.raises(ModuleRefused, match=advice):
        axes_of(cached, "height=4:12:400")
