"""Refusals of what a module computes and ONNX cannot: the line of the user's file, and what to write in its place."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir
import torch

from ...core.graph import OPSETS
from ...errors import ModuleRefused
from ...modules.target import Target
from ...modules.user_line import line_of_error, line_of_text
from ..node_line import at, line_of_node
from .rewrites.linear_algebra import LARGEST

_LINEAR_ALGEBRA = (
    "ONNX has no linear algebra but products and determinants: torch.linalg.inv, solve, cholesky and solve_triangular "
    f"are written out up to {LARGEST} x {LARGEST}, of sides that are no dynamic axes; compute others before or after "
    "the graph"
)
# Advice by the beginning of the name of torch's operator.
INSTEAD = {
    "sym_stride": "strides are not in a graph: take windows with x.unfold(dim, size, step) or F.unfold",
    "as_strided": "strides are not in a graph: take windows with x.unfold(dim, size, step) or F.unfold",
    "sym_storage_offset": "strides are not in a graph: use narrow or slices",
    "linalg": _LINEAR_ALGEBRA,
    "_linalg": _LINEAR_ALGEBRA,
    "complex": "ONNX has no complex numbers: keep real and imaginary parts as tensors",
    "view_as_complex": "ONNX has no complex numbers: keep real and imaginary parts as tensors",
    "_fft": "ONNX has no complex numbers: keep real and imaginary parts as tensors",
}


def no_form(target: Target, error: BaseException) -> ModuleRefused:
    """Return the refusal of an operator that torch.onnx cannot translate, found in the frames of its error."""
    node = _node_of(error)
    if node is None:
        line = line_of_error(error)
        reason = _first_line(error.__cause__ or error)
        return ModuleRefused(
            f"{target.name} has no ONNX form{at(line)}: {reason}; replace that operation in the module; "
            "--debug shows where"
        )
    operator = ".".join(str(node.target).split(".")[:2])  # with its library, as torchvision's roi_pool
    instead = next((text for name, text in INSTEAD.items() if operator.removeprefix("aten.").startswith(name)), "")
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        instead = "it draws random numbers: draw none by `if self.training`, or take them as an input"
    advice = instead or "write it with other operators, or compute it before or after the graph"
    return ModuleRefused(
        f"{target.name} has no ONNX form: torch.onnx cannot translate {operator}{at(_line_of(node))}; {advice}"
    )


def _node_of(error: BaseException | None) -> torch.fx.Node | None:
    """Return the innermost traced node that a frame on the way to ``error`` holds."""
    found: torch.fx.Node | None = None
    while error is not None and found is None:
        trace = error.__traceback__
        while trace is not None:
            value = trace.tb_frame.f_locals.get("node")
            found = value if isinstance(value, torch.fx.Node) and value.op == "call_function" else found
            trace = trace.tb_next
        error = error.__cause__
    return found


def _line_of(node: torch.fx.Node) -> str:
    """Return the user's line that computes ``node``, else that of what it is computed from, nearest first."""
    waiting, seen = [node], {node}
    while waiting:
        current = waiting.pop(0)
        if line := line_of_text(current.meta.get("stack_trace") or ""):
            return line
        waiting += [other for other in current.all_input_nodes if other not in seen]
        seen.update(waiting)
    return ""


def check_program(program: torch.export.ExportedProgram, target: Target) -> None:
    """Raise ModuleRefused for a call that torch.onnx has no form of and names another, or translates into another."""
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.lstm.input:
            hidden, cell = (state.meta["val"].shape[-1] for state in node.args[1])
            if hidden != cell:
                raise ModuleRefused(
                    f"{target.name} computes nn.LSTM with proj_size={hidden}{at(_line_of(node))}, which ONNX's LSTM "
                    "does not have; leave proj_size out, or write its steps with nn.Linear"
                )


def check_operators(model: ir.Model, target: Target, opset: int) -> None:
    """Raise ModuleRefused for the first node whose operator, or the type of what it reads, ``opset`` does not have."""
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain not in ("", "ai.onnx"):
            continue
        where = at(line_of_node(node))
        if not onnx.defs.has(node.op_type, "") or _schema(node.op_type, opset) is None:
            newer = _first_opset(node)
            advice = f"--opset {newer} has it" if newer else "write it with other operators"
            raise ModuleRefused(f"{target.name} computes {node.op_type}{where}, which opset {opset} lacks; {advice}")
        if any(value.dtype == ir.DataType.BFLOAT16 for value in (*node.inputs, *node.outputs) if value is not None):
            raise ModuleRefused(
                f"{target.name} computes in bfloat16{where}; expected float32, which --precision bf16 lowers; remove "
                "the cast, or the torch.autocast block around it"
            )
        for value in _untaken(node, opset):
            newer = _first_opset(node)
            raise ModuleRefused(
                f"{target.name} computes {node.op_type} of {_onnx_name(value.dtype)}{where}, which opset {opset} does "
                f"not take; cast it with .float(){f', or give --opset {newer}' if newer else ''}"
            )


def _schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None


def _untaken(node: ir.Node, opset: int) -> Iterator[ir.Value]:
    """The inputs of ``node`` whose types its operator does not take in ``opset``."""
    schema = _schema(node.op_type, opset)
    if schema is None or not schema.inputs:
        return
    for position, value in enumerate(node.inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if value is not None and value.dtype is not None and value.type is not None and formal.types:
            if not isinstance(value.type, ir.TensorType):
                continue
            if f"tensor({_onnx_name(value.dtype)})" not in formal.types:
                yield value


def _onnx_name(dtype: ir.DataType | None) -> str:
    if dtype is None:
        return "unknown"
    return str(onnx.helper.tensor_dtype_to_string(int(dtype))).removeprefix("TensorProto.").lower()


def _first_opset(node: ir.Node) -> int | None:
    """Return the lowest of our opsets that has the operator with these types, None if there is none."""
    return next((o for o in OPSETS if _schema(node.op_type, o) is not None and not any(_untaken(node, o))), None)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
