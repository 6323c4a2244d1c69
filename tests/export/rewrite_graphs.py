"""Small float64 graphs, a rewrite applied to all of them, and whether they compute the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from attn2trt.export.rewrites import Rewrite, apply, kinds

MAP = "double[n, 16, h, w]"


def model(
    body: str, inputs: str = f"{MAP} x", *, opset: int = 17, output: str = "a, b, c, d", **weights: np.ndarray
) -> onnx.ModelProto:
    """A graph in ONNX's text form, float64, whose output is y."""
    types = {"float64": "double", "float32": "float", "int64": "int64"}
    given = ", ".join(
        f"{types[value.dtype.name]}[{','.join(map(str, value.shape))}] {name}" for name, value in weights.items()
    )
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (double[{output}] y) <{given}> {{ {body} }}'
    parsed = onnx.parser.parse_model(text)
    del parsed.graph.initializer[:]
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    for number, node in enumerate(parsed.graph.node):
        node.name = f"node_{number}"
    return onnx.shape_inference.infer_shapes(parsed, data_prop=True)


def convolution(groups: int, outputs: int, inputs: int, size: int = 3, *, more: str = "", bias: bool = False) -> str:
    names = "x, weight, bias" if bias else "x, weight"
    return f"y = Conv <group: int = {groups}, kernel_shape: ints = [{size}, {size}]{more}> ({names})"


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def rewritten(before: onnx.ModelProto, rewrite: Rewrite) -> onnx.ModelProto:
    """``before`` with every place rewritten; there must be one."""
    after = ir.from_proto(before)
    found = kinds(after, rewrite)
    assert found
    for kind, count in found.items():
        assert apply(after, rewrite, kind) == count
        assert apply(after, rewrite, kind) == 0
    proto = ir.to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def same(before: onnx.ModelProto, after: onnx.ModelProto, *feeds: Mapping[str, np.ndarray]) -> None:
    evaluators = [ReferenceEvaluator(graph) for graph in (before, after)]
    for feed in feeds:
        (expected,), (found,) = (evaluator.run(None, dict(feed)) for evaluator in evaluators)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
