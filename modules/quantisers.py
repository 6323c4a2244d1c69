"""Quantisers in PyTorch's operators: fake quantisation as in training, and the pairs that torchao converts it to.

A quantiser puts a number on the nearest of evenly spaced levels. Level ``q`` stands for ``(q - zero) * step``, and
goes from ``low`` to ``high``. Steps are float32, whatever type they come in: PyTorch's kernels compute with that, and a
graph has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# What a call gives: numbers on the levels, those and where they lay within, levels as integers, or numbers of levels.
Gives = Literal["numbers", "numbers and mask", "levels", "dequantised"]
_GIVES: dict[str, Gives] = {
    "fake_quantize_per_tensor_affine": "numbers",
    "fake_quantize_per_channel_affine": "numbers",
    "_fake_quantize_learnable_per_tensor_affine": "numbers",
    "_fake_quantize_learnable_per_channel_affine": "numbers",
    "fused_moving_avg_obs_fake_quant": "numbers",
    "fake_quantize_per_tensor_affine_cachemask": "numbers and mask",
    "fake_quantize_per_channel_affine_cachemask": "numbers and mask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": "numbers and mask",
    "_fused_moving_avg_obs_fq_helper": "numbers and mask",
    "quantize_per_tensor": "levels",
    "quantize_per_channel": "levels",
    "dequantize_per_tensor": "dequantised",
    "dequantize_per_channel": "dequantised",
    "fake_quantise": "numbers",  # what a trace has in place of the first four
}
_NAMESPACES = frozenset({"aten", "quantized_decomposed", "attn2trt"})
# Tensors of one number that turn a part of an operator on.
_QUANTISES, _OBSERVES = ("fake_quant_enabled", "fake_quant_on"), ("observer_on",)


@dataclass(frozen=True)
class Quantiser:
    """One call of a quantiser. Numbers may be numbers, tensors or nodes of a trace, as the call has them.

    Attributes:
        gives: What the call returns.
        x: What it quantises.
        step: The step between two levels, or one for each channel.
        zero: The level that stands for 0.
        low: The lowest level.
        high: The highest level.
        axis: The axis of the channels, each with its own step; None if there is one step.
        switches: Must be on for the call to quantise.
        observers: Must be off for the call to change nothing.
        dtype: The type of the levels, if the call names it.
        is_learnable: Its step and zero are parameters that are trained.
    """

    gives: Gives
    x: Any
    step: Any
    zero: Any
    low: Any
    high: Any
    axis: int | None
    switches: tuple[Any, ...] = ()
    observers: tuple[Any, ...] = ()
    dtype: Any = None
    is_learnable: bool = False

    @property
    def is_pass(self) -> bool:
        """True if the call leaves its input as it is, or changes what it quantises by."""
        return not all(map(bool, self.switches)) or any(map(bool, self.observers))

    def grid(self, dtype: Any) -> tuple[Any, Any]:
        """Return step and zero as tensors of a float type that fit the input."""
        import torch

        step = torch.as_tensor(self.step).detach().to(torch.float32).to(dtype)
        zero = torch.as_tensor(0 if self.zero is None else self.zero).detach()
        if self.is_learnable:
            zero = zero.round().clamp(self.low, self.high)
        shape = [1] * self.x.dim()
        if self.axis is not None and shape:
            shape[self.axis] = -1
        return step.reshape(shape), zero.to(dtype).reshape(shape)

    def levels(self, *, rounds: bool = True) -> Any:
        """Return the level of each number in the type of the input; unless it ``rounds``, with its fraction."""
        step, zero = self.grid(self.x.dtype)
        fine = self.x / step
        return ((fine.round() if rounds else fine) + zero).clamp(self.low, self.high)

    def result(self, levels: Any) -> Any:
        """Return what the call gives if these are the levels of its input."""
        if self.gives == "levels":
            return levels.to(self.dtype)
        step, zero = self.grid(levels.dtype)
        numbers = (levels - zero) * step
        return (numbers, numbers.isfinite()) if self.gives == "numbers and mask" else numbers

    def fractions(self) -> Any:
        """Return what the call gives if numbers may lie between the levels."""
        if self.gives == "dequantised":
            return self.result(self.x if self.x.is_floating_point() else self.x.float())
        levels = self.levels(rounds=False)
        return levels if self.gives == "levels" else self.result(levels)


def quantiser(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Quantiser | None:
    """Return the quantiser that a call of an operator is; None for any other call."""
    operator = _name(function)
    gives = _GIVES.get(operator)
    if gives is None:
        return None
    names = [argument.name for argument in function._schema.arguments]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)

    def first(*names: str) -> Any:
        return next((given[name] for name in names if name in given), None)

    is_per_row = "ch_axis" not in given or bool(given.get("per_row_fake_quant", False))
    step, zero = first("scale", "scales", "step"), first("zero_point", "zero_points")
    if "running_min" in given:
        step, zero = _of_range(given, is_per_row=is_per_row)
    return Quantiser(
        gives,
        x=first("self", "input", "x"),
        step=step,
        zero=zero,
        low=first("quant_min", "low"),
        high=first("quant_max", "high"),
        axis=first("axis", "ch_axis") if is_per_row else None,
        switches=tuple(given[name] for name in _QUANTISES if name in given),
        observers=tuple(given[name] for name in _OBSERVES if name in given),
        dtype=given.get("dtype"),
        is_learnable="_learnable_" in operator,
    )


def quantises(function: Any) -> bool:
    """Return True if calls of this operator are quantisers."""
    return bool(_name(function))


def _name(function: Any) -> str:
    """Return the name of an operator that quantises; "" for anything else."""
    packet = getattr(function, "overloadpacket", None)
    name = "" if packet is None else str(packet.__name__)
    return name if name in _GIVES and function.namespace in _NAMESPACES else ""


def _of_range(given: Mapping[str, Any], *, is_per_row: bool) -> tuple[Any, Any]:
    """Return the step and the zero that a kernel which watches takes from the range that it keeps, each time."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    names = ("averaging_const", "quant_min", "quant_max", "ch_axis", "per_row_fake_quant", "symmetric_quant")
    options = {name: given[name] for name in names if name in given}
    with _disable_current_modes(), torch.no_grad():
        low, high, step = (given[name].detach().float().clone() for name in ("running_min", "running_max", "scale"))
        zero = given["zero_point"].detach().to(torch.int32).clone()
        axis = int(given["ch_axis"])
        sizes = [low.numel() if place == axis else 1 for place in range(axis + 1)]
        x = torch.zeros([*sizes, 1] if is_per_row else [1])  # a row of each channel
        off, on = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
        torch.ops.aten.fused_moving_avg_obs_fake_quant(x, off, on, low, high, step, zero, **options)
    return step, zero


def quantised(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a call gives in the float type of its input, which the kernels need not have; None if it is no
    quantiser, or one that is off."""
    import torch

    found = quantiser(function, args, kwargs)
    if found is None or found.is_pass:
        return None
    if found.gives == "dequantised":
        return found.result(found.x.to(torch.float64))
    return found.result(found.levels())
