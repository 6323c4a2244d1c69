"""A graph over one image after the other computes what the batch did, and one that may mix images stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from attn2trt.export.rewrites import BATCH_REWRITES, apply_whole
from attn2trt.export.rewrites.one_image import OneImage
from attn2trt.export.rewrites.per_image import images_of
from attn2trt.export.rewrites.pooled_mean import PooledMapByMap
from attn2trt.export.rewrites.row_column_gates import BroadcastGates, EnlargedGates, OuterProduct

from ..rewrite_graphs import MAP, numbers, rewritten, same
from ..rewrite_graphs import model as graph_of

ONE = OneImage(own_weights=False)
WITHIN = OneImage(own_weights=True)
ONES = np.array([1])
TO_LAST = "t = Transpose <perm: ints = [0, 2, 3, 1]> (x)"


def model(text: str, inputs: str = f"{MAP} x", **weights: np.ndarray) -> onnx.ModelProto:
    """A graph whose output has the batch of its input."""
    batch = inputs.removeprefix("double[").split(",")[0]
    return graph_of(text, inputs, output=f"{batch}, b, c, d", **weights)


def nodes(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def body(proto: onnx.ModelProto) -> list[str]:
    """The operators of the only node's body."""
    (scan,) = proto.graph.node
    (inner,) = (entry.g for entry in scan.attribute if entry.name == "body")
    return [node.op_type for node in inner.node]


def looped(before: onnx.ModelProto, rewrite: OneImage = ONE) -> onnx.ModelProto:
    """``before`` as a loop, which it must be possible to make once."""
    after = ir.from_proto(before)
    assert rewrite.kind(after.graph)
    apply_whole(after, rewrite)
    assert not rewrite.kind(after.graph)
    proto = ir.to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def feeds(channels: int = 16) -> list[dict[str, np.ndarray]]:
    return [{"x": numbers(count, channels, 4, 5)} for count in (1, 2, 5)]


def test_a_gate_is_computed_image_by_image_and_nothing_is_copied() -> None:
    before = model("m = ReduceMean <axes: ints = [2, 3]> (x) s = Sigmoid (m) y = Mul (x, s)")
    after = looped(before)
    assert nodes(after) == ["Scan"]
    # what the last operator reads loses the axis, not what it gives
    assert body(after) == ["Unsqueeze", "ReduceMean", "Sigmoid", "Squeeze", "Squeeze", "Mul"]
    same(before, after, *feeds())


def test_reductions_over_channels_are_shared_out_by_groups() -> None:
    before = model("m = ReduceMax <axes: ints = [1]> (x) y = Mul (x, m)")
    after = looped(before)
    assert body(after).count("ReduceMax") == 2
    same(before, after, *feeds())


def test_an_output_of_a_convolution_loses_its_axis_itself() -> None:
    before = model("y = Conv (x, weight)", weight=numbers(8, 16, 3, 3))
    after = looped(before)
    assert body(after) == ["Unsqueeze", "Conv", "Squeeze"]
    same(before, after, *feeds())


@pytest.mark.parametrize(
    "text",
    [
        f"{TO_LAST} m = MatMul (t, square) y = Transpose <perm: ints = [0, 3, 1, 2]> (m)",
        "g = GlobalAveragePool (x) f = Flatten (g) l = Gemm (f, square, row) u = Unsqueeze (l, last) y = Mul (x, u)",
        "a = Concat <axis: int = 1> (x, x) y = Slice (a, one, two, one)",
        "a, b = Split <axis: int = 1> (x) r = Relu (a) y = Concat <axis: int = -3> (b, r)",
        "t = Transpose <perm: ints = [0, 1, 3, 2]> (x) y = MatMul (x, t)",
        "y = Gather <axis: int = 1> (x, picked)",
        "s = Softmax <axis: int = 1> (x) m = MaxPool <kernel_shape: ints = [1, 1]> (s) y = Clip (m, low)",
        "y = Mul (map, x)",
    ],
)
def test_operators_that_keep_images_separate(text: str) -> None:
    given = {"square": numbers(16, 16), "row": numbers(16), "last": np.array([2, 3]), "one": ONES, "two": np.array([9])}
    given |= {"picked": np.array([3, 1, 0]), "low": np.array(0.01), "map": numbers(16, 1, 5)}
    before = model(text, f"{MAP} x", **{name: value for name, value in given.items() if name in text})
    same(before, looped(before), *feeds())
    same(before, looped(before, WITHIN), *feeds())


def test_weights_are_outside_of_the_body_or_inside() -> None:
    before = model("y = Conv (x, weight)", weight=numbers(8, 16, 3, 3))
    for rewrite, inside in ((ONE, False), (WITHIN, True)):
        after = looped(before, rewrite)
        same(before, after, *feeds())
        (inner,) = (entry.g for entry in after.graph.node[0].attribute if entry.name == "body")
        assert ("weight" in [weight.name for weight in inner.initializer]) == inside
        assert ("weight" in [weight.name for weight in after.graph.initializer]) != inside


def test_columns_that_are_pooled_map_by_map_are_part_of_the_loop() -> None:
    before = model("m = ReduceMean <axes: ints = [2]> (x) y = Mul (x, m)", "double[n, 16, 4, 5] x")
    after = looped(rewritten(before, PooledMapByMap()))
    assert "AveragePool" in body(after)
    same(before, after, *feeds())


def test_a_shape_that_names_the_batch_names_one_image() -> None:
    before = model(
        "r = Reshape (x, two) y = Reshape (r, four)",
        "double[2, 16, 4, 5] x",
        two=np.array([2, -1]),
        four=np.array([2, 16, 5, 4]),
    )
    same(before, looped(before), {"x": numbers(2, 16, 4, 5)})


def test_several_inputs_and_outputs() -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g ({MAP} x, {MAP} z) => ({MAP} y, {MAP} v)
        {{ s = Add (x, z) y = Relu (s) v = Neg (y) }}"""
    before = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    for number, node in enumerate(before.graph.node):
        node.name = f"node_{number}"
    after = looped(before)
    evaluate = onnx.reference.ReferenceEvaluator
    feed = {"x": numbers(3, 16, 4, 5), "z": -2 * numbers(3, 16, 4, 5)}
    for expected, found in zip(evaluate(before).run(None, feed), evaluate(after).run(None, feed), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("m = ReduceMean <axes: ints = [0], keepdims: int = 1> (x) y = Mul (x, m)", {}),
        ("m = ReduceMax <keepdims: int = 1> (x) y = Sub (x, m)", {}),
        ("y = Softmax <axis: int = 0> (x)", {}),
        ("y = Softmax <axis: int = -4> (x)", {}),
        (
            "t = Transpose <perm: ints = [1, 0, 2, 3]> (x) r = Relu (t) y = Transpose <perm: ints = [1, 0, 2, 3]> (r)",
            {},
        ),
        ("y = Concat (x, x)".replace("Concat", "Concat <axis: int = 0>"), {}),
        ("s = Shape (x) y = Reshape (x, s)", {}),
        ("y = CumSum (x, axis)", {"axis": np.array(0)}),
        ("y = Slice (x, one, two)", {"one": np.array([0]), "two": np.array([1])}),
        ("y = Mul (x, each)", {"each": numbers(2, 1, 1, 1)}),
        ("y = MatMul (each, x)", {"each": numbers(2, 1, 4, 4)}),
        ("u, places = MaxPool <kernel_shape: ints = [1, 1]> (x) f = Cast <to: int = 11> (places) y = Add (u, f)", {}),
        ("y = Resize (x, none, twice)", {"none": np.zeros(0, np.float32), "twice": np.array([2, 1, 1, 1], np.float32)}),
        ("y = Conv (w, x)", {"w": numbers(2, 16, 9, 9)}),
        (
            "y, m, v = BatchNormalization <training_mode: int = 1> (x, one, one, one, one)",
            {"one": numbers(16)},
        ),
    ],
)
def test_what_may_mix_images_stays(text: str, given: dict[str, np.ndarray]) -> None:
    inputs = "double[2, 16, 4, 4] x"
    graph = ir.from_proto(model(text, inputs, **given)).graph
    assert not images_of(graph)
    assert not ONE.kind(graph)


@pytest.mark.parametrize("inputs", ["double[1, 16, h, w] x", "double[n, 16, h, w] x, double[m, 16, h, w] z"])
def test_one_image_or_inputs_of_other_batches_stay(inputs: str) -> None:
    graph = ir.from_proto(model("y = Relu (x)", inputs)).graph
    assert not ONE.kind(graph)


def test_what_another_rewrite_has_written_is_part_of_the_loop() -> None:
    text = "u = Mul (x, rows) y = Mul (u, columns)"
    before = model(text, "double[n, 16, 4, 5] x", rows=numbers(1, 16, 4, 1), columns=numbers(1, 16, 1, 5))
    for rewrite in (OuterProduct(), BroadcastGates(), EnlargedGates()):
        same(before, looped(rewritten(before, rewrite)), *feeds())


def test_both_are_tried_for_batches() -> None:
    assert [type(rewrite) for rewrite in BATCH_REWRITES] == [OneImage, OneImage]
    assert len({rewrite.name for rewrite in BATCH_REWRITES}) == 2
