"""Nothing unchecked passes, every failure is named, and a verdict survives the manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from attn2trt.cli.summary import exit_code
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.errors import InputError
from attn2trt.validate.case_judgement import judge_case
from attn2trt.validate.cases import Case, Feeds
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.metrics import Floor, Reference, measure
from attn2trt.validate.stages.judge import Loaded, StageJudge, judge, judge_stages
from attn2trt.validate.stages.stage import LAYERS, Stage
from attn2trt.validate.verdict import OWN_LEVELS, OWN_PICKS, StageResult, Verdict, built, not_checked

ORT, TENSORRT = Stage("onnxruntime cpu"), Stage("tensorrt", "")
LAYERED = Stage("tensorrt", "fp32", LAYERS)
PASSED = Comparison("y", 0.0, 1e-7, 0.0, "l2", (0,), True, "")
X = np.arange(1, 9, dtype=np.float32).reshape(2, 4)


def pair(name: str = "traced") -> tuple[Case, Reference]:
    floor = Floor(6e-8, 6e-8, np.full(4, 6e-8))
    truth = Reference({"y": X.astype(np.float64) * 2}, {"y": X * 2}, {"y": floor}, 16.0)
    return Case.of(name, {"x": X}), truth


def healthy(feeds: Feeds) -> Feeds:
    return {"y": feeds["x"] * np.float32(2)}


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        ((), "no stage ran it"),
        ((not_checked(ORT, "no kernel"),), "no kernel"),
        ((StageResult(ORT, "passed", ""), not_checked(TENSORRT, "not here")), ""),
        ((StageResult(ORT, "passed against float32", ""),), ""),
        (
            (StageResult(ORT, "passed", ""), StageResult(LAYERED, "not checked", "no slice", (("a", PASSED),))),
            "no slice",
        ),
    ],
)
def test_what_was_not_judged_says_why(stages: tuple[StageResult, ...], why: str) -> None:
    assert Verdict(stages).why_unjudged == why


def test_a_healthy_runtime_passes() -> None:
    found = judge(ORT, healthy, [pair(), pair("other")])
    assert (found.status, found.case_count, found.worst_ratio) == ("passed", 2, 0.0)


BROKEN: dict[str, Callable[[Feeds], Feeds]] = {
    "wrong by 1 %": lambda feeds: {"y": healthy(feeds)["y"] * np.float32(1.01)},
    "swapped rows": lambda feeds: {"y": healthy(feeds)["y"][::-1]},
    "baked batch": lambda feeds: {"y": healthy(feeds)["y"][:1]},
    "nan": lambda feeds: {"y": healthy(feeds)["y"] * np.float32(math.nan)},
    "float64": lambda feeds: {"y": feeds["x"].astype(np.float64) * 2},
    "half": lambda feeds: {"y": healthy(feeds)["y"].astype(np.float16)},
    "missing output": lambda feeds: {},
    "renamed output": lambda feeds: {"z": healthy(feeds)["y"]},
    "extra output": lambda feeds: {**healthy(feeds), "z": feeds["x"]},
    "raises": lambda feeds: {"y": feeds["absent"]},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_runtime_fails(fault: str) -> None:
    found = judge(ORT, BROKEN[fault], [pair()])
    assert found.status == "failed"
    assert found.why.startswith("case traced, output ")
    assert not Verdict((found,))


@pytest.mark.parametrize(
    ("shape", "passes"),
    [(("batch", 4), True), ((2, "2*width"), True), ((1, 4), False), (("height", 4), False), (("batch",), False)],
)
def test_a_shape_that_is_declared_otherwise_fails(shape: tuple[int | str, ...], passes: bool) -> None:
    case, reference = pair()
    case = replace(case, sizes={"batch": 2, "height": 3})
    found = judge_case(healthy, case, reference, declared=[TensorSpec("y", shape)])
    assert all(comparison.passed for _, comparison in found) == passes
    assert passes or "declares the shape" in found[-1][1].detail


def test_one_failed_case_among_many_fails_the_stage_and_is_named() -> None:
    calls = iter(range(9))
    found = judge(ORT, lambda feeds: healthy(feeds) if next(calls) != 1 else {"y": X}, [pair(name) for name in "abc"])
    assert found.why.startswith("case b, output y")
    assert "2 of 4" in found.why  # the variation of all cases is one more


@pytest.mark.parametrize(
    ("kind", "own", "status"),
    [
        ("zeros", math.nan, "passed"),
        ("saturated", 1e9, "passed"),
        ("zeros", None, "failed"),
        ("normal", math.nan, "failed"),
    ],
)
def test_extreme_inputs_on_which_float32_itself_fails_are_named_and_not_judged(
    kind: str, own: float | None, status: str
) -> None:
    """A deviation of zero, and an exponential out of range: PyTorch's own float32 is not what its float64 is."""
    case, reference = pair()
    single = reference.outputs32["y"].copy()
    if own is not None:
        single[0, 0] = own
    floors = {"y": measure(single, reference.outputs64["y"])}
    extreme = replace(case, name="extreme", kind=kind), replace(reference, outputs32={"y": single}, floors=floors)
    calls = iter(range(9))

    def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = healthy(feeds)
        return found if next(calls) == 0 else {"y": np.full_like(found["y"], math.nan)}

    found = judge(ORT, run, [pair("one"), extreme])
    assert found.status == status
    if status == "passed":
        assert found.why == (
            "y not judged in case extreme: PyTorch's own float32 does not give there what its float64 does"
        )


def sized(name: str, **sizes: int) -> tuple[Case, Reference]:
    case, reference = pair(name)
    return replace(case, sizes=sizes), reference


def test_a_failure_names_the_smallest_failing_shape() -> None:
    pairs = [
        sized("fine", batch=1, height=2),
        sized("large", batch=9, height=30),
        sized("small", batch=2, height=7),
        sized("also", batch=7, height=2),
    ]
    calls = iter(range(9))
    found = judge(ORT, lambda feeds: healthy(feeds) if next(calls) == 0 else {"y": X}, pairs)
    assert found.why.endswith("(4 of 5 comparisons failed); smallest failing shape batch=2, height=7")
    assert found.smallest_failing == {"batch": 2, "height": 7}
    assert Verdict.from_json(Verdict((found,)).to_json()).stages[0].smallest_failing == {"batch": 2, "height": 7}
    assert judge(ORT, healthy, pairs).smallest_failing == {}


def test_without_dynamic_axes_no_shape_is_named() -> None:
    assert "smallest failing" not in judge(ORT, BROKEN["nan"], [pair()]).why


def test_the_rows_with_the_same_best_class_are_counted_and_survive_json() -> None:
    found = judge(ORT, healthy, [pair()])
    read = Verdict.from_json(Verdict((found,)).to_json()).stages[0]
    for stage in (found, read):
        assert [(one.settled_rows, one.agreeing_rows) for _, one in stage.comparisons] == [(2, 2)]


def test_a_verdict_of_an_older_bundle_is_read() -> None:
    document = Verdict((judge(ORT, healthy, [sized("traced", batch=2)]),)).to_json()
    for comparison in document["stages"][0]["comparisons"]:
        for key in ("sizes", "settled_rows", "agreeing_rows"):
            del comparison[key]
    stage = Verdict.from_json(document).stages[0]
    assert (stage.status, stage.smallest_failing) == ("passed", {})
    assert [(one.settled_rows, one.agreeing_rows) for _, one in stage.comparisons] == [(0, 0)]


def test_no_case_and_no_runtime_are_not_a_pass() -> None:
    nothing = judge(ORT, healthy, [])
    assert nothing.status == "not checked"
    assert not Verdict((nothing, not_checked(TENSORRT, "no device")))
    assert not Verdict(())
    assert Verdict((judge(ORT, healthy, [pair()]), not_checked(TENSORRT, "no device")))


def test_an_interrupt_is_not_a_failed_comparison() -> None:
    def interrupted(feeds: Feeds) -> Feeds:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(ORT, interrupted, [pair()])


def test_stages_share_one_pass_over_the_cases() -> None:
    stages = judge_stages(
        [StageJudge(Stage("good"), Loaded(healthy)), StageJudge(Stage("bad"), Loaded(BROKEN["nan"]))],
        iter([pair(), pair("other")]),
    )
    assert [(stage.label, stage.status, stage.case_count) for stage in stages] == [
        ("good", "passed", 2),
        ("bad", "failed", 2),
    ]
    failure = Verdict(tuple(stages)).first_failure
    assert failure is not None
    assert failure.label == "bad"


def test_what_pytorch_itself_loses_is_no_fault_of_the_graph_unless_a_budget_is_asked_for() -> None:
    case, reference = pair()
    loose = replace(reference, floors={"y": Floor(2e-5, 2e-5, np.full(4, 2e-5))})

    def rough(feeds: Feeds) -> Feeds:
        return {"y": healthy(feeds)["y"] * np.float32(1 + 3e-5)}

    found = judge(ORT, rough, [(case, loose)])
    assert found.status == "passed, budget not kept by PyTorch's float32"
    assert Verdict((found,))
    runs = iter([rough, healthy])

    def healthy_later(feeds: Feeds) -> Feeds:
        return next(runs)(feeds)

    assert judge(ORT, healthy_later, [(case, loose), pair("within the budget")]).status == found.status
    assert judge(ORT, rough, [(case, loose)], max_error=1e-5).status == "failed"
    assert judge(ORT, rough, [(case, loose)], max_error=1e-4).status == "passed"
    assert judge(ORT, rough, [(case, reference)]).status == "failed"


def test_a_healthy_run_of_what_nearly_loses_the_budget_passes() -> None:
    case, reference = pair()
    near = replace(reference, floors={"y": Floor(8e-6, 8e-6, np.full(4, 8e-6))})
    rough = {"y": X * np.float32(2 * (1 + 1.3e-5))}
    assert judge(ORT, lambda _: rough, [(case, near)]).status == "passed, budget not kept by PyTorch's float32"


def test_max_error_is_the_budget() -> None:
    assert judge(ORT, healthy, [pair()], max_error=1e-30).status == "passed"
    rough = {"y": X * np.float32(2 * (1 + 3e-7))}
    assert judge(ORT, lambda _: rough, [pair()]).status == "passed"
    assert judge(ORT, lambda _: rough, [pair()], max_error=1e-8).status == "failed"


@pytest.mark.parametrize("max_error", [None, 1.0])
def test_no_graph_passes_in_floors_of_float32_that_hold_anything(max_error: float | None) -> None:
    case, reference = pair()
    lost = replace(reference, floors={"y": Floor(0.5, 0.5, np.full(4, 0.5))})
    found = judge(ORT, healthy, [(case, lost)], max_error=max_error)
    assert found.status == "failed"
    assert "PyTorch's own float32 is off by 0.5 on ordinary inputs; above 0.001" in found.why
    stress = replace(case, kind="saturated")
    assert judge(ORT, healthy, [(stress, lost)], max_error=max_error).status == "passed"


def with_nan(*columns: int, name: str = "traced") -> tuple[Case, Reference]:
    case, reference = pair(name)
    truth = reference.outputs64["y"].copy()
    truth[:, columns] = math.nan
    return case, replace(reference, outputs64={"y": truth})


def spoilt(*columns: int) -> Callable[[Feeds], Feeds]:
    def run(feeds: Feeds) -> Feeds:
        found = healthy(feeds)
        found["y"][:, columns] = math.nan
        return found

    return run


def test_a_slice_that_is_never_finite_keeps_the_stage_from_being_checked() -> None:
    found = judge(ORT, spoilt(1, 2), [with_nan(1, 2), with_nan(1, 2, name="other")])
    assert found.status == "not checked"
    assert found.why == "indices 1-2 of 4 along axis 1 of y are finite in no case"
    verdict = Verdict((found, judge(Stage("rows"), healthy, [pair()])))
    assert not verdict
    assert exit_code(verdict) == 1
    assert exit_code(Verdict((not_checked(TENSORRT, "no device"),))) == 3


def test_a_slice_that_is_finite_in_one_case_was_checked() -> None:
    runs = iter([spoilt(1), healthy])

    def run(feeds: Feeds) -> Feeds:
        return next(runs)(feeds)

    assert judge(ORT, run, [with_nan(1), pair("other")]).status == "passed"


def test_what_float64_cannot_run_passes_against_float32_and_only_if_that_is_allowed() -> None:
    case, reference = pair()
    found = judge(ORT, healthy, [(case, replace(reference, no_float64="RuntimeError: no such kernel"))])
    assert found.status == "passed against float32"
    assert found.why == "float64 cannot run case traced: RuntimeError: no such kernel"
    assert exit_code(Verdict((found,))) == 1
    assert exit_code(Verdict((found,), allows_float32=True)) == 0
    assert bool(Verdict.from_json(Verdict((found,), allows_float32=True).to_json()))
    assert not Verdict.from_json(Verdict((found,)).to_json())
    assert judge(ORT, BROKEN["wrong by 1 %"], [(case, reference)]).status == "failed"


@pytest.mark.parametrize("fault", [None, *BROKEN])
def test_a_verdict_survives_strict_json(fault: str | None) -> None:
    run = BROKEN[fault] if fault else healthy
    verdict = Verdict((judge(ORT, run, [pair()]), not_checked(TENSORRT, "no device")))
    text = json.dumps(verdict.to_json(), allow_nan=False)
    again = Verdict.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert bool(again) is bool(verdict)


def test_a_precision_is_whole_only_if_no_stage_of_it_left_anything_out() -> None:
    first, second = judge(ORT, healthy, [pair()]), judge(Stage("simplified"), healthy, [pair()])
    own = replace(first, why=OWN_PICKS)
    assert Verdict((own, replace(second, why=OWN_LEVELS))).is_whole("float32")
    assert not Verdict((own, second)).is_whole("float32")
    assert not Verdict((own,)).is_whole("float16")


def test_a_forged_pass_is_refused() -> None:
    document = Verdict((judge(ORT, BROKEN["nan"], [pair()]),)).to_json()
    document["stages"][0]["status"] = "passed"
    with pytest.raises(InputError, match="passed without comparisons"):
        Verdict.from_json(document)
    for broken in ({}, {"stages": [{}]}, {"stages": 3}, {"stages": [document["stages"][0] | {"status": "fine"}]}):
        with pytest.raises(InputError, match="cannot be read"):
            Verdict.from_json(broken)


def test_a_pass_of_a_plans_layers_survives_though_no_output_is_compared() -> None:
    numbers = judge(ORT, healthy, [pair()])
    layers = StageResult(Stage("tensorrt", "fp16", LAYERS), "passed", "3 of 3 nodes compute in float16")
    document = Verdict((numbers, layers)).to_json()
    again = Verdict.from_json(json.loads(json.dumps(document)))
    assert (bool(again), again.stages[1]) == (True, layers)
    # the same words of a stage that compares outputs are a forgery
    forged = {**document["stages"][1], "stage": "tensorrt fp16", "kind": "values"}
    with pytest.raises(InputError, match="passed without comparisons"):
        Verdict.from_json({**document, "stages": [document["stages"][0], forged]})


def test_what_was_built_and_not_run_is_no_pass_and_survives_the_manifest() -> None:
    one = built(Stage("tensorrt-rtx"), "parsed and built; not run here")
    alone = Verdict((one,))
    assert not alone
    assert alone.first_failure is None
    assert Verdict.from_json(json.loads(json.dumps(alone.to_json()))) == alone
    assert Verdict((judge(ORT, healthy, [pair()]), one))


def test_its_text_has_a_line_for_each_stage() -> None:
    left_out = StageResult(Stage("tensorrt", ""), "not checked", "TensorRT is not installed here")
    text = str(Verdict((judge(ORT, healthy, [pair()]), left_out)))
    assert text.splitlines() == ["passed", f"{ORT}: passed", "tensorrt: not checked, TensorRT is not installed here"]
    assert str(Verdict((judge(ORT, BROKEN["nan"], [pair()]),))).startswith(f"not passed\n{ORT}: failed, case traced")
