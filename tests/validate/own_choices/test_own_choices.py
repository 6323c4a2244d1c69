"""Graphs whose choices went otherwise than PyTorch's: right ones pass with the same choices, and wrong ones fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from picking_heads import HEADS, PLACES, WIDTH, Chained, Head
from small_graph import healthy, small_model

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.validate.cases import Case
from attn2trt.validate.choice import Choice
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.half_precision import Half
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator
from attn2trt.validate.own_choices import OwnChoices, judge
from attn2trt.validate.own_choices.bundle_runs import BundleRuns
from attn2trt.validate.own_choices.case_choices import CaseChoices
from attn2trt.validate.own_choices.definition import wrong_picks
from attn2trt.validate.own_choices.graph_choices import ChoosingNode, Picked
from attn2trt.validate.own_choices.graph_runs import GraphRuns
from attn2trt.validate.own_choices.module_runs import ModuleRuns
from attn2trt.validate.own_choices.pairing import NotComparable, paired
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import Loaded, StageJudge
from attn2trt.validate.stages.stage import ORT_CPU, WRITTEN, Stage
from attn2trt.validate.verdict import StageResult

# of few scores float32 knows the larger one, or of all
CLOSE, WIDE = 3e-6, 1.0
WRONG = [(name, wrong) for name, kind in HEADS.items() for wrong in kind.WRONG]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def start(_: Stage, model: Path) -> Iterator[Loaded]:
        with OrtRuntime(model, threads=1) as runtime:
            yield Loaded(runtime.run)

    monkeypatch.setattr(judge, "start", start)


def cases() -> list[Case]:
    rng = np.random.default_rng(5)
    shapes = [(3, PLACES, WIDTH), (1, PLACES, WIDTH)]
    return [
        Case.of(f"case{number}", {"x": rng.standard_normal(s).astype(np.float32)}) for number, s in enumerate(shapes)
    ]


def both(head: Head, path: Path) -> tuple[StageResult, StageResult]:
    """The result as it is without the graph's own choices, and that with them."""
    stage, made = Stage(ORT_CPU), cases()
    with OrtRuntime(path, threads=1) as runtime:
        first = StageJudge(stage, Loaded(runtime.run))
        for case, reference in zip(made, references(head, made, ["out"]), strict=True):
            first.add(case, reference)
        result = first.result()
        again = OwnChoices(ModuleRuns(head, ["out"], seed=0), made)
        return result, again.judged(result, path, runtime.run)


@pytest.mark.parametrize("name", HEADS)
def test_a_right_graph_passes_with_its_own_choices(name: str, folder: Path) -> None:
    head = HEADS[name](CLOSE)
    before, after = both(head, head.graph(folder))
    assert before.status == "failed"
    assert after.status == "passed", after.why
    assert after.worst_ratio < 4
    assert after.why.startswith("compared with the graph's own picks, ")
    assert any(found.output.startswith("scores of ") for _, found in after.comparisons)


@pytest.mark.parametrize("name", HEADS)
def test_scores_that_do_not_tie_need_nothing_else(name: str, folder: Path) -> None:
    head = HEADS[name](WIDE)
    before, after = both(head, head.graph(folder))
    assert before.status == "passed", before.why
    assert after is before


@pytest.mark.parametrize("spread", [CLOSE, WIDE], ids=["close", "wide"])
@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_a_wrong_graph_fails_with_its_own_choices(name: str, wrong: str, spread: float, folder: Path) -> None:
    head = HEADS[name](spread)
    before, after = both(head, head.graph(folder, wrong))
    assert before.status == "failed"
    assert after.status == "failed"


def test_a_graph_none_of_whose_choices_is_counted_keeps_its_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CaseChoices, "count", lambda *_: None)
    name, wrong = WRONG[0]
    head = HEADS[name](WIDE)
    _, after = both(head, head.graph(folder, wrong))
    assert after.status == "failed"
    assert not after.why.endswith("; ")


def test_a_graph_of_another_precision_is_held_against_its_own_floors(folder: Path) -> None:
    head = Chained(0.02)
    graph = head.graph(folder)
    made = cases()
    runs = ModuleRuns(head, ["out"], seed=0, lower=[Half("fp16")])
    ties = OwnChoices(runs, made)
    failed = StageResult(Stage(WRITTEN, "fp16"), "failed", "before", (("case0", failure("l2")),))
    with OrtRuntime(graph, threads=1) as runtime:
        after = ties.judged(failed, graph, runtime.run)
    assert after.status == "passed", after.why
    assert {found.floor > 1e-5 for _, found in after.comparisons if found.output.startswith("scores")} == {True}


def failure(which: str) -> Comparison:
    return Comparison("out", 1.0, 0.0, 9.0, which, (), False, "wrong")


@pytest.mark.parametrize("which", ["raised", "shape", "dtype", "missing", "interrupted"])
def test_what_no_choice_explains_is_not_judged_again(which: str, folder: Path) -> None:
    failed = StageResult(Stage(ORT_CPU), "failed", "before", (("case0", failure(which)),))
    nobody = OwnChoices(ModuleRuns(Chained(CLOSE), ["out"], seed=0), cases())
    assert nobody.judged(failed, folder / "none.onnx", lambda _: pytest.fail("run")) is failed


def test_a_graph_that_gives_other_numbers_with_its_choices_shown_stays_failed(folder: Path) -> None:
    head = Chained(CLOSE)
    graph = head.graph(folder)
    failed = StageResult(Stage(ORT_CPU), "failed", "before", (("case0", failure("l2")),))
    with OrtRuntime(graph, threads=1) as runtime:
        after = OwnChoices(ModuleRuns(head, ["out"], seed=0), cases()).judged(
            failed, graph, lambda feeds: {name: value + 1e-6 for name, value in runtime.run(feeds).items()}
        )
    assert after.status == "failed"
    assert after.why == (
        "before; with the graph's own choices nothing was judged: with its choices shown the graph gives other numbers"
    )


def test_a_graph_that_chooses_nothing_stays_failed(folder: Path) -> None:
    path = folder / "healthy.onnx"
    onnx.save(healthy(), str(path))
    failed = StageResult(Stage(ORT_CPU), "failed", "before", (("case0", failure("l2")),))
    assert OwnChoices(ModuleRuns(Chained(CLOSE), ["out"], seed=0), cases()).judged(failed, path, dict) is failed


def test_the_levels_of_a_precision_are_no_choices_of_the_module(folder: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "step"], ["out"]),
    ]
    path = folder / "int8.onnx"
    onnx.save(small_model(nodes, {"x": [2, 3]}, {"out": [2, 3]}, {"step": np.float32(0.5)}), str(path))
    failed = StageResult(Stage(WRITTEN, "int8"), "failed", "before", (("case0", failure("l2")),))
    assert OwnChoices(ModuleRuns(Chained(CLOSE), ["out"], seed=0), cases()).judged(failed, path, dict) is failed


SCORES = np.array([[3.0, 1.0, 2.0, 2.0, 0.0]])


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ([0, 2, 3], ""),
        ([0, 3, 2], ""),
        ([0, 2, 1], "in 1 of 1 rows it did not pick the largest of its own scores"),
        ([2, 0, 3], "in 1 of 1 rows its picks are not in the order of its own scores"),
        ([0, 2, 2], "it picked a place twice"),
        ([0, 2, 5], "it picked place 5 of 5"),
        ([2, 3, 1], "in 1 of 1 rows it did not pick the largest of its own scores"),
    ],
)
def test_a_ranking_is_the_best_of_its_own_scores(places: list[int], why: str) -> None:
    choice = Choice("topk", "", SCORES, np.array([[0, 2, 3]]), 1)
    assert wrong_picks(choice, SCORES, np.array([places])) == why


def test_the_direction_the_order_and_the_axis_are_those_of_the_module() -> None:
    lowest = Choice("topk", "", SCORES, np.array([[4, 1, 2]]), -1, descending=False)
    assert wrong_picks(lowest, SCORES, np.array([[4, 1, 3]])) == ""
    assert "pick the smallest" in wrong_picks(lowest, SCORES, np.array([[0, 1, 2]]))
    unsorted = Choice("topk", "", SCORES, np.array([[0, 2, 3]]), 1, is_sorted=False)
    assert wrong_picks(unsorted, SCORES, np.array([[2, 0, 3]])) == ""
    square = np.array([[3.0, 1.0], [2.0, 5.0]])
    best = Choice("argmax", "", square, np.array([0, 1]), 0)
    assert wrong_picks(best, square, np.array([0, 1])) == ""
    assert wrong_picks(best, square, np.array([0, 0])) == "in 1 of 2 rows it did not pick the largest of its own scores"
    whole = Choice("argmax", "", square, np.array(3), None)
    assert wrong_picks(whole, square, np.array(3)) == ""
    assert wrong_picks(whole, square, np.array(0)) != ""
    assert wrong_picks(best, square * np.nan, np.array([0, 1])) == "its scores are not numbers"


def picked(operator: str, scores: np.ndarray, places: np.ndarray) -> Picked:
    return Picked(ChoosingNode(operator, "s", "p"), scores, places)


def test_choices_are_paired_by_kind_and_size_and_then_by_their_scores() -> None:
    scores, places = np.arange(6.0).reshape(1, 6), np.zeros((1, 2), np.int64)
    values_only = Choice("max", "", scores, np.zeros((1, 1), np.int64), 1)
    near, far = (Choice("topk", "", scores + by, places, 1) for by in (0.0, 100.0))
    top = picked("TopK", scores + 99, places)
    assert list(paired([top], [values_only, near, far])) == [2]
    assert list(paired([picked("TopK", scores, places), top], [values_only, near, far])) == [1, 2]
    with pytest.raises(NotComparable, match="ArgMin p stands for no choice of the module"):
        paired([picked("ArgMin", scores, places)], [values_only, near])
    with pytest.raises(NotComparable, match="stands for no choice"):
        paired([top, top, top], [near, far])


@pytest.fixture(scope="module")
def evaluators(folder: Path) -> Iterator[tuple[Chained, Path, IsolatedEvaluator, IsolatedEvaluator]]:
    head = Chained(CLOSE)
    path = head.graph(folder)
    with IsolatedEvaluator(path, "float64") as double, IsolatedEvaluator(path, "float32") as single:
        yield head, path, double, single


Evaluators = tuple[Chained, Path, IsolatedEvaluator, IsolatedEvaluator]


def failed_by_choice() -> StageResult:
    return StageResult(Stage(ORT_CPU), "failed", "before", (("case0", failure("l2")),))


@pytest.mark.parametrize("wrong", ["", *Chained.WRONG])
def test_a_file_is_judged_by_its_own_float64_with_the_choices_of_the_runtime(
    wrong: str, evaluators: Evaluators, folder: Path
) -> None:
    """A wrong graph stands for a runtime that computes something else than the file says."""
    head, _, double, single = evaluators
    path = head.graph(folder, wrong)
    with OrtRuntime(path, threads=1) as runtime:
        after = OwnChoices(GraphRuns(double, single), cases()).judged(failed_by_choice(), path, runtime.run)
    assert after.status == ("failed" if wrong else "passed"), after.why


def test_a_bundle_is_judged_by_what_it_recorded_and_its_graph(evaluators: Evaluators, folder: Path) -> None:
    head, path, double, single = evaluators
    made = cases()
    recorded = {case.name: found for case, found in zip(made, references(head, made, ["out"]), strict=True)}
    assert all([one.operator for one in found.choices] == ["max", "topk", "topk"] for found in recorded.values())
    with OrtRuntime(path, threads=1) as runtime:
        right = OwnChoices(BundleRuns(double, single, recorded=recorded), made)
        assert right.judged(failed_by_choice(), path, runtime.run).status == "passed"
        for name, found in recorded.items():
            moved = {"out": found.outputs64["out"].copy()}
            moved["out"][0, 3, 1] += 1e-3
            recorded[name] = replace(found, outputs64=moved)
        after = OwnChoices(BundleRuns(double, single, recorded=recorded), made)
        why = after.judged(failed_by_choice(), path, runtime.run).why
    assert "nothing was judged: in float64 the graph's out is not what was recorded: " in why
