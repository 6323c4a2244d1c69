"""Gates as nodes of the plugin: which are found, and that a node written out computes what was there."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from attn2trt.export.channel_gate import DOMAIN, replace_gates, write_out

from .rewrite_graphs import numbers

MAP = "float[n, 16, h, w] x"
HALF = "float16[n, 16, h, w] x"
MEAN = "m = ReduceMean <axes: ints = [2, 3], keepdims: int = {0}> (x)"
ROWS = """a = Gemm <transB: int = 1> (m, w, b) r = Relu (a) o = Gemm <transB: int = 1> (r, v, c) s = {0}
    g = Unsqueeze (s, axes)"""
PIXELS = "a = Conv (m, w, b) r = Relu (a) o = Conv (r, v, c) g = {0}"
WEIGHTS = {"w": numbers(4, 16), "b": numbers(4), "v": numbers(16, 4), "c": numbers(16)}
KERNELS = {"w": numbers(4, 16, 1, 1), "b": numbers(4), "v": numbers(16, 4, 1, 1), "c": numbers(16)}
AXES = {"axes": np.array([2, 3])}
HARD = "HardSigmoid <alpha: float = 0.16666667, beta: float = 0.5> (o)"
SIGMOID = "Sigmoid (o)"
TEXT_TYPES = {"float32": "float", "float16": "float16", "int64": "int64"}


def model(
    body: str, weights: dict[str, np.ndarray], x: str, *, output: str = "float[n, 16, h, w] y"
) -> onnx.ModelProto:
    """A graph in ONNX's text form without the shapes of what is computed, as a lowered graph has none."""
    given = ", ".join(
        f"{TEXT_TYPES[value.dtype.name]}[{','.join(map(str, value.shape))}] {name}" for name, value in weights.items()
    )
    parsed = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g ({x}) => ({output}) <{given}> {{ {body} }}'
    )
    del parsed.graph.initializer[:]
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    for number, node in enumerate(parsed.graph.node):
        node.name = f"node_{number}"
    return parsed


def single(weights: dict[str, np.ndarray], dtype: str = "float32") -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in weights.items()}


FOUND = {
    # name: (body, weights, last, relu, number of inputs)
    "rows": (f"{MEAN.format(0)} {ROWS.format(SIGMOID)} y = Mul (x, g)", WEIGHTS | AXES, 0, 0, 5),
    "pixels": (f"{MEAN.format(1)} {PIXELS.format(SIGMOID)} y = Mul (g, x)", KERNELS, 0, 0, 5),
    "pooled, hard sigmoid": (f"m = GlobalAveragePool (x) {PIXELS.format(HARD)} y = Mul (g, x)", KERNELS, 1, 0, 5),
    "without biases": (
        f"{MEAN.format(1)} a = Conv (m, w) r = Relu (a) o = Conv (r, v) g = Sigmoid (o) y = Mul (x, g)",
        {name: KERNELS[name] for name in "wv"},
        *(0, 0, 5),
    ),
    "products and additions": (
        f"{MEAN.format(0)} p = MatMul (m, w) a = Add (b, p) r = Relu (a) q = MatMul (r, v) o = Add (q, c) "
        "s = Sigmoid (o) g = Reshape (s, shape) y = Mul (x, g)",
        {**WEIGHTS, "w": WEIGHTS["w"].T.copy(), "v": WEIGHTS["v"].T.copy(), "shape": np.array([-1, 16, 1, 1])},
        *(0, 0, 5),
    ),
    "relu": (f"{MEAN.format(1)} {PIXELS.format(SIGMOID)} p = Mul (x, g) y = Relu (p)", KERNELS, 0, 1, 5),
    "residual": (
        f"k = Abs (x) {MEAN.format(1)} {PIXELS.format(SIGMOID)} p = Mul (x, g) y = Add (k, p)",
        KERNELS,
        0,
        0,
        6,
    ),
    "residual and relu": (
        f"{MEAN.format(1)} {PIXELS.format(HARD)} p = Mul (x, g) q = Add (p, x) y = Relu (q)",
        KERNELS,
        *(1, 1, 6),
    ),
    "a constant is no residual": (
        f"{MEAN.format(1)} {PIXELS.format(SIGMOID)} p = Mul (x, g) y = Add (p, more)",
        {**KERNELS, "more": numbers(16, 1, 1)},
        *(0, 0, 5),
    ),
    "a product that is read twice": (
        f"{MEAN.format(1)} {PIXELS.format(SIGMOID)} p = Mul (x, g) q = Relu (p) y = Add (p, q)",
        KERNELS,
        *(0, 0, 5),
    ),
}
LEFT = {
    "another map's mean": f"k = Abs (x) m = GlobalAveragePool (k) {PIXELS.format(SIGMOID)} y = Mul (x, g)",
    "another hard sigmoid": f"m = GlobalAveragePool (x) {PIXELS.format('HardSigmoid (o)')} y = Mul (x, g)",
    "no sigmoid": f"m = GlobalAveragePool (x) {PIXELS.format('Tanh (o)')} y = Mul (x, g)",
    "one layer": "m = GlobalAveragePool (x) o = Conv (m, k, c) g = Sigmoid (o) y = Mul (x, g)",
    "no relu between": "m = GlobalAveragePool (x) r = Conv (m, w, b) o = Conv (r, v, c) g = Sigmoid (o) y = Mul (x, g)",
    "a maximum": f"m = GlobalMaxPool (x) {PIXELS.format(SIGMOID)} y = Mul (x, g)",
    "a mean over one axis": (
        f"m = ReduceMean <axes: ints = [3], keepdims: int = 1> (x) {PIXELS.format(SIGMOID)} y = Mul (x, g)"
    ),
    "a gate that is read twice": f"m = GlobalAveragePool (x) {PIXELS.format(SIGMOID)} p = Mul (x, g) y = Add (p, g)",
    "groups": (
        "m = GlobalAveragePool (x) a = Conv <group: int = 4> (m, u, b) r = Relu (a) o = Conv (r, v, c) g = Sigmoid (o) "
        "y = Mul (x, g)"
    ),
}


def replaced(before: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    changed = ir.from_proto(before)
    names = replace_gates(changed)
    return ir.to_proto(changed), names


def written_out(before: onnx.ModelProto) -> onnx.ModelProto:
    changed = ir.from_proto(before)
    write_out(changed)
    return ir.to_proto(changed)


@pytest.mark.parametrize("name", FOUND)
def test_a_gate_becomes_one_node_that_computes_the_same(name: str) -> None:
    body, weights, last, relu, inputs = FOUND[name]
    before = model(body, single(weights), MAP)
    after, names = replaced(before)
    (node,) = (node for node in after.graph.node if node.domain == DOMAIN)
    assert names == (node.name,)
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    assert attributes == {"last": last, "relu": relu, "plugin_version": b"1"}
    assert len(node.input) == inputs
    assert not {"ReduceMean", "GlobalAveragePool", "Conv", "Gemm", "MatMul"} & {one.op_type for one in after.graph.node}
    assert {entry.domain for entry in after.opset_import} == {"", DOMAIN}
    shapes = {one.name: tuple(one.dims) for one in after.graph.initializer}
    assert [shapes[one] for one in node.input[1:5]] == [(4, 16), (4,), (16, 4), (16,)]
    again = written_out(after)
    onnx.checker.check_model(again, full_check=True)
    assert {entry.domain for entry in again.opset_import} == {""}
    for sizes in ((2, 7, 4), (1, 3, 5)):
        feed = {"x": numbers(sizes[0], 16, *sizes[1:]).astype(np.float32)}
        expected, found = (ReferenceEvaluator(one).run(None, feed)[0] for one in (before, again))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_such_gate_is_left(name: str) -> None:
    weights = single({**KERNELS, "k": numbers(16, 16, 1, 1), "u": numbers(4, 4, 1, 1)})
    before = model(LEFT[name], {key: value for key, value in weights.items() if f" {key}" in LEFT[name]}, MAP)
    after, names = replaced(before)
    assert names == ()
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.graph.node]


def test_a_float16_graph_has_a_node_that_rounds_once() -> None:
    body = (
        "f = Cast <to: int = 1> (x) q = ReduceMean <axes: ints = [2, 3], keepdims: int = 1> (f) "
        f"m = Cast <to: int = 10> (q) {PIXELS.format(SIGMOID)} p = Mul (x, g) z = Add (p, x) y = Relu (z)"
    )
    before = model(body, single(KERNELS, "float16"), HALF, output="float16[n, 16, h, w] y")
    after, names = replaced(before)
    assert len(names) == 1
    assert [node.op_type for node in after.graph.node] == ["ChannelGate"]
    assert {one.data_type for one in after.graph.initializer} == {TensorProto.FLOAT}
    again = written_out(after)
    onnx.checker.check_model(again, full_check=True)
    feed = {"x": numbers(2, 16, 5, 3).astype(np.float16)}
    expected, found = (ReferenceEvaluator(one).run(None, feed)[0] for one in (before, again))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=5e-3, atol=5e-3)


def test_two_gates_and_names_that_are_taken() -> None:
    first = f"m = GlobalAveragePool (x) {PIXELS.format(SIGMOID)} p = Mul (x, g)"
    second = "mm = GlobalAveragePool (p) aa = Conv (mm, w, b) rr = Relu (aa) oo = Conv (rr, v, c) gg = Sigmoid (oo)"
    after, names = replaced(model(f"{first} {second} y = Mul (gg, p)", single(KERNELS), MAP))
    assert len(names) == len(set(names)) == 2
    assert len(after.graph.initializer) == len({one.name for one in after.graph.initializer}) == 8
