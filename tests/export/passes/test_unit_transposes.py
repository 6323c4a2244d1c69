"""A Transpose of axes of one element becomes a Reshape with the same numbers, and every other one stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.export.passes.unit_transposes import reshape_unit_transposes
from attn2trt.export.simplify import simplify


def transposed(shape: Sequence[int | str | None], perm: Sequence[int] | None) -> onnx.ModelProto:
    attributes = {} if perm is None else {"perm": list(perm)}
    return small_model(
        [helper.make_node("Transpose", ["x"], ["y"], name="moved", **attributes)],
        {"x": shape},
        {"y": [None] * len(shape)},
    )


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize(
    ("shape", "perm", "fed"),
    [
        (("n", 3, 2, 1, 2, 1), (0, 1, 2, 4, 3, 5), (4, 3, 2, 1, 2, 1)),  # patches of an image that is one
        ((1, 3, 1, 5), (2, 1, 0, 3), (1, 3, 1, 5)),
        (("n", 1, 3), (1, 0, 2), (4, 1, 3)),  # the size that varies moves
        (("n", 1, "h", 3), (0, 2, 1, 3), (2, 1, 5, 3)),  # one of two moves
        (("n", 1, 3), (1, 0, 2), (1, 1, 3)),
    ],
)
def test_axes_of_one_element_move_by_a_reshape(
    shape: Sequence[int | str], perm: Sequence[int], fed: tuple[int, ...]
) -> None:
    model, x = transposed(shape, perm), np.random.default_rng(0).normal(size=fed).astype(np.float32)
    assert reshape_unit_transposes(model) == 1
    (node,) = model.graph.node
    assert (node.op_type, node.name) == ("Reshape", "moved")
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, x), x.transpose(perm))


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((2, 3, 4, 5), (0, 2, 1, 3)),
        (("n", 3, "h", 1), (0, 2, 1, 3)),
        (("n", "h", 1, 3), (2, 0, 1, 3)),  # two that vary move
        ((None, None, 1), (1, 0, 2)),
        ((2, 3), None),
        ((1, 0, 3), (1, 0, 2)),
    ],
)
def test_any_other_stays(shape: Sequence[int | str | None], perm: Sequence[int] | None) -> None:
    model = transposed(shape, perm)
    assert reshape_unit_transposes(model) == 0
    assert model == transposed(shape, perm)


def test_simplification_does_it_and_keeps_modules(tmp_path: Path) -> None:
    """The size is known once constants are folded alone."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Gather", ["c", "places"], ["g"], name="gather", axis=3),
        helper.make_node("Transpose", ["g"], ["t"], name="moved", perm=[0, 1, 2, 4, 3]),
        helper.make_node("Mul", ["t", "t"], ["y"], name="square"),
    ]
    weights = {"w": np.ones((32, 64, 1, 1), np.float32), "places": np.array([[0], [1]], np.int64)}
    model = small_model(nodes, {"x": ["batch", 64, 2, 2]}, {"y": ["batch", 32, 2, 1, 2]}, weights)
    onnx.save(model, tmp_path / "exported.onnx")
    inputs, outputs = (TensorSpec("x", ("batch", 64, 2, 2)),), (TensorSpec("y", ("batch", 32, 2, 1, 2)),)
    modules = {"moved": "patches", "conv": "conv"}
    exported = OnnxGraph(
        tmp_path / "exported.onnx", 17, inputs, outputs, modules=modules, axes={"batch": Axis(1, 2, 4)}
    )
    found, why_not = simplify(exported, tmp_path / "model.onnx")
    assert not why_not
    simplified = onnx.load(found.path)
    assert [node.op_type for node in simplified.graph.node] == ["Conv", "Gather", "Reshape", "Mul"]
    assert found.modules["moved"] == "patches"
    x = np.random.default_rng(0).normal(size=(3, 64, 2, 2)).astype(np.float32)
    assert np.array_equal(run(simplified, x), run(model, x))
