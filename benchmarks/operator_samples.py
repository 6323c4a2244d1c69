"""The smallest part of an exported graph that computes one operator, and the same in a lower type.

A sample is a node with all that its integers, its truth values and its numbers of sizes come from. Every other float
tensor that it reads and that is no constant becomes an input, with the shapes that it has at the smallest, the usual
and the largest sizes of the graph. Lower types are written by the passes that write them into whole graphs, and numbers
that come from sizes alone have none there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, defs, helper, numpy_helper

from attn2trt.core.graph import DEFAULT_OPSET, OPSETS, OnnxGraph, save
from attn2trt.core.precision import CAST, FP32, QUANTISED
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.export.passes.float_policy import FloatPlan, first_opset
from attn2trt.export.passes.lower_precision import LowerPrecision
from attn2trt.export.passes.quantize import Quantize
from attn2trt.export.passes.quantize_policy import QUANTIZABLE, Quantized, QuantizePlan, output_axis
from attn2trt.export.precision import float32_source
from attn2trt.export.precision_options import file_name

# One whose rest is in half precision has the operators of both.
EIGHT_BIT = tuple(name for name, row in QUANTISED.items() if not row.is_placed)
PRECISIONS = (FP32, *CAST, *EIGHT_BIT)
# What the passes themselves write around other operators, and in which precisions.
WRITTEN = {"Cast": (*CAST,), "QuantizeLinear": EIGHT_BIT, "DequantizeLinear": EIGHT_BIT}
# The range of a tensor that a sample quantises: any will do.
RANGE = 4.0
NAME = "sample"
SCHEMA_SHAPE = ("batch", 8, 12, 12)
WEIGHT = np.ones((12, 12), np.float32)

Shapes = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Sample:
    """An operator as an export writes it.

    Attributes:
        key: Its difference from other samples: operator, attributes, and what its inputs are.
        operator: Its ONNX name.
        model: The graph, in float32.
        inputs: The graph's inputs.
        axes: The ranges of their dynamic dimensions.
        precisions: Those in which it can stand in a graph at all.
    """

    key: str
    operator: str
    model: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    precisions: tuple[str, ...] = PRECISIONS


class Sampler:
    """The samples of one exported float32 graph."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph
        self._model = onnx.load(str(graph.path))
        self._constants = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._producers: dict[str, onnx.NodeProto] = {}
        for node in self._model.graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _named(node.attribute[0].t, node.output[0])
            else:
                self._producers |= dict.fromkeys(node.output, node)
        self._from_data = {spec.name for spec in graph.inputs}
        for node in self._model.graph.node:
            if node.op_type not in ("Shape", "Size") and self._from_data & {*node.input}:
                self._from_data.update(node.output)
        self._shapes: list[Shapes] = []

    def samples(self, known: Collection[str]) -> Iterator[Sample | str]:
        """Every sample whose key is not ``known``, and the keys of those that are; each once."""
        self._shapes = [self._run("opt")]
        met: set[str] = set()
        for node in self._model.graph.node:
            if node.op_type == "Constant" or (key := self._key(node)) in met:
                continue
            met.add(key)
            yield key if key in known else self._sample(node, key)

    def _run(self, which: str) -> Shapes:
        """(ONNX type, shape) of every tensor at the smallest, the usual or the largest sizes."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        outputs = {value.name for value in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._producers if name not in outputs)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        sizes = {name: int(getattr(axis, which)) for name, axis in self._graph.axes.items()}
        rng = np.random.default_rng(0)
        feeds = {
            spec.name: rng.uniform(
                0 if spec.low is None else spec.low, 1 if spec.high is None else spec.high, spec.resolve(sizes)
            )
            for spec in self._graph.inputs
        }
        feeds = {spec.name: feeds[spec.name].astype(spec.dtype) for spec in self._graph.inputs}
        names = [output.name for output in session.get_outputs()]
        arrays = feeds | dict(zip(names, session.run(names, feeds), strict=True))
        arrays |= {name: numpy_helper.to_array(tensor) for name, tensor in self._constants.items()}
        return {name: (array.dtype.name, *array.shape) for name, array in arrays.items()}

    def _key(self, node: onnx.NodeProto) -> str:
        found = [f"{one.name}={_attribute(one)}" for one in sorted(node.attribute, key=lambda one: one.name)]
        if node.op_type in ("Conv", "ConvTranspose"):
            channels = self._shapes[0][node.input[0]][2]
            groups = next((one.i for one in node.attribute if one.name == "group"), 1)
            kind = "all" if groups == channels > 1 else "one" if groups == 1 else "some"
            found = [text for text in found if not text.startswith("group=")] + [f"groups={kind}"]
        reads = [self._described(name) for name in node.input]
        return f"{node.op_type}({', '.join(reads)})" + "".join(f" {text}" for text in found)

    def _described(self, name: str) -> str:
        if not name:
            return "none"
        dtype, *shape = self._shapes[0][name]
        is_given = name in self._constants
        of_sizes = " of sizes" if dtype.startswith("float") and not is_given and name not in self._from_data else ""
        return f"{'constant ' if is_given else ''}{dtype} rank {len(shape)}{of_sizes}"

    def _sample(self, node: onnx.NodeProto, key: str) -> Sample:
        if len(self._shapes) == 1:
            self._shapes += [self._run(which) for which in ("min", "max")]
        nodes, boundary, constants = self._ancestry(node)
        axes: dict[str, Axis] = {}
        inputs = tuple(self._spec(name, axes) for name in boundary)
        copies = [_copy(one, NAME if one is node else f"of_{position}") for position, one in enumerate(nodes)]
        outputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(self._shapes[0][name][0])), self._dims(name, axes)
            )
            for name in node.output
            if name
        ]
        given = [
            helper.make_tensor_value_info(
                spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), list(spec.shape)
            )
            for spec in inputs
        ]
        made = helper.make_graph(copies, "sample", given, outputs, [self._constants[name] for name in constants])
        model = helper.make_model(made, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        # what a cast gives is its own attribute, which no pass changes
        is_fixed = node.op_type in WRITTEN or not self._from_data & {*node.output, *node.input}
        precisions = (FP32,) if is_fixed else PRECISIONS
        return Sample(key, node.op_type, model, inputs, axes, precisions)

    def _ancestry(self, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], list[str], list[str]]:
        """The nodes of the sample in the order of the graph, its inputs, and its constants."""
        wanted, boundary, constants = [node], dict[str, None](), dict[str, None]()
        for one in wanted:
            for name in filter(None, one.input):
                if name in self._constants:
                    constants[name] = None
                elif name in self._producers and not self._is_boundary(name):
                    if all(self._producers[name] is not other for other in wanted):
                        wanted.append(self._producers[name])
                else:
                    boundary[name] = None
        return (
            [one for one in self._model.graph.node if any(one is other for other in wanted)],
            [*boundary],
            [*constants],
        )

    def _is_boundary(self, name: str) -> bool:
        return self._shapes[0][name][0].startswith("float") and name in self._from_data

    def _spec(self, name: str, axes: dict[str, Axis]) -> TensorSpec:
        return TensorSpec(name, self._dims(name, axes), self._shapes[0][name][0])

    def _dims(self, name: str, axes: dict[str, Axis]) -> tuple[int | str, ...]:
        """The shape, a dimension that changes with the sizes by a name that tells how."""
        found: list[int | str] = []
        for usual, least, most in zip(*(shapes[name][1:] for shapes in self._shapes), strict=True):
            if least == usual == most:
                found.append(usual)
                continue
            smallest, middle, largest = sorted((least, usual, most))
            found.append(f"from_{smallest}_{middle}_{largest}")
            axes[found[-1]] = Axis(smallest, middle, largest)
        return tuple(found)


def from_schema(operator: str) -> Sample | None:
    """An operator that no export writes, from ONNX's own description; None if it reads more than float tensors."""
    opset = first_opset(operator, CAST["fp16"], DEFAULT_OPSET)
    if opset == OPSETS.stop:
        return None
    schema = defs.get_schema(operator, opset, "")
    read = [one for one in schema.inputs if one.option != defs.OpSchema.FormalParameterOption.Optional]
    needs_more = any(attribute.required for attribute in schema.attributes.values())
    if needs_more or not all("tensor(float)" in one.types for one in read) or len(schema.outputs) != 1:
        return None
    names = [f"x{position}" for position in range(max(len(read), schema.min_input))]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(SCHEMA_SHAPE)) for name in names}
    is_float = "tensor(float)" in schema.outputs[0].types
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT if is_float else TensorProto.BOOL, None)
    node = helper.make_node(operator, names, ["y"], name=NAME)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        helper.make_graph([node], "sample", [*values.values()], [output]),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
    )
    inputs = tuple(TensorSpec(name, SCHEMA_SHAPE) for name in names)
    return Sample(
        f"{operator}({', '.join(['float32 rank 4'] * len(names))})", operator, model, inputs, {"batch": Axis(1, 2, 4)}
    )


def written(operator: str) -> Sample:
    """One of WRITTEN: a pair of casts around an ``Identity``, or pairs of quantisers before a product."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(SCHEMA_SHAPE)) for name in "xy"]
    kind, constants = (
        ("Identity", []) if operator == "Cast" else ("MatMul", [numpy_helper.from_array(WEIGHT, "weight")])
    )
    node = helper.make_node(kind, ["x", *(tensor.name for tensor in constants)], ["y"], name=NAME)
    made = helper.make_graph([node], "sample", values[:1], values[1:], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", DEFAULT_OPSET)], ir_version=8)
    inputs, key = (TensorSpec("x", SCHEMA_SHAPE),), f"{operator} around {kind}"
    return Sample(key, operator, model, inputs, {"batch": Axis(1, 2, 4)}, WRITTEN[operator])


def write(sample: Sample, precision: str, folder: Path) -> Path | None:
    """Write the sample in a precision into ``folder``; None if there is no such graph, as ONNX has it."""
    if precision not in sample.precisions:
        return None
    path = folder / file_name(FP32)
    onnx.save(sample.model, str(path))
    if precision == FP32:
        return path
    opset = next(one.version for one in sample.model.opset_import if not one.domain)
    graph = OnnxGraph(path, opset, sample.inputs, ())
    model = (_quantized if precision in QUANTISED else _lowered)(graph, precision)
    if model is None:
        return None
    save(model, folder / file_name(precision))
    return folder / file_name(precision)


def _lowered(graph: OnnxGraph, precision: str) -> ir.Model | None:
    low = CAST[precision]
    node = _node(_at(graph, graph.opset))
    opset = first_opset(node.op_type, low, graph.opset)
    if opset == OPSETS.stop or not any(value is not None and value.dtype == ir.DataType.FLOAT for value in node.inputs):
        return None
    model = _at(graph, opset)
    LowerPrecision(FloatPlan(frozenset((NAME,)), {}, {}), low, {})(model)
    return model


def _quantized(graph: OnnxGraph, precision: str) -> ir.Model | None:
    form = QUANTISED[precision]
    model = _at(graph, max(graph.opset, form.opset))
    node = _node(model)
    if node.op_type not in QUANTIZABLE:
        return None
    tensor, weight = node.inputs[:2]
    assert tensor is not None
    assert weight is not None
    if weight.const_value is None or tensor.const_value is not None:
        return None
    if node.op_type == "MatMul" and len(weight.const_value.shape) != 2:
        return None
    product = Quantized(NAME, str(tensor.name), str(weight.name), output_axis(node))
    Quantize(QuantizePlan((product,), {}, {}, {}), {product.tensor: RANGE}, {}, form)(model)
    return model


def _node(model: ir.Model) -> ir.Node:
    return next(node for node in model.graph if node.name == NAME)


def _at(graph: OnnxGraph, opset: int) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(float32_source(graph, opset)))


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    found = onnx.TensorProto()
    found.CopyFrom(tensor)
    found.name = name
    return found


def _copy(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    found = onnx.NodeProto()
    found.CopyFrom(node)
    found.name = name
    return found


def _attribute(attribute: onnx.AttributeProto) -> str:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return str(numpy_helper.to_array(value).tolist())
    return str([*value]).replace(" ", "") if hasattr(value, "__iter__") else f"{value:g}"
