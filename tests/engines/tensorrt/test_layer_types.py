"""Layers of weakly typed networks get the graph's precision, by the parser's own log and by stand-ins for 8.6."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from attn2trt.core.computed_in import lowered_nodes
from attn2trt.engines.tensorrt.layer_types import bind_layers
from attn2trt.export.precision import lower
from attn2trt.modules.block_index import block_info, block_names
from attn2trt.modules.catalog import resolve
from attn2trt.workflows.float32_graph import export_graph

from .weak_network import TRT, Layer, Network, Tensor, parsed

LOG = Path(__file__).parent / "se-fp16-parser.log"
NODE = re.compile(r"VERBOSE: (\S+) \[(\w+)\] (inputs|outputs): (.*)")
TENSOR = re.compile(r"\[(\S+) -> \(([^)]*)\)\[(\w+)\]\]")
# blocks of every kind of arithmetic that the float16 policy meets; the others take minutes
FAST = ("se", "cbam", "coord_att", "simam")


def test_the_recorded_network_is_bound_to_the_types_of_its_graph(tmp_path: Path) -> None:
    network, graph = recorded(LOG.read_text(), tmp_path)
    assert network.num_layers == 12  # as the builder counted them: "Original: 12 layers"
    assert {tensor.dtype for layer in network.layers if layer.type != "CONSTANT" for tensor in layer.outputs} == {
        "FLOAT"
    }
    bind_layers(TRT, network, graph)
    found = {layer.node: (layer.precision, layer.bound) for layer in network.layers if layer.type == "OTHER"}
    half = ("node_linear", "node_relu", "node_linear_1", "node_sigmoid", "node_Unsqueeze_22", "node_mul_16")
    assert found == {"node_mean": ("FLOAT", {0: "FLOAT"}), **{name: ("HALF", {0: "HALF"}) for name in half}}
    unbound = {layer.type for layer in network.layers if layer.precision == "not set" and not layer.bound}
    assert unbound == {"CAST", "CONSTANT"}


def test_what_was_bound_before_is_what_tensorrt_refused(tmp_path: Path) -> None:
    network, _ = recorded(LOG.read_text(), tmp_path)
    cast = next(layer for layer in network.layers if layer.type == "CAST")
    with pytest.raises(AssertionError, match=r"castLayer\.cpp::validate"):
        cast.set_output_type(0, "FLOAT")


def recorded(log: str, folder: Path) -> tuple[Network, Path]:
    """The network that a parser's log reports, and a graph with the node names, operators and tensors of that log."""
    inputs, nodes, layers, weights = {}, [], [], {}
    target = ""
    for line in log.splitlines():
        if line.startswith("VERBOSE: Casting to type: "):
            target = line.rsplit(" ", 1)[1]
        if not (found := NODE.match(line)):
            continue
        name, operator, side, words = found.groups()
        tensors = {tensor: (dims, kind) for tensor, dims, kind in TENSOR.findall(words)}
        if side == "inputs":
            inputs = tensors
            weights |= {tensor: about for tensor, about in tensors.items() if f"initializer: {tensor}\n" in log}
            continue
        attributes = {
            "Cast": {"to": TensorProto.FLOAT16 if target == "float16" else TensorProto.FLOAT},
            "ReduceMean": {"axes": [2, 3], "keepdims": 0},
            "Gemm": {"transB": 1},
        }.get(operator, {})
        nodes.append(helper.make_node(operator, list(inputs), list(tensors), name=name, **attributes))
        layers += [
            Layer("CONSTANT", [], [Tensor(tensor, kind)])
            for tensor, (_, kind) in inputs.items()
            if f"Registering layer: {tensor} for ONNX node" in log
        ]
        kind = "CAST" if operator == "Cast" else "OTHER"
        read, given = ([Tensor(tensor, kind) for tensor, (_, kind) in side.items()] for side in (inputs, tensors))
        layers.append(Layer(kind, read, given, name))
    numbers = {"HALF": np.float16, "INT32": np.int64}
    held = [
        numpy_helper.from_array(np.ones([int(dim) for dim in dims.split(",")], numbers[kind]), name)
        for name, (dims, kind) in weights.items()
    ]
    shape = ["batch", 64, "height", "width"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "output")]
    model = helper.make_model(helper.make_graph(nodes, "log", ends[:1], ends[1:], held), ir_version=8)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 17))
    onnx.save(model, folder / "model.onnx")
    return Network(layers), folder / "model.onnx"


def small(tmp_path: Path) -> Path:
    """``x`` to float16 ``h``, and a float32 ``m`` beside it."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n, 4] y) {
        h = Cast <to = 10> (x)
        m = Relu (x)
        r = Relu (h)
        y = Cast <to = 1> (r)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def inner(kind: str, *inputs: Tensor | None, name: str = "(Unnamed Layer* 0)_output", dtype: str = "FLOAT") -> Layer:
    return Layer(kind, inputs, [Tensor(name, dtype)])


def test_layers_of_the_parsers_own_have_the_type_of_what_they_read(tmp_path: Path) -> None:
    half, single, constant = Tensor("h"), Tensor("m"), Tensor("(Unnamed Layer* 9) [Constant]_output")
    first = inner("SHUFFLE", half)
    second = inner("ELEMENTWISE", constant, None, first.outputs[0], name="(Unnamed Layer* 1)_output")
    third = inner("OTHER", single, name="(Unnamed Layer* 2)_output")
    of_constants = inner("SHUFFLE", Tensor("(Unnamed Layer* 8) [Constant]_output"), name="(Unnamed Layer* 3)_output")
    of_nothing = inner("OTHER", Tensor("elsewhere"), name="(Unnamed Layer* 4)_output")
    constants = [inner("CONSTANT", name=constant.name)]
    constants.append(inner("CONSTANT", name="(Unnamed Layer* 8) [Constant]_output", dtype="HALF"))
    bind_layers(TRT, Network([*constants, first, second, third, of_constants, of_nothing]), small(tmp_path))
    found = [(layer.precision, layer.bound[0]) for layer in (first, second, third, of_constants, of_nothing)]
    assert found == [(kind, kind) for kind in ("HALF", "HALF", "FLOAT", "HALF", "FLOAT")]


def test_comparisons_and_indices_compute_in_the_type_that_they_read(tmp_path: Path) -> None:
    greater = inner("ELEMENTWISE", Tensor("h"), Tensor("h"), dtype="BOOL")
    indices = Layer("TOPK", [Tensor("m")], [Tensor("(Unnamed Layer* 1)_output"), Tensor("indices", "INT32")])
    integers = inner("ELEMENTWISE", Tensor("i", "INT32"), name="j", dtype="INT32")
    bind_layers(TRT, Network([greater, indices, integers]), small(tmp_path))
    assert (greater.precision, greater.bound) == ("HALF", {})
    assert (indices.precision, indices.bound) == ("FLOAT", {0: "FLOAT"})
    assert (integers.precision, integers.bound) == ("not set", {})


def test_what_computes_shapes_is_not_bound(tmp_path: Path) -> None:
    size = Tensor("size", "INT32", is_shape_tensor=True)
    scales = Layer("ELEMENTWISE", [size], [Tensor("scales", is_shape_tensor=True)])
    fill = Layer("OTHER", [size], [Tensor("filled")])
    bind_layers(TRT, Network([scales, fill]), small(tmp_path))
    assert [(layer.precision, layer.bound) for layer in (scales, fill)] == [("not set", {})] * 2


@pytest.mark.parametrize(
    "block", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in block_names()]
)
def test_every_block_gets_every_layer_in_the_precision_of_its_node(block: str, tmp_path: Path) -> None:
    axes = [
        text for text in ("batch=1:2:4", "height=8:16:16", "width=8:16:16") if text.startswith(block_info(block).axes)
    ]
    target = resolve(block, shapes=["2x64x16x16"], dynamic=",".join(axes))
    low = lower(export_graph(target, target.build(), tmp_path), "fp16", tmp_path)
    network = parsed(low.graph.path)
    bind_layers(TRT, network, low.graph.path)
    computes = lowered_nodes(low.graph.path, "fp16")
    found = {}
    for layer in network.layers:
        floats = {place for place, one in enumerate(layer.outputs) if one.dtype == "FLOAT"}
        shapes = any(one.is_shape_tensor for one in (*layer.inputs[:1], *layer.outputs) if one is not None)
        if layer.type in ("CAST", "CONSTANT", "SHAPE") or shapes or not floats:
            continue
        found[layer.node] = layer.precision
        wanted = "FLOAT" if layer.node in low.float32 else "HALF"
        assert (layer.precision, layer.bound) == (wanted, dict.fromkeys(floats, wanted)), layer.node
    assert computes
    assert {found[node] for node in computes} == {"HALF"}
