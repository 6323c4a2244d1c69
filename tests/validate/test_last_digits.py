"""Last digits move if a kernel's are its own, and in no other place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from attn2trt.validate.last_digits import OWN_DIGITS, LastDigits, last_digits_mode
from attn2trt.validate.plain_kernels import plain_kernels_mode

CONVOLUTION = torch.ops.aten.convolution.default


def moved(x: Tensor, draw: int = 0) -> Tensor:
    return LastDigits(draw).move(CONVOLUTION, x.clone(memory_format=torch.preserve_format))


@pytest.mark.parametrize("shape", [(1000, 30), (1 << 20, 3), (7,)], ids=str)
def test_about_two_in_three_move_in_their_last_place(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    steps = (moved(x) - x).numpy() / np.spacing(np.abs(x.numpy()))
    assert np.abs(steps).max() <= 2
    if x.numel() > 1000:
        assert 0.6 < (steps != 0).mean() < 0.7
        assert abs(steps.mean()) < 0.02


def test_a_draw_repeats_and_another_differs() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(moved(x), moved(x))
    assert not torch.equal(moved(x), moved(x, draw=1))


def test_values_scattered_in_memory_move_in_place() -> None:
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    found = moved(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(found, x)
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize(
    "x",
    [torch.arange(500.0), torch.ones(3), torch.full((9,), 0.1, dtype=torch.float64), torch.arange(4)],
    ids=["counts", "ones", "float64", "indices"],
)
def test_whole_numbers_and_other_kinds_stay(x: Tensor) -> None:
    assert torch.equal(moved(x), x)


def test_what_ieee_754_fixes_stays() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    positions = (torch.arange(7) + 0.5) * (16 / 7)
    with last_digits_mode():
        again = [x * 3, x / 3, x + 1, x.abs().sqrt(), x.relu(), ((torch.arange(7) + 0.5) * (16 / 7)).floor()]
    for found, expected in zip(again, [x * 3, x / 3, x + 1, x.abs().sqrt(), x.relu(), positions.floor()], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("function", "low"), [(torch.sigmoid, 0), (torch.tanh, -1), (torch.erf, -1), (torch.sin, -1)])
def test_no_kernel_leaves_its_range(function: Callable[[Tensor], Tensor], low: float) -> None:
    x = torch.cat([torch.linspace(-40, 40, 3000), torch.full((3000,), torch.pi / 2)])
    for mode in (last_digits_mode, plain_kernels_mode):
        with mode():
            found = function(x)
        assert not torch.equal(found, function(x))
        assert low <= found.min()
        assert found.max() <= 1


def test_every_operator_that_moves_exists() -> None:
    assert [name for name in OWN_DIGITS if not hasattr(torch.ops.aten, name)] == []
