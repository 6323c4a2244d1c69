"""Half precision in the graph: what is lowered and what is not, how casts are shared, and that any change is found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import graph_file, small_model
from wrong_weights import scale

from attn2trt.core import graph as saving
from attn2trt.core.graph import OnnxGraph
from attn2trt.core.operators import PRODUCTS
from attn2trt.core.precision import CAST, parse_precisions
from attn2trt.core.refused_types import REFUSED
from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import CheckFailed, InputError, ModuleRefused
from attn2trt.export import precision
from attn2trt.export.deploy_files import trtexec_lines
from attn2trt.export.keep_fp32 import matching
from attn2trt.export.passes.float_policy import plan, unfit
from attn2trt.export.precision import LowPrecisionGraph, float32_source, lower
from attn2trt.export.precision_check import check_precision
from attn2trt.export.precision_options import PrecisionOptions

Node = tuple[str, list[str], str]
NORMALISED: list[Node] = [
    ("Conv", ["x", "w"], "conv"),
    ("ReduceMean", ["conv"], "mean"),
    ("Sub", ["conv", "mean"], "centred"),
    ("Mul", ["centred", "centred"], "square"),
    ("ReduceMean", ["square"], "variance"),
    ("Add", ["variance", "epsilon"], "safe"),
    ("Sqrt", ["safe"], "deviation"),
    ("Div", ["centred", "deviation"], "normal"),
    ("Conv", ["normal", "w"], "second"),
    ("Relu", ["second"], "y"),
]
MODULES = {"Conv_0": "block.conv1", "Mul_3": "block.norm", "Conv_8": "block.conv2", "Relu_9": "act"}


def write(folder: Path, nodes: list[Node] = NORMALISED, *, opset: int = 17, **constants: np.ndarray) -> OnnxGraph:
    """A graph from x to y; each node is named by its operator and its place."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((4, 4, 1, 1), dtype=np.float32),
        "epsilon": np.array(1e-12, np.float32),
        **constants,
    }
    used = {name for _, operands, _ in nodes for name in operands}
    made = []
    for place, (operator, operands, result) in enumerate(nodes):
        attributes = {"axes": [1]} if operator == "ReduceMean" else {}
        made.append(helper.make_node(operator, operands, [result], name=f"{operator}_{place}", **attributes))
    shape = ["batch", 4, 8, 8]
    kept = {name: array for name, array in arrays.items() if name in used}
    model = small_model(made, {"x": shape}, {"y": shape}, kept, opset=opset)
    return graph_file(model, folder / "model.onnx", modules=MODULES)


def casts(low: LowPrecisionGraph) -> Counter[str]:
    """Return how often every value is cast."""
    return Counter(node.input[0] for node in onnx.load(str(low.graph.path)).graph.node if node.op_type == "Cast")


def test_a_normalisation_stays_in_float32_and_its_operators_share_one_cast(tmp_path: Path) -> None:
    low = lower(write(tmp_path), "fp16", tmp_path)
    lowered = {"Conv_0", "Conv_8", "Relu_9"}
    assert set(low.float32) == {f"{op}_{place}" for place, (op, *_) in enumerate(NORMALISED)} - lowered
    assert low.kept == {}
    assert "square" in low.float32["Mul_3"]
    assert "between" in low.float32["Sub_2"]
    # the input, the convolution's result for mean and difference, the normalised values, the output
    assert casts(low) == Counter(["x", "conv", "normal", "y_fp16"])


def test_a_scatter_that_adds_up_stays_in_float32(tmp_path: Path) -> None:
    """ONNX Runtime has no float16 kernel of it, and it is a sum like any other."""
    shape = [2, 4, 8, 8]
    nodes = [helper.make_node("ScatterElements", ["x", "i", "x"], ["moved"], name="moved", axis=1)]
    nodes += [helper.make_node("ScatterElements", ["moved", "i", "x"], ["y"], name="y", axis=1, reduction="add")]
    model = small_model(nodes, {"x": shape, "i": shape}, {"y": shape}, types={"i": TensorProto.INT64})
    found = plan(ir.from_proto(onnx.shape_inference.infer_shapes(model)), CAST["fp16"])
    assert found.low == {"moved"}
    assert found.float32 == {"y": "ScatterElements adds up, multiplies or compares"}


def test_nothing_is_cast_for_its_sizes_alone(tmp_path: Path) -> None:
    nodes: list[Node] = [
        ("Conv", ["x", "w"], "conv"),
        ("Shape", ["conv"], "sizes"),
        ("Relu", ["conv"], "relu"),
        ("Reshape", ["relu", "sizes"], "shaped"),
        ("Conv", ["shaped", "w"], "y"),
    ]
    low = lower(write(tmp_path, nodes), "fp16", tmp_path)
    assert casts(low) == Counter(["x", "y_fp16"])


def test_float16_stays_at_opset_17_and_bfloat16_rises_to_the_lowest_that_has_convolutions(tmp_path: Path) -> None:
    graph = write(tmp_path)
    half, brain = (lower(graph, name, tmp_path) for name in ("fp16", "bf16"))
    assert (half.graph.opset, half.oldest_tensorrt, half.notes) == (17, "8.6", [])
    assert (brain.graph.opset, brain.oldest_tensorrt) == (22, "10.15")
    assert "opset 22 instead of 17" in brain.notes[0]
    for low in (half, brain):
        model = onnx.load(str(low.graph.path))
        assert model.opset_import[0].version == low.graph.opset
        assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {1}
    without = lower(write(tmp_path, [("Sigmoid", ["x"], "s"), ("Mul", ["x", "s"], "y")]), "bf16", tmp_path)
    assert (without.graph.opset, without.oldest_tensorrt) == (17, "10.0")


def test_a_constant_that_float16_cannot_hold_keeps_its_operator_and_is_reported(tmp_path: Path) -> None:
    large, tiny = (np.full((4, 4, 1, 1), value, np.float32) for value in (1e5, 1e-7))
    nodes: list[Node] = [("Conv", ["x", "w"], "c"), ("Conv", ["c", "v"], "y")]
    for name, weight, said in (("large", large, "ends at"), ("tiny", tiny, "loses")):
        graph = write(tmp_path, nodes, w=weight, v=np.ones((4, 4, 1, 1), np.float32))
        low = lower(graph, "fp16", tmp_path)
        assert set(low.kept) == {"Conv_0"}, name
        assert f"block.conv1 stays in float32: w {said}" in low.notes[0].replace("holds 1e+05, and float16 ", "")
        assert low.kept_exactly == ("block.conv1",)
        assert lower(graph, "bf16", tmp_path).kept == {}


def test_a_few_weights_that_vanish_beside_large_ones_do_no_harm() -> None:
    values = np.ones(64, np.float32)
    values[:8] = 1e-9
    assert unfit(values, CAST["fp16"]) == ""
    assert "64 of 64 become zero" in unfit(np.full(64, 1e-9, np.float32), CAST["fp16"])
    assert unfit(np.array([-np.inf, 1], np.float32), CAST["fp16"]) == ""


def test_numbers_from_sizes_stay_in_float32(tmp_path: Path) -> None:
    nodes: list[Node] = [("Shape", ["x"], "sizes"), ("Cast", ["sizes"], "floats"), ("ReduceMax", ["floats"], "n")]
    nodes += [("Add", ["n", "n"], "twice"), ("Mul", ["x", "twice"], "y")]
    made = [helper.make_node(op, ins, [out], name=out, **({"to": 1} if op == "Cast" else {})) for op, ins, out in nodes]
    model = small_model(made, {"x": [2, 3000]}, {"y": [2, 3000]})
    found = plan(ir.from_proto(onnx.shape_inference.infer_shapes(model)), CAST["fp16"])
    assert found.low == {"y"}
    assert all("sizes" in reason for reason in found.float32.values())


def test_a_pattern_keeps_modules_and_all_inside_them(tmp_path: Path) -> None:
    graph = write(tmp_path)
    assert set(lower(graph, "fp16", tmp_path, PrecisionOptions(["*.conv2"])).kept) == {"Conv_8"}
    low = lower(graph, "fp16", tmp_path, PrecisionOptions(["*.conv1", "**.norm"]))
    assert set(low.kept) == {"Conv_0"}
    assert low.notes == ["block.conv1, block.norm in float32 by --keep-fp32: 1 more operator"]
    assert matching(["block"], MODULES.values()) == ("block",)
    with pytest.raises(InputError, match=r"--keep-fp32 'block.conv3', which no module .* did you mean block.conv"):
        matching(["block.conv3"], MODULES.values())


def test_a_graph_in_which_nothing_is_lowered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=r"fp16 leaves nothing to lower: all 1 float operators"):
        lower(write(tmp_path, [("Softmax", ["x"], "y")]), "fp16", tmp_path)


def test_an_unknown_precision_is_one_line() -> None:
    assert parse_precisions("bf16, fp32,fp16") == ("fp16", "bf16")
    assert parse_precisions(["fp32"]) == ()
    with pytest.raises(
        InputError, match=r"received precision 'fp4'; expected fp32, tf32, fp16, bf16, int8, int8-fp16, fp8"
    ):
        parse_precisions("fp32,fp4")


def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = write(tmp_path)
    for room in (precision, saving):
        monkeypatch.setattr(room, "EXTERNAL_DATA_BYTES", 8)
    assert lower(graph, "fp16", tmp_path).files == ("model.fp16.onnx", "model.fp16.onnx.data")
    with pytest.raises(ModuleRefused, match=r"needs opset 22.*its weights lie beside it; export with --opset 22"):
        lower(graph, "bf16", tmp_path)


def test_trtexec_obeys_the_graph_in_every_version_that_reads_it(tmp_path: Path) -> None:
    graph = write(tmp_path)
    lines = trtexec_lines(lower(graph, "fp16", tmp_path), graph.inputs, {"batch": Axis(1, 2, 4)})
    assert [*lines] == ["8.6", "10", "11"]
    for words in ("--fp16 --precisionConstraints=obey", "Sqrt_6:fp32", "--layerOutputTypes=", "--minShapes=x:1x4x8x8"):
        assert words in lines["8.6"]
    assert "Conv_0:fp32" not in lines["8.6"]
    assert "--stronglyTyped" in lines["10"]
    assert "--fp16" not in lines["10"] + lines["11"]
    assert [*trtexec_lines(lower(graph, "bf16", tmp_path), graph.inputs, {})] == ["10", "11"]


class Broken:
    """A lowered graph that a test breaks, and what the comparison with the float32 graph says of it."""

    def __init__(self, folder: Path) -> None:
        graph = write(folder)
        low = lower(graph, "fp16", folder)
        self.source, self.path = float32_source(graph, 17), low.graph.path
        self.low = frozenset(node.name for node in self.source.graph.node) - set(low.float32)
        self.model = onnx.load(str(self.path))
        self.node = {node.name: node for node in self.model.graph.node}

    def says(self) -> str:
        onnx.save(self.model, str(self.path))
        try:
            check_precision(self.source, self.path, self.low, "fp16")
        except CheckFailed as error:
            return str(error)
        return ""


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    return Broken(tmp_path)


def test_the_healthy_graph_is_the_float32_one(broken: Broken) -> None:
    assert broken.says() == ""


def test_a_dropped_cast_is_found(broken: Broken) -> None:
    cast = next(node for node in broken.model.graph.node if node.op_type == "Cast" and node.input[0] == "conv")
    for node in broken.model.graph.node:
        node.input[:] = ["conv" if name == cast.output[0] else name for name in node.input]
    broken.model.graph.node.remove(cast)
    assert "ReduceMean (node ReduceMean_1) has conv in float16, the policy wants float" in broken.says()


def test_an_operator_without_its_float32_is_found(broken: Broken) -> None:
    for node in broken.model.graph.node:
        if node.op_type == "Cast" and node.input[0] in ("x", "conv", "normal"):
            node.attribute[0].i = TensorProto.FLOAT16
    epsilon = next(tensor for tensor in broken.model.graph.initializer if tensor.name == "epsilon")
    epsilon.CopyFrom(numpy_helper.from_array(np.array(1e-12, np.float16), "epsilon"))
    assert "the policy wants float" in broken.says()


def test_a_weight_off_by_two_percent_is_found(broken: Broken) -> None:
    weight = next(tensor for tensor in broken.model.graph.initializer if len(tensor.dims) == 4)
    scale(weight, 1.02)
    assert "constant w_fp16 of node Conv_0 is not w rounded to float16" in broken.says()


def test_another_wiring_attribute_or_node_is_found(broken: Broken) -> None:
    broken.node["ReduceMean_1"].attribute[0].ints[:] = [2]
    assert "node ReduceMean_1 (ReduceMean) is ReduceMean or has other attributes" in broken.says()
    broken.node["ReduceMean_1"].attribute[0].ints[:] = [1]
    operands = broken.node["Sub_2"].input
    operands[:] = [operands[1], operands[0]]
    assert "input 0 of node Sub_2 comes from" in broken.says()
    operands[:] = [operands[1], operands[0]]
    broken.node["Relu_9"].name = "another"
    assert "its nodes differ" in broken.says()


@pytest.mark.parametrize(("name", "operator"), [(name, one) for name, found in REFUSED.items() for one in found])
def test_what_tensorrt_refuses_in_a_type_stays_in_float32_there(tmp_path: Path, name: str, operator: str) -> None:
    operands = ["a", "w"] if operator in PRODUCTS else ["a"]
    nodes: list[Node] = [("Conv", ["x", "w"], "a"), (operator, operands, "b"), ("Conv", ["b", "w"], "y")]
    graph = write(tmp_path, nodes, opset=22)
    low = lower(graph, name, tmp_path)
    assert low.lowered == ("Conv_0", "Conv_2")
    assert low.float32[f"{operator}_1"].startswith(f"TensorRT refuses {operator} in {name}: ")
    assert low.kept == {}
    assert f"{operator}_1" in lower(graph, "fp16", tmp_path).lowered


def test_nodes_of_a_graph_without_modules_stay_in_float32_by_name(tmp_path: Path) -> None:
    graph = replace(write(tmp_path), modules={})
    low = lower(graph, "fp16", tmp_path, PrecisionOptions(["Conv_8", "Rel*"]))
    assert low.kept_within == ("Conv_8", "Relu_9")
    assert not {"Conv_8", "Relu_9"} & {*low.lowered}
    assert "Conv_0" in low.lowered
    with pytest.raises(InputError, match=r"'Conv_80', which no node of the graph has; .*did you mean Conv_8"):
        lower(graph, "fp16", tmp_path, PrecisionOptions(["Conv_80"]))


def test_a_body_is_the_same_whatever_was_inferred_about_its_values(tmp_path: Path) -> None:
    """As that of torch.nn.EmbeddingBag, whose outputs have an empty type, which onnx-ir leaves out."""

    def body(name: str, operator: str, reads: str) -> onnx.GraphProto:
        result = onnx.ValueInfoProto(name=name, type=onnx.TypeProto())
        return helper.make_graph([helper.make_node(operator, [reads], [name], name=name)], name, [], [result])

    def model(operator: str, reads: str = "conv") -> onnx.ModelProto:
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["conv"], name="conv"),
            helper.make_node("ReduceMax", ["conv"], ["most"], name="most", keepdims=0),
            helper.make_node("Cast", ["most"], ["is"], name="is", to=TensorProto.BOOL),
            helper.make_node(
                *("If", ["is"], ["y"], "if"),
                then_branch=body("a", operator, reads),
                else_branch=body("b", "Abs", "x"),
            ),
        ]
        return small_model(nodes, {"x": [1, 4, 8, 8]}, {"y": [1, 4, 8, 8]}, {"w": np.ones((4, 4, 1, 1), np.float32)})

    graph = graph_file(model("Exp"), tmp_path / "model.onnx")
    inferred = onnx.load(graph.path)
    inferred.graph.node[-1].CopyFrom(model("Exp").graph.node[-1])  # nothing inferred inside
    onnx.save(inferred, graph.path)
    low = lower(graph, "fp16", tmp_path)
    assert "conv" in low.lowered
    for other in (model("Neg"), model("Exp", reads="x")):
        with pytest.raises(CheckFailed, match=r"node if \(If\) is If or has other attributes"):
            check_precision(other, low.graph.path, frozenset(low.lowered), "fp16")
