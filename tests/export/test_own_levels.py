"""Graphs that quantise themselves with half precision between their levels, which stay the same integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised_nets import SHAPE, Gated, Quantised, trained
from torch import nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import PRECISIONS
from attn2trt.errors import CheckFailed
from attn2trt.export.passes.float_policy import unfit_steps
from attn2trt.export.precision import LowPrecisionGraph, float32_source, lower
from attn2trt.export.precision_check import check_precision
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module

FORM, HALF = PRECISIONS["int8-fp16"], PRECISIONS["fp16"]


def exported(module: nn.Module, folder: Path) -> OnnxGraph:
    target = from_module(module, torch.randn(SHAPE), dynamic="none")
    return trace(target, target.build(), folder / "model.onnx", opset=17)


def lowered(module: nn.Module, folder: Path, io: str = "float32") -> tuple[OnnxGraph, LowPrecisionGraph]:
    graph = exported(module.eval(), folder)
    return graph, lower(graph, FORM.name, folder, PrecisionOptions(io=io))


def nodes(path: Path, operator: str) -> list[onnx.NodeProto]:
    return [node for node in onnx.load(str(path)).graph.node if node.op_type == operator]


def levels_of_weights(path: Path) -> dict[str, np.ndarray]:
    """The integers of each quantised constant, by the name of its quantiser, as ONNX's own evaluator computes them."""
    model = onnx.load(str(path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for node in nodes(path, "QuantizeLinear"):
        if node.input[0] in constants:
            given = {name: constants[name] for name in node.input}
            found[node.name] = ReferenceEvaluator(node).run(None, given)[0]  # type: ignore[index]
    return found


@pytest.mark.parametrize("make", [Quantised, Gated, trained])
def test_weights_keep_their_levels(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    graph, low = lowered(make(), tmp_path)
    assert low.precision == "int8-fp16"
    assert low.graph.path.name == "model.int8-fp16.onnx"
    assert low.oldest_tensorrt == "10.0"
    before, after = levels_of_weights(graph.path), levels_of_weights(low.graph.path)
    assert before.keys() == after.keys() != set()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    read = {tensor.name: tensor.data_type for tensor in onnx.load(str(low.graph.path)).graph.initializer}
    weights = [read[node.input[0]] for node in nodes(low.graph.path, "QuantizeLinear") if node.input[0] in read]
    assert {*weights} == {TensorProto.FLOAT16}


def test_levels_are_given_in_both_types_in_place_of_a_cast(tmp_path: Path) -> None:
    _, low = lowered(Gated(), tmp_path)
    back = nodes(low.graph.path, "DequantizeLinear")
    (again,) = (node for node in back if node.name.startswith("dequantize_again_"))
    (mean,) = nodes(low.graph.path, "ReduceMean")
    first = next(node for node in back if node.name == again.name.removeprefix("dequantize_again_"))
    assert first.input[0] == again.input[0]
    assert mean.input[0] in (first.output[0], again.output[0])
    # the input, the output, and the gate that a float32 squeeze gives
    assert len(nodes(low.graph.path, "Cast")) == 3


def test_an_input_that_is_quantised_at_once_is_read_in_its_own_type(tmp_path: Path) -> None:
    _, low = lowered(trained(), tmp_path)
    quantised = [node for node in nodes(low.graph.path, "QuantizeLinear") if node.input[0] == "input"]
    assert len(quantised) == 1
    _, low = lowered(trained(), tmp_path, io="float16")
    assert [node.name for node in nodes(low.graph.path, "QuantizeLinear") if node.input[0] == "input"] == [
        quantised[0].name
    ]


def test_a_step_that_half_precision_has_not_keeps_its_product_in_float32(tmp_path: Path) -> None:
    class Tiny(Gated):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.nn.functional.conv2d(
                torch.fake_quantize_per_tensor_affine(x * 1e-5, 1.1e-7, 0, -128, 127), self.first.weight, padding=1
            )

    _, low = lowered(Tiny(), tmp_path)
    (reason,) = {reason for reason in low.kept.values() if "holds a step" in reason}
    assert reason.endswith("holds a step of 1.1e-07, which float16 has not")
    product = next(node for node in nodes(low.graph.path, "Conv") if node.name in low.kept)
    assert product.name not in low.lowered


def test_steps_that_half_precision_has() -> None:
    assert unfit_steps(np.float32([0.013, 2.0**-23]), HALF) == ""
    assert unfit_steps(np.float32([0.013, 3e-8]), HALF) == "holds a step of 3e-08, which float16 has not"
    assert unfit_steps(np.float32(7e4), HALF).startswith("holds a step of 7e+04")


def _step_again(model: onnx.ModelProto) -> None:
    again = next(node for node in model.graph.node if node.name.startswith("dequantize_again_"))
    step = next(tensor for tensor in model.graph.initializer if tensor.name == again.input[1])
    step.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(step) * 2, step.name))


def _other_levels_again(model: onnx.ModelProto) -> None:
    again = next(node for node in model.graph.node if node.name.startswith("dequantize_again_"))
    quantised = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    again.input[0] = next(name for name in quantised if name != again.input[0])


def _level_of_a_weight(model: onnx.ModelProto) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    node = next(one for one in model.graph.node if one.op_type == "QuantizeLinear" and one.input[0] in constants)
    numbers, step = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
    moved = numbers.copy()
    moved.flat[3] += step.flat[0]
    constants[node.input[0]].CopyFrom(numpy_helper.from_array(moved, node.input[0]))


def _cast_before_a_product(model: onnx.ModelProto) -> None:
    product = next(node for node in model.graph.node if node.op_type == "Conv" and "dequantise" in node.input[0])
    cast = helper.make_node("Cast", [product.input[0]], ["again"], name="cast_to_fp16_again", to=TensorProto.FLOAT16)
    product.input[0] = "again"
    model.graph.node.insert([*model.graph.node].index(product), cast)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_step_again, "does not give the levels of"),
        (_other_levels_again, "does not give the levels of"),
        (_level_of_a_weight, "gives other levels of the constant gate.weight"),
        (_cast_before_a_product, "reads again, and levels in the graph that it was made of"),
    ],
)
def test_other_levels_are_not_handed_over(edit: Callable[[onnx.ModelProto], None], words: str, tmp_path: Path) -> None:
    graph, low = lowered(Gated(), tmp_path)
    model = onnx.load(str(low.graph.path))
    edit(model)
    onnx.save(model, str(tmp_path / "edited.onnx"))
    source = float32_source(graph, low.graph.opset)
    with pytest.raises(CheckFailed, match=words):
        check_precision(source, tmp_path / "edited.onnx", frozenset(), "fp16")
