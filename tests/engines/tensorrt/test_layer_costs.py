"""Layers of a plan get the profiler's times, the modules of their nodes, and the bytes that they move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graph import small_model

from attn2trt.core.part_bytes import GraphBytes
from attn2trt.engines.node_times import NodeTimes
from attn2trt.engines.tensorrt.layer_costs import LayerCost, Origin, layer_costs
from attn2trt.engines.tensorrt.layers import read_layers
from attn2trt.engines.tensorrt.profiler import layer_times

INSPECTED = Path(__file__).with_name("inspector")
MAP = 2 * 8 * 4 * 4
OPEN = "N/A due to dynamic shapes"


def node(kind: str, name: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=name, **attributes)


@pytest.fixture
def origin() -> Origin:
    """A gate between a Relu and another one, in float16 from the input on."""
    nodes = [
        node("Cast", "cast", "x", "x_fp16", to=TensorProto.FLOAT16),
        node("Relu", "relu", "x_fp16", "a"),
        node("Sigmoid", "sigmoid", "a", "s"),
        node("Mul", "mul", "a s", "gated"),
        node("Mul", "scale", "gated w", "scaled"),
        node("Relu", "relu_1", "scaled", "y"),
    ]
    weights, types = {"w": np.ones((8, 1, 1), np.float16)}, {"y": TensorProto.FLOAT16}
    model = small_model(nodes, {"x": ["batch", 8, 4, 4]}, {"y": None}, weights, types=types)
    modules = {
        "cast": "stem",
        "relu": "layer1.act1",
        "sigmoid": "layer1.se.gate",
        "mul": "layer1.se",
        "scale": "layer1.se",
        "relu_1": "layer1.act2",
    }
    return Origin(GraphBytes(model, {"batch": 2}), modules, ("layer1.se",))


def tensor(name: str, form: str = "Row major linear FP16 format", *dims: int) -> dict[str, Any]:
    return {"Name": name, "Dimensions": list(dims or (2, 8, 4, 4)), "Format/Datatype": form}


def layer(name: str, reads: list[Any], writes: list[Any], kind: str = "PointWiseV2", **more: Any) -> dict[str, Any]:
    return {"Name": name, "LayerType": kind, "Inputs": reads, "Outputs": writes, **more}


def costs(origin: Origin, *layers: dict[str, Any], ms: float = 0.5) -> list[LayerCost]:
    document = json.dumps({"Layers": list(layers)})
    times = layer_times([[(one["Name"], ms) for one in layers if one["LayerType"] != "NoOp"]] * 3)
    return list(layer_costs(read_layers(document), times, origin))


def test_a_layer_is_in_a_block_shared_or_neither(origin: Origin) -> None:
    found = costs(
        origin,
        layer("relu", [], []),
        layer("PWN(sigmoid, mul)", [], []),
        layer("PWN(scale, relu_1)", [], []),
        layer("__myl_Mul", [], [], Metadata="[ONNX Layer: mul]\x1e[ONNX Layer: scale]"),
        layer("odd", [], []),
    )
    assert [one.place for one in found] == ["rest", "block", "shared", "block", "rest"]
    assert [one.block for one in found] == [None, "layer1.se", "layer1.se", "layer1.se", None]
    # in the order of the graph
    assert found[1].modules == ("layer1.se.gate", "layer1.se")
    assert found[4].modules == ()


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("Reformatting CopyNode for Input Tensor 0 to PWN(sigmoid, mul)", ("layer1.se.gate", "layer1.se")),
        ("gated copy", ("layer1.se",)),
        ("Reformatting CopyNode for Network Input x", ()),
    ],
)
def test_a_copy_belongs_to_the_node_that_it_is_for(origin: Origin, name: str, modules: tuple[str, ...]) -> None:
    (found,) = costs(origin, layer(name, [], [], "Reformat"))
    assert found.modules == modules


def test_bytes_are_the_inspectors_if_it_tells_them(origin: Origin) -> None:
    int8 = "Thirty-two wide channel vectorized row major Int8 format"
    (found,) = costs(origin, layer("mul", [tensor("a", int8), tensor("s"), tensor("a", int8)], [tensor("gated")]))
    # what is read twice moves once
    assert (found.bytes, found.is_assumed) == ((1 + 2 + 2) * MAP, False)
    assert found.reads == (int8, "Row major linear FP16 format", int8)
    weights = {"Weights": {"Type": "Half", "Count": 64}, "Bias": {"Type": "Half", "Count": 8}}
    (found,) = costs(origin, layer("conv", [tensor("a")], [tensor("b")], **weights))
    assert found.bytes == 2 * (2 * MAP + 64 + 8)


def test_bytes_are_the_graphs_if_shapes_leave_them_open(origin: Origin) -> None:
    def unknown(name: str) -> list[dict[str, Any]]:
        return [tensor(name, OPEN, -1, 8, 4, 4)]

    to_mul = "Reformatted Input Tensor 0 to mul"
    noop, cast, copy, mul, relu = costs(
        origin,
        layer("Reformatting CopyNode for Network Input x", unknown("x"), unknown("Reformatted x"), "NoOp"),
        layer("cast", unknown("Reformatted x"), unknown("x_fp16"), "Reformat"),
        layer("copy", unknown("a"), unknown(to_mul), "Reformat"),
        layer("mul", unknown(to_mul), unknown("mul_out_tensor")),
        layer("relu", unknown("nobody's"), unknown("a")),
    )
    assert (noop.bytes, noop.ms, noop.is_assumed) == (0, None, False)
    assert (cast.bytes, cast.is_assumed) == ((4 + 2) * MAP, True)
    assert (copy.bytes, copy.is_assumed) == ((2 + 2) * MAP, True)
    assert (mul.bytes, mul.is_assumed) == ((2 + 2) * MAP, True)
    assert (relu.bytes, relu.is_assumed) == (None, False)


def test_copies_of_each_other_end(origin: Origin) -> None:
    first, second = (
        layer(name, [tensor(one, OPEN, -1)], [tensor(other, OPEN, -1)], "Reformat")
        for name, one, other in (("c", "p", "q"), ("d", "q", "p"))
    )
    assert [one.bytes for one in costs(origin, first, second)] == [None, None]


def test_layers_of_one_name_have_their_own_times(origin: Origin) -> None:
    calls = [
        [("copy", 1.0), ("copy", 3.0), ("late", 9.0)],
        [("copy", 1.0), ("copy", 5.0)],
        [("copy", 2.0), ("copy", 4.0)],
    ]
    document = json.dumps({"Layers": [layer("copy", [], []), layer("copy", [], []), layer("never", [], [])]})
    first, second, never, late = layer_costs(read_layers(document), layer_times(calls), origin)
    assert [first.ms, second.ms, never.ms, late.ms] == [1.0, 4.0, None, 0.0]
    assert (late.name, late.kind, late.bytes) == ("late", "", None)


def test_no_call_at_all_is_no_time(origin: Origin) -> None:
    times = layer_times([])
    assert times.names == ()
    (found,) = layer_costs(read_layers(json.dumps({"Layers": [layer("relu", [], [])]})), times, origin)
    assert found.ms is None


@pytest.mark.parametrize("path", sorted(INSPECTED.glob("*-*.json")), ids=lambda path: path.stem)
def test_real_layers_of_a_block_are_all_the_blocks(path: Path) -> None:
    """Documents of TensorRT 8.6, whose nodes are those of the map beside them."""
    modules = json.loads((INSPECTED / "modules.json").read_text())[path.stem.rpartition("-")[0].removesuffix("-plain")]
    layers = read_layers(path.read_text())
    names = [one.name for one in layers if one.kind != "NoOp"]
    times = NodeTimes(tuple(names), ("",) * len(names), np.ones((2, len(names)), np.float32))
    graph = GraphBytes(onnx.ModelProto(), {})
    found = layer_costs(layers, times, Origin(graph, modules, ("",)))
    assert len(found) == len(layers)
    assert {one.ms is None for one in found if one.kind == "NoOp"} <= {True}
    assert all(one.ms is not None for one in found if one.kind != "NoOp")
    assert {module for one in found for module in one.modules} <= set(modules.values())
    if "plain" not in path.stem:  # whose nodes have other names
        assert {module for one in found for module in one.modules} >= set(modules.values()) - {""}
