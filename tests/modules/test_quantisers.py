"""Quantisers of PyTorch in any float type: the kernels' numbers in float32, and exact ones in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines quantized_decomposed
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attn2trt.modules.quantisers import Quantiser, quantised, quantiser

STEPS, ZEROS = torch.rand(6, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.01, torch.arange(6) - 3
ON, OFF = torch.tensor([1]), torch.tensor([0])
decomposed = torch.ops.quantized_decomposed


def fused(x: Tensor, observes: Tensor, quantises: Tensor) -> Tensor:
    ends = torch.tensor(0.0), torch.tensor(1.0)
    step, zero = torch.tensor([0.04]), torch.tensor([5], dtype=torch.int32)
    return torch.fused_moving_avg_obs_fake_quant(
        x, observes, quantises, *ends, step, zero, 0.01, -128, 127, -1, False, False
    )


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "per tensor": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.037, 3, -128, 127),
    "a tensor's step": lambda x: torch.fake_quantize_per_tensor_affine(x, STEPS[:1], ZEROS[:1].int(), 0, 100),
    "per channel": lambda x: torch.fake_quantize_per_channel_affine(x, STEPS, ZEROS.int(), 1, -127, 127),
    "learnt": lambda x: torch._fake_quantize_learnable_per_tensor_affine(
        x, STEPS[:1], torch.tensor([-2.5]), -128, 127, 1.0
    ),
    "learnt per channel": lambda x: torch._fake_quantize_learnable_per_channel_affine(
        x, STEPS, ZEROS * 0.7, 1, -128, 127, 1.0
    ),
    "fused": lambda x: fused(x, OFF, ON),
    "fused per channel": lambda x: torch.fused_moving_avg_obs_fake_quant(
        x, OFF, ON, -STEPS * 90, STEPS * 99, torch.ones(6), torch.zeros(6).int(), 0.01, -128, 127, 1, True, True
    ),
    "pair": lambda x: decomposed.dequantize_per_tensor(
        decomposed.quantize_per_tensor(x, 0.037, 3, -128, 127, torch.int8), 0.037, 3, -128, 127, torch.int8
    ),
    "pair per channel": lambda x: decomposed.dequantize_per_channel(
        decomposed.quantize_per_channel(x, STEPS, ZEROS, 1, 0, 255, torch.uint8), STEPS, ZEROS, 1, 0, 255, torch.uint8
    ),
}


class Replaced(TorchDispatchMode):
    """Runs quantisers by their definition, and counts them."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = quantised(func, args, kwargs or {})
        self.count += found is not None
        return func(*args, **(kwargs or {})) if found is None else found


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("name", CALLS)
def test_a_definition_gives_what_the_kernel_gives(name: str, x: Tensor) -> None:
    expected = CALLS[name](x)
    with Replaced() as mode, torch.no_grad():
        found = CALLS[name](x)
    assert mode.count in (1, 2)
    assert torch.allclose(found.float(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["per tensor", "learnt per channel", "pair"])
def test_float64_has_the_levels_of_float32s_steps(name: str, x: Tensor) -> None:
    with Replaced(), torch.no_grad():
        found = CALLS[name](x.double())
    assert found.dtype == torch.float64
    assert torch.allclose(found.float(), CALLS[name](x), rtol=1e-6, atol=0)
    step = torch.tensor(0.037, dtype=torch.float32).double()
    if name == "per tensor":
        assert torch.equal((found / step).round() * step, found)


def test_a_quantiser_that_is_off_or_watches_is_left_to_its_kernel(x: Tensor) -> None:
    for observes, quantises in ((OFF, OFF), (ON, ON)):
        with Replaced() as mode, torch.no_grad():
            fused(x, observes, quantises)
        assert not mode.count


def test_other_operators_are_no_quantisers(x: Tensor) -> None:
    assert quantiser(torch.ops.aten.mul.Tensor, (x, 2.0), {}) is None
    assert quantiser(len, (x,), {}) is None


def test_fractions_lie_between_the_levels_and_within_their_ends(x: Tensor) -> None:
    one = quantiser(torch.ops.aten.fake_quantize_per_tensor_affine.default, (x, 0.5, 0, -4, 3), {})
    assert isinstance(one, Quantiser)
    assert torch.equal(one.fractions(), x.clamp(-2, 1.5))
