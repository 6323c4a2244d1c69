"""A fixed sample of broken graphs whose broken modules must be named; `python benchmarks/localize.py` does more."""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.validate.boundaries import GraphView, plain_path
from attn2trt.validate.cases import Case
from attn2trt.validate.localize import Location, locate, truth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tools() -> Any:
    """The benchmark's faults, found by their path: benchmarks are no part of the package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("localize")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def cbam(tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tools.healthy_model("cbam", tmp_path_factory.mktemp("cbam"))


@pytest.fixture(scope="module")
def loaded(tools: Any, cbam: Any) -> Any:
    return {stage: tools.load(graph, cbam.pairs[0][0].feeds) for stage, graph in cbam.graphs.items()}


@pytest.mark.parametrize("stage", ["exported", "simplified"])
def test_a_healthy_graph_is_not_blamed(cbam: Any, stage: str) -> None:
    for case, _ in cbam.pairs:
        assert locate(cbam.module, cbam.graphs[stage], case, optimise=False) is None


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("exported", "weight off by 1 %"),
        ("exported", "swapped inputs"),
        ("exported", "other axis"),
        ("exported", "activation doubled"),
        ("simplified", "no bias"),
        ("simplified", "activation dropped"),
        ("simplified", "rewired input"),
        ("simplified", "shifted pads"),
    ],
)
def test_the_broken_module_is_named(tools: Any, cbam: Any, loaded: Any, stage: str, kind: str, tmp_path: Path) -> None:
    broken = tools.break_one(cbam, stage, loaded[stage], kind, tmp_path, random.Random(3))
    assert broken is not None
    graph, node, case = broken
    found = locate(cbam.module, graph, case, optimise=False)
    assert found is not None
    assert found.module == plain_path(graph.modules[node.name])
    assert found.ratio > 8
    assert found.class_name
    json.dumps(found.to_json(), allow_nan=False)


class Small(nn.Module):
    """A module of the user's own: a convolution, an activation that is a module, and a product in ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.second = nn.Conv2d(4, 4, 1)
        self.third = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.act(self.first(x)))
        return y * torch.sigmoid(self.third(y))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, OnnxGraph, Case]:
    module = Small().eval()
    return module, *exported(module, tmp_path_factory.mktemp("small"))


def edited(graph: OnnxGraph, path: Path, edit: Callable[[onnx.ModelProto], None]) -> OnnxGraph:
    model = onnx.load(str(graph.path))
    edit(model)
    onnx.save(model, str(path))
    return replace(graph, path=path)


def node_of(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def without(kind: str) -> Callable[[onnx.ModelProto], None]:
    """Take the first node of this kind out; what read it reads what it read."""

    def edit(model: onnx.ModelProto) -> None:
        gone = node_of(model, kind)
        for node in model.graph.node:
            node.input[:] = [gone.input[0] if name == gone.output[0] else name for name in node.input]
        model.graph.node.remove(gone)

    return edit


def exported(module: nn.Module, folder: Path) -> tuple[OnnxGraph, Case]:
    """A module of (2, 4, 6, 6) as traced, and a case for it."""
    target = from_module(module, torch.randn(2, 4, 6, 6))
    graph = trace(target, module, folder / "model.onnx", opset=17)
    rng = np.random.default_rng(0)
    return graph, Case.of("traced", {graph.inputs[0].name: rng.standard_normal((2, 4, 6, 6)).astype(np.float32)})


def test_an_activation_that_is_not_in_the_graph_is_named(
    small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    module, graph, case = small
    found = locate(module, edited(graph, tmp_path / "broken.onnx", without("Relu")), case, optimise=False)
    assert found is not None
    assert (found.module, found.class_name) == ("act", "ReLU")
    assert "no node of the graph computes this module" in found.detail


@pytest.mark.parametrize("width", [4, 6])
def test_a_missing_activation_before_a_folded_convolution_is_named(width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, width, 3, padding=1, bias=False)
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), conv, nn.BatchNorm2d(width), nn.Sigmoid()).eval()
    graph, case = exported(module, tmp_path)
    assert "2" not in graph.modules.values()
    found = locate(module, edited(graph, tmp_path / "broken.onnx", without("Relu")), case, optimise=False)
    assert found is not None
    assert (found.module, found.class_name) == ("1", "ReLU")


class SecondHalf(nn.Module):
    """Half of the channels; its one node is a Split."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.chunk(2, 1)[1]


def test_the_other_half_is_of_the_module_that_cuts(tmp_path: Path) -> None:
    def swap(model: onnx.ModelProto) -> None:
        split = node_of(model, "Split")
        split.output[:] = split.output[::-1]

    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 8, 1), SecondHalf(), nn.Conv2d(4, 4, 1)).eval()
    graph, case = exported(module, tmp_path)
    found = locate(module, edited(graph, tmp_path / "broken.onnx", swap), case, optimise=False)
    assert found is not None
    assert (found.module, found.class_name, found.op_type, found.proven) == ("1", "SecondHalf", "Split", True)


class Halves(nn.Module):
    """Two halves of the channels, which operators or another module read."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.cut, self.gate = nn.Conv2d(4, 8, 1), gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, score = self.cut(x).chunk(2, 1)
        return value * self.gate(score)


class Attention(nn.Module):
    """Query, key and value of one projection, each transposed before anything else reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(4, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.flatten(2).transpose(1, 2) for part in self.project(x).chunk(3, 1))
        return (query @ key.transpose(1, 2)).softmax(-1) @ value


def exchanged(model: onnx.ModelProto) -> None:
    """Exchange the first and the last output of the first Split."""
    split = node_of(model, "Split")
    split.output[0], split.output[-1] = split.output[-1], split.output[0]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, OnnxGraph, Case]:
    module = Halves(nn.Sigmoid()).eval()
    return module, *exported(module, tmp_path_factory.mktemp("halves"))


@pytest.mark.parametrize("kind", ["halves", "attention"])
def test_a_split_whose_outputs_are_exchanged_is_named_and_not_what_reads_it(
    kind: str, halves: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    module, graph, case = halves
    if kind == "attention":
        module = nn.Sequential(Attention(), nn.Tanh()).eval()
        graph, case = exported(module, tmp_path)
    found = locate(module, edited(graph, tmp_path / "broken.onnx", exchanged), case, optimise=False)
    assert found is not None
    assert (found.module, found.op_type, found.proven) == ("0" if kind == "attention" else "", "Split", True)
    assert "makes the graph right" in found.detail


@pytest.mark.parametrize("kind", ["Sigmoid", "Mul"])
def test_one_of_two_readers_that_reads_the_other_output_of_a_split_is_named_itself(
    kind: str, halves: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        first, second = node_of(model, "Split").output
        node = node_of(model, kind)
        node.input[:] = [{first: second, second: first}.get(name, name) for name in node.input]

    module, graph, case = halves
    found = locate(module, edited(graph, tmp_path / "broken.onnx", edit), case, optimise=False)
    assert found is not None
    assert found.op_type == kind


class Twice(nn.Module):
    """One gate for two inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x) - self.gate(x.flip(2))


def test_a_call_that_is_not_in_the_graph_is_distinguished_from_the_one_that_is(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        last = [node for node in model.graph.node if node.op_type == "Sigmoid"][-1]
        for node in model.graph.node:
            node.input[:] = [last.input[0] if name == last.output[0] else name for name in node.input]
        model.graph.node.remove(last)

    module = Twice().eval()
    graph, case = exported(module, tmp_path)
    found = locate(module, edited(graph, tmp_path / "broken.onnx", edit), case, optimise=False)
    assert found is not None
    assert (found.module, found.op_type) == ("gate.1", "Sub")
    assert "a call of this module is missing" in found.detail


class ClosedTwice(nn.Module):
    """One gate for two inputs; its activation gives zeros for both, so that its last layer gives its bias twice."""

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
            nn.init.constant_(self.first.bias, -100.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.last(torch.relu(self.first(x))))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate = self.Gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x) - x.flip(2) * self.gate(x.flip(2))


def test_a_call_that_gives_the_numbers_of_an_earlier_one_is_judged_as_that_is(tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        del convolutions[-1].input[2]

    module = ClosedTwice().eval()
    graph, case = exported(module, tmp_path)
    found = locate(module, edited(graph, tmp_path / "broken.onnx", edit), case, optimise=False)
    assert found is not None
    assert (found.module, found.op_type) == ("gate.last", "Conv")


class Steps(nn.Module):
    """An activation as a function at the end of a module, one between two modules, and one that is the last module."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(x))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = self.Inner()
        self.gate = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(torch.tanh(self.inner(x)))


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, OnnxGraph, Case]:
    module = Steps().eval()
    return module, *exported(module, tmp_path_factory.mktemp("steps"))


@pytest.mark.parametrize(
    ("kind", "named", "detail"),
    [
        ("Relu", "inner", "computes the last step of this module: it ends with"),
        ("Tanh", "", "computes what PyTorch feeds to gate"),
        ("Sigmoid", "gate.1", "computes this module; gate ends with"),
    ],
)
def test_a_step_that_is_not_in_the_graph_is_reported(
    steps: tuple[nn.Module, OnnxGraph, Case], kind: str, named: str, detail: str, tmp_path: Path
) -> None:
    module, graph, case = steps
    found = locate(module, edited(graph, tmp_path / "broken.onnx", without(kind)), case, optimise=False)
    assert found is not None
    assert (found.module, found.proven) == (named, False)
    assert detail in found.detail


def test_the_place_does_not_depend_on_how_much_fits_into_memory(
    small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        node_of(model, "Sigmoid").op_type = "HardSigmoid"

    module, graph, case = small
    broken = edited(graph, tmp_path / "broken.onnx", edit)
    at_once = locate(module, broken, case, optimise=False)
    assert at_once is not None
    monkeypatch.setattr(truth, "PASS_BYTES", 1)
    assert locate(module, broken, case, optimise=False) == at_once


def test_the_sentence_names_module_class_line_and_node(
    small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        node_of(model, "Sigmoid").op_type = "HardSigmoid"

    module, graph, case = small
    found = locate(module, edited(graph, tmp_path / "broken.onnx", edit), case, optimise=False)
    assert found is not None
    assert (found.module, found.op_type, found.proven) == ("", "HardSigmoid", True)
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "def forward" in text)
    assert f"the model itself (Small at tests/validate/test_localize.py:{line})" in str(found).replace(f"{ROOT}/", "")
    assert f"ONNX node {found.node} (HardSigmoid)" in str(found)


def test_a_node_that_does_not_run_is_named(small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        conv = model.graph.node[[node.op_type for node in model.graph.node].index("Relu") + 1]
        added = onnx.helper.make_node("Reshape", [conv.output[0], "baked"], ["baked_out"], name="baked")
        for node in model.graph.node:
            node.input[:] = ["baked_out" if name == conv.output[0] else name for name in node.input]
        model.graph.node.insert(list(model.graph.node).index(conv) + 1, added)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4, 6, 6]), "baked"))

    module, graph, case = small
    broken = replace(edited(graph, tmp_path / "broken.onnx", edit), modules={**graph.modules, "baked": "second"})
    found = locate(module, broken, case, optimise=False)
    assert found is not None
    assert (found.module, found.node, found.ratio) == ("second", "baked", float("inf"))
    assert "does not run" in found.detail
    assert found.to_json()["ratio"] == "inf"


def test_a_node_that_reads_the_input_and_does_not_run_is_named(
    small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    def edit(model: onnx.ModelProto) -> None:
        added = onnx.helper.make_node("Reshape", [model.graph.input[0].name, "baked"], ["baked_out"], name="baked")
        model.graph.node[0].input[0] = "baked_out"
        model.graph.node.insert(0, added)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4, 6, 6]), "baked"))

    module, graph, case = small
    broken = replace(edited(graph, tmp_path / "broken.onnx", edit), modules={**graph.modules, "baked": "first"})
    found = locate(module, broken, case, optimise=False)
    assert found is not None
    assert (found.module, found.node, found.proven) == ("first", "baked", True)


def test_an_error_that_vanishes_when_it_is_looked_at_is_reported(
    small: tuple[nn.Module, OnnxGraph, Case], tmp_path: Path
) -> None:
    """A runtime that fuses an activation wrongly, unless the value before it is asked for."""
    module, graph, case = small
    before = {node.output[0] for node in onnx.load(str(graph.path)).graph.node if "third" in graph.modules[node.name]}

    def opener(path: Path) -> OrtRuntime:
        model = onnx.load(str(path), load_external_data=False)
        if not before & {output.name for output in model.graph.output} and len(model.graph.node) > 1:
            node_of(model, "Sigmoid").op_type = "HardSigmoid"
            path = path.with_name(f"fused-{path.name}")
            onnx.save(model, str(path))
        return OrtRuntime(path, optimise=False)

    found = locate(module, graph, case, optimise=True, opener=opener)
    assert found is not None
    assert found.module in ("", "third")
    assert "makes the error vanish" in found.detail


def test_a_view_follows_values_back_and_shows_boundaries(small: tuple[nn.Module, OnnxGraph, Case]) -> None:
    _, graph, case = small
    with GraphView(graph.path, {name: f"{path}@1" for name, path in graph.modules.items()}) as view:
        (leaving,) = view.leaving("second")
        assert view.entering("third") == [leaving]
        assert [node.module for node in view.back([leaving], ())] == ["first", "act", "second"]
        assert view.back([leaving], {leaving}) == []
        assert leaving in view.cleared({*view.outputs})
        shown = view.values_at(lambda path: OrtRuntime(path, optimise=False), case.feeds, [leaving])
        assert shown[leaving].shape == (2, 4, 6, 6)
        folder = view.shown([]).parent
    assert not folder.exists()


def test_a_location_without_class_or_node_reads_well() -> None:
    assert str(Location("a.b", "", "", "", "", 9.0, False, "why")) == "first wrong in a.b; why"
