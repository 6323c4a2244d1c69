"""The elements of a graph's outputs that choices between near ties decide, for inputs that no verdict has seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.operators import PRODUCTS
from ..core.precision import CAST, FLOAT32, FP32, QUANTISED, Precision
from ..errors import Attn2trtError
from ..validate.arrays import Mask
from ..validate.cases import Case
from ..validate.onnx_reference.isolated import IsolatedEvaluator
from ..validate.onnx_reference.references import GraphLower, unsettled_elements
from ..validate.onnx_reference.rounding import Rounding, half_rounding, product_rounding


def find_unsettled(graphs: Mapping[str, Path], case: Case, precision: Precision) -> dict[str, Mask]:
    """Return the elements of each output that near ties decide in a precision; none if that cannot be computed.

    Args:
        graphs: The graphs of a model by precision, all with the same inputs and outputs.
        case: The inputs.
        precision: The precision of the runtime that is compared.
    """
    exact = graphs.get(FP32) or next(iter(graphs.values()), None)
    if exact is None or (precision.name in QUANTISED and precision.name not in graphs):
        return {}
    rounded = graphs.get(precision.name, exact)
    lower = None if precision is FLOAT32 else GraphLower(precision.name, _rounding(graphs, exact, precision))
    try:
        with IsolatedEvaluator(exact, "float64") as double, IsolatedEvaluator(rounded, "float32") as single:
            return unsettled_elements(double, single, case, lower)
    except Attn2trtError:
        return {}


def _rounding(graphs: Mapping[str, Path], exact: Path, precision: Precision) -> Rounding | None:
    """Return the rounding of a precision on the float32 graph; None if the precision has a graph of its own."""
    if precision.name in graphs:
        return None
    import onnx

    nodes = onnx.load(str(exact), load_external_data=False).graph.node
    if precision.name in CAST:
        return half_rounding((node.name for node in nodes), precision)
    return product_rounding(node.name for node in nodes if node.op_type in PRODUCTS)


def shares_left_out(unsettled: Mapping[str, Mask]) -> str:
    """Return how much of each output is not compared, in words; "" if everything is."""
    parts = [f"{mask.mean():.2%} of {name}" for name, mask in unsettled.items() if mask.any()]
    return f"not compared: {', '.join(parts)}, which a choice between near ties decides" if parts else ""
