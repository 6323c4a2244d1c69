"""Graphs and nodes that have a truth in float64: the evaluator refuses all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.nodes import nodes
from ...core.operators import named
from ...core.random_nodes import random_operators
from ...errors import MissingRequirement
from .floats import fits, is_float, magnitude

if TYPE_CHECKING:
    import onnx

# Operators that add up many terms or approximate a function: every runtime has its own last digits there.
OWN_DIGITS = named(
    """
    Conv ConvTranspose DeformConv Gemm MatMul Einsum ReduceMean ReduceSum ReduceProd ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceSumSquare CumSum Mean Sum GlobalAveragePool AveragePool LpPool GlobalLpPool
    BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LpNormalization
    MeanVarianceNormalization LRN Softmax LogSoftmax Sigmoid Tanh Exp Log Pow Gelu Elu Selu Celu Softplus Mish Swish
    HardSwish HardSigmoid Erf Sin Cos Tan Sinh Cosh Asin Acos Atan Resize GridSample LSTM GRU RNN Attention DFT
    """
)
# The values of these functions, which a moved digit does not leave.
RANGES = {
    **dict.fromkeys(named("Sigmoid HardSigmoid Softmax"), (0.0, 1.0)),
    **dict.fromkeys(named("Tanh Erf Sin Cos"), (-1.0, 1.0)),
}
# 8-bit integers without a type in between: what they approximate is not written in the graph.
INTEGER_PRODUCTS = named("QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear")
# So many numbers of an operator that all happen to fit into float32 are no accident.
_ENOUGH = 16
# Of the largest input of an operator: what float64 may leave of a difference.
NOISE = 1e-12


def is_narrow(node: onnx.NodeProto, given: Sequence[Any], found: Sequence[Any]) -> bool:
    """Return True if floats that float32 cannot hold went in, and only such as it holds came out.

    What is left of a mean of nearly zero is float64's own rounding: a few bits, which float32 holds.
    """
    if any(isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float16) for value in found):
        return True
    if node.op_type not in OWN_DIGITS or not any(is_float(value) and not fits(value) for value in given):
        return False
    noise = NOISE * max(magnitude(value) for value in given if is_float(value))
    values = [value for value in found if is_float(value)]
    broken = [value[(value != np.round(value)) & (np.abs(value) > noise)] for value in values]
    return any(part.size >= _ENOUGH and np.unique(part[:4096]).size >= _ENOUGH and fits(part) for part in broken)


def require_truth(model: onnx.ModelProto, opset: int, replaced: set[str]) -> None:
    """Raise MissingRequirement for operators without a truth, all of them by name; ``replaced`` are those of ours."""
    from onnx.reference.op_run import RuntimeContextError
    from onnx.reference.ops import load_op

    kinds = {node.op_type for node in nodes(model.graph)}
    lacking = set()
    for kind in sorted(kinds - replaced):
        try:
            load_op("", kind, opset)
        except RuntimeContextError:  # its definition is in terms of other operators, by the types of its inputs
            continue
        except Exception:  # of several unrelated types
            lacking.add(kind)
    for found, why in (
        (lacking, "ONNX's reference evaluator has no {}"),
        (random_operators(model.graph), "{} gives something else in every run"),
        (kinds & INTEGER_PRODUCTS, "{} computes with integers whose exact values the graph does not have"),
    ):
        if found:
            raise MissingRequirement(f"{why.format(', '.join(sorted(found)))}: there is no truth in float64")
