"""Quantisers of a program as ONNX's QuantizeLinear and DequantizeLinear, their steps and levels constants.

torch.onnx knows no fake quantisation, and of the pairs that torchao writes it leaves out where their levels end. The
quantiser of a weight stays in front of it, as in quantised graphs of ours (passes/quantize.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18 as op
from torch import Tensor
from torch.fx import Node

from ....errors import ModuleRefused
from ....modules.quantisers import Quantiser, quantiser, quantises
from ....modules.user_line import line_of, traced_frames
from ...node_line import at
from ..fold_weights import Constants, put_constant
from .calls import Arguments

# Types of levels with their ends. The first that holds them is taken: TensorRT reads no unsigned ones.
_TYPES = {torch.int8: (-128, 127), torch.uint8: (0, 255)}

_LIBRARY = torch.library.Library("attn2trt", "FRAGMENT")  # type: ignore[no-untyped-call]
_GRID = "float[] step, int[] zero, int low, int high, int? axis, bool signed"
for _schema in (
    "fake_quantise(Tensor x, Tensor step, Tensor zero_point, int low, int high, int? axis)",
    f"quantise(Tensor x, {_GRID}, bool clips)",
    f"dequantise(Tensor x, {_GRID})",
):
    _LIBRARY.define(f"{_schema} -> Tensor")  # type: ignore[no-untyped-call]
_OPERATORS = torch.ops.attn2trt


def _meta(x: Tensor, step: Tensor, zero_point: Tensor, low: int, high: int, axis: int | None) -> Tensor:
    return torch.empty_like(x)


def _fake(x: Tensor, step: Tensor, zero_point: Tensor, low: int, high: int, axis: int | None) -> Tensor:
    found = quantiser(_OPERATORS.fake_quantise.default, (x, step, zero_point, low, high, axis), {})
    assert found is not None
    return found.result(found.levels())  # type: ignore[no-any-return]


torch.library.impl(_LIBRARY, "fake_quantise", "CompositeExplicitAutograd")(_fake)
torch.library.register_fake("attn2trt::fake_quantise", _meta, lib=_LIBRARY)


def _meta_of_levels(x: Tensor, *grid: Any) -> Tensor:
    signed = grid[5]
    return torch.empty_like(x, dtype=torch.int8 if signed else torch.uint8)


def _meta_of_numbers(x: Tensor, *grid: Any) -> Tensor:
    return torch.empty_like(x, dtype=torch.float32)


# these are never run: a graph is what they are for
torch.library.register_fake("attn2trt::quantise", _meta_of_levels, lib=_LIBRARY)
torch.library.register_fake("attn2trt::dequantise", _meta_of_numbers, lib=_LIBRARY)


def _traced(call: Arguments) -> Tensor:
    """A fake quantisation as one operator, which PyTorch's cannot be traced as."""
    x, low, high = call["input"], int(call["quant_min"]), int(call["quant_max"])
    step, zero = (_tensor(call[name], x) for name in ("scale", "zero_point"))
    if "grad_factor" in call:  # learnt: the zero is a float
        zero = zero.round().clamp(low, high)
    return _OPERATORS.fake_quantise(x, step, zero, low, high, call.get("axis"))  # type: ignore[no-any-return]


def _tensor(value: Any, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((1,), value, device=like.device)


_PER_TENSOR = ("input", "scale", "zero_point", "quant_min", "quant_max", "grad_factor")
_PER_CHANNEL = ("input", "scale", "zero_point", "axis", "quant_min", "quant_max", "grad_factor")
REWRITES: dict[Any, Any] = {
    torch.fake_quantize_per_tensor_affine: (_PER_TENSOR, _traced),
    torch.fake_quantize_per_channel_affine: (_PER_CHANNEL, _traced),
    torch._fake_quantize_learnable_per_tensor_affine: (_PER_TENSOR, _traced),
    torch._fake_quantize_learnable_per_channel_affine: (_PER_CHANNEL, _traced),
}


def write_quantisers(program: torch.export.ExportedProgram) -> None:
    """Put an operator with a translation in ``TRANSLATIONS`` in the place of every quantiser, in place.

    Raises ModuleRefused for one whose steps are computed from the input, or whose levels do not fit into 8 bits.
    """
    constants = Constants(program)
    is_changed = False
    for node in list(program.graph.nodes):  # one after the other: each reads what was written for those before it
        if quantises(node.target):
            _write(program, node, _known(node, constants), constants)
            is_changed = True
    if is_changed:
        program.graph_module.recompile()


def _known(node: Node, constants: Constants) -> Quantiser:
    """Return the quantiser that a node is, with constants in place of the nodes that give its levels."""

    def known(value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        if value not in constants:
            raise _refused(node, "computes its levels from the input", "constants; calibrate them, and keep buffers")
        return constants.value(value)

    x, *rest = node.args
    found = quantiser(node.target, (x, *map(known, rest)), {name: known(one) for name, one in node.kwargs.items()})
    assert found is not None
    return found


def _refused(node: Node, what: str, expected: str) -> ModuleRefused:
    return ModuleRefused(f"a quantiser {what}{at(line_of(traced_frames(node)))}; expected {expected}")


def _write(program: torch.export.ExportedProgram, node: Node, found: Quantiser, constants: Constants) -> None:
    """Write one quantiser in place of its node."""
    if any(map(bool, found.observers)):
        raise _refused(
            node,
            "finds its levels anew whenever it runs",
            "fixed ones; model.apply(torch.ao.quantization.disable_observer) ends that",
        )
    if not all(map(bool, found.switches)):
        _put(program, node, found, found.x)
        return
    grid = _Grid.of(found, node)
    if found.gives == "levels":
        _put(program, node, found, grid.quantise(program, node, found.x, constants))
    elif found.gives == "dequantised" and found.x not in constants:
        _put(program, node, found, grid.dequantise(program, node, found.x))
    else:
        x = found.x
        if found.gives == "dequantised":  # a weight of 8 bits
            x, node = _float_weight(program, node, constants)
        levels = grid.quantise(program, node, x, constants)
        _put(program, node, found, grid.dequantise(program, node, levels))


def _float_weight(program: torch.export.ExportedProgram, node: Node, constants: Constants) -> tuple[Node, Node]:
    """Return the numbers that a weight of 8 bits stands for, as a constant, and a node that stands for them."""
    with program.graph.inserting_after(node):
        stand = program.graph.call_function(torch.ops.aten.alias.default, (node,))
    stand.meta = dict(node.meta)
    node.replace_all_uses_with(stand, delete_user_cb=lambda user: user is not stand)
    constant = put_constant(program, node, constants.value(node))
    program.graph.erase_node(node)
    constants.add(constant, program.constants[str(constant.target)])
    return constant, stand


def _put(program: torch.export.ExportedProgram, node: Node, found: Quantiser, new: Node) -> None:
    """Have everything read ``new`` in place of a quantiser's node, and drop that."""
    if found.gives == "numbers and mask":
        for user in list(node.users):
            if user.args[1] == 0:
                user.replace_all_uses_with(new)
            program.graph.erase_node(user)
    else:
        node.replace_all_uses_with(new)
    program.graph.erase_node(node)


@dataclass(frozen=True)
class _Grid:
    """The levels of a quantiser as arguments of its operators."""

    step: list[float]
    zero: list[int]
    low: int
    high: int
    axis: int | None
    dtype: torch.dtype

    @classmethod
    def of(cls, found: Quantiser, node: Node) -> _Grid:
        step = torch.as_tensor(found.step).detach().float().reshape(-1)
        zero = torch.as_tensor(0 if found.zero is None else found.zero).detach().reshape(-1)
        zero = (zero.round() if zero.is_floating_point() else zero).to(torch.int64).expand(step.shape)
        low, high = int(found.low), int(found.high)
        dtypes = [found.x.meta["val"].dtype] if found.gives == "dequantised" else []
        dtypes += [found.dtype] if found.gives == "levels" else []
        ends = min(low, int(zero.min())), max(high, int(zero.max()))
        able = [kind for kind, (first, last) in _TYPES.items() if first <= ends[0] and ends[1] <= last]
        fitting = [kind for kind in able if not dtypes or kind in dtypes]
        if not fitting:
            raise _refused(
                node,
                f"has levels from {low} to {high}",
                "8 bits, from -128 to 127 or from 0 to 255; choose quant_min and quant_max within those",
            )
        axis = found.axis if step.numel() > 1 else None
        return cls(step.tolist(), zero.tolist(), low, high, axis, fitting[0])

    @property
    def _arguments(self) -> tuple[Any, ...]:
        return self.step, self.zero, self.low, self.high, self.axis, self.dtype == torch.int8

    def quantise(self, program: torch.export.ExportedProgram, node: Node, x: Node, constants: Constants) -> Node:
        clips = self._clips(x, constants)
        return self._call(program, node, _OPERATORS.quantise.default, (x, *self._arguments, clips), self.dtype)

    def dequantise(self, program: torch.export.ExportedProgram, node: Node, levels: Node) -> Node:
        call = (levels, *self._arguments)
        return self._call(program, node, _OPERATORS.dequantise.default, call, torch.float32)

    def _call(
        self,
        program: torch.export.ExportedProgram,
        node: Node,
        operator: Any,
        call: tuple[Any, ...],
        dtype: torch.dtype,
    ) -> Node:
        with program.graph.inserting_before(node):
            new: Node = program.graph.call_function(operator, call)
        new.meta = {**node.meta, "val": call[0].meta["val"].to(dtype)}
        return new

    def _clips(self, x: Node, constants: Constants) -> bool:
        """Return True if a number may lie beyond levels that end before the type does."""
        if _TYPES[self.dtype] == (self.low, self.high):
            return False
        if x not in constants:
            return True
        value = constants.value(x).detach().double()
        shape = [-1 if place == self.axis else 1 for place in range(value.dim())]
        step, zero = (torch.tensor(one, dtype=torch.float64).reshape(shape) for one in (self.step, self.zero))
        levels = (value / step).round() + zero
        return bool((levels < self.low).any() or (levels > self.high).any())


def _quantise(
    x: Any, step: Sequence[float], zero: Sequence[int], low: int, high: int, axis: int | None, signed: bool, clips: bool
) -> Any:
    steps, zeros = _constants(step, zero, axis, signed)
    if clips:
        rank = len(x.shape)
        shape = [-1 if place == axis else 1 for place in range(rank)] if axis is not None else []
        ends = [((end - np.asarray(zero)) * np.asarray(step)).astype(np.float32).reshape(shape) for end in (low, high)]
        x = op.Max(op.Min(x, _constant(ends[1])), _constant(ends[0]))
    return op.QuantizeLinear(x, steps, zeros, **_of_axis(axis))


def _dequantise(
    x: Any, step: Sequence[float], zero: Sequence[int], low: int, high: int, axis: int | None, signed: bool
) -> Any:
    steps, zeros = _constants(step, zero, axis, signed)
    return op.DequantizeLinear(x, steps, zeros, **_of_axis(axis))


def _constants(step: Sequence[float], zero: Sequence[int], axis: int | None, signed: bool) -> tuple[Any, Any]:
    shape = [] if axis is None else [-1]
    kind = np.int8 if signed else np.uint8
    return _constant(np.asarray(step, np.float32).reshape(shape)), _constant(np.asarray(zero, kind).reshape(shape))


def _constant(numbers: np.ndarray) -> Any:
    return op.Constant(value=ir.tensor(numbers))  # type: ignore[arg-type]


def _of_axis(axis: int | None) -> dict[str, Any]:
    return {} if axis is None else {"axis": axis}


# operator of a program -> what writes it in ONNX
TRANSLATIONS: dict[Any, Any] = {_OPERATORS.quantise.default: _quantise, _OPERATORS.dequantise.default: _dequantise}
