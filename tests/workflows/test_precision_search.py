"""``--precision auto``: what is tried in which order, what stays in float32 for it, and that only a verdict decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from attn2trt.core.bundle import Bundle
from attn2trt.core.graph import OnnxGraph
from attn2trt.errors import InputError, ModuleRefused, PrecisionRefused
from attn2trt.export.precision import LowPrecisionGraph
from attn2trt.export.quantized import QuantizedGraph
from attn2trt.validate.cases import Case
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.half_precision import Half
from attn2trt.validate.sensitivity import LayerSensitivity
from attn2trt.validate.slices import Slice
from attn2trt.validate.stages.stage import ORT_CPU, Stage, lower_stages
from attn2trt.validate.verdict import StageResult, Verdict, stage_result
from attn2trt.workflows.deploy import deploy
from attn2trt.workflows.export import export_bundle
from attn2trt.workflows.judgement import Judgement
from attn2trt.workflows.options import Judging, PrecisionRequest
from attn2trt.workflows.precision_search import ChosenPrecision, Tried, search_precision

MODULES = ("stem", "a", "b", "head", "head.last")


@pytest.fixture
def graph(tmp_path: Path) -> OnnxGraph:
    """Five convolutions of as many operations in a row."""
    shape = [1, 4, 8, 8]
    names = ["x", *MODULES]
    nodes = [helper.make_node("Conv", [names[i], "w"], [to], name=to) for i, to in enumerate(MODULES)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", MODULES[-1])]
    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weight]), ir_version=8)
    model.opset_import[0].version = 17
    onnx.save(model, str(tmp_path / "model.onnx"))
    return OnnxGraph(tmp_path / "model.onnx", 17, (), (), {name: name for name in MODULES})


class Writer:
    """Writes nothing; gives what would have been written."""

    def __init__(self, graph: OnnxGraph, refused: Sequence[str] = ()) -> None:
        self.graph, self.refused = graph, refused
        self.request = PrecisionRequest(precisions="auto")
        self.target = SimpleNamespace(axes={})
        self.start = lambda _stage, _text: None

    def write(self, precision: str, keep: Sequence[str] = ()) -> LowPrecisionGraph:
        if precision in self.refused:
            raise ModuleRefused(f"{precision} changes nothing")
        lowered = tuple(name for name in MODULES if name.split(".")[0] not in keep and name not in keep)
        if precision != "int8":
            return LowPrecisionGraph(precision, self.graph, lowered, {}, {}, kept_within=tuple(keep))
        scales = {f"{name}.weight": (0.1 if name in lowered else None,) for name in MODULES}
        ran_by = {f"{name}.weight": (name,) for name in MODULES}
        return QuantizedGraph(precision, self.graph, lowered, {}, {}, scales=scales, ran_by=ran_by)


class Added(LayerSensitivity):
    """LayerSensitivity that add up, by precision and module."""

    def __init__(self, **lost: Mapping[str, float]) -> None:
        self.lost = lost
        self.asked = 0
        self.output_names = ("y",)

    def of(self, slices: Iterable[Slice]) -> Added:
        assert [*slices] == [Slice("y", 1, 3)]
        return Added(int8={"head": 0.9, "a": 0.1})

    def whole(self, lower: Any) -> float:
        self.asked += 1
        return sum(value for path, value in self.lost.get(lower.precision, {}).items() if _computes(lower, path))

    def of_each(self, lower: Any, modules: Mapping[str, Sequence[str]]) -> dict[str, float]:
        return {path: self.lost.get(lower.precision, {}).get(path, 0.0) for path in modules}


def _computes(lower: Any, path: str) -> bool:
    if isinstance(lower, Half):
        return not lower.keeps(path)
    return bool(lower.scales[f"{path}.weight"] == (0.1,))


def search(
    graph: OnnxGraph, losses: Added, verdicts: Sequence[Verdict] = (), *, refused: Sequence[str] = (), **options: Any
) -> tuple[ChosenPrecision, list[tuple[str, tuple[str, ...]]]]:
    """The choice and the candidates that were judged, each with what it lowers; by ``verdicts``, then passed."""
    judged = []
    answers = iter(verdicts)

    def judge(lowered: Mapping[str, LowPrecisionGraph]) -> Judgement:
        [(precision, low)] = lowered.items() or [("fp32", None)]
        judged.append((precision, low.lowered if low else ()))
        return Judgement(lowered, next(answers, verdict(precision)), [], [], list)

    writer: Any = Writer(graph, refused)
    measure: Any = losses
    return search_precision(writer, measure, judge, options.get("max_error")), judged


def verdict(precision: str, which: str = "", *, float32: str = "") -> Verdict:
    """Everything passed, or the precision's first stage failed in this way, or float32's."""
    stages = [Stage(ORT_CPU)] if precision == "fp32" else [Stage(ORT_CPU), lower_stages(precision)[0]]
    return Verdict(tuple(_stage(stage, float32 if stage == Stage(ORT_CPU) else which) for stage in stages))


def _stage(stage: Stage, which: str) -> StageResult:
    at = (1, 3) if which == "variation" else ()
    found = Comparison("y", 0.5, 0.1, 5.0, which or "l2", at, not which, "off")
    return stage_result(stage, [("traced", found)])


def test_the_fewest_bits_come_first_and_a_pass_ends_the_search(graph: OnnxGraph) -> None:
    found, judged = search(graph, Added())
    assert judged == [("int8", MODULES)]
    assert [*found.tried] == [Tried("int8", (), "passed, 0% of the operations in float32")]
    assert found.entries["precision_search"]["chosen"] == "int8"


def test_the_modules_that_lose_most_stay_in_float32_and_no_more_than_needed(graph: OnnxGraph) -> None:
    losses = Added(int8={"stem": 0.01, "a": 0.2, "b": 0.03, "head": 0.02, "head.last": 0.01})
    found, judged = search(graph, losses)
    assert judged == [("int8", ("stem", "b", "head", "head.last"))]
    assert [str(tried) for tried in found.tried] == [
        "int8: loses 0.27, above the budget of 0.1",
        "int8 with a in float32: passed, 20% of the operations in float32",
    ]
    assert losses.asked <= 4  # by bisection


def test_a_module_that_stays_takes_all_inside_it_along(graph: OnnxGraph) -> None:
    losses = Added(fp16={"head": 0.2, "head.last": 0.1, "a": 0.001})
    found, judged = search(graph, losses, refused=["int8"])
    assert judged == [("fp16", ("stem", "a", "b"))]
    assert found.tried[-1].kept == ("head",)
    assert found.tried[0] == Tried("int8", (), "int8 changes nothing")


def test_int8_gives_way_where_much_of_it_would_be_float32(graph: OnnxGraph) -> None:
    found, judged = search(graph, Added(int8={"stem": 0.2, "a": 0.2}))
    assert judged == [("fp16", MODULES)]
    said = "40% of the operations in float32: by the peak rates, half precision takes less time"
    assert found.tried[1] == Tried("int8", ("stem", "a"), said)
    assert found.chosen == "fp16"


def test_the_budget_is_the_precisions_own_or_the_users(graph: OnnxGraph) -> None:
    losses = Added(int8={"stem": 0.05}, fp16={"stem": 0.011})
    assert search(graph, losses)[0].chosen == "int8"
    found, judged = search(graph, losses, max_error=0.01, refused=["int8"])
    assert judged == [("fp16", MODULES[1:])]
    assert str(found.tried[1]) == "fp16: loses 0.011, above the budget of 0.01"


def test_a_verdict_that_fails_by_precision_keeps_more_modules(graph: OnnxGraph) -> None:
    losses = Added(fp16={"b": 0.009, "a": 0.0005})
    found, judged = search(graph, losses, [verdict("fp16", "budget")], refused=["int8"])
    assert judged == [("fp16", MODULES), ("fp16", ("stem", "a", "head", "head.last"))]
    assert [tried.kept for tried in found.tried] == [(), (), ("b",)]
    assert found.tried[1].said.startswith("fp16 failed: case traced")
    assert found.chosen == "fp16"


@pytest.mark.parametrize(
    ("lost", "kept"),
    [({"stem": 0.03, "a": 0.02}, [(), ("head",)]), ({"stem": 0.3, "a": 0.02}, [("stem",), ("stem", "head")])],
)
def test_the_modules_that_a_slice_loses_its_variation_in_come_next(
    lost: dict[str, float], kept: list[tuple[str, ...]], graph: OnnxGraph
) -> None:
    found, _ = search(graph, Added(int8=lost), [verdict("int8", "variation")])
    assert [tried.kept for tried in found.tried if "above the budget" not in tried.said][:2] == kept


def test_a_verdict_that_fails_beyond_the_floors_ends_the_precision(graph: OnnxGraph) -> None:
    found, judged = search(graph, Added(), [verdict("int8", "channel")])
    assert [precision for precision, _ in judged] == ["int8", "fp16"]
    assert found.tried[0].said.startswith("int8 failed")


def test_float32_itself_failing_ends_the_search(graph: OnnxGraph) -> None:
    found, judged = search(graph, Added(), [verdict("int8", float32="channel")])
    assert [precision for precision, _ in judged] == ["int8"]
    assert [*found.tried] == [Tried("int8", (), f"not settled: {ORT_CPU} failed")]


def test_float32_is_what_is_left(graph: OnnxGraph) -> None:
    lost = dict.fromkeys(MODULES, 1.0)
    found, judged = search(graph, Added(fp16=lost, bf16=lost), refused=["int8", "tf32"])
    assert judged == [("fp32", ())]
    assert [tried.said for tried in found.tried[1:]] == [
        "loses 5, above the budget of 0.01",
        "would need every module in float32",
        "loses 5, above the budget of 0.05",
        "would need every module in float32",
        "tf32 changes nothing",
    ]
    assert found.chosen == "fp32"


def test_a_model_whose_operators_are_all_its_own_has_nothing_to_keep(graph: OnnxGraph) -> None:
    own = replace(graph, modules=dict.fromkeys(MODULES, ""))
    found, judged = search(own, Added(fp16={"": 1.0, "stem": 1.0}), refused=["int8"])
    assert judged == [("bf16", MODULES)]
    assert found.tried[2].said == "would need every module in float32"


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ("abcde", "a, b, c, d, e"),
        ("abcdef", "a, b, c, d, e and 1 more module"),
        ("abcdefg", "a, b, c, d, e and 2 more modules"),
    ],
)
def test_many_modules_are_named_in_part(kept: str, named: str) -> None:
    assert str(Tried("fp16", tuple(kept), "passed")) == f"fp16 with {named} in float32: passed"


def test_auto_stands_alone_and_needs_a_verdict() -> None:
    assert PrecisionRequest(precisions="fp32,auto").chooses
    with pytest.raises(InputError, match=r"received precision auto,fp16; expected auto alone"):
        PrecisionRequest(precisions="auto,fp16")
    with pytest.raises(InputError, match=r"auto without a verdict"):
        export_bundle("se", shapes=["2x16x8x8"], precision="auto")


class Loud(nn.Module):
    """Two convolutions and a small one between them, which reads a few large numbers among small ones."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.loud = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        with_peak = torch.cat([x[:, :, :1] * 2e4, x[:, :, 1:]], 2)
        x = self.loud(with_peak)[:, :, 2:] + x[:, :, 2:]
        return self.last(x)


def test_the_losses_of_parts_and_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    case = Case.of("traced", {"x": rng.standard_normal((2, 8, 12, 12), dtype=np.float32)})
    stress = replace(case, kind="zeros")
    losses = LayerSensitivity(Loud().eval(), [stress, case], (), 0)
    half = Half("bf16")
    parts = losses.of_each(half, {"first": ("first", "norm"), "last": ("last",), "none": ()})
    whole = losses.whole(half)
    assert parts["none"] < 1e-5 < parts["last"] < whole
    assert losses.whole(half.without(["first", "norm", "loud", "last", ""])) < parts["last"] < whole
    assert LayerSensitivity(Loud().eval(), [stress], (), 0).whole(half) == 0.0


def test_a_module_that_int8_cannot_hold_stays_in_float32(tmp_path: Path) -> None:
    def run() -> Bundle:
        inputs, judging = torch.randn(2, 8, 12, 12), Judging(max_error=0.02)
        options: dict[str, Any] = {"precision": "auto", "judging": judging, "capabilities": "none"}
        return deploy(Loud().eval(), inputs, out=tmp_path / "loud", **options)

    found = run()
    searched = found.manifest["precision_search"]
    assert searched["chosen"] == "int8"
    assert [tried["kept"] for tried in searched["tried"]] == [[], ["loud"]]
    entry = found.manifest["precisions"]["int8"]
    assert entry["keep_fp32"] == ["loud"]
    judged = [stage for stage in found.manifest["verdict"]["stages"] if stage["stage"].startswith("int8")]
    assert [stage["status"] for stage in judged] == ["passed"] * 2
    assert run().reused


def test_a_choice_that_a_killed_process_decided_about_is_marked(graph: OnnxGraph) -> None:
    losses = Added()
    healthy, _ = search(graph, losses, [verdict("int8")])
    assert "interrupted" not in healthy.entries
    killed = verdict("int8", "raised")
    stages = [replace(stage, was_interrupted=stage.status == "failed") for stage in killed.stages]
    found, judged = search(graph, losses, [Verdict(tuple(stages)), verdict("fp16")])
    assert found.entries["interrupted"] is True
    assert found.chosen == "fp16", judged


def test_a_module_that_the_judge_refuses_is_refused(graph: OnnxGraph) -> None:
    """A refusal to write a precision is the next one's turn; one by the judge is about the module."""

    def judge(_lowered: Mapping[str, LowPrecisionGraph]) -> Judgement:
        raise ModuleRefused("gives something else on a second call")

    writer: Any = Writer(graph)
    measure: Any = Added()
    with pytest.raises(ModuleRefused, match="second call"):
        search_precision(writer, measure, judge)


def test_a_precision_that_cannot_be_judged_gives_way_to_the_next(graph: OnnxGraph) -> None:
    """PyTorch may compute something of another size in it: no module in float32 mends that."""
    judged = []

    def judge(lowered: Mapping[str, LowPrecisionGraph]) -> Judgement:
        [(precision, _)] = lowered.items()
        judged.append(precision)
        if precision == "int8":
            raise PrecisionRefused("int8", "output y has another size in it")
        return Judgement(lowered, verdict(precision), [], [], list)

    writer: Any = Writer(graph)
    measure: Any = Added()
    found = search_precision(writer, measure, judge)
    assert (found.chosen, judged) == ("fp16", ["int8", "fp16"])
    assert found.tried[0] == Tried("int8", (), "output y has another size in it")
