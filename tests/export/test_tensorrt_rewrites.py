"""Every candidate for TensorRT computes what was there, at sizes that may vary too, and leaves other places alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from attn2trt.export.rewrites import Rewrite, kinds
from attn2trt.export.rewrites.tensorrt import FIRST, LOWERINGS, REWRITES

from .rewrite_graphs import MAP, model, numbers, rewritten

ROW, FIXED, VARYING = "double[n, 16] x", "double[n, 16, 3, 5] x", f"{MAP} x"
PIXEL = "double[n, 16, 1, 1] x"
WEIGHTS = {"w": numbers(4, 16), "b": numbers(4), "v": numbers(16, 4), "c": numbers(16)}
KERNELS = {"w": numbers(4, 16, 1, 1), "b": numbers(4), "v": numbers(16, 4, 1, 1), "c": numbers(16)}
SPATIAL = {"axes": np.array([2, 3])}
MEAN = "y = ReduceMean <axes: ints = [2, 3]> (x)"
MLP = "a = Gemm <transB: int = 1> ({0}, w, b) r = Relu (a) {1} = Gemm <transB: int = 1, alpha: float = 2.0> (r, v, c)"
CONVOLUTIONS = "{1}a = Conv ({0}, w, b) {1}r = Relu ({1}a) {1} = Conv ({1}r, v, c)"
STATISTICS = """p = ReduceMax <axes: ints = [1], keepdims: int = 1> (x)
    q = ReduceMean <axes: ints = [1], keepdims: int = 1> (x) y = Concat <axis: int = 1> (p, q)"""
TWO_ROWS = """m = ReduceMean <axes: ints = [2, 3], keepdims: int = 0> (x)
    p = ReduceMax <axes: ints = [2, 3], keepdims: int = 0> (x)
    ma = Gemm <transB: int = 1> (m, w, b) mr = Relu (ma) mo = Gemm <transB: int = 1> (mr, v, c)
    pa = Gemm <transB: int = 1> (p, w, b) pr = Relu (pa) po = Gemm <transB: int = 1> (pr, v, c)
    s = Add (mo, po) y = Sigmoid (s)"""
ROWS_AND_COLUMNS = f"""m = ReduceMean <axes: ints = [3]> (x) q = ReduceMean <axes: ints = [2]> (x)
    t = Transpose <perm: ints = [0, 1, 3, 2]> (q) {CONVOLUTIONS.format("m", "h")} {CONVOLUTIONS.format("t", "w_")}
    g = Transpose <perm: ints = [0, 1, 3, 2]> (w_) y = Mul (h, g)"""
MANY = {"p": numbers(4, 16, 3, 3), "q": numbers(8, 4, 5, 5), "bias": numbers(8)}
BRANCHES = """i = Conv <pads: ints = [1, 1, 1, 1]> (x, p)
    k = Conv <group: int = 4, pads: ints = [2, 2, 2, 2]> (x, q, bias) y = Concat <axis: int = 1> (k, i)"""
MEANS = [
    *("mean that keeps its axes", "mean without its axes", "mean as GlobalAveragePool"),
    *("mean as a matrix product", "mean over one axis of pixels", "mean over width, then height"),
]
BANDED = "y = Conv <pads: ints = [1, 1]> (x, w, b)"
BAND = {"w": numbers(1, 1, 3), "b": numbers(1)}


def named(name: str) -> Rewrite:
    return next(rewrite for rewrite in REWRITES if rewrite.name == name)


def computes_the_same(before: onnx.ModelProto, rewrite: Rewrite, shape: tuple[int | None, ...] = ()) -> list[str]:
    """The operators after the rewrite, which computes the same at two sizes."""
    after = rewritten(before, rewrite)
    for varying in ((2, 7, 4), (1, 3, 5)):
        given = iter(varying)
        sizes = [next(given) if size is None else size for size in shape or (None, 16, None, None)]
        feed = {"x": numbers(*sizes)}
        expected, found = (ReferenceEvaluator(graph).run(None, feed) for graph in (before, after))
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-6)
    return [node.op_type for node in after.graph.node]


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_over_height_and_width(name: str, keep: int, opset: int) -> None:
    axes = f"<axes: ints = [-1, 2], keepdims: int = {keep}> (x)"
    if opset > 17:
        axes = f"<keepdims: int = {keep}> (x, axes)"
    body = f"m = ReduceMean {axes} y = {'Unsqueeze (m, axes)' if not keep else 'Identity (m)'}"
    before = model(body, opset=opset, output="n, 16, 1, 1", axes=np.array([2, 3]))
    if not kinds(ir.from_proto(before), named(name)):
        assert (name, keep) in (("mean that keeps its axes", 1), ("mean without its axes", 0))
        return
    computes_the_same(before, named(name))


@pytest.mark.parametrize("name", ["mean that keeps its axes", "mean as a matrix product", "mean without its axes"])
def test_a_global_pooling_is_a_mean(name: str) -> None:
    operators = computes_the_same(model("y = GlobalAveragePool (x)", output="n, 16, 1, 1"), named(name))
    assert "GlobalAveragePool" not in operators


@pytest.mark.parametrize("name", ["mean as AveragePool", "mean as a matrix product"])
def test_a_mean_of_known_size(name: str) -> None:
    before = model(MEAN, FIXED, output="n, 16, 1, 1")
    operators = computes_the_same(before, named(name), (None, 16, 3, 5))
    assert "Shape" not in operators
    assert {"AveragePool", "MatMul"} & {*operators}
    assert not kinds(ir.from_proto(model(MEAN, output="n, 16, 1, 1")), named("mean as AveragePool"))


def test_a_mean_of_windows() -> None:
    windows = named("mean of means of windows")
    operators = computes_the_same(model(MEAN, "double[n, 4, 14, 6] x", output="n, 4, 1, 1"), windows, (None, 4, 14, 6))
    assert operators == ["AveragePool", "ReduceMean"]
    for sizes in ("h, w", "7, 7", "11, 13"):  # any, one window of all, windows of one pixel
        before = model(MEAN, f"double[n, 4, {sizes}] x", output="n, 4, 1, 1")
        assert not kinds(ir.from_proto(before), windows)


@pytest.mark.parametrize("axis", [2, -1])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("given", [VARYING, FIXED])
def test_row_and_column_means(axis: int, keep: int, given: str) -> None:
    output = ("n, 16, 1, w" if axis == 2 else "n, 16, h, 1") if keep else "n, 16, r"
    before = model(f"y = ReduceMean <axes: ints = [{axis}], keepdims: int = {keep}> (x)", f"{given}", output=output)
    shape = (None, 16, 3, 5) if given == FIXED else ()
    assert "MatMul" in computes_the_same(before, named("row and column means as matrix products"), shape)
    pooling = named("row and column means as pooling")
    if given == FIXED:
        assert "AveragePool" in computes_the_same(before, pooling, shape)
    else:
        assert not kinds(ir.from_proto(before), pooling)


def test_means_over_other_axes_are_no_places() -> None:
    for body in ("y = ReduceMean <axes: ints = [1, 2]> (x)", "y = ReduceMax <axes: ints = [2, 3]> (x)"):
        before = ir.from_proto(model(body))
        assert not any(kinds(before, named(name)) for name in (*MEANS, "row and column means as matrix products"))


@pytest.mark.parametrize(
    "root", ["m = ReduceMean <axes: ints = [2, 3], keepdims: int = 0> (x)", "m = Squeeze (x, axes)"]
)
def test_a_gate_of_rows_becomes_convolutions(root: str) -> None:
    given = VARYING if "Reduce" in root else PIXEL
    body = f"{root} {MLP.format('m', 'o')} s = Sigmoid (o) y = Unsqueeze (s, axes)"
    before = model(body, given, output="n, 16, 1, 1", **WEIGHTS, **SPATIAL)
    operators = computes_the_same(
        before, named("gate as 1x1 convolutions"), (None, 16, None, None) if given == VARYING else (None, 16, 1, 1)
    )
    assert operators == [*(["ReduceMean"] if given == VARYING else []), "Conv", "Relu", "Conv", "Sigmoid"]


def test_a_gate_of_two_branches_becomes_convolutions() -> None:
    before = model(
        f"{TWO_ROWS[:-15]} z = Sigmoid (s) y = Unsqueeze (z, axes)", output="n, 16, 1, 1", **WEIGHTS, **SPATIAL
    )
    operators = computes_the_same(before, named("gate as 1x1 convolutions"))
    assert (operators.count("Conv"), operators.count("Gemm"), operators.count("Unsqueeze")) == (4, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        "y = Unsqueeze (x, axes)",  # no product
        "a = Gemm <transA: int = 1, transB: int = 1> (x, w) y = Unsqueeze (a, axes)",
        "a = Gemm <transB: int = 1> (x, x) y = Unsqueeze (a, axes)",  # a weight that is computed
    ],
)
def test_other_rows_are_no_gates(body: str) -> None:
    before = model(body, "double[4, 16] x", output="a, b, 1, 1", w=numbers(4, 4), **SPATIAL)
    assert not kinds(ir.from_proto(before), named("gate as 1x1 convolutions"))


def test_a_gate_of_one_pixel_becomes_products() -> None:
    body = f"m = ReduceMean <axes: ints = [2, 3]> (x) {CONVOLUTIONS.format('m', 'o')} s = Sigmoid (o) y = Mul (x, s)"
    operators = computes_the_same(model(body, **KERNELS), named("gate as matrix products"))
    assert operators == ["ReduceMean", "Gemm", "Relu", "Gemm", "Sigmoid", "Unsqueeze", "Mul"]


def test_convolutions_of_maps_are_no_gates() -> None:
    before = model(f"{CONVOLUTIONS.format('x', 'o')} y = Sigmoid (o)", **KERNELS)
    assert not kinds(ir.from_proto(before), named("gate as matrix products"))


def test_the_second_product_is_taken_once() -> None:
    operators = computes_the_same(model(TWO_ROWS, output="n, 16", **WEIGHTS), named("one product of a sum"))
    assert operators.count("Gemm") == 3
    other = model(TWO_ROWS.replace("(pr, v, c)", "(pr, v, d)"), output="n, 16", d=numbers(16), **WEIGHTS)
    assert not kinds(ir.from_proto(other), named("one product of a sum"))


def test_shared_layers_of_rows_run_once() -> None:
    operators = computes_the_same(
        model(TWO_ROWS, output="n, 16", **WEIGHTS), named("shared layers on all values at once")
    )
    assert (operators.count("MatMul"), operators.count("Relu"), operators.count("Gemm")) == (2, 1, 0)


def test_shared_layers_of_rows_and_columns_of_a_map_run_once() -> None:
    before = model(ROWS_AND_COLUMNS, output="n, 16, h, w", **KERNELS)
    operators = computes_the_same(before, named("shared layers on all values at once"))
    assert operators.count("Conv") == 2


def test_layers_with_weights_of_their_own_are_not_shared() -> None:
    other = model(TWO_ROWS.replace("(p, w, b)", "(p, z, b)"), output="n, 16", z=numbers(4, 16), **WEIGHTS)
    found = kinds(ir.from_proto(other), named("shared layers on all values at once"))
    assert found == {"layers that several values share": 1}
    operators = computes_the_same(other, named("shared layers on all values at once"))
    assert (operators.count("Gemm"), operators.count("MatMul")) == (2, 1)


@pytest.mark.parametrize("name", ["channel statistics with channels last", "channel mean as a 1x1 convolution"])
@pytest.mark.parametrize("body", [STATISTICS, STATISTICS.replace("(p, q)", "(q, p)")])
def test_maximum_and_mean_over_channels(name: str, body: str) -> None:
    operators = computes_the_same(model(body, output="n, 2, h, w"), named(name))
    assert operators.count("Transpose" if "last" in name else "Conv") in (1, 2)


def test_other_pairs_are_no_statistics() -> None:
    body = STATISTICS.replace("ReduceMean <axes: ints = [1]", "ReduceMean <axes: ints = [2]")
    before = ir.from_proto(model(body))
    assert not kinds(before, named("channel statistics with channels last"))
    assert not kinds(before, named("mean over channels as a 1x1 convolution"))


@pytest.mark.parametrize("keep", [0, 1])
def test_a_mean_over_channels_alone_becomes_a_convolution(keep: int) -> None:
    output = "n, 1, h, w" if keep else "n, h, w"
    before = model(f"y = ReduceMean <axes: ints = [1], keepdims: int = {keep}> (x)", output=output)
    assert "Conv" in computes_the_same(before, named("mean over channels as a 1x1 convolution"))


@pytest.mark.parametrize("pads", ["1, 1", "0, 2", "2, 0"])
def test_a_convolution_along_channels_becomes_a_product(pads: str) -> None:
    before = model(BANDED.replace("1, 1", pads), "double[n, 1, 16] x", output="n, 1, 16", **BAND)
    computes_the_same(before, named("convolution along channels as a matrix product"), (None, 1, 16))


def test_a_convolution_along_channels_that_moves_on_stays() -> None:
    before = model(BANDED.replace("]>", "], strides: ints = [2]>"), "double[n, 1, 16] x", output="n, 1, a", **BAND)
    assert not kinds(ir.from_proto(before), named("convolution along channels as a matrix product"))


@pytest.mark.parametrize(("axis", "index"), [(1, 3), (1, -1), (-1, 0)])
def test_an_entry_is_picked_without_gather(axis: int, index: int) -> None:
    given = "double[n, 16, h, 1] x"
    before = model(f"y = Gather <axis: int = {axis}> (x, i)", given, output="a, b, c", i=np.array(index))
    operators = computes_the_same(before, named("picked entry without Gather"), (None, 16, None, 1))
    assert operators == (["Squeeze"] if axis == -1 else ["Slice", "Squeeze"])


def test_several_entries_or_an_axis_that_varies_stay_with_gather() -> None:
    for axis, index in ((1, np.array([1, 2])), (2, np.array(0))):
        before = model(f"y = Gather <axis: int = {axis}> (x, i)", i=index)
        assert not kinds(ir.from_proto(before), named("picked entry without Gather"))


def test_convolutions_of_one_map_are_merged() -> None:
    operators = computes_the_same(model(BRANCHES, **MANY), named("convolutions of one map merged"))
    assert operators.count("Conv") == 1


@pytest.mark.parametrize(
    "change", [("[1, 1, 1, 1]", "[1, 1, 1, 1], strides: ints = [2, 2]"), ("[2, 2, 2, 2]", "[1, 1, 1, 1]")]
)
def test_convolutions_to_other_sizes_are_not_merged(change: tuple[str, str]) -> None:
    before = model(BRANCHES.replace(*change).replace("Concat <axis: int = 1> (k, i)", "Relu (k) z = Relu (i)"), **MANY)
    assert not kinds(ir.from_proto(before), named("convolutions of one map merged"))


JOINED = """m = ReduceMax <axes: ints = [2, 3]> (x) g = Sigmoid (m) k = Mul (x, g) h = Neg (m) l = Mul (h, x)
    y = Concat <axis: int = 1> (k, l)"""


def test_products_are_joined_to_one() -> None:
    operators = computes_the_same(model(JOINED, output="n, 32, h, w"), named("one product of joined maps"))
    assert (operators.count("Mul"), operators.count("Concat")) == (1, 2)


@pytest.mark.parametrize(
    "change", [("Mul (h, x)", "Add (h, x)"), ("(k, l)", "(k, x)"), ("axis: int = 1", "axis: int = 2")]
)
def test_other_things_that_are_joined_stay(change: tuple[str, str]) -> None:
    before = model(JOINED.replace(*change), output="a, b, c, d")
    assert not kinds(ir.from_proto(before), named("one product of joined maps"))


def test_an_activation_moves_beside_what_reads_it() -> None:
    body = "s = Sigmoid (x) g = Unsqueeze (s, axes) y = Relu (g)"
    before = model(body, ROW, output="n, 16, 1, 1", **SPATIAL)
    operators = computes_the_same(before, named("activation beside what reads it"), (None, 16))
    assert operators == ["Unsqueeze", "Sigmoid", "Relu"]
    twice = model(f"{body} z = Neg (s)", ROW, output="n, 16, 1, 1", **SPATIAL)
    assert not kinds(ir.from_proto(twice), named("activation beside what reads it"))


@pytest.mark.parametrize("body", ["g = Sigmoid (m) y = Mul (x, g)", "y = Mul (m, x)"])
@pytest.mark.parametrize("given", [VARYING, FIXED])
def test_a_gate_is_widened_to_a_row(body: str, given: str) -> None:
    before = model(f"m = ReduceMax <axes: ints = [2, 3]> (x) {body}", given)
    shape = (None, 16, 3, 5) if given == FIXED else ()
    operators = computes_the_same(before, named("gate widened to a row by Expand"), shape)
    assert operators[-2:] == (["Sigmoid", "Mul"] if "Sigmoid" in body else ["Expand", "Mul"])
    product = named("gate widened to a row by a product")
    if given == FIXED:
        assert "MatMul" in computes_the_same(before, product, shape)
    else:
        assert not kinds(ir.from_proto(before), product)


def test_an_activation_before_an_unsqueeze_goes_behind_the_widening() -> None:
    reduced = "m = ReduceMax <axes: ints = [2, 3], keepdims: int = 0> (x)"
    body = f"{reduced} s = Sigmoid (m) u = Unsqueeze (s, axes) y = Mul (x, u)"
    operators = computes_the_same(
        model(body, FIXED, **SPATIAL), named("gate widened to a row by Expand"), (None, 16, 3, 5)
    )
    assert operators == ["ReduceMax", "Unsqueeze", "Expand", "Sigmoid", "Mul"]


def test_gates_of_rows_or_pixels_are_not_widened() -> None:
    for axes in ("[1]", "[2]", "[1, 2, 3]"):
        before = model(f"m = ReduceMax <axes: ints = {axes}> (x) y = Mul (x, m)")
        assert not kinds(ir.from_proto(before), named("gate widened to a row by Expand"))


@pytest.mark.parametrize("name", ["HardSwish by HardSigmoid", "HardSwish by Clip"])
def test_hard_swish_is_written_out(name: str) -> None:
    assert "HardSwish" not in computes_the_same(model("y = HardSwish (x)"), named(name))


RECURRENT = """m = ReduceMean <axes: ints = [2, 3], keepdims: int = 0> (x) a = Gemm (m, s) r = Relu (a)
    y = Gemm (r, s)"""


def test_a_layer_that_follows_on_itself_is_not_run_on_both_at_once() -> None:
    before = model(RECURRENT, output="n, 16", s=numbers(16, 16))
    assert not kinds(ir.from_proto(before), named("shared layers on all values at once"))


def test_shared_layers_that_are_outputs_stay() -> None:
    body = TWO_ROWS.replace("s = Add (mo, po) y = Sigmoid (s)", "y = Add (mo, po)")
    before = model(body, output="n, 16", **WEIGHTS)
    shared = named("shared layers on all values at once")
    assert kinds(ir.from_proto(before), shared)
    before.graph.output.extend(value for value in before.graph.value_info if value.name == "mo")
    assert not kinds(ir.from_proto(before), shared)


def test_a_bias_of_each_image_is_no_bias_of_a_layer() -> None:
    body = "a = Gemm <transB: int = 1> (x, w, b) s = Sigmoid (a) y = Unsqueeze (s, axes)"
    given, convolutions = "double[4, 16] x", named("gate as 1x1 convolutions")
    for shape, is_layer in (((1, 4), True), ((4, 1), False), ((4, 4), False)):
        before = model(body, given, output="4, 4, 1, 1", w=numbers(4, 16), b=numbers(*shape), **SPATIAL)
        assert bool(kinds(ir.from_proto(before), convolutions)) == is_layer


def test_a_gate_of_all_images_is_not_joined_with_those_of_each() -> None:
    one = "m = ReduceMax <axes: ints = [0, 2, 3]> (x) k = Mul (x, m) h = ReduceMax <axes: ints = [2, 3]> (x)"
    before = model(f"{one} l = Mul (h, x) y = Concat <axis: int = 1> (k, l)", output="n, 32, h, w")
    assert not kinds(ir.from_proto(before), named("one product of joined maps"))


def test_a_weight_that_may_be_fed_is_no_constant() -> None:
    body = f"m = ReduceMean <axes: ints = [2, 3]> (x) {CONVOLUTIONS.format('m', 'o')} y = Mul (x, o)"
    before = model(body, **KERNELS)
    assert kinds(ir.from_proto(before), named("gate as matrix products"))
    for name in ("w", "v"):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, KERNELS[name].shape)
        before.graph.input.append(value)
    assert not kinds(ir.from_proto(before), named("gate as matrix products"))


@pytest.mark.parametrize("pads", ["2, 2", "4, 0", "0, 4"])
def test_a_convolution_longer_than_the_channels_becomes_a_product(pads: str) -> None:
    weights = {"w": numbers(1, 1, 5), "b": numbers(1)}
    before = model(BANDED.replace("1, 1", pads), "double[n, 1, 2] x", output="n, 1, 2", **weights)
    computes_the_same(before, named("convolution along channels as a matrix product"), (None, 1, 2))


def test_a_computed_bias_is_not_lost() -> None:
    body = "m = ReduceMax <axes: ints = [0, 2, 3], keepdims: int = 0> (x) k = Slice (m, at, to) y = Conv (x, w, k)"
    before = model(body, output="n, 1, h, v", w=numbers(1, 16, 1, 3), at=np.array([0]), to=np.array([1]))
    assert not kinds(ir.from_proto(before), named("one output channel as columns of several"))


def test_whole_numbers_and_graphs_of_old_opsets_are_no_places() -> None:
    for given, opset in (("int32[n, 4, 3, 5] x", 17), ("double[n, 4, 3, 5] x", 12)):
        before = model("m = ReduceMean <axes: ints = [2, 3]> (x) y = Cast <to: int = 11> (m)", given, opset=opset)
        assert not any(kinds(ir.from_proto(before), rewrite) for rewrite in REWRITES)


def test_every_candidate_has_a_name_of_its_own_and_the_first_are_there() -> None:
    names = [one.name for one in (*REWRITES, *LOWERINGS)]
    assert len({*names}) == len(names)
    assert {*FIRST} <= {*names}
