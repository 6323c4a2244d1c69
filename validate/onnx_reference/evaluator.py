"""A graph file computed by ONNX's reference evaluator, every float in one type, node by node.

In float64 it gives the truth: every float tensor, constant and cast of the graph becomes float64, whatever type it had,
and quantised tensors keep the fractions between their levels. In float32 it gives what the graph loses by itself: the
last digits of operators that add up or approximate are drawn anew by each ``draw``, and values that the graph has in
half precision, or quantises, are rounded if they are wanted as written. A value is dropped after its last use.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...core.nodes import bodies, nodes
from ...core.operators import named
from ...errors import CheckFailed, MissingRequirement
from ..last_digits import EPSILON, OFTEN, SEED, SELDOM, TABLE
from .kernels import replacements
from .levels import largest_of, quantised
from .plain_kernels import Manner
from .tf32 import shortening
from .weights_beside import weights_beside

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
# (a node, its inputs, what computes it of them) -> its outputs
Around = Callable[["onnx.NodeProto", Sequence[Any], Callable[[Sequence[Any]], Sequence[Any]]], Sequence[Any]]
# Operators that add up many terms or approximate a function: every runtime has its own last digits there.
OWN_DIGITS = named(
    """
    Conv ConvTranspose Gemm MatMul Einsum ReduceMean ReduceSum ReduceProd ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceSumSquare CumSum Mean Sum GlobalAveragePool AveragePool LpPool GlobalLpPool
    BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LpNormalization
    MeanVarianceNormalization LRN Softmax LogSoftmax Sigmoid Tanh Exp Log Pow Gelu Elu Selu Celu Softplus Mish Swish
    HardSwish HardSigmoid Erf Sin Cos Tan Sinh Cosh Asin Acos Atan Resize GridSample LSTM GRU RNN Attention DFT
    """
)
# 8-bit integers without a type in between: what they approximate is not written in the graph.
INTEGER_PRODUCTS = named("QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear")
RANDOM = named("RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial")
# Attributes that name a type.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "softmax_precision")
# So many numbers of an operator that all happen to fit into float32 are no accident.
_ENOUGH = 16
# Of the largest input of an operator: what float64 may leave of a difference.
NOISE = 1e-12


@dataclass(frozen=True)
class Rounding:
    """The loss of a run in float32 at some nodes, by their names.

    Attributes:
        half: The half precision in which each node reads and gives its floats.
        levels: The scale of what a node reads first, the name of its weight, and the axis of the weight's channels,
            each of which has a scale of its own; None if one scale is for all.
        tensors: The scale of inputs of a node that is no such product, by the names of the tensors.
        dtype: The type whose numbers the levels are.
        scales: The type whose numbers weights' scales are: the next larger ones; "" if they stay as they are.
        products: The products whose operands have tf32's digits.
        outputs: The half precision of the graph's outputs; "" if they stay as they are.
    """

    half: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, tuple[float, str, int | None]] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dtype: str = ""
    scales: str = ""
    products: Sequence[str] = ()
    outputs: str = ""


class Evaluator:
    """A graph in ``dtype``, "float64" or "float32"; ``largest`` is the largest magnitude that the last run met.

    Raises MissingRequirement naming the operators that have no truth: those that the evaluator lacks, those that give
    something else in every run, and 8-bit products whose exact values the graph does not tell.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(str(path), load_external_data=False)
        self.dtype = np.dtype(dtype)
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._manner = Manner()
        replaced = replacements(opset, self._manner)
        _require_truth(model, opset, {kind.__name__ for kind in replaced})
        self._declared = {value.name: _type_name(value) for value in (*model.graph.input, *model.graph.output)}
        self.outputs = [value.name for value in model.graph.output]
        self._half = _half_values(model)
        beside = weights_beside(model, path.parent, self.dtype)
        _retype(model, dtype)
        self._inner = ReferenceEvaluator(model, new_ops=replaced)
        self._inner.rt_inits_.update(beside)
        self._nodes = list(zip(model.graph.node, self._inner.rt_nodes_, strict=True))
        self._last = {
            name: position
            for position, (node, _) in enumerate(self._nodes)
            for name in (*node.input, *_read_inside(node))
        }
        self._proven: set[int] = set()
        self._rounded: dict[str, str] = {}
        self._products: set[str] = set()
        self._shorten = shortening(None)
        self.largest = 0.0

    def run(
        self,
        feeds: Arrays,
        *,
        shown: Sequence[str] = (),
        draw: int | None = None,
        rounding: Rounding | None = None,
        as_written: bool = False,
        is_plain: bool = False,
        around: Around | None = None,
    ) -> Arrays:
        """Return the outputs and the values ``shown`` by name.

        A ``draw`` moves last digits; without one the run has those of NumPy. ``as_written`` rounds what the graph has
        in half precision and what it quantises; ``rounding`` rounds what it does not. ``is_plain`` has plain kernels.
        ``around`` computes each node with what would have computed it.

        Raises CheckFailed naming the node that cannot be computed, and MissingRequirement for one that float64 is only
        claimed for.
        """
        self._manner.rounds, self._manner.is_plain = as_written, is_plain
        self._rounded = self._half if as_written else {}
        in_float32 = rounding is None and not as_written
        digits = None if draw is None else _Digits(draw, OFTEN if in_float32 else SELDOM)
        self._products = set(() if rounding is None else rounding.products)
        self._shorten = shortening(draw)
        wanted = [*self.outputs, *shown]
        values: dict[str, Any] = {"": None, **self._inner.rt_inits_}
        values |= {name: self._widened(value) for name, value in feeds.items()}
        self.largest = max((_magnitude(value) for value in feeds.values()), default=0.0)
        for position, (node, operator) in enumerate(self._nodes):
            given = [self._read(node, place, name, values, rounding) for place, name in enumerate(node.input)]
            compute = functools.partial(self._computed, position, node, operator, values)
            found = compute(given) if around is None else around(node, given, compute)
            for name, value in zip(node.output, found, strict=False):
                values[name] = self._given(node, name, value, digits, rounding)
            for name in {*node.input, *_read_inside(node), *node.output}:
                if self._last.get(name, -1) <= position and name not in wanted:
                    values.pop(name, None)
            values[""] = None
        if rounding is not None and rounding.outputs:
            for name in self.outputs:
                values[name] = _rounded(values[name], rounding.outputs) if _is_float(values[name]) else values[name]
        return {name: self._as_declared(name, values[name]) for name in wanted}

    def _widened(self, value: Array) -> Array:
        return value.astype(self.dtype) if _is_float(value) else value

    def _as_declared(self, name: str, value: Any) -> Array:
        """An output of a float32 run in the type that the graph gives it."""
        array = np.asarray(value)
        declared = self._declared.get(name, "")
        if (self.dtype == np.float64 and declared.startswith("float")) or declared in ("", str(array.dtype)):
            return array
        with np.errstate(over="ignore"):
            return array.astype(declared)

    def _read(self, node: onnx.NodeProto, place: int, name: str, values: dict[str, Any], how: Rounding | None) -> Any:
        value = values[name]
        if how is None or not isinstance(value, np.ndarray) or not _is_float(value):
            return value
        if node.name in self._products:
            is_operand = place < 2 or node.op_type == "Einsum"
            return self._shorten(value) if is_operand else value
        value = _levelled(node.name, place, name, value, how)
        return _rounded(value, how.half[node.name]) if node.name in how.half else value

    def _computed(
        self, position: int, node: onnx.NodeProto, operator: Any, values: dict[str, Any], given: Sequence[Any]
    ) -> Sequence[Any]:
        try:
            with np.errstate(all="ignore"):
                context = {"context": values} if operator.need_context() else {}
                found: Sequence[Any] = operator.run(*given, **context)
        except Exception as error:  # of any operator's own kind
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise CheckFailed(
                f"ONNX's reference evaluator cannot compute node {position}, {node.name} ({node.op_type}): {reason}"
            ) from error
        if self.dtype == np.float64:
            for value in found:
                if isinstance(value, np.ndarray) and _is_float(value):
                    self.largest = max(self.largest, _magnitude(value))
            asked = [value for name, value in zip(node.output, found, strict=False) if name]
            if position not in self._proven and _is_narrow(node, given, asked):
                raise MissingRequirement(
                    f"ONNX's reference evaluator has no float64 for node {position}, {node.name} ({node.op_type})"
                )
            self._proven.add(position)
        return found

    def _given(
        self, node: onnx.NodeProto, name: str, value: Any, digits: _Digits | None, rounding: Rounding | None
    ) -> Any:
        if not isinstance(value, np.ndarray) or not _is_float(value):
            return value
        value = value.astype(self.dtype, copy=False)
        half = self._rounded.get(name) or ("" if rounding is None else rounding.half.get(node.name, ""))
        if digits is not None and node.op_type in OWN_DIGITS:
            value = digits.move(value, half)
        return _rounded(value, half) if half else value


class _Digits:
    """Other last digits, the same for the same draw; moved as ``validate.last_digits`` moves PyTorch's."""

    def __init__(self, draw: int, steps: Sequence[int]) -> None:
        self._steps = np.random.default_rng([SEED, draw]).choice(np.array(steps, np.float32), TABLE)
        self._at = 0

    def move(self, value: Array, half: str) -> Array:
        """Return the value with last digits of its precision drawn anew; counts stay as they are."""
        few = value.reshape(-1)[:64]
        if not value.size or (np.array_equal(few, np.round(few)) and np.array_equal(value, np.round(value))):
            return value
        self._at = (self._at + 7919) % TABLE
        steps = np.resize(np.roll(self._steps, -self._at), value.size).reshape(value.shape)
        epsilon = np.float32({"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(half, EPSILON))
        with np.errstate(over="ignore", invalid="ignore"):
            found: Array = value * (1 + steps * epsilon)
        return found


def _is_float(value: Any) -> bool:
    """Return True for floats of NumPy and of ml_dtypes, whose kind NumPy does not know."""
    return isinstance(value, np.ndarray) and (value.dtype.kind == "f" or "float" in str(value.dtype))


def _magnitude(value: Array) -> float:
    if not _is_float(value) or not value.size:
        return 0.0
    return float(np.abs(value, where=np.isfinite(value), out=np.zeros(value.shape, value.dtype)).max())


def _rounded(value: Array, dtype: str) -> Array:
    import ml_dtypes

    narrow = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    with np.errstate(over="ignore"):
        return value.astype(narrow).astype(value.dtype)


def _levelled(node: str, place: int, name: str, value: Array, how: Rounding) -> Array:
    """Return an input of a node on its levels, if it has any."""
    if node in how.levels:
        scale, weight, axis = how.levels[node]
        if place == 0:
            return quantised(value, np.asarray(scale, np.float32), how.dtype)
        if name == weight:
            return quantised(value, _next_larger(_weight_scales(value, axis, how.dtype), how.scales), how.dtype)
    elif name in how.tensors.get(node, {}):
        return quantised(value, np.asarray(how.tensors[node][name], np.float32), how.dtype)
    return value


def _next_larger(scales: Array, dtype: str) -> Array:
    """Return the next numbers of a type that are not smaller; the same without a type."""
    if not dtype:
        return scales
    narrow = scales.astype(dtype)
    less = narrow.astype(np.float64) < scales
    return np.where(less, np.nextafter(narrow, narrow.dtype.type(np.inf)), narrow).astype(scales.dtype)


def _weight_scales(weight: Array, axis: int | None, dtype: str) -> Array:
    others = None if axis is None else tuple(place for place in range(weight.ndim) if place != axis)
    found = np.abs(weight).max(axis=others, keepdims=axis is not None) / np.float32(largest_of(dtype))
    return np.where(found == 0, 1, found).astype(weight.dtype)


def _is_narrow(node: onnx.NodeProto, given: Sequence[Any], found: Sequence[Any]) -> bool:
    """Return True if floats that float32 cannot hold went in, and only such as it holds came out.

    What is left of a mean of nearly zero is float64's own rounding: a few bits, which float32 holds.
    """
    if any(isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float16) for value in found):
        return True
    if node.op_type not in OWN_DIGITS or not any(_is_float(value) and not _fits(value) for value in given):
        return False
    noise = NOISE * max(_magnitude(value) for value in given if _is_float(value))
    values = [value for value in found if _is_float(value)]
    broken = [value[(value != np.round(value)) & (np.abs(value) > noise)] for value in values]
    return any(part.size >= _ENOUGH and np.unique(part[:4096]).size >= _ENOUGH and _fits(part) for part in broken)


def _fits(value: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(value, value.astype(np.float32), equal_nan=True))


def _require_truth(model: onnx.ModelProto, opset: int, replaced: set[str]) -> None:
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
        (kinds & RANDOM, "{} gives something else in every run"),
        (kinds & INTEGER_PRODUCTS, "{} computes with integers whose exact values the graph does not have"),
    ):
        if found:
            raise MissingRequirement(f"{why.format(', '.join(sorted(found)))}: there is no truth in float64")


def _read_inside(node: onnx.NodeProto) -> set[str]:
    """Return every name that the bodies of a node read, their own among them."""
    return {name for body in bodies(node) for inner in nodes(body) for name in inner.input} | {
        output.name for body in bodies(node) for output in body.output
    }


def _half_values(model: onnx.ModelProto) -> dict[str, str]:
    """Return the values that the graph has in half precision, with its name."""
    import onnx

    names = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: names[kind] for name, kind in kinds.items() if kind in names}


def _type_name(value: onnx.ValueInfoProto) -> str:
    import onnx

    kind = value.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else ""


def _retype(model: onnx.ModelProto, dtype: str) -> None:
    """Make every float of the model ``dtype``: weights, constants, casts, and types that attributes name."""
    import onnx

    types = onnx.TensorProto
    floats: set[int] = {types.FLOAT, types.DOUBLE, types.FLOAT16, types.BFLOAT16}
    wanted = types.DOUBLE if dtype == "float64" else types.FLOAT
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in floats:
            value.type.tensor_type.elem_type = wanted
    _retype_graph(model.graph, floats, wanted)


def _retype_graph(graph: onnx.GraphProto, floats: set[int], wanted: int) -> None:
    for tensor in graph.initializer:
        _retype_tensor(tensor, floats, wanted)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _retype_tensor(attribute.t, floats, wanted)
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in floats:
                attribute.i = wanted
        if node.op_type == "Constant" and node.attribute[0].name in ("value_float", "value_floats"):
            _retype_numbers(node, wanted)
        for body in bodies(node):
            for value in (*body.input, *body.output, *body.value_info):
                if value.type.tensor_type.elem_type in floats:
                    value.type.tensor_type.elem_type = wanted
            _retype_graph(body, floats, wanted)


def _retype_tensor(tensor: onnx.TensorProto, floats: set[int], wanted: int) -> None:
    import onnx

    if tensor.data_type in floats and tensor.data_type != wanted:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted)
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(dtype), tensor.name))


def _retype_numbers(node: onnx.NodeProto, wanted: int) -> None:
    """Turn a constant that is given as a number or numbers, which are float32 by definition, into a tensor."""
    import onnx

    given = node.attribute[0]
    numbers = np.array(given.f if given.name == "value_float" else list(given.floats), np.float32)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted)
    node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(numbers.astype(dtype))))


def counted(graph: onnx.GraphProto) -> Counter[str]:
    """Return how often each operator is in the graph."""
    return Counter(node.op_type for node in nodes(graph))
