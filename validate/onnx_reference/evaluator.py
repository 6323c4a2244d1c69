"""A graph file computed by ONNX's reference evaluator, every float in one type, node by node.

In float64 it gives the truth: every float tensor, constant and cast of the graph becomes float64, whatever type it had,
and quantised tensors keep the fractions between their levels. In float32 it gives what the graph loses by itself: the
last digits of operators that add up or approximate are drawn anew by each ``draw``, and values that the graph has in
half precision, or quantises, are rounded if they are wanted as written. A value is dropped after its last use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.nodes import attributes_of, bodies, constants, nodes
from ...core.operators import DEQUANTIZE_LINEAR
from ...errors import CheckFailed, MissingRequirement, typed_line
from ..arrays import Array, Arrays
from ..last_digits import EPSILON, OFTEN, SEED, SELDOM, TABLE
from ..reached import Reached, is_comparison
from .float_types import half_values, retype, type_name
from .floats import is_float, magnitude, rounded
from .kernels import replacements
from .levels import within_half_a_step
from .plain_kernels import Manner
from .rounding import Rounding, levelled
from .run_options import EXACT, RunOptions
from .tf32 import shortening
from .truth import OWN_DIGITS, RANGES, is_narrow, require_truth
from .weights_beside import weights_beside

if TYPE_CHECKING:
    import onnx

# (a node, its inputs, what computes it of them) -> its outputs
Around = Callable[["onnx.NodeProto", Sequence[Any], Callable[[Sequence[Any]], Sequence[Any]]], Sequence[Any]]

# operators of ONNX by the names that reached.py has for PyTorch's
_REACHING = {
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hardsigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "Relu": "relu",
    "HardSwish": "hardswish",
    "Clip": "clamp",
    "ThresholdedRelu": "threshold",
    "Equal": "eq",
    "Less": "lt",
    "LessOrEqual": "le",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
}


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
        require_truth(model, opset, {kind.__name__ for kind in replaced})
        self._declared = {value.name: type_name(value) for value in (*model.graph.input, *model.graph.output)}
        self.outputs = [value.name for value in model.graph.output]
        self._half = half_values(model)
        self._stored = {name: place for place, name in enumerate(constants(model.graph))}
        self._levels_draw: int | None = None
        beside = weights_beside(model, path.parent, self.dtype)
        retype(model, dtype)
        self._inner = ReferenceEvaluator(model, new_ops=replaced)
        self._inner.rt_inits_.update(beside)
        self._nodes = list(zip(model.graph.node, self._inner.rt_nodes_, strict=True))
        self._last = {
            name: position
            for position, (node, _) in enumerate(self._nodes)
            for name in (*node.input, *_read_inside(node))
        }
        self._from_inputs = _from_inputs(model.graph, self._stored)
        self._proven: set[int] = set()
        self._rounded: dict[str, str] = {}
        self._products: set[str] = set()
        self._shorten = shortening(None)
        self.largest = 0.0

    def run(
        self,
        feeds: Arrays,
        options: RunOptions = EXACT,
        *,
        shown: Sequence[str] = (),
        around: Around | None = None,
        reached: Reached | None = None,
    ) -> Arrays:
        """Return the outputs and the values ``shown`` by name.

        ``around`` computes each node with what would have computed it. ``reached`` takes note of what is made of the
        inputs' numbers by gates, activations and comparisons.

        Raises CheckFailed naming the node that cannot be computed, and MissingRequirement for one that float64 is only
        claimed for.
        """
        manner, rounding = self._manner, options.rounding
        manner.rounds, manner.is_plain, manner.ends = options.rounds_levels, options.is_plain, options.ends
        self._levels_draw = options.moves_levels
        self._rounded = self._half if options.as_written else {}
        in_float32 = rounding is None and not options.as_written
        digits = None if options.draw is None else _Digits(options.draw, OFTEN if in_float32 else SELDOM)
        manner.move = (lambda _, value: value) if digits is None else digits.move
        self._products = set(() if rounding is None else rounding.products)
        self._shorten = shortening(options.draw)
        wanted = [*self.outputs, *shown]
        values: dict[str, Any] = {"": None, **self._inner.rt_inits_}
        values |= {name: self._widened(value) for name, value in feeds.items()}
        self.largest = max((magnitude(value) for value in feeds.values()), default=0.0)
        for position, (node, operator) in enumerate(self._nodes):
            given = [self._read(node, place, name, values, rounding) for place, name in enumerate(node.input)]
            compute = functools.partial(self._computed, position, node, operator, values)
            found = compute(given) if around is None else around(node, given, compute)
            if reached is not None and node.op_type in _REACHING and node.output[0] in self._from_inputs:
                _reach(reached, node, given, found[0])
            for name, value in zip(node.output, found, strict=False):
                values[name] = self._given(node, name, value, digits, rounding)
            for name in {*node.input, *_read_inside(node), *node.output}:
                if self._last.get(name, -1) <= position and name not in wanted:
                    values.pop(name, None)
            values[""] = None
        if rounding is not None and rounding.outputs:
            for name in self.outputs:
                values[name] = rounded(values[name], rounding.outputs) if is_float(values[name]) else values[name]
        return {name: self._as_declared(name, values[name]) for name in wanted}

    def _widened(self, value: Array) -> Array:
        return value.astype(self.dtype) if is_float(value) else value

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
        if self._levels_draw is not None and place == 0 and node.op_type == DEQUANTIZE_LINEAR and name in self._stored:
            return self._moved_level(node, values)
        if how is None or not isinstance(value, np.ndarray) or not is_float(value):
            return value
        if node.name in self._products:
            is_operand = place < 2 or node.op_type == "Einsum"
            return self._shorten(value) if is_operand else value
        value = levelled(node.name, place, name, value, how)
        return rounded(value, how.half[node.name]) if node.name in how.half else value

    def _moved_level(self, node: onnx.NodeProto, values: dict[str, Any]) -> Array:
        """Return the stored levels that a DequantizeLinear reads, moved by the draw of this run."""

        stored, scale, *zero = (values[name] for name in node.input)
        rng = np.random.default_rng([self._levels_draw or 0, self._stored[node.input[0]]])
        return within_half_a_step(stored, scale, zero[0] if zero else None, rng, **attributes_of(node))

    def _computed(
        self, position: int, node: onnx.NodeProto, operator: Any, values: dict[str, Any], given: Sequence[Any]
    ) -> Sequence[Any]:
        try:
            with np.errstate(all="ignore"):
                context = {"context": values} if operator.need_context() else {}
                found: Sequence[Any] = operator.run(*given, **context)
        except Exception as error:  # of any operator's own kind
            reason = typed_line(error)
            raise CheckFailed(
                f"ONNX's reference evaluator cannot compute node {position}, {node.name} ({node.op_type}): {reason}"
            ) from error
        if self.dtype == np.float64:
            for value in found:
                if isinstance(value, np.ndarray) and is_float(value):
                    self.largest = max(self.largest, magnitude(value))
            asked = [value for name, value in zip(node.output, found, strict=False) if name]
            if position not in self._proven and is_narrow(node, given, asked):
                raise MissingRequirement(
                    f"ONNX's reference evaluator has no float64 for node {position}, {node.name} ({node.op_type})"
                )
            self._proven.add(position)
        return found

    def _given(
        self, node: onnx.NodeProto, name: str, value: Any, digits: _Digits | None, rounding: Rounding | None
    ) -> Any:
        if not isinstance(value, np.ndarray) or not is_float(value):
            return value
        value = value.astype(self.dtype, copy=False)
        half = self._rounded.get(name) or ("" if rounding is None else rounding.half.get(node.name, ""))
        if digits is not None and node.op_type in OWN_DIGITS:
            value = digits.move(node.op_type, value, half)
        return rounded(value, half) if half else value


def _from_inputs(graph: onnx.GraphProto, stored: Iterable[str]) -> set[str]:
    """Return the names of the values that depend on the numbers of the inputs, not on their sizes alone.

    Old files list their weights, by their names ``stored``, among the inputs.
    """
    found = {value.name for value in graph.input} - {*stored}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and found.intersection([*node.input, *_read_inside(node)]):
            found.update(node.output)
    return found


def _reach(reached: Reached, node: onnx.NodeProto, given: Sequence[Any], value: Array) -> None:
    """Note what a node that _REACHING names gave.

    Integers are left out, since exporters compare indices with 0, and so is what is compared with infinity.
    """
    operator = _REACHING[node.op_type]
    if not value.size or not is_float(given[0]):
        return
    if not is_comparison(operator):
        reached.value((f"node {node.name}", operator, 0), value)
    elif not any(np.isinf(one).all() for one in given[:2]):
        reached.side(operator, f"node {node.name}", value)


class _Digits:
    """Other last digits, the same for the same draw; moved as ``validate.last_digits`` moves PyTorch's."""

    def __init__(self, draw: int, steps: Sequence[int]) -> None:
        self._steps = np.random.default_rng([SEED, draw]).choice(np.array(steps, np.float32), TABLE)
        self._at = 0

    def move(self, kind: str, value: Array, half: str = "") -> Array:
        """Return what an operator of this kind gives with last digits of its precision drawn anew; counts stay."""
        few = value.reshape(-1)[:64]
        if not value.size or (np.array_equal(few, np.round(few)) and np.array_equal(value, np.round(value))):
            return value
        self._at = (self._at + 7919) % TABLE
        steps = np.resize(np.roll(self._steps, -self._at), value.size).reshape(value.shape)
        epsilon = np.float32({"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(half, EPSILON))
        with np.errstate(over="ignore", invalid="ignore"):
            found: Array = value * (1 + steps * epsilon)
        return np.clip(found, *RANGES[kind]) if kind in RANGES else found


def _read_inside(node: onnx.NodeProto) -> set[str]:
    """Return every name that the bodies of a node read, their own among them."""
    return {name for body in bodies(node) for inner in nodes(body) for name in inner.input} | {
        output.name for body in bodies(node) for output in body.output
    }
