"""A bundle whose manifest lost a case is no pass, whatever its hashes say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifest_edits import edit

from attn2trt.core.bundle import open_bundle
from attn2trt.errors import CheckFailed
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.missing_cases import missing_cases
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows.tune import tune_bundle
from attn2trt.workflows.validate import validate_bundle

OLD = Path(__file__).parents[1] / "core/format1_coord_att"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "coord_att"))


def without(name: str, **entries: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["cases"] = [case for case in manifest["cases"] if case["name"] != name]
        manifest.update(entries)

    return change


def of_another_size(manifest: dict[str, Any]) -> None:
    case = next(case for case in manifest["cases"] if case["name"] == "batch_max")
    case["sizes"] = {"batch": 2}


def recorded_twice(manifest: dict[str, Any]) -> None:
    first, *others = manifest["cases"]
    for case in others:
        case.update(key=first["key"], sizes=first["sizes"])


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (without("batch_max"), ["batch_max"]),
        (without("hot_channel"), ["hot_channel"]),
        (without("batch_max", cases_left_out=["batch_max"]), ["batch_max"]),
        (lambda manifest: manifest.update(axes={"batch": [1, 2, 8]}), ["batch_max"]),
        (of_another_size, ["batch_max"]),
        (recorded_twice, ["traced", "batch_min", "batch_max", "saturated", "flat", "level", "zeros"]),
        (lambda manifest: None, []),
    ],
)
def test_what_the_ranges_ask_for_is_missed(
    bundle: Path, change: Callable[[dict[str, Any]], object], missing: list[str]
) -> None:
    edit(bundle, change)
    assert missing_cases(open_bundle(bundle))[: len(missing) or None] == missing


def test_nothing_is_tuned_by_the_other_cases(bundle: Path) -> None:
    edit(bundle, without("batch_max"))
    with pytest.raises(CheckFailed, match="has not recorded the cases batch_max: its ranges ask for them; deploy"):
        tune_bundle(bundle)


def test_a_case_too_large_for_the_file_is_not_missed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(bundle, without("batch_max", cases_left_out=["batch_max"]))
    monkeypatch.setattr("attn2trt.validate.missing_cases.BUDGET_BYTES", 1 << 10)
    assert missing_cases(open_bundle(bundle)) == []


def test_a_bundle_that_lost_a_case_does_not_pass(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(bundle, without("batch_max", tuned=None, plans=[]))
    compared = Comparison("y", 0.0, 0.0, 1.0, "l2", (), True, "")
    passed = StageResult(Stage(ORT_CPU), "passed", "", (("traced", compared),))
    monkeypatch.setattr("attn2trt.workflows.validate.judge_graphs", lambda *_, **__: [passed])
    verdict = validate_bundle(bundle)
    assert not verdict
    (stage,) = (stage for stage in verdict.stages if stage.stage == passed.stage)
    assert stage.status == "not checked"
    assert stage.why == "the ranges ask for cases that are not recorded: batch_max; deploy the target again"
