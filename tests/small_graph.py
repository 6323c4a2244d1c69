"""Graphs of a few nodes, and a tiny healthy one with dynamic dimensions, for tests that break it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.export.contract import spec_of

Dims = Sequence[int | str | None]

INPUT = TensorSpec("x", ("batch", 3, "height", 8))
OUTPUT = TensorSpec("y", ("batch", 3, "height", 8))


def small_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims | None],
    outputs: Mapping[str, Dims | None],
    weights: Mapping[str, npt.ArrayLike] | None = None,
    *,
    types: Mapping[str, int] | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model of one graph. Inputs and outputs have these dimensions, and are float32 unless ``types`` names others."""

    def values(sizes: Mapping[str, Dims | None]) -> list[onnx.ValueInfoProto]:
        known = {} if types is None else types
        return [
            helper.make_tensor_value_info(name, known.get(name, TensorProto.FLOAT), dims)
            for name, dims in sizes.items()
        ]

    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def graph_file(model: onnx.ModelProto, path: Path, **facts: Any) -> OnnxGraph:
    """The graph of a model that is written to ``path`` with its shapes inferred; ``facts`` are further fields."""
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, str(path))
    inputs, outputs = (tuple(map(spec_of, values)) for values in (model.graph.input, model.graph.output))
    return OnnxGraph(path, model.opset_import[0].version, inputs, outputs, **facts)


def healthy() -> onnx.ModelProto:
    """``y = x + 1``, opset 17."""
    nodes = [helper.make_node("Add", ["x", "bias"], ["y"], name="add")]
    return small_model(nodes, {"x": INPUT.shape}, {"y": OUTPUT.shape}, {"bias": np.ones((3, 1, 1), np.float32)})
