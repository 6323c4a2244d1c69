"""Quantisers of training as modules: replaced by their levels, or refused in one line."""

from __future__ import annotations

import copy

import pytest
import torch
from quantised_nets import SHAPE, trained
from torch import Tensor, nn

from attn2trt.errors import ModuleRefused
from attn2trt.modules.copying import copy_module
from attn2trt.modules.fixed_quantiser import FixedQuantiser
from attn2trt.modules.trained_quantisers import fix_quantisers


class TensorQuantizer(nn.Module):
    """What modelopt's class of this name is for whole numbers."""

    def __init__(self, amax: Tensor | None, **other: object) -> None:
        super().__init__()
        self._disabled = self._dynamic = self._unsigned = self._narrow_range = self._if_calib = False
        self._if_quant, self._num_bits = True, 8
        self.block_sizes = self.pre_quant_scale = None
        if amax is not None:
            self.register_buffer("_amax", amax)
        self.more = 0.0
        for name, value in other.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        scale = (2.0 ** (self._num_bits - 1 + self._unsigned) - 1) / self._amax
        low = 0 if self._unsigned else -(2 ** (self._num_bits - 1)) + self._narrow_range
        return (x * scale).round().clamp(low, 2 ** (self._num_bits - 1 + self._unsigned) - 1) / scale + self.more


def fixed(part: nn.Module) -> nn.Module:
    return fix_quantisers(nn.Sequential(part))[0]  # type: ignore[index]


def test_a_trained_network_computes_the_same_without_its_observers() -> None:
    net = trained()
    found = fix_quantisers(copy_module(net))
    x = torch.randn(SHAPE)
    assert torch.equal(found(x), net(x))
    kinds = [part for part in found.modules() if isinstance(part, FixedQuantiser)]
    assert len(kinds) == 5
    assert any("FakeQuantize" in type(part).__name__ for part in net.modules())  # the caller's is as it was


def test_a_network_that_still_watches_is_refused() -> None:
    with pytest.raises(ModuleRefused, match=r"received 0\.activation_post_process, a FakeQuantize that finds .* anew"):
        fix_quantisers(trained(watches=True))


def test_one_that_is_off_changes_nothing() -> None:
    net = trained()
    net.apply(torch.ao.quantization.disable_fake_quant)
    assert not [part for part in fix_quantisers(net).modules() if isinstance(part, FixedQuantiser)]
    assert isinstance(fixed(TensorQuantizer(None, _disabled=True)), nn.Identity)


def test_learnt_levels_are_those_of_whole_numbers() -> None:
    learnable = pytest.importorskip("torch.ao.quantization._learnable_fake_quantize")._LearnableFakeQuantize
    observer = torch.ao.quantization.MovingAverageMinMaxObserver
    part = learnable(observer=observer, quant_min=0, quant_max=255, dtype=torch.quint8)
    part.enable_param_learning()
    part.scale.data.fill_(0.02)
    part.zero_point.data.fill_(2.6)
    x = torch.randn(4, 5)
    assert torch.equal(fixed(part)(x), part(x))
    part.toggle_observer_update(True)
    with pytest.raises(ModuleRefused, match=r"call 0\.toggle_observer_update\(False\)"):
        fixed(part)


@pytest.mark.parametrize("amax", [torch.tensor(2.5), torch.rand(6, 1, 1) + 0.1, torch.rand(6, 1) + 0.1])
@pytest.mark.parametrize("kind", [{}, {"_narrow_range": True}, {"_unsigned": True}, {"_num_bits": 4}])
def test_a_quantiser_of_modelopt_keeps_its_levels(amax: Tensor, kind: dict[str, object]) -> None:
    part = TensorQuantizer(amax, **kind)
    shape = (6, 7, 3)[: max(amax.dim(), 2)] if amax.dim() else (4, 6)
    x = torch.randn(shape)
    assert torch.allclose(fixed(copy.deepcopy(part))(x), part(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ({"_num_bits": (4, 3)}, r"of \(4, 3\) bits"),
        ({"_dynamic": True}, "known beforehand"),
        ({"_if_calib": True}, r"call 0\.disable_calib\(\)"),
        ({"more": 0.1}, "does not quantise as PyTorch's"),
    ],
)
def test_a_quantiser_of_another_kind_is_refused(kind: dict[str, object], words: str) -> None:
    with pytest.raises(ModuleRefused, match=f"received 0, a TensorQuantizer .*{words}"):
        fixed(TensorQuantizer(torch.tensor(2.5), **kind))


def test_one_without_a_range_is_refused() -> None:
    with pytest.raises(ModuleRefused, match="without a range"):
        fixed(TensorQuantizer(None))
