"""Proof that an 8-bit graph on disk is the float32 graph but for its QuantizeLinear/DequantizeLinear pairs.

The file is read back and compared by other means than those that wrote it. Nodes, attributes, constants and, once pairs
are looked through, the wiring are the same. A pair stands before both operands of every planned product and nowhere
else. Each pair has one and the same scale, zero at zero, and the scale that calibration or the weight gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from ..core.precision import Precision
from ..errors import CheckFailed
from .precision_check import same_graph
from .wiring import Wiring

if TYPE_CHECKING:
    import onnx

    from .passes.quantize_policy import Quantized


def check_quantized(
    source: onnx.ModelProto, path: Path, products: Sequence[Quantized], ranges: Mapping[str, float], form: Precision
) -> None:
    """Raise CheckFailed for the first difference between the graph at ``path`` and ``source`` that is not a pair.

    ``ranges`` are the largest magnitudes of the tensors that ``products`` read.
    """
    import onnx

    from .passes.quantize import DEQUANTIZE, QUANTIZE, scale, weight_scales

    written = onnx.load(str(path))
    pairs = {"QuantizeLinear": QUANTIZE, "DequantizeLinear": DEQUANTIZE}
    before, after = Wiring(source, {}), Wiring(written, pairs)
    same_graph(source, written, before, after, path)
    pairing = _Pairs(written)
    planned = {product.node: product for product in products}
    for node in written.graph.node:
        for name, index in pairing.readers(node) if node.op_type == "DequantizeLinear" else ():
            if name not in planned or index > 1:
                _fail(path, f"{name or 'an output'} reads {node.output[0]}, and the policy says float32")
    for name, product in planned.items():
        node = after.nodes[name]
        weight = before.constant(product.weight)
        assert weight is not None
        pairs_of = [pairing.before(operand) for operand in node.input[:2]]
        wanted = [np.asarray(scale(ranges[product.tensor], form)), weight_scales(weight, product.axis, form)]
        for index, (pair, scales) in enumerate(zip(pairs_of, wanted, strict=True)):
            if pair is None:
                _fail(path, f"input {index} of node {name} is not quantised")
            if reason := _wrong(pair, after, scales, product.axis if index and form.per_channel else None, form):
                _fail(path, f"{pair[0].name} {reason}")


class _Pairs:
    """The maker and the readers of every value of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._made = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[tuple[str, int]]] = {value.name: [("", 0)] for value in model.graph.output}
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                self._readers.setdefault(name, []).append((node.name, index))

    def readers(self, node: onnx.NodeProto) -> list[tuple[str, int]]:
        """Return the nodes that read what ``node`` makes, and as which input; ("", 0) if it is an output."""
        return self._readers.get(node.output[0], [])

    def before(self, name: str) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """Return the two nodes that bring a tensor to its levels and back, None if there are none."""
        back = self._made.get(name)
        there = None if back is None else self._made.get(back.input[0])
        if back is None or there is None or (there.op_type, back.op_type) != ("QuantizeLinear", "DequantizeLinear"):
            return None
        return there, back


def _wrong(
    pair: tuple[onnx.NodeProto, onnx.NodeProto], after: Wiring, wanted: np.ndarray, axis: int | None, form: Precision
) -> str:
    """Return what is wrong with a pair; "" if nothing is."""
    import onnx

    there, back = pair
    scales, zero = (after.constant(name) for name in there.input[1:3])
    zero_tensor = after.constants.get(there.input[2])
    along = next((entry.i for entry in there.attribute if entry.name == "axis"), None)
    reasons = {
        f"and {back.name} have different scales": [*there.input[1:]] != [*back.input[1:]]
        or there.attribute != back.attribute,
        f"has its scales along axis {along} instead of {axis}": along != axis,
        "has other scales than its range gives": scales is None
        or scales.shape != wanted.shape
        or not bool((scales == wanted).all()),
        "does not have zero at zero": zero is None or bool(zero.astype(np.float32).any()),
        f"is not {form.name}": zero_tensor is None
        or zero_tensor.data_type != onnx.TensorProto.DataType.Value(form.onnx_type),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _fail(path: Path, what: str) -> NoReturn:
    wrong = f"{path.name} differs from the float32 graph in more than 8-bit operands"
    raise CheckFailed(f"{wrong}: {what}; it was discarded")
