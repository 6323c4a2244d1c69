"""Near ties where no verdict has been: a benchmark's inputs, a module that is built again, a file that is checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from foreign_files import saved
from in_this_process import RuntimeHere
from near_ties import COUNT, SCORED, best_boxes, scored_boxes
from quick_method import QUICK

from attn2trt import check_model, deploy, validate_bundle
from attn2trt.core.precision import FLOAT32, FP32, PRECISIONS
from attn2trt.core.progress import silent
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.timing.results import Benchmark
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Floor, Reference
from attn2trt.validate.onnx_reference.evaluator import Evaluator
from attn2trt.validate.stages.stage import ORT_CPU, ORT_PLAIN, VALUES
from attn2trt.validate.verdict import StageResult, Verdict
from attn2trt.workflows import file_judgement
from attn2trt.workflows.bundle_module import _unlike
from attn2trt.workflows.near_ties import find_unsettled, shares_left_out
from attn2trt.workflows.timed_batch import TimedBatch
from attn2trt.workflows.variants import Variant

CASE = Case.of("one", {"x": SCORED})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(best_boxes(), tmp_path_factory.mktemp("near_ties") / "best.onnx")


def test_a_runtime_that_decides_a_near_tie_otherwise_is_timed_and_another_is_wrong(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = {
        "ort-cpu": path,
        "ort-cpu-tuned": saved(best_boxes(row_11=4e-7), tmp_path / "otherwise.onnx"),
        "ort-cpu-plain-export": saved(best_boxes(row_12=0.02), tmp_path / "wrong.onnx"),
    }
    runners: dict[str, Any] = {name: OrtRunner(graph, CPU) for name, graph in graphs.items()}
    inputs, axes = (TensorSpec("x", ("batch", COUNT, 4)),), {"batch": Axis(1, 2, 4)}
    variant = Variant("target", inputs, axes, runners, graphs={FP32: path})
    monkeypatch.setattr(TimedBatch, "_case", lambda *_: CASE)
    rows = TimedBatch([variant], 2, 1, QUICK, silent).rows()
    found = {row.runtime: (row.status, row.why) for row in rows}
    assert found["ort-cpu"] == ("measured", "")
    status, why = found["ort-cpu-tuned"]
    assert status == "measured", why
    assert "6.25% of boxes" in why
    status, why = found["ort-cpu-plain-export"]
    assert status == "wrong"
    assert "relative L2" in why
    said = Benchmark("t", "", 1, QUICK, {}, {}, {}, {}, tuple(rows)).warnings()[-1]
    assert said.startswith("target in ort-cpu-tuned at batch 2: not compared: ")
    assert said.endswith("which a choice between near ties decides")


def test_every_precision_has_its_own_near_ties(path: Path) -> None:
    close = scored_boxes(0.5)
    close[..., 0] += np.where(np.arange(COUNT) == 21, 0.0135, 0).astype(np.float32)  # near row 19, for half precision
    case = Case.of("close", {"x": close})
    shares = {
        name: float(find_unsettled({FP32: path}, case, PRECISIONS[name])["boxes"].mean()) for name in ("fp32", "fp16")
    }
    assert shares["fp32"] == 2 / 32
    assert shares["fp16"] > shares["fp32"]
    assert find_unsettled({FP32: path}, case, PRECISIONS["tf32"])["boxes"].any()
    assert find_unsettled({FP32: path}, case, PRECISIONS["int8"]) == {}
    assert find_unsettled({}, case, FLOAT32) == {}
    assert shares_left_out({"boxes": np.zeros(3, np.bool_)}) == ""


def test_a_graph_that_cannot_be_computed_has_none(tmp_path: Path) -> None:
    model = best_boxes()
    model.graph.node[1].op_type = "MatMulInteger"
    assert find_unsettled({FP32: saved(model, tmp_path / "a.onnx")}, CASE, FLOAT32) == {}


def test_a_module_that_is_built_again_may_decide_a_near_tie_otherwise(path: Path, tmp_path: Path) -> None:
    truth = Evaluator(path, "float64").run(CASE.feeds)
    otherwise, wrong = (
        Evaluator(saved(best_boxes(**raised), tmp_path / "a.onnx"), "float32").run(CASE.feeds)
        for raised in ({"row_11": 4e-7}, {"row_12": 0.02})
    )
    unsettled = find_unsettled({FP32: path}, CASE, FLOAT32)
    floors = {name: Floor(0.0, 0.0, unsettled=unsettled.get(name)) for name in truth}
    reference = Reference(truth, truth, floors, 1.0)

    def built(outputs: dict[str, np.ndarray]) -> Any:
        return SimpleNamespace(run=lambda feeds: outputs)

    assert _unlike(built(otherwise), CASE, reference) == ""
    assert _unlike(built(wrong), CASE, reference)


@pytest.mark.parametrize(("raised", "status"), [({"row_11": 4e-7}, "passed"), ({"row_12": 0.02}, "failed")])
def test_a_file_is_checked_but_for_what_near_ties_decide_and_says_so(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: dict[str, float], status: str
) -> None:
    other = saved(best_boxes(**raised), tmp_path / "other.onnx")

    class Optimised(RuntimeHere):
        """ONNX Runtime whose optimiser makes another graph."""

        def __init__(self, model: Path | None = None, **options: Any) -> None:
            super().__init__(other if model is not None and options.get("optimise") else model, **options)

    monkeypatch.setattr("attn2trt.validate.stages.ort_process.IsolatedRuntime", Optimised)
    monkeypatch.setattr(file_judgement, "make_cases", lambda *_, **__: [CASE])
    checked = check_model(path, capabilities="none")
    stages = {stage.label: stage.status for stage in checked.verdict.stages}
    assert stages[ORT_PLAIN] == "passed", checked.verdict
    assert stages[ORT_CPU] == status, checked.verdict
    (note,) = (note for note in checked.notes if note.startswith("boxes: "))
    assert "up to 6.25% of a case's elements are not judged in float32" in note


@pytest.mark.slow
def test_a_head_whose_scores_nearly_tie_is_deployed_validated_and_checked(tmp_path: Path) -> None:
    import torch
    from picking_heads import PLACES, WIDTH, Chained

    def assert_own_picks(stages: Sequence[StageResult]) -> None:
        found = [one for one in stages if one.comparisons and one.stage.kind == VALUES]
        assert [one.status for one in found] == ["passed"] * len(found)
        assert any(one.has_own_picks for one in found)

    example = (torch.zeros(2, PLACES, WIDTH),)
    bundle = deploy(Chained(3e-6), example, out=tmp_path / "head", dynamic="batch=1:2:4", capabilities="none")
    assert_own_picks(Verdict.from_json(bundle.manifest["verdict"]).stages)
    assert not any("not judged" in said for said in bundle.manifest["hidden"])
    assert_own_picks(validate_bundle(bundle).stages)
    assert_own_picks(check_model(bundle.model_path, capabilities="none").verdict.stages)
