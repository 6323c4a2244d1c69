"""The floor of 8 bits between products, and the verdict that stands on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from attn2trt import Bundle, PrecisionRequest, deploy
from attn2trt.core.precision import INT8_FP16, LOWER
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.validate.onnx_reference.evaluator import Evaluator
from attn2trt.validate.onnx_reference.rounding import Rounding
from attn2trt.validate.placed import Placed
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages.judge import StageJudge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.verdict import StageResult


class Net(nn.Module):
    """A residual block with a gate: every kind of reader of 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.body, self.gate = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image).relu()
        y = self.body(x)
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.head((x + y).relu())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    request = PrecisionRequest(precisions=INT8_FP16, io="fp16")
    out = tmp_path_factory.mktemp("placed") / "bundle"
    return deploy(Net().eval(), torch.randn(2, 3, 8, 8), precision=request, capabilities="none", out=out)


def judged(bundle: Bundle, graph: Path) -> StageResult:
    stage = Stage(WRITTEN, INT8_FP16)
    with IsolatedRuntime(graph, optimise=False, kernels="half") as runtime:
        judge = StageJudge(stage, runtime, declared=bundle.outputs_of(INT8_FP16), io=bundle.io(INT8_FP16))
        for case, reference in recorded_cases(bundle):
            judge.add(case, reference)
        return judge.result()


def test_a_healthy_graph_passes_and_the_manifest_says_what_it_is(bundle: Bundle) -> None:
    assert bundle.passed
    entry = bundle.precisions[INT8_FP16]
    assert entry["inputs_and_outputs"] == "float16"
    assert (entry["opset"], entry["oldest_tensorrt"]) == (19, "10.0")
    assert set(entry["trtexec"]) == {"10", "11"}
    result = judged(bundle, bundle.path / bundle.graphs[INT8_FP16])
    assert result.status == "passed", result.why
    assert result.worst_ratio < LOWER[INT8_FP16].healthy


def test_a_scale_that_cuts_values_off_has_failed(bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(str(bundle.path / bundle.graphs[INT8_FP16]))
    scales = [one for one in model.graph.initializer if one.name.startswith("relu") and "_scale" in one.name]
    assert scales
    for tensor in scales:
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((value / 16).astype(value.dtype), tensor.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert judged(bundle, tmp_path / "model.onnx").status == "failed"


def test_the_floor_has_the_levels_of_each_reader_and_half_precision(bundle: Bundle) -> None:
    feeds = {"image": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)}
    plain = Evaluator(bundle.model_path, "float32").run(feeds)
    node = onnx.load(str(bundle.model_path)).graph.node
    add = next(one for one in node if one.op_type == "Add" and len(one.input) == 2)
    coarse = Rounding(tensors={add.name: {add.input[0]: 0.5}}, dtype="int8")
    lower = Placed(INT8_FP16, bundle.model_path, coarse, {add.name: ("",)})
    for draw in lower.draws:
        found = lower.outputs(feeds, draw, dict)
        assert found.keys() == plain.keys()
        assert not np.allclose(*found.values(), *plain.values(), atol=1e-2)
    assert np.array_equal(*lower.without([""]).outputs(feeds, 0, dict).values(), *plain.values())
    assert not lower.only(["head"]).rounding.tensors
    with pytest.raises(ValueError, match="measured in the graph"):
        lower.mode(nn.Identity(), str, 0)


def test_a_graph_that_was_replaced_is_read_again(bundle: Bundle, tmp_path: Path) -> None:
    """A second deploy in one process may write another graph to the same place."""
    feeds = {"image": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32)}
    path = tmp_path / "model.onnx"
    model = onnx.load(str(bundle.model_path))
    onnx.save(model, str(path))
    lower = Placed(INT8_FP16, path, Rounding())
    (before,) = lower.outputs(feeds, 0, dict).values()
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), tensor.name))
    onnx.save(model, str(path))
    (after,) = lower.outputs(feeds, 0, dict).values()
    assert not np.allclose(before, after)
