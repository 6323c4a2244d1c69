"""A channel that carries nothing is seen beside any other; one that varies no more than float32 rounds is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attn2trt.core.precision import FLOAT32, LOWER, Precision
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Floor, Reference, measure
from attn2trt.validate.slices import ENOUGH, ENOUGH_IN_FLOAT32, Moments, Slices, listed
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import Stage

RESULTS = Path(__file__).parents[2] / "benchmarks/results/share_limits.json"
RNG = np.random.default_rng(0)
PRECISIONS = [FLOAT32, *LOWER.values()]


def boxes_and_scores(rows: int = 2, kind: str = "normal") -> tuple[Case, Reference]:
    """Five channels in hundreds, and three quiet ones around 0.5."""
    truth = RNG.standard_normal((rows, 8, 16, 16)) * np.array([300.0] * 5 + [0.01] * 3).reshape(1, 8, 1, 1) + 0.5
    single = truth.astype(np.float32)
    floor = measure(single, truth)
    lower = {name: {"y": Floor(1.0, 1.0, np.full(40, 1.0))} for name in LOWER}  # as bad as can be
    case = Case.of(f"case {rows}", {"x": single}, kind=kind)
    return case, Reference({"y": truth}, {"y": single}, {"y": floor}, 300.0, lower=lower)


def flattened(y: np.ndarray, *channels: int) -> np.ndarray:
    found = y.copy()
    for channel in channels:
        found[:, channel] = found[:, channel].mean()
    return found


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.name)
def test_scores_that_become_constants_beside_boxes_fail(precision: Precision) -> None:
    pairs = [boxes_and_scores(), boxes_and_scores(3)]
    assert judge(Stage("good", precision.name), lambda feeds: {"y": feeds["x"]}, pairs).status == "passed"
    found = judge(Stage("flat", precision.name), lambda feeds: {"y": flattened(feeds["x"], 5, 6)}, pairs)
    assert found.status == "failed"
    which = next(one for _, one in found.comparisons if one.which == "variation")
    assert which.detail.startswith("indices 5-6 of 8 along axis 1 without what varies in PyTorch")
    assert which.worst_index[0] == 1
    assert which.error == pytest.approx(1.0, abs=0.08)  # what chance may add is taken off


@pytest.mark.parametrize(("loses", "words"), [(0.0045, " (0.4"), (0.0001, "; the limit is 0.625")])
def test_a_precision_that_loses_as_much_of_a_slice_by_itself_is_named(loses: float, words: str) -> None:
    """The graph is no more wrong than PyTorch is: what is too coarse is the precision."""
    truth = RNG.standard_normal((2, 4, 16, 16)) * np.array([1.0] * 3 + [0.01]).reshape(1, 4, 1, 1)
    off, single = truth.copy(), truth.astype(np.float32)
    off[:, 3] += RNG.standard_normal((2, 16, 16)) * 0.008
    scale = float(np.sqrt(np.square(truth).mean()))
    floor = Floor(0.01, 0.01, np.full(36, loses / scale))
    slices = Slices()
    reference = Reference({"y": truth}, {"y": single}, {"y": measure(single, truth)}, 1.0)
    slices.add(reference, {"y": off.astype(np.float32)}, is_ordinary=True, floors={"y": floor})
    (found, *_) = slices.lost(LOWER["int8"])
    assert found.detail.partition(" at index 3")[2].startswith(words)
    assert ("(" in words) == (" in PyTorch's own int8); the limit is 0.625" in found.detail)


def test_what_made_inputs_do_is_not_asked() -> None:
    pairs = [boxes_and_scores(kind="saturated")]
    found = judge(Stage("flat", "int8"), lambda feeds: {"y": flattened(feeds["x"], 5)}, pairs)
    assert found.status == "passed"


def counted(truth: np.ndarray, out: np.ndarray | None = None) -> Slices:
    single = truth.astype(np.float32)
    slices = Slices()
    reference = Reference({"y": truth}, {"y": single}, {"y": measure(single, truth)}, 1.0)
    slices.add(reference, {"y": single if out is None else out}, is_ordinary=True)
    return slices


def test_a_channel_that_varies_no_further_than_float32_rounds_is_left_out_by_name() -> None:
    truth = RNG.standard_normal((2, 4, 8, 8))
    truth[:, 2] = 1000 + 1e-5 * truth[:, 2]
    slices = counted(truth, flattened(truth.astype(np.float32), 2))
    assert slices.lost(FLOAT32) == []
    assert len(slices.still()) == 1
    assert slices.still()[0].startswith("y along axis 1: index 2 of 4 without variation above what float32 rounds")


@pytest.mark.parametrize(("step", "lost"), [(0.0, True), (1e-3, True), (0.5, False)])
def test_what_varies_by_less_than_a_level_is_judged_by_the_level(step: float, lost: bool) -> None:
    """Nothing behind a quantiser tells numbers apart between two of its levels; in float32 they are judged by their
    own."""
    truth = 0.5 + RNG.standard_normal((2, 4, 16, 16)) * 0.01
    off = (truth + RNG.standard_normal(truth.shape) * 0.002).astype(np.float32)
    slices = counted(truth, off)
    slices.steps["y"] = step
    assert bool(slices.lost(LOWER["fp16"])) == lost
    assert slices.lost(FLOAT32)


def test_too_few_elements_are_no_variation() -> None:
    for precision, enough in ((LOWER["int8"], ENOUGH), (FLOAT32, ENOUGH_IN_FLOAT32)):
        for rows in (enough - 1, enough):
            truth = RNG.standard_normal((rows, 3))
            slices = counted(truth, flattened(truth.astype(np.float32), 1))
            assert bool(slices.lost(precision)) == (rows == enough)


def test_a_quiet_channel_that_is_off_by_a_constant_fails_in_float32() -> None:
    """A score beside an area of millions of pixels: no other number of the verdict sees it."""
    truth = RNG.uniform(0, 1, (2, 2, 8, 8)) * np.array([4e6, 1.0]).reshape(1, 2, 1, 1)
    off = truth.astype(np.float32)
    off[:, 1] += np.float32(0.1)
    (found,) = counted(truth, off).lost(FLOAT32)
    assert found.worst_index == (1, 1)
    assert "the error is 0.3" in found.detail
    assert counted(truth).lost(FLOAT32) == []


@pytest.mark.parametrize(("off", "status"), [(1e-4, "failed"), (1e-5, "failed"), (1e-7, "passed")])
def test_a_score_that_is_slightly_off_beside_boxes_fails_in_float32(off: float, status: str) -> None:
    """A ten-thousandth of a score is less than a rounding of the boxes beside it, and a thousand of its own."""
    truth = RNG.uniform(0, 1, (8, 6, 8, 8)) * np.array([640.0] * 4 + [0.5] * 2).reshape(1, 6, 1, 1)
    single = truth.astype(np.float32)
    reference = Reference({"y": truth}, {"y": single}, {"y": measure(single, truth)}, 640.0)
    out = single.copy()
    out[:, 4:] *= np.float32(1 + off)
    found = judge(Stage("scores"), lambda _: {"y": out}, [(Case.of("one", {}), reference)])
    assert found.status == status
    failed = {one.which for _, one in found.comparisons if not one.passed}
    assert failed == ({"variation"} if status == "failed" else set())


def test_the_tail_of_a_sigmoid_may_be_off_by_roundings_of_one() -> None:
    """As ONNX Runtime's is: by 3e-8 at 5e-5, where PyTorch's own is exact to its last digit."""
    truth = RNG.uniform(2e-5, 8e-5, (8, 6, 8, 8))
    assert not counted(truth, (truth + 1e-7).astype(np.float32)).lost(FLOAT32)
    assert counted(truth, (truth + 1e-6).astype(np.float32)).lost(FLOAT32)


def test_channels_may_lie_on_any_axis_but_the_first() -> None:
    """Anchors by numbers by places, as YOLO's heads have them."""
    truth = RNG.uniform(0, 1, (2, 3, 9, 4, 4)) * np.array([640.0] * 4 + [0.2] * 5).reshape(1, 1, 9, 1, 1)
    out = truth.astype(np.float32)
    out[:, :, 5] = 0.1
    (found,) = counted(truth, out).lost(LOWER["int8"])
    assert found.worst_index == (2, 5)


def test_an_output_that_is_empty_in_every_case_was_not_compared() -> None:
    """What a threshold that nothing reaches leaves of boxes, floats and whole numbers alike."""
    for truth in (np.zeros((0, 4)), np.zeros((0,), np.int64)):
        pairs = [(Case.of("one", {}), Reference({"y": truth}, {"y": truth}, {"y": measure(truth, truth)}, 1.0))]
        result = judge(Stage("empty"), lambda _, given=truth: {"y": given}, pairs)
        assert (result.status, result.is_incomplete) == ("not checked", True)
        assert "y is empty in every case" in result.why


def test_an_axis_that_grows_with_the_input_has_no_channels() -> None:
    slices = Slices()
    for length in (20, 30):
        truth = RNG.standard_normal((2, length, 4))
        single = truth.astype(np.float32)
        reference = Reference({"y": truth}, {"y": single}, {"y": measure(single, truth)}, 1.0)
        slices.add(reference, {"y": single}, is_ordinary=True)
    assert list(slices.shares(FLOAT32)) == [("y", 2)]


def test_moments_of_parts_are_those_of_the_whole() -> None:
    whole = RNG.standard_normal((9, 5, 7)) * 3 + 100
    counted = np.ones(5, np.bool_)
    found = Moments.of(whole[:2], 1, counted)
    found.add(Moments.of(whole[2:], 1, counted))
    assert np.allclose(found.deviation, whole.std(axis=(0, 2)), rtol=1e-12)
    assert np.allclose(found.mean, whole.mean(axis=(0, 2)), rtol=1e-12)


def test_words() -> None:
    assert listed(np.array([3])) == "index 3"
    assert listed(np.array([4, 5, 6, 9])) == "indices 4-6, 9"
    assert listed(np.arange(0, 20, 2)).endswith("10 and 4 more")


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.name)
def test_the_limits_are_above_what_healthy_graphs_were_measured_to_lose(precision: Precision) -> None:
    told = json.loads(RESULTS.read_text())["precisions"][precision.name]
    assert told["limit"] == precision.share
    assert told["largest"] <= 0.75 * precision.share
    assert told["graphs"] >= 8
    assert told["judged"] > 500


@pytest.mark.parametrize(("scale", "words"), [(1e-9, "y is 4e-09 at most"), (0.0, "y is 0 at most"), (1e-6, "")])
def test_an_output_that_is_zero_to_float32_is_named(scale: float, words: str) -> None:
    """Beside numbers of 3 on the way, what is below 2e-7 and float32 does not keep is judged by them: any graph that
    gives as little passes."""
    truth = np.clip(RNG.standard_normal((2, 4, 8, 8)), -4, 4) * scale
    truth[0, 0, 0, 0] = 4 * scale
    slices = Slices()
    lost = Floor(0.5, 0.5, np.full(20, 0.5))
    for ordinary in (True, False):
        reference = Reference({"y": truth * (1 if ordinary else 1e9)}, {"y": truth}, {"y": lost}, 3.0)
        slices.add(reference, {"y": truth.astype(np.float32)}, is_ordinary=ordinary)
    found = [sentence for sentence in slices.still() if "at most" in sentence]
    if words:
        assert found[0].startswith(f"{words}, less than float32 rounds of the largest number on the way to it (3):")
    assert bool(found) == bool(words)


def test_an_output_that_float32_keeps_is_not_named_however_small() -> None:
    """What lies on the way to it is a mask's number, of which nothing is left."""
    truth = RNG.standard_normal((2, 4, 8, 8))
    single = truth.astype(np.float32)
    slices = Slices()
    slices.add(
        Reference({"y": truth}, {"y": single}, {"y": measure(single, truth)}, 1e9), {"y": single}, is_ordinary=True
    )
    assert slices.still() == []
