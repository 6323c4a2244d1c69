"""Proof that the 8-bit levels of a graph in half precision are those of the graph that it was made of.

By other means than passes/own_levels.py wrote them: a second DequantizeLinear has the first one's levels, zeros and
step, a constant the same integers, and no cast stands between levels and a product, which would then compute in floats.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.operators import DEQUANTIZE_LINEAR, PRODUCTS, QUANTIZE_LINEAR
from ..errors import CheckFailed
from .wiring import Wiring

if TYPE_CHECKING:
    import onnx


def with_own_levels(source: onnx.ModelProto, written: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the written model with the levels written as in ``source``, once they were found to be the same.

    Raises CheckFailed for the first that are not.
    """
    from .passes.own_levels import AGAIN

    undone = type(written)()
    undone.CopyFrom(written)
    before, after = Wiring(source, {}), Wiring(written, {})
    first = {node.name: node for node in written.graph.node if node.op_type == DEQUANTIZE_LINEAR}
    instead: dict[str, str] = {}
    for node in written.graph.node:
        if node.op_type == DEQUANTIZE_LINEAR and node.name.startswith(AGAIN):
            of = first.get(node.name.removeprefix(AGAIN))
            if of is None or not _same_levels_again(node, of, before, after):
                raise _wrong(path, f"{node.name} does not give the levels of {node.name.removeprefix(AGAIN)}")
            instead[node.output[0]] = of.output[0]
    kept = [node for node in undone.graph.node if node.output[0] not in instead]
    for node in kept:
        node.input[:] = [instead.get(name, name) for name in node.input]
        if node.op_type == QUANTIZE_LINEAR and node.name in before.nodes:
            _undo_constant(node, before, after, undone, path)
    del undone.graph.node[:]
    undone.graph.node.extend(kept)
    return undone


def no_cast_before_products(before: Wiring, written: onnx.ModelProto, path: Path) -> None:
    """Raise CheckFailed for a product that read levels in the source, and reads a cast of them now."""
    made = {name: node for node in written.graph.node for name in node.output}
    for node in written.graph.node:
        if node.op_type not in PRODUCTS or node.name not in before.nodes:
            continue
        for was, now in list(zip(before.nodes[node.name].input, node.input, strict=True))[:2]:  # a bias is no factor
            maker = before.nodes.get(before.origin(was)[0])
            if maker is None or maker.op_type != DEQUANTIZE_LINEAR:
                continue
            if now not in made or made[now].op_type != DEQUANTIZE_LINEAR:
                raise _wrong(path, f"product {node.name} reads {now}, and levels in the graph that it was made of")


def _same_levels_again(node: onnx.NodeProto, of: onnx.NodeProto, before: Wiring, after: Wiring) -> bool:
    """Return True if a second node gives the levels of the first by the step and zero that the source has."""
    was = before.nodes.get(of.name)
    if was is None or node.input[0] != of.input[0] or [*node.attribute] != [*of.attribute]:
        return False
    wanted, found = [before.constant(name) for name in was.input[1:]], [after.constant(name) for name in node.input[1:]]
    return len(wanted) == len(found) and all(
        one is not None and other is not None and np.array_equal(one.astype(other.dtype), other)
        for one, other in zip(wanted, found, strict=True)
    )


def _undo_constant(node: onnx.NodeProto, before: Wiring, after: Wiring, undone: onnx.ModelProto, path: Path) -> None:
    """Give a quantiser of a constant the constant of the source, if both have the same levels."""
    was = before.nodes[node.name]
    if before.constant(was.input[0]) is None:
        return
    wanted, found = (_levels(one, wiring) for one, wiring in ((was, before), (node, after)))
    if wanted is None or found is None or not np.array_equal(wanted, found):
        raise _wrong(path, f"{node.name} gives other levels of the constant {was.input[0]}")
    if was.input[0] not in after.constants:
        kept = type(before.constants[was.input[0]])()
        kept.CopyFrom(before.constants[was.input[0]])
        kept.name = was.input[0]
        undone.graph.initializer.append(kept)
        after.constants[was.input[0]] = kept
    node.input[0] = was.input[0]


def _levels(node: onnx.NodeProto, wiring: Wiring) -> np.ndarray[Any, Any] | None:
    """Return the level of each number of a constant, in numbers as the node has them."""
    numbers, step, *zeros = (wiring.constant(name) for name in node.input)
    if numbers is None or step is None or any(zero is None for zero in zeros):
        return None
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    shape = [-1 if place == axis % numbers.ndim else 1 for place in range(numbers.ndim)] if step.size > 1 else []
    zero = np.zeros((), np.uint8) if not zeros else zeros[0]
    assert zero is not None
    ends = np.iinfo(zero.dtype)
    levels = np.rint(numbers.astype(np.float32) / step.astype(np.float32).reshape(shape))
    found: np.ndarray[Any, Any] = np.clip(
        levels + zero.astype(np.float32).reshape(shape if zero.size > 1 else []), ends.min, ends.max
    )
    return found


def _wrong(path: Path, what: str) -> CheckFailed:
    return CheckFailed(f"{path.name} has other 8-bit levels than the graph it was made of: {what}; it was discarded")
