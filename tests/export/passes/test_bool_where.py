"""Booleans are picked among as Where picks, and under its name."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from small_graph import small_model

from attn2trt.export.passes.bool_where import write_bool_wheres


@pytest.mark.parametrize("kind", [TensorProto.BOOL, TensorProto.FLOAT])
def test_booleans_are_picked_by_and_and_or(kind: int) -> None:
    node = helper.make_node("Where", ["c", "a", "b"], ["y"], name="pick")
    types = {"c": TensorProto.BOOL, "a": kind, "b": kind, "y": kind}
    model = ir.from_proto(small_model([node], {"c": ["n", 1], "a": ["n", 2], "b": [2]}, {"y": ["n", 2]}, types=types))
    is_bool = kind == TensorProto.BOOL
    assert write_bool_wheres(model) == is_bool
    assert [one.op_type for one in model.graph] == (["And", "Not", "And", "Or"] if is_bool else ["Where"])
    assert [*model.graph][-1].name == "pick"
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    dtype = bool if is_bool else np.float32
    for c, a, b in itertools.product([True, False], repeat=3):
        feeds = {"c": np.array([[c], [not c]]), "a": np.full((2, 2), a, dtype), "b": np.array([b, not b], dtype)}
        (found,) = session.run(None, feeds)
        assert np.array_equal(found, np.where(feeds["c"], feeds["a"], feeds["b"]))
