"""Bytes and operations against what a person counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import healthy, small_model

from attn2trt.core.traffic import Operator, count, traffic

FLOAT = 4


def graph(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], shape: tuple[Any, ...]) -> onnx.ModelProto:
    """From ``x`` of this shape to ``y``, whose sizes are left to shape inference."""
    return small_model(
        nodes, {"x": list(shape)}, {"y": None}, {name: np.ones(sizes, np.float32) for name, sizes in weights.items()}
    )


def integers(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], name="n", **attributes)


@pytest.mark.parametrize(
    ("made", "weights", "shape", "numbers", "operations"),
    [
        # 3x3 over 4 channels in 2 groups: 8 outputs channels, 5x5 places, 2 channels of 9 places each
        (
            node("Conv", "x", "w", pads=[1] * 4, group=2),
            {"w": (8, 2, 3, 3)},
            (1, 4, 5, 5),
            100 + 144 + 200,
            2 * 200 * 18,
        ),
        (node("ConvTranspose", "x", "w"), {"w": (4, 3, 2, 2)}, (1, 4, 5, 5), 100 + 48 + 108, 2 * 100 * 12),
        (node("MatMul", "x", "w"), {"w": (7, 3)}, (2, 5, 7), 70 + 21 + 30, 2 * 30 * 7),
        (node("Gemm", "x", "w", transA=1), {"w": (5, 3)}, (5, 7), 35 + 15 + 21, 2 * 21 * 5),
        (node("Einsum", "x", "w", equation="nc,cd->nd"), {"w": (4, 6)}, (3, 4), 12 + 24 + 18, 2 * 72),
        (node("Einsum", "x", "w", equation="...c,cd->...d"), {"w": (4, 6)}, (2, 3, 4), 24 + 24 + 36, 2 * 144),
        (node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2]), {}, (1, 1, 4, 4), 16 + 4, 16),
        (node("GlobalAveragePool", "x"), {}, (1, 2, 4, 4), 32 + 2, 32),
        (node("Mul", "x", "w"), {"w": (2, 1, 1)}, (1, 2, 4, 4), 32 + 2 + 32, 32),
        (node("Mul", "x", "x"), {}, (1, 2, 4, 4), 32 + 32, 32),
        (node("Transpose", "x", perm=[1, 0]), {}, (3, 4), 12 + 12, 0),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_an_operator(
    made: onnx.NodeProto, weights: dict[str, tuple[int, ...]], shape: tuple[int, ...], numbers: int, operations: int
) -> None:
    found = count(graph([made], weights, shape), {})
    assert found.operators == (Operator("n", made.op_type, FLOAT * numbers, operations),)
    assert found.least_bytes == found.bytes  # nothing between the operators
    assert found.uncounted == ()


def test_what_picks_a_part_reads_no_more_than_it_gives() -> None:
    model = graph([node("Slice", "x", "starts", "ends", "axes")], {}, (1, 100, 4))
    model.graph.initializer.extend([integers("starts", 10), integers("ends", 20), integers("axes", 1)])
    assert count(model, {}).bytes == 2 * FLOAT * 40 + 3 * 8


def test_views_move_nothing_and_the_least_leaves_out_what_lies_between() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Reshape", ["a", "shape"], ["b"], name="view"),
        helper.make_node("Mul", ["b", "w"], ["y"], name="mul"),
    ]
    model = graph(nodes, {"w": (6,)}, (2, 3))
    model.graph.initializer.append(integers("shape", 6))
    found = count(model, {})
    assert [operator.name for operator in found.operators] == ["relu", "mul"]
    assert found.bytes == FLOAT * (6 + 6 + 6 + 6 + 6)
    assert found.least_bytes == FLOAT * (6 + 6 + 6)  # x, w and y
    assert found.operations == 12


def test_dynamic_axes_take_the_sizes_that_are_given(tmp_path: Path) -> None:
    onnx.save(healthy(), tmp_path / "model.onnx")
    found = traffic(tmp_path / "model.onnx", {"batch": 2, "height": 5})
    assert found.bytes == FLOAT * (2 * 2 * 3 * 5 * 8 + 3)
    assert found.operations == 2 * 3 * 5 * 8


def test_what_cannot_be_counted_is_named() -> None:
    assert count(healthy(), {"batch": 2}).uncounted == ("add",)  # no height
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    model = graph([node("If", "condition", then_branch=body, else_branch=body)], {}, (2,))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    assert count(model, {}).uncounted == ("n",)
