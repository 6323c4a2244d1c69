"""Plain kernels compute the same as the evaluator's own, but for what float32 loses in a loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from attn2trt.validate.onnx_reference.kernels import replacements
from attn2trt.validate.onnx_reference.plain_kernels import _PLAIN, MOST_TERMS, Manner, product
from attn2trt.validate.sums import sum_in_lanes

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(2, 6, 40, 50)) + 1).astype(np.float32)
V = RNG.uniform(0.5, 2, size=6).astype(np.float32)
LAST = RNG.normal(size=50).astype(np.float32)
CASES: list[tuple[str, int, list[np.ndarray], dict[str, Any]]] = [
    ("ReduceSum", 11, [X], {"axes": [1, 3]}),
    ("ReduceSum", 17, [X, np.array([-1])], {"keepdims": 0}),
    ("ReduceMean", 17, [X], {"axes": [2, 3]}),
    ("ReduceMean", 18, [X, np.array([2, 3])], {"keepdims": 0}),
    ("ReduceMean", 18, [X], {}),
    ("ReduceL1", 17, [X], {"axes": [2, 3]}),
    ("ReduceL2", 18, [X, np.array([2, 3])], {"keepdims": 0}),
    ("ReduceSumSquare", 18, [X, np.array([-1])], {}),
    ("ReduceLogSum", 17, [np.abs(X)], {"axes": [1, 2, 3]}),
    ("ReduceLogSumExp", 17, [X], {"axes": [2, 3]}),
    ("ReduceLogSumExp", 18, [X, np.array([3])], {"keepdims": 0}),
    ("Einsum", 17, [X, LAST], {"equation": "nchw,w->nhc"}),
    ("Einsum", 17, [X[0, 0], X[1, 0]], {"equation": "ij, kj -> ik"}),
    ("GlobalAveragePool", 17, [X], {}),
    ("MatMul", 17, [X, RNG.normal(size=(2, 6, 50, 8)).astype(np.float32)], {}),
    (
        "Gemm",
        17,
        [X[0, 0], RNG.normal(size=(8, 50)).astype(np.float32), V[:1]],
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    ("Softmax", 17, [X], {"axis": 3}),
    ("Sigmoid", 17, [X], {}),
    ("BatchNormalization", 17, [X, V, V, V, V], {"epsilon": 1e-3}),
    ("LayerNormalization", 17, [X, LAST, LAST], {"axis": -1}),
    ("InstanceNormalization", 17, [X, V, V], {}),
]


def run(kind: str, opset: int, given: list[np.ndarray], attributes: dict[str, Any], manner: Manner) -> np.ndarray:
    names = [f"i{place}" for place in range(len(given))]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], **attributes)],
        "g",
        [],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in zip(names, given, strict=True)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return np.asarray(ReferenceEvaluator(made, new_ops=replacements(opset, manner)).run(None, {})[0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_a_plain_kernel_is_the_operator(case: tuple[str, int, list[np.ndarray], dict[str, Any]]) -> None:
    kind, opset, given, attributes = case
    wide = [value.astype(np.float64) if value.dtype == np.float32 else value for value in given]
    truth = run(kind, opset, wide, attributes, Manner(is_plain=True))
    own, plain = (run(kind, opset, given, attributes, Manner(is_plain=is_plain)) for is_plain in (False, True))
    assert truth.dtype == np.float64
    assert plain.dtype == np.float32
    assert not np.array_equal(own, plain)
    scale = np.abs(truth).max()
    np.testing.assert_allclose(own, truth, atol=3e-6 * scale)
    np.testing.assert_allclose(plain, truth, atol=3e-5 * scale)


def test_every_plain_kernel_is_tried() -> None:
    assert {case[0] for case in CASES} == {*_PLAIN, "Sigmoid", "BatchNormalization"}


def test_a_loop_loses_more_than_pairs() -> None:
    x = (RNG.normal(size=(4, 1 << 16)) + 10).astype(np.float32)
    truth = x.astype(np.float64).sum(-1)
    assert np.abs(sum_in_lanes(x) - truth).max() > 2 * np.abs(x.sum(-1) - truth).max()


@pytest.mark.parametrize(
    ("kind", "shape", "axes", "roundings"),
    [
        ("ReduceSum", (2, 64, 3, 64), (1, 3), 679),
        ("ReduceMean", (4096, 3), (0,), 679),
        ("ReduceMean", (2, 4096, 3), (1,), 170),
        ("GlobalAveragePool", (2, 3, 64, 64), None, 170),
    ],
)
def test_a_reduction_of_equal_numbers_loses_what_onnx_runtime_does(
    kind: str, shape: tuple[int, ...], axes: tuple[int, ...] | None, roundings: float
) -> None:
    given = [np.full(shape, 0.7, np.float32)] + ([] if axes is None else [np.array(axes)])
    found = run(kind, 18, given, {}, Manner(is_plain=True))
    lost = np.abs(found / (np.float64(given[0].flat[0]) * (4096 if kind == "ReduceSum" else 1)) - 1).max() * 2**24
    assert abs(lost - roundings) < 1


def test_a_large_product_is_left_to_blas() -> None:
    assert product(np.zeros((MOST_TERMS // 4, 4), np.float32), np.zeros((4, 8), np.float32)) is None
