"""Decide which operators of a graph compute in half precision and which stay in float32: node by node, with a reason.

Half precision costs range (float16 ends at 65504 and has nothing between 0 and 6e-8) or digits (bfloat16 has eight
bits). An operator that squares, sums up many terms, divides, normalises or takes an exponential stays in float32. The
rest follows from where it stands:

- convolutions and matrix products are always lowered: they are what half precision is for;
- what only moves or picks values stays with what it moves;
- arithmetic all of whose operands are float32 results stays in float32 (``sqrt(variance + epsilon)``), and so does
  arithmetic between float32 operators (``x - mean`` before the square), so that neighbours share one cast;
- numbers that come from sizes alone (a count, a grid of positions) are not lowered: 2049 has no float16;
- what gives a place among pixels or is read by a recurrent layer is not lowered (float_readers.py);
- a constant that the precision cannot hold keeps its operator in float32, and so does the step of 8-bit levels that a
  product reads;
- what a graph quantises itself is read and given as its neighbours have it: a level is the same number in any type;
- an operator that a TensorRT refuses in the precision stays in float32 (core/refused_types.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir

from ...core.graph import OPSETS
from ...core.graph_io import FLOAT32
from ...core.operators import (
    ARITHMETIC,
    DEQUANTIZE_LINEAR,
    FROM_SIZES,
    MOVES,
    PRODUCTS,
    QUANTISERS,
    QUANTIZE_LINEAR,
    named,
)
from ...core.precision import Precision
from ...core.refused_types import refusal
from .float_readers import wanted_in_float32

# Sums and means, the squeeze mean among them; powers, roots, exponentials and logarithms; softmax; normalisations.
FLOAT32_OPERATORS = named(
    """
    ReduceSum ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare CumSum
    GlobalAveragePool GlobalLpPool LpPool Pow Sqrt Reciprocal Exp Log Softplus Softmax LogSoftmax
    LayerNormalization InstanceNormalization GroupNormalization BatchNormalization RMSNormalization
    LpNormalization MeanVarianceNormalization LRN GridSample
    """
)
# Operators whose result is no float: they compare in the precision of their operands.
COMPARISONS = named("ArgMax ArgMin Greater GreaterOrEqual Less LessOrEqual Equal IsNaN IsInf")
# Inputs that ONNX wants in float32 whatever the others are: those that give Resize its sizes.
ALWAYS_FLOAT32: Mapping[str, frozenset[int]] = {"Resize": frozenset((1, 2))}
# An average over more elements than this is a large sum.
SMALL_WINDOW = 64
# A constant is held well when it loses at most so many times the rounding of an ordinary number.
HELD = 4.0
GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_UNFIT: WeakKeyDictionary[ir.TensorProtocol, dict[str, str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class FloatPlan:
    """``low`` names the nodes that compute in half precision; ``float32`` gives every other float operator its reason,
    ``kept`` those of them that the policy alone would have lowered. Of ``quantisers`` only ``low`` says anything: a
    level is the same number in any type."""

    low: frozenset[str]
    float32: Mapping[str, str]
    kept: Mapping[str, str]
    quantisers: frozenset[str] = frozenset()

    @property
    def operators(self) -> frozenset[str]:
        """The operators that compute in half precision."""
        return self.low - self.quantisers


def plan(
    model: ir.Model,
    low: Precision,
    is_kept: Callable[[str], str] = lambda _name: "",
    *,
    opset: int | None = None,
    allowed: Collection[str] = (),
    io: str = FLOAT32,
) -> FloatPlan:
    """Decide for every node of ``model``.

    Args:
        model: The float32 graph.
        low: The half precision.
        is_kept: Gives the reason why the caller wants a node, by its name, in float32; "" if it does not.
        opset: Replaces the model's own, to ask what another one would allow.
        allowed: The names of nodes that the caller wants lowered although they need float32's range.
        io: The type of the inputs and outputs that the model has in float32.
    """
    return _Planner(model, low, is_kept, opset or model.graph.opset_imports[""], allowed, io).plan()


class _Planner:
    def __init__(
        self,
        model: ir.Model,
        low: Precision,
        is_kept: Callable[[str], str],
        opset: int,
        allowed: Collection[str],
        io: str,
    ) -> None:
        self._graph = model.graph
        self._allowed = frozenset(allowed)
        self._low = low
        self._is_kept = is_kept
        self._opset = opset
        self._io_is_low = io == low.dtype
        self._reason: dict[ir.Node, str] = {}  # empty: lowered
        self._kept: dict[str, str] = {}
        self._follows: set[ir.Node] = set()
        self._from_data: set[ir.Value] = set(self._graph.inputs)
        self._wanted = wanted_in_float32([*model.graph])

    def plan(self) -> FloatPlan:
        nodes = [node for node in self._graph if node.op_type not in ("Constant", "Shape", "Size")]
        for node in nodes:
            if any(value in self._from_data for value in _read(node)):
                self._from_data.update(node.outputs)
            if [*_floats([*node.inputs, *node.outputs])]:
                self._reason[node] = self._decide(node)
        for node in reversed(nodes):
            if node in self._reason:
                self._look_ahead(node)
        quantisers = frozenset(str(node.name) for node in self._reason if node.op_type in QUANTISERS)
        low = frozenset(str(node.name) for node, reason in self._reason.items() if not reason)
        reasons = {str(node.name): reason for node, reason in self._reason.items()}
        float32 = {name: reason for name, reason in reasons.items() if reason and name not in quantisers}
        return FloatPlan(low, float32, dict(self._kept), quantisers)

    def _decide(self, node: ir.Node) -> str:
        """Return why the node stays in float32; empty if it is lowered."""
        if node.op_type in QUANTISERS:
            return self._of_levels(node)
        if not any(value in self._from_data for value in _read(node)):
            return FROM_SIZES
        if reason := self._by_policy(node) or self._by_place(node):
            return reason
        if reason := (
            self._is_kept(str(node.name))
            or self._unfit_constant(node)
            or self._unfit_levels(node)
            or self._unknown_type(node)
        ):
            self._kept[str(node.name)] = reason
            return reason
        return ""

    def _of_levels(self, node: ir.Node) -> str:
        """Return why a quantiser reads float32; what gives levels back is decided by its readers, a weight's too."""
        if reason := self._unfit_step(node) or self._unknown_type(node):
            return reason
        value = _value(node, 0)
        is_wide = self._is_wide(value) or (value.is_graph_input() and not self._io_is_low)
        return "quantises a float32 tensor" if node.op_type == QUANTIZE_LINEAR and is_wide else ""

    def _unfit_step(self, node: ir.Node) -> str:
        steps = ir.convenience.get_const_tensor(_value(node, 1))
        reason = "" if steps is None else unfit_steps(steps.numpy(), self._low)
        return f"{_value(node, 1).name} {reason}" if reason else ""

    def _by_policy(self, node: ir.Node) -> str:
        kind = node.op_type
        if str(node.name) in self._allowed:
            return refusal(kind, self._low.name)
        reasons = {
            "holds a graph of its own": any(attribute.type in GRAPHS for attribute in node.attributes.values()),
            f"{kind} needs float32's range": kind in FLOAT32_OPERATORS,
            self._wanted.get(node, ""): node in self._wanted,
            "a square needs float32's range": kind == "Mul" and node.inputs[0] is node.inputs[1],
            f"{kind} adds up, multiplies or compares": node.attributes.get_string("reduction", "none") != "none",
            "a computed divisor may be tiny": kind == "Div"
            and ir.convenience.get_const_tensor(_value(node, 1)) is None,
            "a mean over many elements": kind == "AveragePool"
            and math.prod(node.attributes.get_ints("kernel_shape", ())) > SMALL_WINDOW,
            f"{kind} is not known to bear half precision": kind not in PRODUCTS | MOVES | ARITHMETIC | COMPARISONS,
        }
        return next((reason for reason, applies in reasons.items() if applies), "") or refusal(kind, self._low.name)

    def _unfit_constant(self, node: ir.Node) -> str:
        for index, value in enumerate(node.inputs):
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.FLOAT or index in ALWAYS_FLOAT32.get(node.op_type, ()):
                continue
            if reason := _remembered_unfit(tensor, self._low):
                return f"{_value(node, index).name} {reason}"
        return ""

    def _unfit_levels(self, node: ir.Node) -> str:
        """Return why a product reads levels in float32, which an operator that computes with integers then gives."""
        if node.op_type not in PRODUCTS:
            return ""
        makers = [value.producer() for value in node.inputs[:2] if value is not None]  # a bias is no factor
        levels = [maker for maker in makers if maker is not None and maker.op_type == DEQUANTIZE_LINEAR]
        return next(filter(None, map(self._unfit_step, levels)), "")

    def _unknown_type(self, node: ir.Node) -> str:
        if first_opset(node.op_type, self._low, self._opset) > self._opset:
            return f"{node.op_type} takes no {self._low.words} at opset {self._opset}"
        return ""

    def _by_place(self, node: ir.Node) -> str:
        if node.op_type in PRODUCTS or not self._all_wide(node):
            return ""
        if node.op_type in MOVES:
            self._follows.add(node)
            return "moves float32 results"
        return "between float32 results"

    def _all_wide(self, node: ir.Node) -> bool:
        """Return True if every operand that depends on the input is a float32 operator's result."""
        operands = [value for value in _floats(node.inputs) if value in self._from_data]
        return bool(operands) and all(self._is_wide(value) for value in operands)

    def _is_wide(self, value: ir.Value) -> bool:
        producer = value.producer()
        return producer is not None and bool(self._reason.get(producer))

    def _look_ahead(self, node: ir.Node) -> None:
        """Revise a node whose readers are decided: lower a move before lowered nodes, no sum between float32 ones."""
        users = [user for value in _floats(node.outputs) for user, _ in value.uses()]
        is_output = any(value.is_graph_output() for value in node.outputs)
        wide_users = [bool(self._reason.get(user, "a graph of its own")) for user in users]
        if node in self._follows and users and not is_output and not any(wide_users):
            self._reason[node] = ""
        elif node.op_type == DEQUANTIZE_LINEAR and not self._reason[node] and users and all(wide_users):
            self._follow_back(node)
        elif (
            not self._reason[node]
            and node.op_type in ARITHMETIC
            and users
            and not is_output
            and all(wide_users)
            and any(self._is_wide(value) for value in _floats(node.inputs))
        ):
            self._reason[node] = "between float32 operators"

    def _follow_back(self, node: ir.Node) -> None:
        """Keep levels that only float32 operators read in float32, and the quantiser of a weight with them."""
        self._reason[node] = "read by float32 operators"
        maker = _value(node, 0).producer()
        if maker is not None and not self._reason.get(maker) and _value(maker, 0) not in self._from_data:
            self._reason[maker] = "read by float32 operators"


def _remembered_unfit(tensor: ir.TensorProtocol, low: Precision) -> str:
    """Return what ``unfit`` does. The same graph is planned several times, and its numbers do not change."""
    known = _UNFIT.setdefault(tensor, {})
    if low.name not in known:
        known[low.name] = unfit(tensor.numpy(), low)
    return known[low.name]


def unfit(values: np.ndarray, low: Precision) -> str:
    """Return why a constant cannot be rounded to ``low``; empty if it can.

    It cannot if a finite number overflows, or if so much is lost among the smallest numbers that the whole tensor
    (relative L2) is off by more than HELD unit roundoffs. A few weights that vanish beside large ones do no harm.
    """
    finite = np.isfinite(values)
    wide = np.where(finite, values, 0).astype(np.float64)
    largest = float(np.abs(wide).max(initial=0.0))
    if largest > low.largest:
        return f"holds {largest:.3g}, and {low.words} ends at {low.largest:.4g}"
    if not largest:
        return ""
    rounded = rounded_to(wide.astype(np.float32), low).astype(np.float64)
    lost = _length((rounded - wide) / largest) / _length(wide / largest)
    if lost > HELD * low.unit_roundoff:
        gone = int(((rounded == 0) & (wide != 0)).sum())
        return f"loses {lost:.2g} of itself in {low.words} ({gone} of {wide.size} become zero)"
    return ""


def unfit_steps(steps: np.ndarray, low: Precision) -> str:
    """Return why the steps of 8-bit levels cannot be rounded to ``low``; empty if they can.

    A channel has one step, which all its levels hang on: each must be held.
    """
    wide = steps.astype(np.float64)
    rounded = rounded_to(steps, low).astype(np.float64)
    worst = int((np.abs(rounded - wide) / wide).argmax())
    if not abs(rounded.flat[worst] - wide.flat[worst]) <= low.unit_roundoff * wide.flat[worst]:
        return f"holds a step of {wide.flat[worst]:.3g}, which {low.words} has not"
    return ""


def _length(values: np.ndarray) -> float:
    """Return the square root of the sum of squares, without a library's threads, which wait for busy cores."""
    return math.sqrt(np.square(values).sum())


def rounded_to(values: np.ndarray, low: Precision) -> np.ndarray:
    """The values in half precision; what overflows is infinite, without a warning."""
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(ir.DataType[low.onnx_type].numpy())


def first_opset(operator: str, low: Precision, start: int) -> int:
    """Return the lowest opset from ``start`` on at which the operator takes ``low``; that after OPSETS if none does."""
    from onnx import defs

    # ONNX writes types as tensor(float16)
    wanted = f"tensor({low.dtype})"
    for opset in range(start, OPSETS.stop):
        try:
            schema = defs.get_schema(operator, opset, "")
        except defs.SchemaError:
            continue
        floats = [entry for entry in schema.inputs if "tensor(float)" in entry.types and len(entry.types) > 1]
        if floats and all(wanted in entry.types for entry in floats):
            return opset
    return OPSETS.stop


def _read(node: ir.Node) -> Iterable[ir.Value]:
    """Everything that a node reads, what its bodies take from outside included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                yield from (value for value in inner.inputs if value is not None)


def _floats(values: Iterable[ir.Value | None]) -> Iterable[ir.Value]:
    return (value for value in values if value is not None and value.dtype == ir.DataType.FLOAT)


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.name} has no input {index}")
    return value
