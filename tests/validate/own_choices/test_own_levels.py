"""Graphs with the levels of their module: right ones pass at float32's limits, whatever is wrong in one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from quantised_nets import SHAPE, Quantised
from torch import nn

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import Case
from attn2trt.validate.choice import Grid
from attn2trt.validate.metrics import Reference
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator
from attn2trt.validate.own_choices import OwnChoices, judge
from attn2trt.validate.own_choices.bundle_runs import BundleRuns
from attn2trt.validate.own_choices.module_runs import ModuleRuns
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import Loaded, StageJudge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.unrounded import Unrounded
from attn2trt.validate.verdict import StageResult

OUT = ["output"]
STAGE = Stage(WRITTEN, "int8")
Edit = Callable[[onnx.ModelProto], None]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def start(_: Stage, model: Path) -> Iterator[Loaded]:
        with OrtRuntime(model, threads=1, optimise=False) as runtime:
            yield Loaded(runtime.run)

    monkeypatch.setattr(judge, "start", start)


def cases() -> list[Case]:
    rng = np.random.default_rng(5)
    return [Case.of(f"case{number}", {"x": rng.standard_normal(SHAPE).astype(np.float32)}) for number in range(2)]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return Quantised().eval()


@pytest.fixture(scope="module")
def graph(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("levels") / "net.onnx"
    target = from_module(module, torch.randn(SHAPE), dynamic="none")
    trace(target, target.build(), path, opset=17)
    return path


@pytest.fixture(scope="module")
def truth(module: nn.Module) -> list[Reference]:
    return list(references(module, cases(), OUT, lower=[Unrounded()]))


def judged(own: OwnChoices, path: Path, truth: list[Reference]) -> StageResult:
    with OrtRuntime(path, threads=1, optimise=False) as runtime:
        stage = StageJudge(STAGE, Loaded(runtime.run), on_levels=True)
        for case, reference in zip(cases(), truth, strict=True):
            stage.add(case, reference)
        return stage.judged_again(stage.result(), path, lambda: own)


def of_module(module: nn.Module) -> OwnChoices:
    return OwnChoices(ModuleRuns(module, OUT, 0, [Unrounded()]), cases())


def edited(graph: Path, edit: Edit, path: Path) -> Path:
    model = onnx.load(str(graph))
    edit(model)
    onnx.save(model, str(path))
    return path


def _change(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), name))


def _quantisers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def _step(place: int, factor: float) -> Edit:
    return lambda model: _change(model, _quantisers(model)[place].input[1], lambda step: step * factor)


def _bias(model: onnx.ModelProto) -> None:
    _change(model, "first.bias", lambda bias: bias + np.eye(8)[3] * 1e-4)


def _level_of_a_weight(model: onnx.ModelProto) -> None:
    weight = _quantisers(model)[0].input

    def change(array: np.ndarray) -> np.ndarray:
        step = next(one for one in model.graph.initializer if one.name == weight[1])
        return array + np.eye(array.size)[5].reshape(array.shape) * numpy_helper.to_array(step)[0]

    _change(model, weight[0], change)


def _without(op_type: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        nodes = [node for node in model.graph.node if node.op_type == op_type]
        (node,) = nodes[-1:]
        for other in model.graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
        model.graph.node.remove(node)

    return edit


def _without_last_pair(model: onnx.ModelProto) -> None:
    _without("DequantizeLinear")(model)
    _without("QuantizeLinear")(model)


WRONG: dict[str, Edit] = {
    "a bias": _bias,
    "a weight's level": _level_of_a_weight,
    "the input's step": _step(1, 1 + 1e-4),
    "a step within": _step(2, 1 + 1e-4),
    "no end of the levels": _without("Clip"),
    "no quantiser": _without_last_pair,
}


def test_a_right_graph_passes_at_float32s_limits(graph: Path, module: nn.Module, truth: list[Reference]) -> None:
    result = judged(of_module(module), graph, truth)
    assert result.status == "passed", result.why
    assert result.why.startswith("compared on the graph's own levels, ")
    assert result.why.endswith("of which are others than PyTorch's in float64")
    assert result.has_own_picks
    assert result.worst_ratio < 4
    assert result.worst_error < 1e-6
    # a weight's levels are the same in every case, and compared in the first
    names = [(case, found.output.partition(" at ")[0]) for case, found in result.comparisons]
    assert [case for case, name in names if name == "input of quantiser 1"] == ["case0"]
    assert [case for case, name in names if name == "input of quantiser 3"] == ["case0", "case1"]


@pytest.mark.parametrize(("max_error", "status"), [(1e-9, "failed"), (0.1, "passed")])
def test_a_budget_of_the_user_s_makes_it_stricter_alone(
    graph: Path, module: nn.Module, truth: list[Reference], max_error: float, status: str
) -> None:
    own = of_module(module)
    own.max_error = max_error
    result = judged(own, graph, truth)
    assert result.status == status, result.why
    assert ("budget 1e-09" in result.why) == (status == "failed")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_fails_though_int8_would_let_it_pass(
    name: str, graph: Path, module: nn.Module, truth: list[Reference], tmp_path: Path
) -> None:
    result = judged(of_module(module), edited(graph, WRONG[name], tmp_path / "wrong.onnx"), truth)
    assert result.status == "failed"
    assert "the graph's own levels" in result.why


def test_levels_that_rounding_tips_are_no_failure(
    graph: Path, module: nn.Module, truth: list[Reference], tmp_path: Path
) -> None:
    """A last digit of a bias moves scores near the middle between two levels, and no more."""

    def nudge(model: onnx.ModelProto) -> None:
        _change(model, "first.bias", lambda bias: np.nextafter(bias, np.float32(9)))

    result = judged(of_module(module), edited(graph, nudge, tmp_path / "nudged.onnx"), truth)
    assert result.status == "passed", result.why


def test_equal_numbers_are_compared_once(
    graph: Path, module: nn.Module, truth: list[Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = of_module(module)
    first = judged(own, graph, truth)
    monkeypatch.setattr(OwnChoices, "_compared", lambda *_: pytest.fail("compared again"))
    assert judged(own, graph, truth) == first


def test_a_graph_without_any_level_fails(
    module: nn.Module, truth: list[Reference], tmp_path: Path, graph: Path
) -> None:
    def strip(model: onnx.ModelProto) -> None:
        while _quantisers(model):
            _without_last_pair(model)

    result = judged(of_module(module), edited(graph, strip, tmp_path / "plain.onnx"), truth)
    assert result.status == "failed"


def test_a_bundle_is_judged_on_levels_without_its_module(
    graph: Path, module: nn.Module, truth: list[Reference], tmp_path: Path
) -> None:
    recorded = {case.name: reference for case, reference in zip(cases(), truth, strict=True)}
    with IsolatedEvaluator(graph, "float64") as double, IsolatedEvaluator(graph, "float32") as single:
        own = OwnChoices(BundleRuns(double, single, recorded=recorded, rounds=True), cases())
        result = judged(own, graph, truth)
        assert result.status == "passed", result.why
        assert result.why.endswith("of which are others than the graph's in float64")  # PyTorch's are not recorded
        assert judged(own, edited(graph, _bias, tmp_path / "wrong.onnx"), truth).status == "failed"
    # another truth than the graph's own
    off = {
        name: replace(one, outputs64={key: value + 0.01 for key, value in one.outputs64.items()})
        for name, one in recorded.items()
    }
    with IsolatedEvaluator(graph, "float64") as double, IsolatedEvaluator(graph, "float32") as single:
        own = OwnChoices(BundleRuns(double, single, recorded=off, rounds=True), cases())
        result = judged(own, graph, truth)
    assert result.status == "failed"
    assert "is not what was recorded" in result.why


def test_a_score_is_moved_no_further_than_its_level_asks() -> None:
    grid = Grid(np.array(0.5), np.array(1.0), -2, 3)
    scores = np.array([0.1, 0.3, 9.0, -9.0, 0.0])
    assert np.allclose(grid.nearest(scores, np.array([1, 1, 3, -2, 2])), [0.1, 0.25, 9.0, -9.0, 0.25])
    assert np.isnan(grid.nearest(scores[:1], np.array([4]))).all()
    assert np.allclose(grid.held(scores), [0.1, 0.3, 1.0, -1.5, 0.0])
