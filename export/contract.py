"""The contract that a graph on disk must keep: names, dtypes, dynamic dimensions and opset exactly as asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.graph import OnnxGraph
from ..core.tensor_spec import TensorSpec
from ..errors import CheckFailed

if TYPE_CHECKING:
    import onnx


def check_contract(
    graph: OnnxGraph, *, opset: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], after: str
) -> None:
    """Check that a graph is exactly as asked.

    ONNX's own checker, with shape inference, holds every node against the schema of its opset. Then the declared opset
    is compared, that there is no other operator domain, and name, dtype and every dimension of each input and output.

    Args:
        graph: The graph on disk.
        opset: The opset that it must declare.
        inputs: The inputs that it must have.
        outputs: The outputs that it must have.
        after: The step that wrote it, for messages.

    Raises:
        CheckFailed: The graph is not as asked.
    """
    import onnx

    try:
        onnx.checker.check_model(str(graph.path), full_check=True)
    except Exception as error:  # the checker raises several unrelated types
        raise _broken(after, f"ONNX's checker refuses the graph: {str(error).splitlines()[0]}") from error
    model = onnx.load(str(graph.path), load_external_data=False)
    _check_opset(model, opset, after)
    _check_values("input", model.graph.input, inputs, after)
    _check_values("output", model.graph.output, outputs, after)


def _broken(after: str, what: str) -> CheckFailed:
    return CheckFailed(f"after {after}, {what}; the graph was discarded")


def _check_opset(model: onnx.ModelProto, opset: int, after: str) -> None:
    """Raise for another opset, or a further one; ONNX's checker has seen that every node is of those declared."""
    declared = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if declared != {"ai.onnx": opset}:
        raise _broken(after, f"the graph declares {declared}, and only ai.onnx {opset} was asked for")


def _check_values(kind: str, found: Sequence[onnx.ValueInfoProto], asked: Sequence[TensorSpec], after: str) -> None:
    names, wanted = [value.name for value in found], [spec.name for spec in asked]
    if names != wanted:
        raise _broken(after, f"the {kind}s are {names} where {wanted} was asked for")
    for value, spec in zip(found, asked, strict=True):
        actual = spec_of(value)
        if (actual.shape, actual.dtype) != (spec.shape, spec.dtype):
            raise _broken(after, f"{kind} {actual} was asked for as {spec}")


def spec_of(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, dtype and shape of a graph's input or output; a dimension without a size or a name reads ``?``."""
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?") for dim in tensor.shape.dim)
    return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)
