"""Operators on concatenated maps become operators on each, without turns, where nothing else can be meant."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.export.rewrites import apply, kinds
from attn2trt.export.rewrites.axis_sizes import turned
from attn2trt.export.rewrites.concatenated_maps import SeparateMaps
from attn2trt.export.rewrites.turned_maps import UnturnedMaps
from attn2trt.export.simplify import simplify
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.target import Target

from ..rewrite_graphs import MAP, model, numbers, rewritten, same

FIXED = "double[n, 16, 3, 5] x"
TURN = "Transpose <perm: ints = [0, 1, 3, 2]>"
MEANS = """r = ReduceMean <axes: ints = [3]> (x) q = ReduceMean <axes: ints = [2]> (x)"""
JOINED = f"{MEANS} t = {TURN} (q) j = Concat <axis: int = 2> (r, t)"
MIXED = f"{JOINED} m = Conv (j, weight, bias) a = HardSwish (m)"
GATES = f"back = {TURN} (w) u = Conv (back, other) y = Mul (h, u)"
SIZES = np.array([3, 5])
PARTS = "h, w = Split <axis: int = 2> (a, sizes)"
HALF = f"{PARTS} y = Relu (h)"
WEIGHTS = {"weight": numbers(4, 16, 1, 1), "bias": numbers(4), "other": numbers(4, 4, 1, 1)}
# sizes that the graph computes: a Split's, and where a Slice ends
ENDS = {"zero": np.array([0]), "two": np.array([2]), "three": np.array([3]), "four": np.array([4])}
SHAPE = "s = Shape (x) rows = Slice (s, two, three) columns = Slice (s, three, four)"
COMPUTED = {
    "slices": (f"{SHAPE} sizes = Concat <axis: int = 0> (rows, columns)", ENDS),
    "parts of the shape": (
        "rows = Shape <start: int = 2, end: int = 3> (x) c = Shape <start: int = 3> (x) "
        "sizes = Concat <axis: int = 0> (rows, c)",
        {},
    ),
    "gathered": (
        "s = Shape (x) a1 = Gather (s, two) b1 = Gather (s, last) a2 = Unsqueeze (a1, zero) b2 = Reshape (b1, one) "
        "c = Cast <to: int = 7> (b2) sizes = Concat <axis: int = 0> (a2, c)",
        {"two": np.array(2), "last": np.array(-1), "zero": np.array([0]), "one": np.array([1])},
    ),
    "what the rows leave": (
        f"{SHAPE} both = Add (rows, columns) c = Sub (both, rows) sizes = Concat <axis: int = 0> (rows, c)",
        ENDS,
    ),
    "at once": ("sizes = Shape <start: int = -2> (x)", {}),
}


def operators(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def without(proto: onnx.ModelProto, *more: str) -> None:
    """Fail if a graph has an operator that the rewrite is there to leave out."""
    assert not operators(proto).keys() & {"Concat", "Split", "Slice", "Transpose", "Shape", *more}


def kept(body: str, inputs: str = FIXED, *, opset: int = 17, **weights: np.ndarray) -> None:
    """Fail if the rewrite applies."""
    assert not kinds(ir.from_proto(model(body, inputs, opset=opset, **weights)), SeparateMaps())


@pytest.mark.parametrize("split", ["Split <axis: int = 2> (a, sizes)", "Split <axis: int = -2> (a, sizes)"])
def test_each_map_goes_through_the_operators_itself(split: str) -> None:
    before = model(f"{MIXED} h, w = {split} {GATES}", FIXED, **WEIGHTS, sizes=SIZES)
    assert kinds(ir.from_proto(before), SeparateMaps()) == {"2 maps along the height, 16 to 4 channels": 1}
    after = rewritten(before, SeparateMaps())
    without(after)
    assert operators(after) == {"ReduceMean": 2, "Conv": 3, "HardSwish": 2, "Mul": 1}
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 3, 5)})


@pytest.mark.parametrize("way", COMPUTED)
def test_sizes_that_the_graph_computes_are_those_of_the_maps(way: str) -> None:
    sizes, weights = COMPUTED[way]
    before = model(f"{MIXED} {sizes} h, w = Split <axis: int = 2> (a, sizes) {GATES}", **WEIGHTS, **weights)
    after = rewritten(before, SeparateMaps())
    without(after)
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 7, 2)}, {"x": numbers(1, 16, 1, 1)})


@pytest.mark.parametrize(
    ("inputs", "to_rows", "to_columns"),
    [
        (FIXED, [0, 16, 5, 1], [0, 4, 1, 5]),
        (f"{MAP} x", [0, 16, -1, 1], [0, 4, 1, -1]),
        ("double[2, 16, h, w] x", [2, 16, -1, 1], [2, 0, 1, -1]),
    ],
)
def test_a_turn_may_be_a_reshape(inputs: str, to_rows: list[int], to_columns: list[int]) -> None:
    body = f"""{MEANS} t = Reshape (q, to_rows) j = Concat <axis: int = 2> (r, t) m = Conv (j, weight, bias)
        a = HardSwish (m) {SHAPE} sizes = Concat <axis: int = 0> (rows, columns) h, w = Split <axis: int = 2> (a, sizes)
        back = Reshape (w, to_columns) u = Conv (back, other) y = Mul (h, u)"""
    shapes = {"to_rows": np.array(to_rows), "to_columns": np.array(to_columns)}
    before = model(body, inputs, **WEIGHTS, **ENDS, **shapes)
    after = rewritten(before, SeparateMaps())
    without(after, "Reshape")
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_a_mean_without_its_axis_gets_the_other_one() -> None:
    means = "r = ReduceMean <axes: ints = [3]> (x) q = ReduceMean <axes: ints = [2], keepdims: int = 0> (x)"
    body = f"{means} t = Unsqueeze (q, last) j = Concat <axis: int = 2> (r, t) m = Conv (j, weight)"
    before = model(
        f"{body} h, w = Split <axis: int = 2> (m, sizes) back = {TURN} (w) y = Mul (h, back)",
        FIXED,
        weight=WEIGHTS["weight"],
        sizes=SIZES,
        last=np.array([-1]),
    )
    after = rewritten(before, SeparateMaps())
    without(after)
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_slices_are_taken_one_by_one() -> None:
    body = f"{MIXED} {SHAPE} h = Slice (a, zero, rows, two) w = Slice (a, rows, all, two) {GATES}"
    before = model(body, **WEIGHTS, **ENDS, all=np.array([2**63 - 1]))
    assert list(kinds(ir.from_proto(before), SeparateMaps()).values()) == [2]
    after = rewritten(before, SeparateMaps())
    without(after)
    same(before, after, {"x": numbers(2, 16, 3, 5)}, {"x": numbers(1, 16, 1, 4)})


@pytest.mark.parametrize(
    ("first", "second"), [((0, 3), (3, 8)), ((0, -5), (-5, 99999999999)), ((0, 3), (3, 2**31 - 1)), ((3, 8), (0, 3))]
)
def test_slices_count_from_either_end(first: tuple[int, int], second: tuple[int, int]) -> None:
    given = {name: np.array([one]) for name, one in zip("abcd", (*first, *second), strict=True)}
    body = f"{JOINED} m = Conv (j, weight) e = Slice (m, a, b, axis, step) f = Slice (m, c, d, axis, step)"
    joined = f"{body} y = Concat <axis: int = 2> (f, e)"
    before = model(joined, FIXED, weight=WEIGHTS["weight"], axis=np.array([-2]), step=np.array([1]), **given)
    after = rewritten(before, SeparateMaps())
    assert not operators(after)["Slice"]
    same(before, after, {"x": numbers(2, 16, 3, 5)})


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_one_size_for_all_need_not_be_given(opset: int) -> None:
    split = "Split <axis: int = 2, num_outputs: int = 2>" if opset >= 18 else "Split <axis: int = 2>"
    body = f"r = Neg (x) j = Concat <axis: int = 2> (x, r) a = Relu (j) h, w = {split} (a) y = Sub (h, w)"
    before = model(body, opset=opset)
    after = rewritten(before, SeparateMaps())
    assert operators(after) == {"Neg": 1, "Relu": 2, "Sub": 1}
    same(before, after, {"x": numbers(2, 16, 3, 5)})


@pytest.mark.parametrize(
    "operators_between",
    [
        "a = Conv <group: int = 4> (j, narrow)",
        "a = Conv <kernel_shape: ints = [1, 3], pads: ints = [0, 1, 0, 1]> (j, along_rows)",
        "a = BatchNormalization (j, scale, scale, scale, scale)",
        "s = HardSigmoid (j) a = Mul (j, s)",  # one value read twice
        "p = Add (j, three) c = Clip (p, low, high) d = Div (c, three) a = Mul (j, d)",
        "a = PRelu (j, slope)",
        "g = ReduceMean <axes: ints = [2, 3]> (x) a = Mul (g, j)",  # computed, the same everywhere
        "n = Neg (r) j2 = Concat <axis: int = 2> (n, t) a = Max (j, j2)",  # two maps, concatenated alike
        "f = Cast <to: int = 1> (j) s = Sigmoid (f) a = Cast <to: int = 11> (s)",
    ],
)
def test_operators_that_see_single_positions(operators_between: str) -> None:
    given = {"narrow": numbers(8, 4, 1, 1), "along_rows": numbers(4, 16, 1, 3), "scale": np.abs(numbers(16)) + 0.1}
    given |= {"three": np.array([3.0]), "low": np.array(0.0), "high": np.array(6.0), "slope": numbers(16, 1, 1)}
    weights = {name: value for name, value in given.items() if name in operators_between.replace(",", " ")}
    body = f"{JOINED} {operators_between} {PARTS}"
    before = model(f"{body} back = {TURN} (w) y = Mul (h, back)", FIXED, **weights, sizes=SIZES)
    after = rewritten(before, SeparateMaps())
    assert not operators(after).keys() & {"Concat", "Split"}
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_what_varies_along_the_other_axis_may_be_read_beside_it() -> None:
    body = f"{JOINED} a = Mul (j, each) h, w = Split <axis: int = 2> (a, sizes) p = ReduceMax <axes: ints = [2]> (w)"
    before = model(f"{body} y = Mul (h, p)", FIXED, each=numbers(16, 1, 6), sizes=SIZES)
    after = rewritten(before, SeparateMaps())
    assert (operators(after)["Concat"], operators(after)["Split"]) == (0, 0)
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_what_is_not_turned_back_stays_turned() -> None:
    before = model(
        f"{MIXED} h, w = Split <axis: int = 2> (a, sizes) p = ReduceMax <axes: ints = [2]> (w) y = Mul (h, p)",
        FIXED,
        **{name: value for name, value in WEIGHTS.items() if name != "other"},
        sizes=SIZES,
    )
    after = rewritten(before, SeparateMaps())
    assert (operators(after)["Concat"], operators(after)["Transpose"]) == (0, 1)
    same(before, after, {"x": numbers(2, 16, 3, 5)})


def test_maps_along_the_width_of_other_sizes_and_numbers() -> None:
    body = """j = Concat <axis: int = -1> (x, z, x) c = Conv (j, weight) a = Tanh (c)
        d, e, f = Split <axis: int = 3> (a, sizes) y = Concat <axis: int = 3> (e, f, d)"""
    before = model(body, f"{FIXED}, double[n, 16, 3, 2] z", weight=WEIGHTS["weight"], sizes=np.array([5, 2, 5]))
    after = rewritten(before, SeparateMaps())
    assert operators(after) == {"Conv": 3, "Tanh": 3, "Concat": 1}
    same(before, after, {"x": numbers(2, 16, 3, 5), "z": numbers(2, 16, 3, 2)})


def test_rows_of_other_ranks() -> None:
    body = "j = Concat <axis: int = 2> (x, z) c = Conv (j, weight) a, y = Split <axis: int = 2> (c, sizes)"
    before = model(
        body,
        "double[n, 16, 5] x, double[n, 16, 2] z",
        output="n, 4, 2",
        weight=numbers(4, 16, 1),
        sizes=np.array([5, 2]),
    )
    after = rewritten(before, SeparateMaps())
    assert operators(after) == {"Conv": 1}  # of the other part nothing is read
    same(before, after, {"x": numbers(2, 16, 5), "z": numbers(2, 16, 2)})


@pytest.mark.parametrize(
    "body",
    [
        f"{JOINED} a = Conv (j, weight) {PARTS} k = ReduceMax (a) y = Mul (h, k)",
        f"{JOINED} a = Conv (j, weight) {PARTS} k = ReduceMax (j) y = Mul (h, k)",
        f"{JOINED} c = Conv (j, weight) a = Relu (c) {PARTS} k = ReduceMax (c) y = Mul (h, k)",
        f"{JOINED} a = Conv (j, weight) h, w = Split <axis: int = 1> (a, twos) y = Mul (h, w)",
        f"{JOINED} a = Conv <pads: ints = [1, 1, 1, 1]> (j, square) {HALF}",
        f"{JOINED} a = Conv <pads: ints = [0, 0, 2, 0]> (j, tall) {HALF}",
        f"{JOINED} a = Conv <pads: ints = [1, 0, 0, 0], strides: ints = [1, 1]> (j, weight) {HALF}",
        f"{JOINED} a = Conv <strides: ints = [2, 1], pads: ints = [3, 0, 4, 0]> (j, weight) {HALF}",
        f"{JOINED} a = Conv (j, weight) h, w = Split <axis: int = 2> (a, turned) y = Relu (h)",
        f"{JOINED} a = Conv (j, weight) h, w = Split <axis: int = 2> (a) y = Mul (h, w)",
        f"{JOINED} a = Conv (j, weight) h, w, v = Split <axis: int = 2> (a, threes) y = Relu (h)",
        f"{JOINED} a = Softmax <axis: int = 2> (j) {HALF}",
        f"{JOINED} a = InstanceNormalization (j, b, b) {HALF}",
        f"{JOINED} a = Mul (j, each) {HALF}",
        f"{JOINED} k = ReduceMax <axes: ints = [2]> (j) a = Sub (j, k) {HALF}",
        f"{JOINED} j2 = Concat <axis: int = 2> (t, r) a = Max (j, j2) {HALF}",  # of other sizes
        f"{JOINED} h, w = Split <axis: int = 2> (j, sizes) y = Relu (h)",  # nothing is computed in between
        f"{JOINED} a = Relu (j) h = Slice (a, zero, four, axis) y = Relu (h)",
        f"{JOINED} a = Relu (j) h = Slice (a, zero, eight, axis, step) y = Relu (h)",
        f"{JOINED} a = Relu (j) h = Slice (a, zero, three, axis) v = Slice (a, zero, four, axis) y = Mul (h, r)",
        f"{JOINED} a = Relu (j) s = Shape (a) h, w = Split <axis: int = 2> (a, sizes) y = Expand (w1, s)",
    ],
)
def test_anything_else_is_left_alone(body: str) -> None:
    given = {"weight": numbers(4, 16, 1, 1), "square": numbers(4, 16, 3, 3), "tall": numbers(4, 16, 3, 1)}
    given |= {"sizes": SIZES, "turned": SIZES[::-1].copy(), "twos": np.array([2, 2]), "threes": np.array([3, 3, 2])}
    given |= {"b": numbers(16), "each": numbers(8, 1)}
    given |= {"zero": np.array([0]), "three": np.array([3]), "four": np.array([4]), "eight": np.array([8])}
    given |= {"axis": np.array([2]), "step": np.array([2]), "w1": numbers(1, 1, 1, 1)}
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    kept(body, **{name: value for name, value in given.items() if name in words})


@pytest.mark.parametrize(
    ("inputs", "sizes"),
    [
        ("double[n, 16, h, 1] r, double[n, 16, w, 1] t", "sizes = Shape <start: int = 2, end: int = 4> (r)"),
        ("double[n, 16, h, 1] r, double[n, 16, w, 1] t, int64[2] sizes", ""),
        ("double[n, 16, h, 1] r, double[n, 16, w, 1] t", "k = Shape <start: int = 2, end: int = 3> (t) "
         "l = Shape <start: int = 2, end: int = 3> (r) sizes = Concat <axis: int = 0> (k, l)"),
    ],
)  # fmt: skip
def test_sizes_that_may_be_others_are_left_alone(inputs: str, sizes: str) -> None:
    body = f"j = Concat <axis: int = 2> (r, t) a = Relu (j) {sizes} h, w = Split <axis: int = 2> (a, sizes) y = Neg (h)"
    kept(body, inputs)


def test_an_older_opset_is_left_alone() -> None:
    body = "j = Concat <axis: int = 2> (x, x) a = Relu (j) h, w = Split <axis: int = 2> (a) y = Sub (h, w)"
    kept(body, opset=12)


@pytest.mark.parametrize(
    "body",
    [
        f"t = {TURN} (x) m = Conv (t, weight) s = Sigmoid (m) a = Mul (m, s) y = {TURN} (a)",
        f"t = {TURN} (x) u = {TURN} (x) m = Conv (t, weight) n = Conv (u, weight) a = Add (m, n) y = {TURN} (a)",
    ],
)
def test_a_map_that_is_turned_back_need_not_be_turned(body: str) -> None:
    before = model(body, weight=WEIGHTS["weight"])
    assert kinds(ir.from_proto(before), UnturnedMaps()) == {"turned map, 16 to 4 channels": 1}
    after = rewritten(before, UnturnedMaps())
    without(after)
    same(before, after, {"x": numbers(2, 16, 3, 5)})


@pytest.mark.parametrize(
    ("target", "is_turn"),
    [
        ([0, 16, -1, 1], True),
        ([-1, 16, 5, 1], True),
        ([2, 16, 5, 1], True),
        ([0, 0, 5, -1], True),
        ([0, 16, 1, -1], False),  # as it was
        ([0, 16, 0, 0], False),
        ([-1, 16, 1, 5], False),
        ([0, -1, 1, 1], False),
        ([0, 16, 5], False),
    ],
)
def test_a_reshape_turns_a_map_of_one_row_if_the_sizes_say_so(target: list[int], is_turn: bool) -> None:
    before = model("t = Reshape (x, target) y = Abs (t)", "double[2, 16, 1, 5] x", target=np.array(target))
    assert (turned(ir.from_proto(before).graph[0]) is not None) == is_turn


@pytest.mark.parametrize(("start", "is_turn"), [(2, False), (3, True)])
def test_one_size_of_a_reshape_need_not_be_known(start: int, is_turn: bool) -> None:
    known = np.array([0, 16, 1] if is_turn else [0, 16])
    body = f"s = Shape <start: int = {start}> (z) k = Concat <axis: int = 0> (known, s) t = Reshape (x, k) a = Abs (t)"
    before = model(f"{body} y = {TURN} (a)", "double[n, 16, w, 1] x, double[n, 16, u, v] z", known=known)
    assert bool(kinds(ir.from_proto(before), UnturnedMaps())) == is_turn
    if is_turn:  # any other than 5 and the Reshape would fail
        feed = {"x": numbers(2, 16, 5, 1), "z": numbers(2, 16, 4, 5)}
        same(before, rewritten(before, UnturnedMaps()), feed)


@pytest.mark.parametrize(
    "body",
    [
        f"t = {TURN} (x) m = Conv (t, square) y = {TURN} (m)",
        f"t = {TURN} (x) m = Conv (t, wide) y = {TURN} (m)",
        f"t = {TURN} (x) a = Mul (t, each) y = {TURN} (a)",
        f"t = {TURN} (x) a = Relu (t) b = {TURN} (a) c = ReduceMax (a) y = Add (b, c)",
        f"t = {TURN} (x) b = Neg (t) a = Relu (b) d = {TURN} (a) c = ReduceMax (b) y = Add (d, c)",
        f"t = {TURN} (x) a = Relu (t) y = Transpose <perm: ints = [0, 2, 3, 1]> (a)",
        f"t = {TURN} (x) a = Add (t, x) y = {TURN} (a)",
        f"t = Reshape (x, turned) a = Relu (t) y = {TURN} (a)",  # pixels change places
        f"t = {TURN} (x) y = {TURN} (t)",
    ],
)
def test_maps_that_have_to_be_turned_are(body: str) -> None:
    given = {"square": numbers(4, 16, 3, 3), "wide": numbers(4, 16, 1, 3), "each": numbers(5, 1)}
    given["turned"] = np.array([2, 16, 5, 3])
    shape = "double[2, 16, 5, 5] x" if "Add (t, x)" in body or "each" in body else "double[2, 16, 3, 5] x"
    before = model(body, shape, **{name: value for name, value in given.items() if name in body})
    assert not kinds(ir.from_proto(before), UnturnedMaps())


class HardSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (nn.functional.relu6(x + 3) / 6)


class AuthorsCoordAtt(nn.Module):
    """The block as its authors wrote it: https://github.com/houqb/CoordAttention, coordatt.py."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool_h, self.pool_w = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.conv1, self.bn1, self.act = nn.Conv2d(channels, 8, 1), nn.BatchNorm2d(8), HardSwish()
        self.conv_h, self.conv_w = nn.Conv2d(8, channels, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        y = torch.cat([self.pool_h(x), self.pool_w(x).permute(0, 1, 3, 2)], dim=2)
        x_h, x_w = torch.split(self.act(self.bn1(self.conv1(y))), [h, w], dim=2)
        a_h = self.conv_h(x_h).sigmoid()
        a_w = self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid()
        return x * a_w * a_h


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param({"batch": Axis(1, 2, 4)}, id="fixed", marks=pytest.mark.slow),
        pytest.param({"batch": Axis(1, 2, 4), "height": Axis(4, 8, 16), "width": Axis(4, 6, 16)}, id="dynamic"),
    ],
)
def test_the_authors_coordinate_attention_as_it_is_exported(axes: dict[str, Axis], tmp_path: Path) -> None:
    shape = ("batch", 16, *(("height", "width") if len(axes) > 1 else (8, 6)))
    module = AuthorsCoordAtt(16).eval()
    target = Target("coord_att", lambda: module, (TensorSpec("x", shape),), axes)
    found, _ = simplify(trace(target, module, tmp_path / "traced.onnx", opset=17), tmp_path / "model.onnx")
    graph = ir.load(str(found.path))
    (kind,) = kinds(graph, SeparateMaps())
    assert apply(graph, SeparateMaps(), kind) == (2 if "height" in axes else 1)  # of a dynamic size each is a slice
    after = ir.to_proto(graph)
    without(after, "Reshape")
    session = onnxruntime.InferenceSession(after.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in [(2, 16, 8, 6), (1, 16, 8, 6), *([(3, 16, 5, 11)] if len(axes) > 1 else [])]:
        x = torch.randn(sizes)
        expected = module(x).detach().numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, rtol=1e-4, atol=1e-6)
