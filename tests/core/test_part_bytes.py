"""The bytes at the border of a part of a graph, against what a person counts by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import small_model

from attn2trt.core.part_bytes import GraphBytes

MAP, GATE, WEIGHT = 2 * 8 * 4 * 4, 2 * 8, 8 * 8


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def model(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], output: str = "y") -> onnx.ModelProto:
    kept = {**{name: np.ones(sizes, np.float32) for name, sizes in weights.items()}, "zero": np.array(0, np.int8)}
    return small_model(nodes, {"x": ["batch", 8, 4, 4]}, {output: None}, kept)


def gate(half: bool = False) -> GraphBytes:
    """A gate behind a Relu, before another one: of its map's mean, and, if ``half``, with its map in float16."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        node("Relu", "x", "before"),
        node("Cast", "before", "given", to=kind),
        node("Cast", "given", "given_fp32", to=TensorProto.FLOAT),
        node("ReduceMean", "given_fp32", "mean", axes=[2, 3]),
        node("Mul", "mean scale", "scaled"),
        node("Cast", "scaled", "scaled_low", to=kind),
        node("Mul", "given scaled_low", "gated"),
        node("Cast", "gated", "gated_fp32", to=TensorProto.FLOAT),
        node("Relu", "gated_fp32", "y"),
    ]
    return GraphBytes(model(nodes, {"scale": (1, 8, 1, 1)}), {"batch": 2})


BLOCK = ("mean", "scaled", "scaled_low", "gated")


def test_a_part_reads_and_writes_what_is_at_its_border_once() -> None:
    assert gate().least(BLOCK) == 4 * (2 * MAP + 8)
    assert gate().least([*BLOCK, "gated_fp32", "y"]) == 4 * (2 * MAP + 8)
    # nothing of it is a node
    assert gate().least(["weight"]) == 0


def test_a_tensor_in_two_types_is_read_in_the_smaller_one() -> None:
    assert gate(half=True).least(BLOCK) == 2 * 2 * MAP + 4 * 8
    whole = gate(half=True)
    assert whole.least(whole.nodes) == 4 * (2 * MAP + 8)


def test_views_of_one_tensor_are_one() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Flatten", "a", "flat"),
        node("Exp", "flat", "left"),
        node("Neg", "a", "right"),
        node("Flatten", "right", "y2"),
        node("Add", "left y2", "y"),
    ]
    graph = GraphBytes(model(nodes, {}), {"batch": 2})
    assert graph.least(["left", "right"]) == 4 * 3 * MAP


def test_a_weight_that_only_quantisation_reads_counts_as_integers() -> None:
    nodes = [
        node("QuantizeLinear", "w scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("MatMul", "x2 d", "y"),
        node("Reshape", "x shape", "x2"),
    ]
    nodes = [nodes[3], *nodes[:3]]
    made = model(nodes, {"w": (8, 8)})
    made.graph.initializer.append(numpy_helper.from_array(np.array([-1, 8]), "shape"))
    made.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "scale"))
    graph = GraphBytes(made, {"batch": 2})
    assert graph.least(["q", "d", "y"]) == 4 * 2 * MAP + WEIGHT + 4 + 1


def test_a_size_that_is_not_known_is_no_number() -> None:
    graph = GraphBytes(model([node("Relu", "x", "a"), node("NonZero", "a", "b"), node("Cast", "b", "y", to=1)], {}), {})
    assert graph.least(["y"]) is None


def test_the_batch_counts_and_the_weights_do_not() -> None:
    nodes = [node("Mul", "x scale", "y")]
    one, two = (GraphBytes(model(nodes, {"scale": (1, 8, 1, 1)}), {"batch": batch}) for batch in (1, 2))
    first, second = one.least(["y"]), two.least(["y"])
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(4 * MAP)
    assert first == 4 * (MAP + 8)
