"""Proof that a graph with 8 bits between its products is the float32 graph but for its types and its pairs.

The file is read back and compared by other means than those that wrote it: nodes, attributes, constants and, casts and
pairs looked through, the wiring are the same; every operator is in the precision that the policy gives it; a pair with
the scale that its range gives stands before every planned input, and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..core.precision import Precision
from ..errors import CheckFailed
from .precision_check import CAST, no_needless_cast, right_dtypes, same_graph
from .wiring import Wiring

if TYPE_CHECKING:
    import onnx

    from .pair_plan import PairPlan
    from .passes.pairs import Reader

Pair = tuple["onnx.NodeProto", "onnx.NodeProto"]


def check_placed(source: onnx.ModelProto, path: Path, plan: PairPlan) -> None:
    """Raise CheckFailed for the first difference between the graph at ``path`` and ``source`` that is not planned.

    ``source`` is the float32 model at the opset of the written one.
    """
    import onnx

    from .passes.quantize import DEQUANTIZE, QUANTIZE, scale, weight_scales

    written, form = onnx.load(str(path)), plan.form
    ours = {"Cast": CAST, "QuantizeLinear": QUANTIZE, "DequantizeLinear": DEQUANTIZE}
    before, after = Wiring(source, {}), Wiring(written, ours)
    same_graph(source, written, before, after, path)
    right_dtypes(source, written, after, plan.half, form.rest, path)
    no_needless_cast(written, form.rest, path)
    planned: dict[Reader, tuple[str, int | None]]
    planned = {reader: (tensor, None) for tensor, found in plan.readers.items() for reader in found}
    planned |= {(product.node, 1): (product.weight, product.axis) for product in plan.products}
    found = _pairs(written, after, path)
    if missing := planned.keys() - found.keys():
        name, index = min(missing)
        _fail(path, f"input {index} of node {name} is not quantised")
    if more := found.keys() - planned.keys():
        name, index = min(more)
        _fail(path, f"input {index} of node {name} is quantised, and the policy says it is not")
    for reader, (tensor, axis) in planned.items():
        if axis is None:
            wanted = np.asarray(scale(plan.ranges[tensor], form))
        else:
            weight = before.constant(tensor)
            assert weight is not None
            wanted = weight_scales(weight, axis, form)
        if reason := _wrong(found[reader], after, wanted, axis, form):
            _fail(path, f"{found[reader][0].name} {reason}")
    _once(written, path)


def _pairs(model: onnx.ModelProto, after: Wiring, path: Path) -> dict[Reader, Pair]:
    """Return the pair before each input of a node of the source, and raise CheckFailed for half a pair."""
    made = {name: node for node in model.graph.node for name in node.output}
    found: dict[Reader, Pair] = {}
    for node in after.nodes.values():
        for index, name in enumerate(node.input):
            back = made.get(name)
            if back is None or back.op_type != "DequantizeLinear":
                continue
            there = made.get(back.input[0])
            if there is None or there.op_type != "QuantizeLinear":
                _fail(path, f"{back.name} reads no QuantizeLinear")
            found[node.name, index] = there, back
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] in outputs:
            _fail(path, f"an output reads {node.output[0]}, and the policy says it is not quantised")
    return found


def _once(model: onnx.ModelProto, path: Path) -> None:
    """Raise CheckFailed for levels that are cast, or brought to levels twice on one way."""
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        before = made.get(node.input[0]) if node.input else None
        if before is None or before.op_type != "DequantizeLinear":
            continue
        if node.op_type == "QuantizeLinear" or (node.op_type == "Cast" and node.name.startswith(CAST)):
            _fail(path, f"{node.name} reads what {before.name} gives: a second conversion for nothing")


def _wrong(pair: Pair, after: Wiring, wanted: np.ndarray, axis: int | None, form: Precision) -> str:
    """Return what is wrong with a pair; "" if nothing is."""
    import onnx

    for node in pair:
        scales, zero = (after.constant(name) for name in node.input[1:3])
        zero_tensor = after.constants.get(node.input[2])
        along = next((entry.i for entry in node.attribute if entry.name == "axis"), None)
        is_other = scales is None or scales.shape != wanted.shape or bool((scales.astype(np.float32) != wanted).any())
        reasons = {
            f"has its scales along axis {along} instead of {axis}": along != axis,
            f"has other scales in {node.op_type} than its range gives": is_other,
            "does not have zero at zero": zero is None or bool(zero.any()),
            f"is not {form.onnx_type.lower()}": zero_tensor is None
            or zero_tensor.data_type != onnx.TensorProto.DataType.Value(form.onnx_type),
        }
        if reason := next((reason for reason, applies in reasons.items() if applies), ""):
            return reason
    return ""


def _fail(path: Path, what: str) -> NoReturn:
    wrong = f"{path.name} differs from the float32 graph in more than 8 bits between products"
    raise CheckFailed(f"{wrong}: {what}; it was discarded")
