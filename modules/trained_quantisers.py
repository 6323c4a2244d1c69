"""Modules that quantise while a network is trained, replaced by what they compute once that is over.

They branch on buffers, or round in Python on a CPU, so that no trace and no float64 run gets through them. Known by
the names of their classes, without importing what defines them: FakeQuantize of torch.ao.quantization and of torchao,
with those derived from it, and TensorQuantizer of NVIDIA's modelopt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ModuleRefused

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .fixed_quantiser import FixedQuantiser

# Numbers that a replacement is tried on, for each step of the quantiser.
TRIED = 512
_ENDS = "model.apply(torch.ao.quantization.disable_observer)"


def fix_quantisers(module: nn.Module) -> nn.Module:
    """Return ``module`` in eval mode, each quantiser in it replaced by its levels as they are now.

    Raises ModuleRefused for one that still changes them, that has none so far, or whose levels are not those of whole
    numbers in at most 8 bits.
    """
    for path, part in list(module.named_modules(remove_duplicate=False)):
        fix = next((_KINDS[kind.__name__] for kind in type(part).__mro__ if kind.__name__ in _KINDS), None)
        if fix is None:
            continue
        fixed = fix(part, path or "the module itself")
        if not path:
            return fixed
        parent, _, name = path.rpartition(".")
        module.get_submodule(parent)._modules[name] = fixed
    return module


def _of_torch(part: Any, path: str) -> nn.Module:
    """The levels of a FakeQuantize."""
    import torch
    from torch import nn

    is_learnt = hasattr(part, "use_grad_scaling")
    if int((part.static_enabled if is_learnt else part.observer_enabled)[0]):
        ends = f"{path}.toggle_observer_update(False)" if is_learnt else _ENDS
        raise _watching(part, path, ends)
    if not int(part.fake_quant_enabled[0]):
        return nn.Identity()
    observer = getattr(part, "activation_post_process", part)
    low, high = (int(getattr(observer, name, getattr(part, name))) for name in ("quant_min", "quant_max"))
    is_per_channel = part.qscheme in (torch.per_channel_symmetric, torch.per_channel_affine)
    zero = part.zero_point.detach()
    if is_learnt:  # its zero is a float, and none if it is symmetric
        is_symmetric = part.qscheme in (torch.per_channel_symmetric, torch.per_tensor_symmetric)
        zero = torch.zeros_like(zero) if is_symmetric else zero.round().clamp(low, high)
    return _checked(part, _fixed(part.scale.detach(), zero, low, high, part.ch_axis if is_per_channel else None), path)


def _of_modelopt(part: Any, path: str) -> nn.Module:
    """The levels of a TensorQuantizer."""
    import torch
    from torch import nn

    if part._disabled or not part._if_quant:
        return nn.Identity()
    if part._if_calib:
        raise _watching(part, path, f"{path}.disable_calib()")
    if not isinstance(part._num_bits, int) or part._dynamic or part.block_sizes or part.pre_quant_scale is not None:
        raise ModuleRefused(
            f"received {path}, a {type(part).__name__} of {part._num_bits} bits; expected whole numbers with one "
            "range, or one for each channel, that is known beforehand; deploy the ONNX file that modelopt writes"
        )
    if not hasattr(part, "_amax"):
        raise ModuleRefused(
            f"received {path}, a {type(part).__name__} without a range; expected a calibrated one; calibrate the model"
        )
    amax = part._amax.detach().float()
    high = 2 ** (part._num_bits - 1 + int(part._unsigned)) - 1
    low = 0 if part._unsigned else -high - int(not part._narrow_range)
    axis = next((place for place, size in enumerate(amax.shape) if size > 1), None) if amax.numel() > 1 else None
    step = torch.where(amax <= 2.0**-24, 1.0, amax / high).reshape(-1)
    fixed = _fixed(step, torch.zeros(step.shape, dtype=torch.int32), low, high, axis)
    return _checked(part, fixed, path, rank=amax.dim() or 1)


def _watching(part: nn.Module, path: str, call: str) -> ModuleRefused:
    return ModuleRefused(
        f"received {path}, a {type(part).__name__} that finds its levels anew whenever it runs; expected fixed ones; "
        f"call {call} once it has seen the data"
    )


_KINDS: dict[str, Callable[[Any, str], nn.Module]] = {"FakeQuantizeBase": _of_torch, "TensorQuantizer": _of_modelopt}


def _fixed(step: Tensor, zero: Tensor, low: int, high: int, axis: int | None) -> FixedQuantiser:
    from .fixed_quantiser import FixedQuantiser

    return FixedQuantiser(step, zero, low, high, axis)


def _checked(part: nn.Module, fixed: FixedQuantiser, path: str, rank: int = 4) -> nn.Module:
    """Return what replaces a quantiser. Raises ModuleRefused if it does not compute the same."""
    import torch

    x = _numbers_of(fixed, rank)
    with torch.no_grad():
        expected, found = part(x.clone()), fixed(x)
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-5, atol=0.0):
        raise ModuleRefused(
            f"received {path}, a {type(part).__name__} that does not quantise as PyTorch's fake_quantize does; "
            "expected one that does; call torch.fake_quantize_per_tensor_affine there, or deploy the ONNX file of its "
            "own tool"
        )
    return fixed


def _numbers_of(fixed: FixedQuantiser, rank: int) -> Tensor:
    """Return numbers on all levels and beyond, none near the middle between two, in a tensor of this rank."""
    import torch

    draw = torch.Generator().manual_seed(0)
    count = fixed.step.numel()
    levels = torch.randint(fixed.low - 9, fixed.high + 10, (count, TRIED), generator=draw)
    within = 0.8 * torch.rand((count, TRIED), generator=draw) - 0.4
    x: Tensor = (levels - fixed.zero[:, None] + within) * fixed.step[:, None]
    if fixed.axis is None:
        return x
    return x.reshape(count, TRIED, *[1] * (rank - 2)).transpose(0, fixed.axis)
