"""Candidates of graphs with 8-bit products: which nodes read no 8 bits, and that nothing is quantised unmeasured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from small_graph import graph_file

from attn2trt.core.precision import QUANTISED
from attn2trt.errors import InputError, ModuleRefused
from attn2trt.export.candidate_pairs import pairs_of
from attn2trt.export.candidate_source import Choice, Source
from attn2trt.export.candidates import choices_of, write_of

NET = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4, 6, 6] x) => (float[n, 4, 6, 6] y) {
    a = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]> (x, w1) r = Relu (a)
    d = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1], group: int = 4> (r, w2)
    m = ReduceMean <axes: ints = [2, 3], keepdims: int = 1> (d)
    g = Conv <kernel_shape: ints = [1, 1]> (m, w3) s = Sigmoid (g) p = Mul (d, s)
    c = Conv <kernel_shape: ints = [1, 1]> (p, w3) y = Add (c, r) }"""
RANGES = {"x": 4.0, "r": 4.0, "d": 3.0, "p": 2.0}
FLOAT16, FLOAT32 = "float16 in place of 8 bits", "float32 in place of 8 bits"
FIRST, NARROW, LAST = "8 bits for Conv 3x3 of an input", "8 bits for depthwise Conv 3x3", "8 bits for Conv 1x1"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(NET)
    shapes = {"w1": (4, 4, 3, 3), "w2": (4, 1, 3, 3), "w3": (4, 4, 1, 1)}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(rng.uniform(-0.3, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    )
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    modules = {node.name: "net" for node in proto.graph.node}
    return Source(graph_file(proto, tmp_path / "model.onnx", modules=modules), ranges=RANGES)


def chosen(source: Source, precision: str, *wanted: str) -> list[Choice]:
    return [choice for choice in choices_of(source, precision) if {choice.kind, choice.name} & {*wanted}]


def read_in_8_bits(path: Path) -> set[str]:
    """Return the nodes that read their first input in 8 bits."""
    model = onnx.load(str(path))
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    ours = ("QuantizeLinear", "DequantizeLinear", "Cast")
    return {
        node.name
        for node in model.graph.node
        if node.op_type not in ours and any(made.get(name) == "DequantizeLinear" for name in node.input)
    }


def computed(path: Path) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 6), np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})[0])


@pytest.mark.parametrize(("precision", "name"), [("int8", FLOAT32), ("int8-fp16", FLOAT16), ("fp8", FLOAT32)])
def test_each_kind_of_reader_can_do_without_8_bits(source: Source, precision: str, name: str) -> None:
    found = {choice.kind: choice.count for choice in choices_of(source, precision) if choice.name == name}
    products = {FIRST: 1, NARROW: 1, LAST: 1}
    between = {"8 bits for Add": 1, "8 bits for Mul": 1, "8 bits for ReduceMean": 1}
    assert found == (products | between if QUANTISED[precision].is_placed else products)


@pytest.mark.parametrize("precision", ["int8", "int8-fp16", "fp8"])
def test_the_nodes_of_a_choice_read_no_8_bits_and_compute_the_same(
    source: Source, precision: str, tmp_path: Path
) -> None:
    plain = write_of(source, precision, (), tmp_path / "plain.onnx").path
    narrow = write_of(source, precision, chosen(source, precision, NARROW), tmp_path / "narrow.onnx").path
    before, after = read_in_8_bits(plain), read_in_8_bits(narrow)
    # between products alone are 8 bits written: what this one gives is float16 from now on
    behind = {"ReduceMean_3", "Mul_6"} if QUANTISED[precision].is_placed else set()
    assert (before - after, after - before) == ({"Conv_2"} | behind, set())
    exact = computed(source.graph.path)
    for path in (plain, narrow):
        assert 0 < np.linalg.norm(computed(path) - exact) / np.linalg.norm(exact) < 0.1


def test_the_choices_of_the_rest_are_those_of_float16(source: Source, tmp_path: Path) -> None:
    half = chosen(source, "int8-fp16", "means in half precision")
    assert not chosen(source, "int8", "means in half precision")
    models = [
        onnx.load(str(write_of(source, "int8-fp16", one, tmp_path / f"{len(one)}.onnx").path)) for one in ((), half)
    ]
    scales = [
        {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear" and "d" in node.output[0]}
        for model in models
    ]
    assert len(scales[0]) > len(scales[1])  # a mean in float32 reads the levels with a scale of its own


def test_what_a_rewrite_makes_has_no_pair_before_its_range_is_known(source: Source, tmp_path: Path) -> None:
    product = chosen(source, "int8-fp16", "mean as a matrix product")
    graph = write_of(source, "int8-fp16", product, tmp_path / "new.onnx")
    model = onnx.load(str(graph.path))
    quantised = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    maps = {name for name in quantised - {tensor.name for tensor in model.graph.initializer} if name[0] != "w"}
    reshaped = {node.output[0] for node in model.graph.node if node.op_type in ("Reshape", "Transpose")}
    assert maps & reshaped  # the same numbers as what they were made of, whose range is known
    assert {name.removesuffix("_fp16") for name in maps - reshaped} == RANGES.keys()
    np.testing.assert_allclose(computed(graph.path), computed(source.graph.path), rtol=0, atol=0.1)


def test_a_tensor_without_a_range_stays_out_of_8_bits(source: Source, tmp_path: Path) -> None:
    unknown = replace(source, ranges={"r": 4.0, "d": 3.0})
    assert not chosen(unknown, "int8-fp16", FIRST, LAST)
    assert "Conv_0" not in read_in_8_bits(write_of(unknown, "int8-fp16", (), tmp_path / "new.onnx").path)


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_something_is_left_in_8_bits(source: Source, precision: str, tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=f"{precision} leaves nothing to quantise"):
        write_of(source, precision, chosen(source, precision, FIRST, NARROW, LAST), tmp_path / "new.onnx")


def test_what_a_user_keeps_in_float32_is_no_choice(source: Source) -> None:
    graph = replace(source.graph, modules={**source.graph.modules, "Conv_2": "net.narrow"})
    kept = replace(source, graph=graph, keep=("net.narrow",))
    assert not chosen(kept, "int8-fp16", NARROW)
    assert chosen(kept, "int8-fp16", FIRST)


def test_pairs_meet_at_a_tensor_in_8_bits(source: Source) -> None:
    found = {frozenset(one.kind for one in pair) for pair in pairs_of(source, "int8-fp16")}
    assert frozenset([NARROW, "8 bits for Mul"]) in found  # one gives what the other reads


def test_other_choices_are_refused(source: Source, tmp_path: Path) -> None:
    for precision, choice, words in (
        ("int8", Choice(FLOAT16, NARROW, 1), f"received the unknown choice '{FLOAT16}'"),
        ("fp16", Choice(FLOAT16, NARROW, 1), f"received the unknown choice '{FLOAT16}'"),
        ("int8", Choice(FLOAT32, "8 bits for Gemm", 1), "changes nothing at '8 bits for Gemm'"),
    ):
        with pytest.raises(InputError, match=words):
            write_of(source, precision, [choice], tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()
