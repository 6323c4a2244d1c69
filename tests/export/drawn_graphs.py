"""Small float64 graphs drawn by a seed: pieces of attention as exporters write them, and in ways that are rare."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N, H, W = "n", "h", "w"
ACTIVATIONS = ("Sigmoid", "Relu", "Tanh", "HardSwish", "HardSigmoid")


@dataclass(frozen=True)
class Drawn:
    """A graph, and inputs for it: of several sizes, and for its weights that are inputs other numbers than its own."""

    model: onnx.ModelProto
    feeds: tuple[Mapping[str, np.ndarray], ...]


def draw(seed: int, first: Piece | None = None) -> Drawn:
    """Return the graph of a seed, which begins with a piece."""
    return _Drawing(np.random.default_rng(seed)).drawn(first)


class _Drawing:
    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.opset: int = self.one_of(17, 18, 19)
        self.batch: int | str = self.one_of(N, N, 1, 2)
        self.channels: int = self.one_of(1, 2, 4, 6, 16)
        self.height, self.width = self.one_of(
            *((H, W), (H, W), (1, 1), (1, 5), (3, W), (3, 5), (7, 7), (10, 6), (H, 4))
        )
        self.kind: int = TensorProto.DOUBLE
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._fed: dict[str, np.ndarray] = {}
        self._outputs: list[str] = []
        self._names = 0
        self._ranks: list[onnx.ValueInfoProto] = []  # of what shape inference may know nothing about

    def one_of(self, *choices: Any) -> Any:
        return choices[self.below(len(choices))]

    def below(self, end: int) -> int:
        return int(self._rng.integers(end))

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def drawn(self, first: Piece | None = None) -> Drawn:
        value = "x" if first is None else first(self, "x")
        if self.opset >= 19 and self.chance(0.3):
            value = _quantised(self, value)
        for piece in self._rng.choice(len(PIECES), size=3, replace=False):
            value = PIECES[piece](self, value)
            if self.chance(0.2):
                self._outputs.append(value)
        self.node("Identity" if self.chance(0.5) else "Relu", [value], name="y")
        return Drawn(self._model(), tuple(self._feeds()))

    def _model(self) -> onnx.ModelProto:
        dims = [self.batch, self.channels, self.height, self.width]
        inputs = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, dims)]
        inputs += [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, value.shape) for name, value in self._fed.items()
        ]
        names = dict.fromkeys(["y", *self._outputs])
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        graph = helper.make_graph(self._nodes, "drawn", inputs, outputs, self._weights, value_info=self._ranks)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred, full_check=True)
        return inferred

    def _feeds(self) -> list[dict[str, np.ndarray]]:
        found = []
        for sizes in ({N: 2, H: 3, W: 4}, {N: 1, H: 1, W: 1}, {N: 3, H: 8, W: 5}):
            shape = [sizes.get(dim, dim) for dim in (self.batch, self.channels, self.height, self.width)]
            others = {name: self._rng.standard_normal(value.shape) for name, value in self._fed.items()}
            found.append({"x": self._rng.standard_normal(shape), **others})
        return found

    def _name(self, word: str) -> str:
        self._names += 1
        return f"{word}_{self._names}"

    def node(self, operator: str, inputs: Sequence[str], *, name: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        output = name or self._name(operator.lower())
        self._nodes.append(helper.make_node(operator, inputs, [output], self._name(operator), **attributes))
        if self.chance(0.04) and output != "y":
            self.also_read(output)
        if self.chance(0.02) and output != "y":
            self._outputs.append(output)
        return output

    def also_read(self, value: str) -> None:
        """Have something else read a value, now and then in the body of an If."""
        if self.chance(0.5):
            self._outputs.append(self.node("Neg", [value]))
            return
        then, other = self._name("then"), self._name("other")
        bodies = {
            "then_branch": self._body(helper.make_node("Abs", [value], [then], self._name("Abs")), then),
            "else_branch": self._body(helper.make_node("Neg", [value], [other], self._name("Neg")), other),
        }
        condition = self.numbers(np.array(self.chance(0.5)), is_constant=True)
        self._outputs.append(self.node("If", [condition], **bodies))

    def _body(self, node: onnx.NodeProto, output: str) -> onnx.GraphProto:
        return helper.make_graph([node], output, [], [helper.make_tensor_value_info(output, self.kind, None)])

    def weight(self, *shape: int, may_be_fed: bool = True) -> str:
        """Add a weight: an initializer, a Constant, or an input with a default."""
        values = self._rng.standard_normal(shape) / math.sqrt(max(1, math.prod(shape[1:])))
        name = self.numbers(values, is_constant=self.chance(0.1))
        if may_be_fed and self.chance(0.03) and any(tensor.name == name for tensor in self._weights):
            self._fed[name] = values
        return name

    def numbers(self, values: np.ndarray, *, is_constant: bool = False) -> str:
        name = self._name("number")
        tensor = numpy_helper.from_array(np.asarray(values), name)
        if is_constant:
            self._nodes.append(helper.make_node("Constant", [], [name], self._name("Constant"), value=tensor))
        else:
            self._weights.append(tensor)
        return name

    def integers(self, *values: int) -> str:
        return self.numbers(np.array(values, np.int64))

    def sizes(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node that gives whole numbers."""
        output = self._name(operator.lower())
        self._nodes.append(helper.make_node(operator, inputs, [output], self._name(operator), **attributes))
        return output

    def split(self, value: str, sizes: Sequence[str], axis: int) -> list[str]:
        """Add a Split into tensors of these sizes, which are tensors of one number, or the Slices that are the same."""
        if self.chance(0.5):
            given = self.sizes("Concat", sizes, axis=0)
            names = [self._name("part") for _ in sizes]
            about = {"axis": axis if self.chance(0.5) else axis - 4}
            self._ranks += [helper.make_tensor_value_info(name, self.kind, [None] * 4) for name in names]
            self._nodes.append(helper.make_node("Split", [value, given], names, self._name("Split"), **about))
            return names
        ends = [self.integers(0)]
        for size in sizes[:-1]:
            ends.append(self.sizes("Add", [ends[-1], size]))
        ends.append(self.integers(self.one_of(2**31 - 1, 2**63 - 1)))
        return [self.node("Slice", [value, *bounds, self.integers(axis)]) for bounds in pairwise(ends)]

    def turned(self, value: str) -> str:
        """Add what exchanges height and width of a map of one column, or of one row."""
        if self.chance(0.6):
            return self.node("Transpose", [value], perm=[0, 1, 3, 2])
        shape = self.sizes("Shape", [value])
        order = self.sizes("Gather", [shape, self.integers(0, 1, 3, 2)])
        return self.node("Reshape", [value, order])

    def size_of(self, axis: int) -> str:
        """Add the size of the input's axis as a tensor of one number."""
        known = (self.batch, self.channels, self.height, self.width)[axis]
        if isinstance(known, int) and self.chance(0.7):
            return self.integers(known)
        shape = self.sizes("Shape", ["x"])
        if self.chance(0.5):
            return self.sizes("Slice", [shape, self.integers(axis), self.integers(axis + 1)])
        number = self.sizes("Gather", [shape, self.numbers(np.array(axis - self.one_of(0, 4)))])
        return self.sizes("Unsqueeze", [number, self.integers(0)])

    def cast(self, value: str, kind: int) -> str:
        """Add a Cast; what is added from then on is of its kind."""
        output = self._name("cast")
        self.kind = kind
        self._nodes.append(helper.make_node("Cast", [value], [output], self._name("Cast"), to=kind))
        return output

    def dequantised(self, value: str, scale: str, zero: str) -> str:
        """Add a QuantizeLinear and a DequantizeLinear."""
        names = self._name("eight"), self._name("float")
        made = (("QuantizeLinear", value, names[0]), ("DequantizeLinear", names[0], names[1]))
        for operator, given, output in made:
            self._nodes.append(helper.make_node(operator, [given, scale, zero], [output], self._name(operator)))
        return names[1]

    def act(self, value: str) -> str:
        return self.node(self.one_of(*ACTIVATIONS), [value])

    def multiplied(self, value: str, gate: str) -> str:
        return self.node("Mul", [value, gate] if self.chance(0.5) else [gate, value])

    def reduced(self, operator: str, value: str, axes: Sequence[int], *, keep: bool) -> str:
        """Add a reduction of a map, its axes counted from either end, in any order."""
        wanted = [axis - 4 if self.chance(0.4) else axis for axis in self._rng.permutation(axes).tolist()]
        attributes: dict[str, Any] = {} if keep and self.chance(0.3) else {"keepdims": int(keep)}
        if self.opset < 18:
            return self.node(operator, [value], axes=wanted, **attributes)
        return self.node(operator, [value, self.integers(*wanted)], **attributes)

    def squeezed(self, value: str, *, keep: bool, operator: str = "ReduceMean") -> str:
        """Add a reduction over height and width."""
        if operator == "ReduceMean" and self.chance(0.3):
            pooled = self.node("GlobalAveragePool", [value])
            return pooled if keep else self.node("Squeeze", [pooled, self.integers(*self.one_of((2, 3), (-1, -2)))])
        return self.reduced(operator, value, (2, 3), keep=keep)

    def rows_layer(self, inputs: int, outputs: int, *, is_for_any_batch: bool = False) -> Callable[[str], str]:
        """Draw a linear layer of rows with weights that every call shares."""
        if self.chance(0.3):
            weight, bias = self.weight(inputs, outputs), self.weight(outputs)
            with_bias = self.chance(0.5)
            return lambda value: (
                self.node("Add", [self.node("MatMul", [value, weight]), bias])
                if with_bias
                else self.node("MatMul", [value, weight])
            )
        shapes: list[tuple[int, ...]] = [(outputs,), (1, outputs), (1,), ()]
        if isinstance(self.batch, int) and not is_for_any_batch:
            shapes += [(self.batch, 1), (self.batch, outputs)]
        is_turned = self.chance(0.5)
        operands = [self.weight(outputs, inputs) if is_turned else self.weight(inputs, outputs)]
        operands += [self.weight(*self.one_of(*shapes))] if self.chance(0.8) else []
        about = {"transB": int(is_turned), **({"alpha": 2.0, "beta": 0.5} if self.chance(0.3) else {})}
        return lambda value: self.node("Gemm", [value, *operands], **about)

    def pixel_layer(self, inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> Callable[[str], str]:
        """Draw a convolution that keeps height and width, with weights that every call shares."""
        operands = [self.weight(outputs, inputs // groups, kernel, kernel)]
        operands += [self.weight(outputs)] if self.chance(0.6) else []
        about: dict[str, Any] = {"pads": [kernel // 2] * 4} if kernel > 1 else {}
        if groups > 1:
            about["group"] = groups
        return lambda value: self.node("Conv", [value, *operands], **about)


def _rows_gate(drawing: _Drawing, value: str) -> str:
    channels = drawing.channels
    middle = drawing.one_of(1, 3, channels)
    layers = drawing.rows_layer(channels, middle), drawing.rows_layer(middle, channels)
    activation = drawing.one_of(*ACTIVATIONS)

    def branch(operator: str) -> str:
        row = drawing.squeezed(value, keep=False, operator=operator)
        return layers[1](drawing.node(activation, [layers[0](row)]))

    rows = branch("ReduceMean")
    if drawing.chance(0.4):
        rows = drawing.node("Add", [rows, branch("ReduceMax")])
    if drawing.chance(0.3):  # a layer after itself
        again = drawing.rows_layer(channels, channels)
        rows = again(drawing.act(again(rows)))
    if drawing.chance(0.3):
        rows = drawing.node("Mul", [rows, drawing.weight(*drawing.one_of((channels,), (1, channels), (1,), ()))])
    rows = drawing.act(rows)
    if drawing.chance(0.5):
        return drawing.multiplied(value, drawing.node("Unsqueeze", [rows, drawing.integers(2, 3)]))
    batch = 0 if drawing.batch == N else int(drawing.batch)
    return drawing.multiplied(value, drawing.node("Reshape", [rows, drawing.integers(batch, channels, 1, 1)]))


def _pixel_gate(drawing: _Drawing, value: str) -> str:
    channels, middle = drawing.channels, drawing.one_of(1, 2, drawing.channels)
    first, second = drawing.pixel_layer(channels, middle), drawing.pixel_layer(middle, channels)
    gate = second(drawing.act(first(drawing.squeezed(value, keep=True))))
    if drawing.chance(0.3):
        gate = drawing.node("Add", [gate, second(drawing.act(first(drawing.squeezed(value, keep=True))))])
    if drawing.chance(0.3):
        shape = drawing.one_of((channels, 1, 1), (1, channels, 1, 1), (1,), ())
        gate = drawing.node(drawing.one_of("Mul", "Sub", "Add"), [drawing.weight(*shape), gate])
    return drawing.multiplied(value, drawing.act(gate) if drawing.chance(0.8) else gate)


def _channel_statistics(drawing: _Drawing, value: str) -> str:
    maps = [drawing.reduced(name, value, (1,), keep=True) for name in ("ReduceMax", "ReduceMean")]
    joined = drawing.node("Concat", maps if drawing.chance(0.5) else maps[::-1], axis=drawing.one_of(1, -3))
    gate = drawing.pixel_layer(2, 1, drawing.one_of(1, 3, 7))(joined)
    if drawing.chance(0.3):
        alone = drawing.reduced("ReduceMean", value, (1,), keep=False)
        gate = drawing.node("Add", [gate, drawing.node("Unsqueeze", [alone, drawing.integers(1)])])
    return drawing.multiplied(value, drawing.act(gate))


def _row_and_column_gates(drawing: _Drawing, value: str) -> str:
    channels = drawing.channels
    rows = drawing.reduced("ReduceMean", value, (3,), keep=True)
    columns = drawing.reduced("ReduceMean", value, (2,), keep=True)
    turned = drawing.node("Transpose", [columns], perm=[0, 1, 3, 2])
    shared, activation = drawing.pixel_layer(channels, channels), drawing.one_of(*ACTIVATIONS)
    rows, turned = (drawing.node(activation, [shared(part)]) for part in (rows, turned))
    columns = drawing.act(drawing.node("Transpose", [turned], perm=[0, 1, 3, 2]))
    first, second = (rows, columns) if drawing.chance(0.5) else (columns, rows)
    return drawing.multiplied(drawing.multiplied(value, first), second)


def concatenated_means(drawing: _Drawing, value: str) -> str:
    """Coordinate attention as its authors wrote it: rows and columns go through the same layers as one map."""
    channels = drawing.channels
    rows = drawing.reduced("ReduceMean", value, (3,), keep=True)
    if drawing.chance(0.3):
        mean = drawing.reduced("ReduceMean", value, (2,), keep=False)
        turned = drawing.node("Unsqueeze", [mean, drawing.integers(drawing.one_of(3, -1))])
    else:
        turned = drawing.turned(drawing.reduced("ReduceMean", value, (2,), keep=True))
    are_swapped = drawing.chance(0.3)
    parts, axes = ([turned, rows], [3, 2]) if are_swapped else ([rows, turned], [2, 3])
    joined = drawing.node("Concat", parts, axis=drawing.one_of(2, -2))
    for _ in range(drawing.one_of(1, 2, 3)):
        joined = _position_layer(drawing, joined)
    if drawing.chance(0.1):  # the sizes of the other way round, which may be the same
        axes.reverse()
        are_swapped = not are_swapped
    parts = drawing.split(joined, [drawing.size_of(axis) for axis in axes], 2)
    if drawing.chance(0.1):
        return drawing.multiplied(value, drawing.squeezed(parts[0], keep=True))
    columns, rows = parts if are_swapped else parts[::-1]
    columns = drawing.turned(columns)
    layer = drawing.pixel_layer(channels, channels)
    gates = [drawing.act(layer(columns)), drawing.act(rows)]
    return drawing.multiplied(drawing.multiplied(value, gates[0]), gates[1])


def _position_layer(drawing: _Drawing, value: str) -> str:
    """Draw a layer that computes each position for itself, now and then one that does not."""
    channels = drawing.channels
    kind = drawing.below(7)
    if kind < 2:
        return drawing.pixel_layer(channels, channels, groups=drawing.one_of(1, channels))(value)
    if kind == 2:
        gate = drawing.node("Add", [value, drawing.numbers(np.array(3.0))])
        clipped = drawing.node("Clip", [gate, drawing.numbers(np.array(0.0)), drawing.numbers(np.array(6.0))])
        return drawing.multiplied(value, clipped)
    if kind == 3:
        return drawing.node("Add", [value, drawing.weight(*drawing.one_of((channels, 1, 1), (1,), (1, 1, 1, 1)))])
    if kind == 4:
        numbers = [drawing.weight(channels) for _ in range(3)]
        variance = drawing.numbers(np.linspace(1, 2, channels))
        return drawing.node("BatchNormalization", [value, *numbers, variance])
    if kind == 5 and drawing.chance(0.3):
        weight = drawing.weight(channels, channels, 3, 1)
        return drawing.node("Conv", [value, weight], pads=[1, 0, 1, 0])
    return drawing.act(value)


def _siblings(drawing: _Drawing, value: str) -> str:
    channels = drawing.channels
    kernels = [drawing.one_of(1, 3, 5) for _ in range(drawing.one_of(2, 3))]
    divisors = [part for part in (2, 4, 8, channels) if channels % part == 0]
    groups = [drawing.one_of(1, *divisors) for _ in kernels]
    parts = [
        drawing.pixel_layer(channels, channels, kernel, group)(value)
        for kernel, group in zip(kernels, groups, strict=True)
    ]
    if drawing.chance(0.5):
        return drawing.node("Sum", parts)
    joined = drawing.node("Concat", parts, axis=1)
    return drawing.pixel_layer(channels * len(parts), channels)(joined)


def _joined_products(drawing: _Drawing, value: str) -> str:
    channels = drawing.channels
    gates = [drawing.act(drawing.squeezed(value, keep=True, operator="ReduceMax"))]
    if drawing.chance(0.5):  # one gate for all images
        learned = drawing.weight(1, channels, 1, 1, may_be_fed=False)
        zero = drawing.node("Sub", [learned, drawing.node("Identity", [learned])])
        gates.append(drawing.node("Exp", [zero]))
    else:
        gates.append(drawing.node("Neg", [gates[0]]))
    parts = [drawing.multiplied(value, gate) for gate in gates]
    joined = drawing.node("Concat", parts, axis=drawing.one_of(1, -3))
    return drawing.pixel_layer(2 * channels, channels)(joined)


def _along_channels(drawing: _Drawing, value: str) -> str:
    row = drawing.node("Unsqueeze", [drawing.squeezed(value, keep=False), drawing.integers(1)])
    kernel = drawing.one_of(1, 3, 5)
    before = drawing.below(kernel)
    operands = [row, drawing.weight(1, 1, kernel), *([drawing.weight(1)] if drawing.chance(0.5) else [])]
    row = drawing.act(drawing.node("Conv", operands, pads=[before, kernel - 1 - before]))
    turned = drawing.node("Transpose", [row], perm=[0, 2, 1])
    return drawing.multiplied(value, drawing.node("Unsqueeze", [turned, drawing.integers(-1)]))


def _picked(drawing: _Drawing, value: str) -> str:
    pooled = drawing.squeezed(value, keep=True)
    index = drawing.numbers(np.array(drawing.one_of(0, -1), np.int64), is_constant=drawing.chance(0.5))
    axis = drawing.one_of(1, -1, -3)
    entry = drawing.node("Gather", [drawing.act(pooled), index], axis=axis)
    return drawing.multiplied(value, drawing.node("Unsqueeze", [entry, drawing.integers(axis)]))


def _linear_pixels(drawing: _Drawing, value: str) -> str:
    channels = drawing.channels
    last = drawing.node("Transpose", [value], perm=[0, 2, 3, 1])
    first = drawing.node("MatMul", [last, drawing.weight(channels, 3)])
    added = drawing.act(drawing.node("Add", [first, drawing.weight(3)]))
    second = drawing.node("MatMul", [added, drawing.weight(3, channels)])
    return drawing.node("Transpose", [second], perm=[0, 3, 1, 2])


def _shared_weights(drawing: _Drawing, value: str) -> str:
    """Layers that follow on themselves, and layers on rows of other numbers of images."""
    channels = drawing.channels
    of_all = drawing.chance(0.3)
    layer = drawing.rows_layer(channels, channels, is_for_any_batch=of_all)
    row = drawing.squeezed(value, keep=False)
    other = drawing.one_of(row, drawing.squeezed(value, keep=False, operator="ReduceMax"), layer(row))
    if of_all:
        about = {"axes": [0], "keepdims": 1} if drawing.opset < 18 else {"keepdims": 1}
        given = [other] if drawing.opset < 18 else [other, drawing.integers(0)]
        other = drawing.node("ReduceMax", given, **about)
    rows = drawing.node("Add", [layer(row), layer(other)])
    return drawing.multiplied(value, drawing.node("Unsqueeze", [drawing.act(rows), drawing.integers(2, 3)]))


def _elementwise(drawing: _Drawing, value: str) -> str:
    return drawing.act(value)


def _in_float32(drawing: _Drawing, value: str) -> str:
    """A gate between Casts, as automatic mixed precision leaves them."""
    narrow = drawing.cast(value, TensorProto.FLOAT)
    axes = drawing.one_of((2, 3), (3,), (2,), (1,))
    gate = drawing.act(drawing.reduced("ReduceMean", narrow, axes, keep=True))
    return drawing.cast(drawing.multiplied(narrow, gate), TensorProto.DOUBLE)


def _quantised(drawing: _Drawing, value: str) -> str:
    """The map in 8 bits and back."""
    scale = drawing.numbers(np.array(0.03, np.float32))
    zero = drawing.numbers(np.array(0, np.int8))
    narrow = drawing.cast(value, TensorProto.FLOAT)
    eight = drawing.cast(drawing.dequantised(narrow, scale, zero), TensorProto.DOUBLE)
    return drawing.multiplied(eight, drawing.act(drawing.squeezed(eight, keep=True)))


Piece = Callable[[_Drawing, str], str]
PIECES: tuple[Piece, ...] = (
    _rows_gate,
    _pixel_gate,
    _channel_statistics,
    _row_and_column_gates,
    _siblings,
    _joined_products,
    _along_channels,
    _picked,
    _linear_pixels,
    _shared_weights,
    _elementwise,
    _in_float32,
)
