"""Quantisers in ONNX graphs: the levels of the module, constants, and one line for what has no graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines quantized_decomposed
from onnx import TensorProto, helper
from quantised_nets import SHAPE, Quantised, trained
from small_graph import small_model
from torch import Tensor, nn

from attn2trt.core.precision import FP32, INT8
from attn2trt.errors import ModuleRefused
from attn2trt.export.passes.cancelled_scales import cancel_scales
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.modules.trained_quantisers import fix_quantisers

pair = torch.ops.quantized_decomposed


class Pairs(nn.Module):
    """What torchao converts to: levels as integers, a weight of 8 bits, and a maximum between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-100, 100, (4, 3, 1, 1), dtype=torch.int8))
        self.register_buffer("steps", torch.rand(4) * 0.01 + 0.001)

    def forward(self, x: Tensor) -> Tensor:
        weight = pair.dequantize_per_channel(
            self.weight, self.steps, torch.zeros(4, dtype=torch.int64), 0, -128, 127, torch.int8
        )
        levels = pair.quantize_per_tensor(x, 0.03, 140, 0, 255, torch.uint8)
        return torch.conv2d(pair.dequantize_per_tensor(levels, 0.03, 140, 0, 255, torch.uint8), weight)


class Sixteen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 1e-4, 0, -32768, 32767)


class Computed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        zero = torch.zeros(1, dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, x.abs().amax().reshape(1) / 127, zero, -128, 127)


def exported(module: nn.Module, path: Path) -> tuple[onnx.ModelProto, str]:
    target = from_module(module, torch.randn(SHAPE), dynamic="none")
    graph = trace(target, target.build(), path, opset=17)
    return onnx.load(str(path)), graph.precision


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def run(model: onnx.ModelProto, x: Tensor) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return np.asarray(found)


@pytest.mark.parametrize("make", [Quantised, trained, Pairs])
def test_a_graph_has_the_levels_of_its_module(make: Any, tmp_path: Path) -> None:
    module = make().eval()
    model, precision = exported(module, tmp_path / "net.onnx")
    assert precision == INT8
    assert kinds(model).count("QuantizeLinear") == kinds(model).count("DequantizeLinear")
    x = torch.randn(SHAPE)
    with torch.no_grad():
        assert np.allclose(run(model, x), module(x).numpy(), rtol=1e-4, atol=1e-5)


def test_weights_stay_in_front_of_their_quantisers_and_zeros_have_a_sign(tmp_path: Path) -> None:
    model, _ = exported(Quantised().eval(), tmp_path / "net.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    weights = [node.input[0] for node in quantisers if node.input[0] in types]
    assert [types[name] for name in weights] == [TensorProto.FLOAT]
    # the last one's zero is 3 of 0 to 255, which has no sign
    assert [types[node.input[2]] for node in quantisers] == [TensorProto.INT8, TensorProto.INT8, TensorProto.UINT8]
    # levels from -100 to 100 end before those of 8 bits do
    assert kinds(model).count("Clip") == 1


def test_a_module_without_quantisers_is_in_float32(tmp_path: Path) -> None:
    assert exported(nn.ReLU(), tmp_path / "net.onnx")[1] == FP32


@pytest.mark.parametrize(
    ("module", "words"),
    [(Sixteen(), "has levels from -32768 to 32767"), (Computed(), "computes its levels from the input")],
)
def test_what_has_no_levels_in_a_graph_is_refused_with_its_line(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=rf"has no ONNX form: a quantiser {words} at .*test_quantisers.py:\d+"):
        exported(module, tmp_path / "net.onnx")


def test_a_chain_that_undoes_itself_becomes_a_bias(tmp_path: Path) -> None:
    net = fix_quantisers(trained())
    model, _ = exported(net, tmp_path / "net.onnx")
    x = torch.randn(SHAPE)
    before = run(model, x)
    assert {"Div", "BatchNormalization"} <= {*kinds(model)}
    assert cancel_scales(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert not {"Div", "BatchNormalization"} & {*kinds(model)}
    assert np.allclose(run(model, x), before, rtol=1e-5, atol=1e-6)
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


def chained(nodes: Sequence[onnx.NodeProto], scale: float = 2.0, *, shown: bool = False) -> onnx.ModelProto:
    """A quantised convolution, divided by ``scale``, and what comes behind."""
    ones = np.ones(2, np.float32)
    constants = {
        "step": np.float32(0.1),
        "zero": np.int8(0),
        "levels": np.ones((2, 2, 1, 1), np.int8),
        "two": np.full((1, 2, 1, 1), 2, np.float32),
        "scale": np.full((1, 2, 1, 1), scale, np.float32),
        "ones": ones,
        "row": np.full((1, 1, 1, 2), 2, np.float32),
    }
    conv = [
        helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Div", ["c", "scale"], ["d"]),
    ]
    sizes = [1, 2, 2, 2]
    return small_model([*conv, *nodes], {"x": sizes}, dict.fromkeys("yd" if shown else "y", sizes), constants)


TWICE = helper.make_node("Mul", ["d", "two"], ["y"])


def test_only_what_undoes_itself_and_is_read_by_nobody_else_goes() -> None:
    one = helper.make_node("Mul", ["d", "two"], ["m"])
    added = [one, helper.make_node("Add", ["m", "two"], ["y"])]
    for nodes in (added, [one, helper.make_node("Relu", ["m"], ["y"])]):
        assert cancel_scales(chained(nodes)) == 1
    assert cancel_scales(chained(added, scale=2.001)) == 0
    assert cancel_scales(chained([TWICE], shown=True)) == 0
    row = [helper.make_node("Mul", ["d", "row"], ["m"]), added[1]]
    assert cancel_scales(chained(row)) == 0
    volumes = chained(added)  # of those the same constants have a number for each depth
    (levels,) = (tensor for tensor in volumes.graph.initializer if tensor.name == "levels")
    levels.dims.append(1)
    assert cancel_scales(volumes) == 0
