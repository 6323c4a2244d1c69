"""8 bits from product to product: where pairs stand and where none does, and that any change is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import graph_file, small_model
from wrong_weights import scale as scale_weight

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import INT8_FP16, QUANTISED
from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import CheckFailed, MissingRequirement, ModuleRefused
from attn2trt.export import modelopt_placement
from attn2trt.export.modelopt_placement import modelopt_readers, readers_of, require_modelopt
from attn2trt.export.placed import PlacedGraph, place
from attn2trt.export.placed_check import check_placed
from attn2trt.export.precision import float32_source
from attn2trt.export.precision_options import PrecisionOptions

FORM = QUANTISED[INT8_FP16]
CHANNELS = 4
Node = tuple[str, str, list[str]]  # the operator, the name of the node and of its result, what it reads
RESIDUAL: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("Relu", "a", ["first"]),
    ("Conv", "second", ["a", "w"]),
    ("Add", "sum", ["second", "a"]),
    ("Relu", "b", ["sum"]),
    ("Conv", "y", ["b", "w"]),
]
DOWN: list[Node] = [
    ("Conv", "down", ["x", "w"]),
    ("Conv", "main", ["x", "v"]),
    ("Add", "sum", ["main", "down"]),
    ("Relu", "a", ["sum"]),
    ("Conv", "y", ["a", "w"]),
]
SQUEEZE: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("GlobalAveragePool", "mean", ["first"]),
    ("Conv", "squeezed", ["mean", "w"]),
    ("Sigmoid", "gate", ["squeezed"]),
    ("Mul", "gated", ["first", "gate"]),
    ("Add", "sum", ["gated", "x"]),
    ("Relu", "a", ["sum"]),
    ("Conv", "y", ["a", "w"]),
]
SILU: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("Sigmoid", "s", ["first"]),
    ("Mul", "a", ["first", "s"]),
    ("Conv", "y", ["a", "w"]),
]
POOLED: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("Relu", "a", ["first"]),
    ("MaxPool", "pool", ["a"]),
    ("Conv", "second", ["pool", "w"]),
    ("Relu", "b", ["second"]),
    ("Concat", "both", ["pool", "b"]),
    ("Conv", "y", ["both", "wide"]),
]
SPLIT: list[Node] = [
    ("Conv", "first", ["x", "double"]),
    ("Relu", "a", ["first"]),
    ("Split", "left right", ["a"]),
    ("Conv", "second", ["right", "w"]),
    ("Relu", "b", ["second"]),
    ("Concat", "all", ["left", "right", "b"]),
    ("Conv", "y", ["all", "triple"]),
]
TURNED: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("Relu", "a", ["first"]),
    ("Transpose", "t", ["a"]),
    ("Conv", "second", ["t", "w"]),
    ("Transpose", "u", ["second"]),
    ("Softmax", "y", ["u"]),
]
HEAD: list[Node] = [
    ("Conv", "boxes", ["x", "half"]),
    ("Conv", "scores", ["x", "half"]),
    ("Sigmoid", "classes", ["scores"]),
    ("Concat", "y", ["boxes", "classes"]),
]
GATED: list[Node] = [
    ("Conv", "a", ["x", "w"]),
    ("Conv", "b", ["x", "v"]),
    ("Concat", "both", ["a", "b"]),
    ("Relu", "c", ["both"]),
    ("Conv", "y", ["c", "wide"]),
]
ALONE: list[Node] = [("Relu", "a", ["x"]), ("MaxPool", "b", ["a"]), ("Add", "c", ["b", "a"]), ("Conv", "y", ["c", "w"])]
BRANCHED: list[Node] = [
    ("Conv", "first", ["x", "w"]),
    ("Relu", "a", ["first"]),
    ("Conv", "second", ["a", "w"]),
    ("ReduceMax", "most", ["second"]),
    ("Cast", "is", ["most"]),
    ("If", "y", ["is"]),
]


def _body(operator: str) -> onnx.GraphProto:
    """A body that reads "a" of the graph around it."""
    found = helper.make_tensor_value_info(f"{operator} of a", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(operator, ["a"], [found.name], name=found.name)], operator, [], [found])


ATTRIBUTES = {
    "ReduceMax": {"keepdims": 0},
    "Cast": {"to": TensorProto.BOOL},
    "If": {"then_branch": _body("Relu"), "else_branch": _body("Neg")},
    "MaxPool": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "Concat": {"axis": 1},
    "Split": {"axis": 1},
    "Transpose": {"perm": [0, 1, 3, 2]},
}
PATHS = {"second": "block.conv2", "sum": "block", "first": "stem"}


def graph_of(
    folder: Path, nodes: Sequence[Node], channels: int = CHANNELS, paths: Mapping[str, str] = PATHS
) -> OnnxGraph:
    """A float32 graph from x to y."""
    rng = np.random.default_rng(0)
    shapes = {
        name: (channels, times * channels, 1, 1) for name, times in (("w", 1), ("v", 1), ("wide", 2), ("triple", 3))
    }
    shapes.update(double=(2 * channels, channels, 1, 1), half=(channels // 2, channels, 1, 1))
    used = {name for _, _, read in nodes for name in read}
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items() if name in used}
    made = [
        helper.make_node(kind, read, name.split(), name=name, **ATTRIBUTES.get(kind, {}))  # type: ignore[arg-type]
        for kind, name, read in nodes
    ]
    sizes = ["batch", channels, 6, 6]
    model = small_model(made, {"x": sizes}, {"y": sizes}, weights)
    return graph_file(model, folder / "model.onnx", modules=paths, axes={"batch": Axis(1, 2, 4)})


def placed(
    folder: Path,
    nodes: Sequence[Node],
    ranges: Mapping[str, float] | None = None,
    keep: Sequence[str] = (),
    io: str = "float32",
    readers: frozenset[tuple[str, int]] | None = None,
    paths: Mapping[str, str] = PATHS,
) -> PlacedGraph:
    def calibrate(names: Sequence[str]) -> dict[str, float]:
        return {name: (ranges or {}).get(name, 3.0) for name in names}

    graph, options = graph_of(folder, nodes, paths=paths), PrecisionOptions(keep, io)
    return place(graph, calibrate, folder, calibration="nothing", form=FORM, readers=readers, options=options)


def read_in_8_bits(low: PlacedGraph) -> set[tuple[str, str]]:
    """Return (node, tensor) for every planned input."""
    return {(name, tensor) for tensor, found in low.plan.readers.items() for name, _ in found}


def model_of(low: PlacedGraph) -> onnx.ModelProto:
    return onnx.load(str(low.graph.path))


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        # the residual, and nothing between a product and what is fused with it
        (RESIDUAL, {("first", "x"), ("second", "a"), ("sum", "a"), ("y", "b")}),
        # of two products the last is fused with the addition
        (DOWN, {("down", "x"), ("main", "x"), ("sum", "down"), ("y", "a")}),
        # a squeeze and its gate read what the product hands over; the input is read by it and by the addition
        (SQUEEZE, {("first", "x"), ("mean", "first"), ("gated", "first"), ("y", "a")}),
        # one kernel computes x * sigmoid(x)
        (SILU, {("first", "x"), ("y", "a")}),
        (POOLED, {("first", "x"), ("pool", "a"), ("second", "pool"), ("both", "pool"), ("both", "b"), ("y", "both")}),
        # what is split and concatenated stays in 8 bits
        (
            SPLIT,
            {("first", "x"), ("left right", "a"), ("second", "right"), ("y", "all")}
            | {("all", "left"), ("all", "right"), ("all", "b")},
        ),
        # what is turned for a product does, and for a softmax does not
        (TURNED, {("first", "x"), ("t", "a"), ("second", "t")}),
        # what only an output reads is not rounded to 8 bits
        (HEAD, {("boxes", "x"), ("scores", "x")}),
        # a product reads what is concatenated, over an activation
        (GATED, {("a", "x"), ("b", "x"), ("both", "a"), ("both", "b"), ("c", "both"), ("y", "c")}),
        # no product has a part in what it reads
        (ALONE, {("y", "c")}),
        # a body stays in float32, whatever it reads
        (BRANCHED, {("first", "x"), ("second", "a"), ("most", "second")}),
    ],
    ids=["residual", "down", "squeeze", "silu", "pooled", "split", "turned", "head", "gated", "alone", "branched"],
)
def test_pairs_stand_where_tensors_cross_and_nowhere_else(
    tmp_path: Path, nodes: list[Node], wanted: set[tuple[str, str]]
) -> None:
    low = placed(tmp_path, nodes)
    assert read_in_8_bits(low) == wanted
    model = model_of(low)
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    weights = {product.weight for product in low.plan.products}
    assert len(quantised) == len(low.plan.readers) + len(weights)  # once for each tensor
    assert low.graph.opset == 19
    assert low.oldest_tensorrt == "10.0"


def test_maps_are_float16_between_and_a_float32_operator_reads_no_cast_of_one(tmp_path: Path) -> None:
    low = placed(tmp_path, SQUEEZE, io="float16")
    model = onnx.shape_inference.infer_shapes(model_of(low))
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    assert types["x"] == types["y"] == types["first"] == types["sum"] == TensorProto.FLOAT16
    assert types["mean"] == TensorProto.FLOAT
    casts = [node.input[0] for node in model.graph.node if node.op_type == "Cast"]
    assert casts == ["mean"]
    (mean,) = (node for node in model.graph.node if node.name == "mean")
    assert types[mean.input[0]] == TensorProto.FLOAT  # from the same levels, by a scale in float32
    made = {name: node for node in model.graph.node for name in node.output}
    (gated,) = (node for node in model.graph.node if node.name == "gated")
    assert made[mean.input[0]].input[0] == made[gated.input[0]].input[0]


def test_maximum_move_and_concatenation_have_one_scale_on_both_sides(tmp_path: Path) -> None:
    low = placed(tmp_path, POOLED, {"a": 5.0, "pool": 2.0, "b": 9.0, "both": 1.0})
    assert {low.ranges[name] for name in ("a", "pool", "b", "both")} == {9.0}
    assert low.ranges["x"] == 3.0
    moved = placed(tmp_path, SPLIT, {"right": 7.0})
    assert {moved.ranges[name] for name in ("a", "left", "right", "b", "all")} == {7.0}
    assert len({low.plan.scales[name] for name in ("a", "pool", "b", "both")}) == 1


def test_what_is_concatenated_with_much_larger_numbers_has_its_own_scale(tmp_path: Path) -> None:
    low = placed(tmp_path, POOLED, {"a": 1.0, "pool": 1.0, "b": 9.0, "both": 9.0})
    assert {name: low.ranges[name] for name in ("a", "pool", "b", "both")} == {"a": 1, "pool": 1, "b": 9, "both": 9}
    low = placed(tmp_path, POOLED, {"a": 9.0, "pool": 9.0, "b": 1.0, "both": 9.0})
    assert {name: low.ranges[name] for name in ("a", "pool", "b", "both")} == {"a": 9, "pool": 9, "b": 1, "both": 9}


def test_scales_are_numbers_of_float16_that_are_no_smaller(tmp_path: Path) -> None:
    low = placed(tmp_path, RESIDUAL)
    for name, step in low.plan.scales.items():
        assert step == float(np.float16(step))
        assert step * FORM.largest >= low.ranges[name]


@pytest.mark.parametrize(("keep", "paths"), [(["block"], PATHS), (["sec*", "sum"], {})])
def test_a_kept_module_or_node_reads_no_levels(tmp_path: Path, keep: list[str], paths: dict[str, str]) -> None:
    low = placed(tmp_path, RESIDUAL, keep=keep, paths=paths)
    assert read_in_8_bits(low) == {("first", "x"), ("y", "b")}
    assert {"second", "sum"} <= low.float32.keys()
    assert low.kept.keys() == {"second", "sum"}


def test_a_tensor_without_a_scale_in_float16_stays(tmp_path: Path) -> None:
    low = placed(tmp_path, RESIDUAL, {"a": 1e-3})
    assert read_in_8_bits(low) == {("first", "x"), ("y", "b")}
    assert "too little for a scale in fp16" in low.kept["second"]
    with pytest.raises(ModuleRefused, match="int8-fp16 leaves nothing to quantise"):
        placed(tmp_path, RESIDUAL, {"x": 0.0, "a": 0.0, "b": float("inf")})


def remove(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.name == "sum").input[1] = "a"


def add(graph: onnx.GraphProto) -> None:
    """Quantise what a product gives before it is added."""
    place = next(index for index, node in enumerate(graph.node) if node.name == "sum")
    pair = ["a_scale_fp16", "a_zero"]
    graph.node.insert(place, helper.make_node("QuantizeLinear", ["second", *pair], ["q"], name="quantize_second"))
    graph.node.insert(place + 1, helper.make_node("DequantizeLinear", ["q", *pair], ["d"], name="dequantize_second"))
    graph.node[place + 2].input[0] = "d"


def rescale(graph: onnx.GraphProto) -> None:
    scale = next(tensor for tensor in graph.initializer if tensor.name == "a_scale_fp16")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float16(2), scale.name))


def reweigh(graph: onnx.GraphProto) -> None:
    weight = next(tensor for tensor in graph.initializer if tensor.name == "w")
    scale_weight(weight, 1.02)


def widen(graph: onnx.GraphProto) -> None:
    """Read the levels by a cast of a whole map."""
    place = next(index for index, node in enumerate(graph.node) if node.name == "b")
    read = graph.node[place].input[0]
    graph.node.insert(place, helper.make_node("Cast", [read], ["wide"], name="cast_to_fp32_b", to=TensorProto.FLOAT))
    graph.node[place + 1].input[0] = "wide"
    graph.node[place + 1].output[0] = "b_wide"
    narrow = helper.make_node("Cast", ["b_wide"], ["b"], name="cast_to_fp16_b", to=TensorProto.FLOAT16)
    graph.node.insert(place + 2, narrow)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove, "input 1 of node sum is not quantised"),
        (add, "input 0 of node sum is quantised, and the policy says it is not"),
        (rescale, "has other scales in QuantizeLinear than its range gives"),
        (reweigh, "constant w.* of node .* is not w rounded"),
        (widen, r"Relu \(node b\) has wide in float, the policy wants float16"),
    ],
)
def test_a_broken_graph_is_found(tmp_path: Path, change: Callable[[onnx.GraphProto], None], words: str) -> None:
    low = placed(tmp_path, RESIDUAL)
    source = float32_source(graph_of(tmp_path, RESIDUAL), 19)

    def check() -> None:
        check_placed(source, low.graph.path, low.plan)

    check()
    model = model_of(low)
    change(model.graph)
    onnx.save(model, str(low.graph.path))
    with pytest.raises(CheckFailed, match=words):
        check()


def test_somebody_else_may_choose_the_places(tmp_path: Path) -> None:
    """Weights say which products are quantised; what this policy leaves in float stays so."""
    chosen = {("first", 0), ("first", 1), ("y", 0), ("y", 1), ("sum", 0), ("sum", 1), ("second", 0), ("b", 7)}
    low = placed(tmp_path, RESIDUAL, readers=frozenset(chosen))
    assert read_in_8_bits(low) == {("first", "x"), ("sum", "second"), ("sum", "a"), ("y", "b")}
    assert {product.node for product in low.plan.products} == {"first", "y"}
    assert low.float32.keys() == set()
    with pytest.raises(ModuleRefused, match="leaves nothing to quantise"):
        placed(tmp_path, RESIDUAL, readers=frozenset())


def test_the_places_of_another_tool_are_read_off_its_graph() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="there"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="back"),
        helper.make_node("Cast", ["d"], ["c"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["d", "w"], ["y"], name="conv"),
        helper.make_node("Add", ["y", "c"], ["o"], name="sum"),
    ]
    assert readers_of(small_model(nodes, {}, {})) == {("conv", 0), ("sum", 1)}


def test_what_modelopt_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelopt_placement, "find_spec", lambda name: None if name == "onnxslim" else object())
    with pytest.raises(MissingRequirement, match=r"expected onnxslim, .*; pip install -e \"\.\[modelopt\]\""):
        require_modelopt()


@pytest.mark.slow
def test_modelopt_places_pairs_in_a_real_graph(tmp_path: Path) -> None:
    pytest.importorskip("modelopt")
    channels = 32  # modelopt leaves convolutions of fewer than 16 alone
    graph = graph_of(tmp_path, RESIDUAL, channels)
    found = modelopt_readers(graph, {"x": np.random.default_rng(0).standard_normal((2, channels, 6, 6), np.float32)})
    assert {("first", 0), ("first", 1)} <= found
