"""Every rewrite computes what was there, in float64 to the last digits, and leaves alone what it does not apply to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from attn2trt.export.rewrites import REWRITES, Rewrite, kinds
from attn2trt.export.rewrites.few_outputs import FewOutputs
from attn2trt.export.rewrites.narrow_convolutions import MOST_TERMS, DepthwiseSum, WiderGroups
from attn2trt.export.rewrites.pixel_linear import PixelLinear
from attn2trt.export.rewrites.pooled_mean import PooledMapByMap, PooledMean
from attn2trt.export.rewrites.row_column_gates import BroadcastGates, EnlargedGates, OuterProduct
from attn2trt.export.rewrites.split_reduction import SplitReduction

from .rewrite_graphs import MAP, convolution, model, numbers, rewritten, same


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_reduction_over_channels_is_done_in_groups(operator: str, keep: int) -> None:
    squeezed = "r" if not keep else "y"
    axes = (
        "<keepdims: int = {0}> (x, axes)" if operator == "ReduceSum" else "<axes: ints = [-3], keepdims: int = {0}> (x)"
    )
    body = f"{squeezed} = {operator} {axes.format(keep)}" + ("" if keep else " y = Unsqueeze (r, axes)")
    before = model(body, axes=np.array([1]))
    after = rewritten(before, SplitReduction())
    assert [node.op_type for node in after.graph.node].count(operator) == 2
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 1, 1)})


@pytest.mark.parametrize("sizes", ["h, 5", "3, w", "3, 5"])
def test_sizes_that_are_known_need_no_operators(sizes: str) -> None:
    before = model("y = ReduceMean <axes: ints = [1]> (x)", f"double[n, 16, {sizes}] x")
    after = rewritten(before, SplitReduction())
    assert [node.op_type for node in after.graph.node] == ["Reshape", "ReduceMean", "ReduceMean"]
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_later_opsets_give_the_axes_as_an_input() -> None:
    before = model("y = ReduceMax (x, axes)", opset=18, axes=np.array([1]))
    after = rewritten(before, SplitReduction())
    assert not any(entry.name == "axes" for node in after.graph.node for entry in node.attribute)
    same(before, after, {"x": numbers(2, 16, 3, 5)})


@pytest.mark.parametrize(
    "body",
    [
        "u = Mul (x, rows) y = Mul (u, columns)",
        "u = Mul (rows, x) y = Mul (columns, u)",
        "u = Mul (columns, x) y = Mul (u, rows)",
    ],
)
@pytest.mark.parametrize(("rewrite", "product"), [(OuterProduct(), "MatMul"), (BroadcastGates(), "Mul")])
def test_gates_are_multiplied_before_the_map(body: str, rewrite: Rewrite, product: str) -> None:
    before = model(body, f"{MAP} x, double[n, 16, h, 1] rows, double[n, 16, 1, w] columns")
    after = rewritten(before, rewrite)
    assert [node.op_type for node in after.graph.node] == [product, "Mul"]
    assert not kinds(ir.from_proto(after), rewrite)
    feeds = {"x": numbers(2, 16, 3, 5), "rows": numbers(2, 16, 3, 1), "columns": numbers(2, 16, 1, 5)}
    same(before, after, feeds)


def test_gates_are_enlarged_to_the_map() -> None:
    given = "double[n, 16, 3, 5] x, double[n, 16, 3, 1] rows, double[n, 16, 1, 5] columns"
    before = model("u = Mul (x, columns) y = Mul (u, rows)", given)
    after = rewritten(before, EnlargedGates())
    assert [node.op_type for node in after.graph.node] == ["Resize", "Resize", "Mul", "Mul"]
    same(before, after, {"x": numbers(2, 16, 3, 5), "rows": numbers(2, 16, 3, 1), "columns": numbers(2, 16, 1, 5)})


@pytest.mark.parametrize("sizes", ["h, 5", "3, w"])
def test_gates_are_not_enlarged_to_what_may_vary(sizes: str) -> None:
    height, width = sizes.split(", ")
    given = f"double[n, 16, {sizes}] x, double[n, 16, {height}, 1] rows, double[n, 16, 1, {width}] columns"
    before = model("u = Mul (x, columns) y = Mul (u, rows)", given)
    assert not kinds(ir.from_proto(before), EnlargedGates())
    assert kinds(ir.from_proto(before), OuterProduct())


@pytest.mark.parametrize(
    "rewrite", [OuterProduct(), BroadcastGates(), EnlargedGates()], ids=lambda rewrite: rewrite.name
)
def test_gates_of_fewer_channels_broadcast_as_before(rewrite: Rewrite) -> None:
    before = model(
        "u = Mul (x, rows) y = Mul (u, columns)",
        "double[n, 16, 3, 5] x, double[1, 16, 3, 1] rows, double[n, 1, 1, 5] columns",
    )
    feeds = {"x": numbers(2, 16, 3, 5), "rows": numbers(1, 16, 3, 1), "columns": numbers(2, 1, 1, 5)}
    same(before, rewritten(before, rewrite), feeds)


@pytest.mark.parametrize("rewrite", [DepthwiseSum(), WiderGroups(8), WiderGroups(16)], ids=lambda rewrite: rewrite.name)
@pytest.mark.parametrize(("groups", "outputs", "inputs"), [(16, 16, 64), (4, 16, 16), (8, 16, 32), (16, 48, 32)])
@pytest.mark.parametrize("bias", [True, False])
def test_narrow_groups_rewritten(rewrite: Rewrite, groups: int, outputs: int, inputs: int, bias: bool) -> None:
    more = ", pads: ints = [1, 2, 0, 1], strides: ints = [2, 1], dilations: ints = [1, 2]"
    weights = {"weight": numbers(outputs, inputs // groups, 3, 3), **({"bias": numbers(outputs)} if bias else {})}
    before = model(
        convolution(groups, outputs, inputs, more=more, bias=bias), f"double[n, {inputs}, h, w] x", **weights
    )
    after = rewritten(before, rewrite)
    assert sum(len(node.input) == 3 for node in after.graph.node if node.op_type == "Conv") == bias
    same(before, after, {"x": numbers(2, inputs, 7, 8)})


TO_LAST, TO_FIRST = "Transpose <perm: ints = [0, 2, 3, 1]>", "Transpose <perm: ints = [0, 3, 1, 2]>"
LAYERS = {"a": numbers(16, 4), "b": numbers(4), "c": numbers(4, 16), "d": numbers(16)}
SHAPES = {"flat": np.array([-1, 16]), "flat4": np.array([-1, 4]), "zero": np.array([0]), "three": np.array([3])}
SHAPES |= {"four": np.array([4]), "sixteen": np.array([16])}
FLATTENED = f"""t = {TO_LAST} (x) m = Reshape (t, flat) g = Gemm (m, a, b)
    s = Shape (t) s3 = Slice (s, zero, three, zero) back = Concat <axis: int = 0> (s3, four) u = Reshape (g, back)
    r = Relu (u) m2 = Reshape (r, flat4) g2 = Gemm <alpha: float = 2.0, beta: float = 0.5, transB: int = 1> (m2, c2, d)
    s2 = Shape (r) s23 = Slice (s2, zero, three, zero) back2 = Concat <axis: int = 0> (s23, sixteen)
    v = Reshape (g2, back2) y = {TO_FIRST} (v)"""


def test_linear_layers_on_pixels_become_convolutions() -> None:
    weights = {key: value for key, value in LAYERS.items() if key != "c"}
    before = model(FLATTENED, **weights, c2=np.ascontiguousarray(LAYERS["c"].T), **SHAPES)
    after = rewritten(before, PixelLinear())
    assert [node.op_type for node in after.graph.node] == ["Conv", "Relu", "Conv"]
    assert len(after.graph.initializer) == 4
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 1, 1)})


def test_linear_layers_without_flattening_and_without_bias() -> None:
    body = f"t = {TO_LAST} (x) m = MatMul (t, a) u = Add (b, m) r = Sigmoid (u) w = MatMul (r, c) y = {TO_FIRST} (w)"
    before = model(body, **{key: LAYERS[key] for key in "abc"})
    after = rewritten(before, PixelLinear())
    assert [len(node.input) for node in after.graph.node if node.op_type == "Conv"] == [3, 2]
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_sizes_that_are_known_are_compared() -> None:
    body = f"t = {TO_LAST} (x) m = Reshape (t, flat) g = Gemm (m, a) u = Reshape (g, back) y = {TO_FIRST} (u)"
    given = {"a": LAYERS["a"], "flat": SHAPES["flat"]}
    before = model(body, "double[2, 16, 3, 5] x", **given, back=np.array([2, 3, 5, 4]))
    same(before, rewritten(before, PixelLinear()), {"x": numbers(2, 16, 3, 5)})
    turned = model(body, "double[2, 16, 3, 5] x", **given, back=np.array([2, 5, 3, 4]))
    assert not kinds(ir.from_proto(turned), PixelLinear())


@pytest.mark.parametrize(
    ("sizes", "back", "applies"),
    [
        ("n, 16, 3, 5", [-1, 3, 5, 4], True),  # any batch
        ("2, 16, h, 5", [2, -1, 5, 4], True),
        ("n, 16, 3, 5", [-1, 5, 3, 4], False),
        ("n, 16, h, 5", [-1, 3, 5, 4], False),  # 3 rows, whatever the height
    ],
)
def test_one_size_may_be_left_to_the_reshape(sizes: str, back: list[int], applies: bool) -> None:
    body = f"t = {TO_LAST} (x) m = Reshape (t, flat) g = Gemm (m, a) u = Reshape (g, back) y = {TO_FIRST} (u)"
    before = model(body, f"double[{sizes}] x", a=LAYERS["a"], flat=SHAPES["flat"], back=np.array(back))
    assert bool(kinds(ir.from_proto(before), PixelLinear())) == applies
    if applies:
        same(before, rewritten(before, PixelLinear()), {"x": numbers(2, 16, 3, 5)})


@pytest.mark.parametrize(
    "body",
    [
        f"t = {TO_LAST} (x) m = MatMul (t, a) r = Softmax (m) y = {TO_FIRST} (r)",
        f"t = {TO_LAST} (x) r = Relu (t) y = {TO_FIRST} (r)",
        f"t = {TO_LAST} (x) m = MatMul (t, a) n = Relu (m) r = Add (m, n) y = {TO_FIRST} (r)",
        f"t = {TO_LAST} (x) m = MatMul (t, a) y = {TO_LAST} (m)",
        f"t = {TO_FIRST} (x) m = MatMul (t, a) y = {TO_FIRST} (m)",
        f"t = {TO_LAST} (x) m = MatMul (t, a) r = Relu (m) s = Add (r, b) y = {TO_FIRST} (s)",
        f"m = MatMul (x, a) y = {TO_FIRST} (m)",
    ],
)
def test_other_chains_between_transposes_are_left_alone(body: str) -> None:
    inputs = "double[n, 16, h, 16] x" if f"{TO_FIRST} (x)" in body or "MatMul (x" in body else f"{MAP} x"
    before = model(body, inputs, **{key: LAYERS[key] for key in "ab"})
    assert not kinds(ir.from_proto(before), PixelLinear())


def test_merged_groups_fill_a_block() -> None:
    before = model(convolution(16, 48, 32), "double[n, 32, h, w] x", weight=numbers(48, 2, 3, 3))
    (conv,) = rewritten(before, WiderGroups(8)).graph.node
    (groups,) = (entry.i for entry in conv.attribute if entry.name == "group")
    assert (groups, 48 // groups) == (2, 24)


@pytest.mark.parametrize(
    "before",
    [
        model("y = ReduceMax <axes: ints = [2, 3]> (x)"),
        model("y = ReduceMax <axes: ints = [1]> (x)", "double[n, 18, h, w] x"),
        model("y = ReduceMax <axes: ints = [1]> (x)", "double[n, 8, h, w] x"),
        model("y = ReduceMax <axes: ints = [1]> (x)", "double[n, c, h, w] x"),
        model("r = ReduceMax <axes: ints = [1]> (x) y = Unsqueeze (r, axes)", "double[n, 16, w] x", axes=np.array([3])),
        model("y = ReduceMax (x, axes)", f"{MAP} x, int64[1] axes", opset=18),
        model("u = Mul (x, rows) y = Mul (u, all)", f"{MAP} x, double[n, 16, h, 1] rows, double[n, 16, 1, 1] all"),
        model("u = Mul (x, a) y = Mul (u, b)", f"{MAP} x, double[n, 16, h, 1] a, double[n, 16, h, 1] b"),
        model("u = Mul (x, a) v = Mul (u, b) y = Add (u, v)", f"{MAP} x, double[n, 16, h, 1] a, double[n, 16, 1, w] b"),
        model(convolution(1, 4, 16), weight=numbers(4, 16, 3, 3)),
        model(convolution(16, 16, 16), weight=numbers(16, 1, 3, 3)),
        model(convolution(2, 32, 16, more=", strides: ints = [2, 2]"), weight=numbers(32, 8, 3, 3)),
        model(convolution(4, 16, 16), f"{MAP} x, double[16, 4, 3, 3] weight"),
    ],
)
def test_what_no_rewrite_applies_to(before: onnx.ModelProto) -> None:
    assert [kinds(ir.from_proto(before), rewrite) for rewrite in REWRITES] == [{}] * len(REWRITES)


def test_many_terms_and_odd_groups_are_left_alone() -> None:
    deep = model(
        convolution(2, 4, 2 * MOST_TERMS + 2),
        f"double[n, {2 * MOST_TERMS + 2}, h, w] x",
        weight=numbers(4, MOST_TERMS + 1, 3, 3),
    )
    assert not kinds(ir.from_proto(deep), DepthwiseSum())
    odd = model(convolution(3, 6, 6), "double[n, 6, h, w] x", weight=numbers(6, 2, 3, 3))
    assert not kinds(ir.from_proto(odd), WiderGroups(8))
    assert kinds(ir.from_proto(odd), DepthwiseSum())


def test_groups_of_eight_outputs_are_merged_for_blocks_of_sixteen_alone() -> None:
    before = model(convolution(4, 32, 16), weight=numbers(32, 4, 3, 3))
    assert not kinds(ir.from_proto(before), WiderGroups(8))
    after = rewritten(before, WiderGroups(16))
    (conv,) = after.graph.node
    assert [entry.i for entry in conv.attribute if entry.name == "group"] == [2]
    same(before, after, {"x": numbers(2, 16, 7, 8)})


def test_places_of_one_kind_are_counted_and_changed_together() -> None:
    before = model("u = ReduceMax <axes: ints = [1]> (x) v = Mul (x, u) y = ReduceMax <axes: ints = [1]> (v)")
    assert kinds(ir.from_proto(before), SplitReduction()) == {"ReduceMax over 16 channels": 2}
    same(before, rewritten(before, SplitReduction()), {"x": numbers(2, 16, 3, 5)})


def test_the_rewrites_have_names_of_their_own() -> None:
    names: Sequence[str] = [rewrite.name for rewrite in REWRITES]
    assert len(set(names)) == len(names) == len(REWRITES)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_mean_along_one_axis_is_a_pooling(axis: int, keep: int) -> None:
    squeezed = "y" if keep else "r"
    body = f"{squeezed} = ReduceMean <axes: ints = [{axis - 4}], keepdims: int = {keep}> (x)"
    before = model(body + ("" if keep else " y = Unsqueeze (r, axis)"), "double[n, 16, 3, 5] x", axis=np.array([axis]))
    after = rewritten(before, PooledMean())
    assert after.graph.node[0].op_type == "AveragePool"
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 3, 5)})


@pytest.mark.parametrize("keep", [0, 1])
def test_columns_are_pooled_map_by_map(keep: int) -> None:
    squeezed = "r" if not keep else "y"
    body = f"{squeezed} = ReduceMean <axes: ints = [2], keepdims: int = {keep}> (x)"
    body += "" if keep else " y = Unsqueeze (r, axis)"
    before = model(body, "double[n, 16, 3, 5] x", **({} if keep else {"axis": np.array([2])}))
    after = rewritten(before, PooledMapByMap())
    assert [node.op_type for node in after.graph.node][:3] == ["Unsqueeze", "AveragePool", "Squeeze"]
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 3, 5)})
    assert kinds(ir.from_proto(before), PooledMapByMap()) == kinds(ir.from_proto(before), PooledMean())


def test_rows_are_not_pooled_map_by_map() -> None:
    before = model("y = ReduceMean <axes: ints = [3]> (x)", "double[n, 16, 3, 5] x")
    assert kinds(ir.from_proto(before), PooledMean())
    assert not kinds(ir.from_proto(before), PooledMapByMap())


def test_channels_and_a_width_that_vary_are_pooled_map_by_map() -> None:
    before = model("y = ReduceMean <axes: ints = [2]> (x)", "double[n, c, 3, w] x")
    same(before, rewritten(before, PooledMapByMap()), {"x": numbers(2, 7, 3, 5)}, {"x": numbers(1, 4, 3, 1)})


@pytest.mark.parametrize("sizes", ["h, 5", "3, 65", "3, 1"])
def test_a_mean_along_an_axis_that_varies_or_is_long_stays(sizes: str) -> None:
    axis = 2 if sizes.startswith("h") else 3
    before = model(f"y = ReduceMean <axes: ints = [{axis}]> (x)", f"double[n, 16, {sizes}] x")
    assert kinds(ir.from_proto(before), PooledMean()) == {}
    whole = model("y = ReduceMean <axes: ints = [2, 3]> (x)", "double[n, 16, 3, 5] x")
    assert kinds(ir.from_proto(whole), PooledMean()) == {}


@pytest.mark.parametrize("width", ["w", "16", "21"])
@pytest.mark.parametrize(("kernel", "pads"), [(7, 3), (3, 0), (5, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_one_channel_is_computed_as_columns(width: str, kernel: int, pads: int, bias: bool) -> None:
    weights = {"weight": numbers(1, 16, kernel, kernel)} | ({"bias": numbers(1)} if bias else {})
    body = convolution(1, 1, 16, kernel, more=f", pads: ints = [{pads}, {pads}, {pads}, {pads}]", bias=bias)
    before = model(body, f"double[n, 16, h, {width}] x", **weights)
    after = rewritten(before, FewOutputs())
    sizes = [16, 21, 23, 7] if width == "w" else [int(width)]
    same(before, after, *({"x": numbers(2, 16, 9, size)} for size in sizes))


def test_uneven_pads_and_kernels_keep_their_sides() -> None:
    body = "y = Conv <kernel_shape: ints = [1, 3], pads: ints = [0, 2, 1, 0]> (x, weight)"
    before = model(body, weight=numbers(1, 16, 1, 3))
    same(before, rewritten(before, FewOutputs()), {"x": numbers(2, 16, 4, 9)}, {"x": numbers(1, 16, 4, 3)})


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (convolution(1, 1, 16, more=", strides: ints = [2, 2]"), (1, 16, 3, 3)),
        (convolution(1, 1, 16, more=", dilations: ints = [1, 2]"), (1, 16, 3, 3)),
        (convolution(1, 2, 16), (2, 16, 3, 3)),
        (convolution(1, 1, 16, size=1), (1, 16, 1, 1)),
    ],
)
def test_other_convolutions_stay_as_they_are(body: str, shape: tuple[int, ...]) -> None:
    assert kinds(ir.from_proto(model(body, weight=numbers(*shape))), FewOutputs()) == {}
