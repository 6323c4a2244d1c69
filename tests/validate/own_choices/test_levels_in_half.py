"""Graphs with float16 between the levels of their module: right ones pass at float16's limits, wrong ones fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from quantised_nets import SHAPE, Gated
from torch import nn

from attn2trt.core.precision import INT8_FP16, PRECISIONS
from attn2trt.engines.float32_kernels import float32_kernels
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.precision import lower
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import Case
from attn2trt.validate.half_precision import Half
from attn2trt.validate.metrics import Reference
from attn2trt.validate.own_choices import OwnChoices, judge
from attn2trt.validate.own_choices.module_runs import ModuleRuns
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import Loaded, StageJudge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.unrounded import Unrounded
from attn2trt.validate.verdict import StageResult

OUT = ["output"]
STAGE = Stage(WRITTEN, "int8-fp16")
BETWEEN = Half("fp16")
FLOOR = Unrounded("int8-fp16", BETWEEN)
Edit = Callable[[dict[str, onnx.TensorProto], list[onnx.NodeProto]], None]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def start(_: Stage, model: Path) -> Iterator[Loaded]:
        with OrtRuntime(float32_kernels(model), threads=1, optimise=False) as runtime:
            yield Loaded(runtime.run)

    monkeypatch.setattr(judge, "start", start)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return Gated().eval()


@pytest.fixture(scope="module")
def graph(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    target = from_module(module, torch.randn(SHAPE), dynamic="none")
    exported = trace(target, target.build(), folder / "net.onnx", opset=17)
    return lower(exported, INT8_FP16, folder).graph.path


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = np.random.default_rng(5)
    return [Case.of(f"case{number}", {"x": rng.standard_normal(SHAPE).astype(np.float32)}) for number in range(2)]


@pytest.fixture(scope="module")
def truth(module: nn.Module, cases: list[Case]) -> list[Reference]:
    return list(references(module, cases, OUT, lower=[FLOOR]))


def judged(module: nn.Module, path: Path, cases: list[Case], truth: list[Reference]) -> StageResult:
    own = OwnChoices(ModuleRuns(module, OUT, 0, [FLOOR, BETWEEN]), cases)
    with OrtRuntime(float32_kernels(path), threads=1, optimise=False) as runtime:
        stage = StageJudge(STAGE, Loaded(runtime.run), on_levels=True)
        for case, reference in zip(cases, truth, strict=True):
            stage.add(case, reference)
        return stage.judged_again(stage.result(), path, lambda: own)


def _bias(constants: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    last = [node for node in nodes if node.op_type == "Conv"][-1]
    _change(constants[last.input[2]], lambda bias: bias + np.eye(8)[3] * 5e-3)


def _level_of_a_weight(constants: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    weight, step, _ = next(
        node.input for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] in constants
    )
    one = numpy_helper.to_array(constants[step])
    _change(constants[weight], lambda array: array + np.eye(array.size)[5].reshape(array.shape) * one)


def _step(constants: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    quantiser = next(node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] not in constants)
    _change(constants[quantiser.input[1]], lambda step: step * 1.02)


def _operator(_: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    mean = next(node for node in nodes if node.op_type == "ReduceMean")
    mean.op_type = "ReduceMax"


def _change(tensor: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), tensor.name))


def _step_of_a_channel(constants: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    step = next(node.input[1] for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] in constants)
    _change(constants[step], lambda steps: steps * (1 + 0.01 * (np.arange(steps.size) == 0).reshape(steps.shape)))


def _near_level_of_a_weight(constants: dict[str, onnx.TensorProto], nodes: list[onnx.NodeProto]) -> None:
    """Tip the number that lies nearest to the middle between two levels: the least that a level can be off by."""
    names = next(node.input for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] in constants)
    step = numpy_helper.to_array(constants[names[1]]).astype(np.float64)
    exact = Gated().gate.weight.detach().double().numpy() / 0.0031
    place = int(np.abs(np.abs(exact - np.floor(exact)) - 0.5).argmin())
    towards = np.sign(exact.flat[place] - np.rint(exact.flat[place]))
    off = (np.arange(exact.size) == place).reshape(exact.shape) * towards
    _change(constants[names[0]], lambda array: array + off * step)


WRONG: dict[str, Edit] = {
    "a bias": _bias,
    "a weight's level": _level_of_a_weight,
    "a weight's level, just": _near_level_of_a_weight,
    "a step of a weight": _step_of_a_channel,
    "a step": _step,
    "an operator": _operator,
}


def test_a_right_graph_passes_at_float16s_limits(
    module: nn.Module, graph: Path, cases: list[Case], truth: list[Reference]
) -> None:
    result = judged(module, graph, cases, truth)
    assert result.status == "passed", result.why
    assert result.why.startswith("compared on the graph's own levels, ")
    assert result.compared_in == "fp16"
    assert 0 < result.worst_ratio < PRECISIONS["fp16"].healthy


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_fails(
    name: str, module: nn.Module, graph: Path, cases: list[Case], truth: list[Reference], tmp_path: Path
) -> None:
    model = onnx.load(str(graph))
    WRONG[name]({tensor.name: tensor for tensor in model.graph.initializer}, [*model.graph.node])
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    result = judged(module, tmp_path / "wrong.onnx", cases, truth)
    assert result.status == "failed"
    assert "the graph's own" in result.why


def test_given_levels_are_rounded_behind_their_quantiser(module: nn.Module, cases: list[Case]) -> None:
    """What reads levels that a run is given reads them in half precision, as it reads its own."""
    from attn2trt.validate.eager import Eager

    double, single = (Eager(module, OUT, 0, is_double=is_double) for is_double in (True, False))
    double.run(cases[0].feeds, cases[0])
    levels = double.levels
    single.follow_modules()
    plain, _ = single.run_given(cases[0], levels, ())
    halved, _ = single.run_given(cases[0], levels, (), lower=BETWEEN, draw=0)
    off = np.abs(halved["output"] - plain["output"]).max() / np.abs(plain["output"]).max()
    assert 2.0**-13 < off < 2.0**-8
