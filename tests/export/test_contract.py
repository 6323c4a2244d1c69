"""The contract check must find every way in which a graph is not the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import INPUT, OUTPUT, healthy

from attn2trt.core.graph import OnnxGraph
from attn2trt.errors import CheckFailed
from attn2trt.export.contract import check_contract


def check(model: onnx.ModelProto, folder: Path) -> None:
    onnx.save(model, folder / "m.onnx")
    graph = OnnxGraph(folder / "m.onnx", 17, (INPUT,), (OUTPUT,))
    check_contract(graph, opset=17, inputs=(INPUT,), outputs=(OUTPUT,), after="a test")


def test_a_healthy_graph_keeps_the_contract(tmp_path: Path) -> None:
    check(healthy(), tmp_path)


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def _domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _static(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8


def _renamed_dimension(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "unk__0"


def _renamed_output(model: onnx.ModelProto) -> None:
    model.graph.node[0].output[0] = model.graph.output[0].name = "renamed"


def _dtype(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 1, 1)), "bias"))


def _attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("axes", [1]))


def _newer_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "RMSNormalization"


def _undeclared_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def _third_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input.append("x")


def _dangling(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "nowhere"


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (_opset, "18"),
        (_domain, "com.microsoft"),
        (_static, "height"),
        (_renamed_dimension, "unk__0"),
        (_renamed_output, "renamed"),
        (_dtype, "float64"),
        (_attribute, "checker.* axes"),
        (_newer_operator, "checker.*RMSNormalization"),
        (_undeclared_domain, "checker.*com.microsoft"),
        (_third_input, "checker.*3"),
        (_dangling, "checker"),
    ],
)
def test_every_breakage_is_found(breakage: Callable[[onnx.ModelProto], None], message: str, tmp_path: Path) -> None:
    model = healthy()
    breakage(model)
    with pytest.raises(CheckFailed, match=f"after a test, .*({message})"):
        check(model, tmp_path)
