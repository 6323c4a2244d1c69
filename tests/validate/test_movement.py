"""An output that hardly moves with the input is named: what is computed from it could be lost, and the graph passes."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.validate.metrics import Floor, Reference, measure
from attn2trt.validate.movement import Movement
from attn2trt.validate.slices import Slices

RNG = np.random.default_rng(0)
ANCHORS = np.broadcast_to(np.arange(64.0), (4, 64))


def reference(truth: np.ndarray, *, largest: float = 100.0, unsettled: np.ndarray | None = None) -> Reference:
    single = truth.astype(np.float32)
    floor = measure(single, truth)
    floors = {"y": Floor(floor.l2, floor.max, floor.channel, unsettled)}
    return Reference({"y": truth}, {"y": single}, floors, largest)


def detections(moved: float, rows: int = 2, scores: float = 0.3) -> np.ndarray:
    """Boxes of four numbers that are their anchors but for a little, and two scores."""
    boxes = ANCHORS + moved * RNG.standard_normal((rows, 4, 64))
    return np.concatenate([boxes, 0.5 + scores * RNG.standard_normal((rows, 2, 64))], 1)


def sentences(*cases: tuple[str, np.ndarray]) -> list[str]:
    movement = Movement()
    for kind, truth in cases:
        movement.add(kind, reference(truth))
    return movement.sentences({})


@pytest.mark.parametrize("rows", [2, 1])
def test_boxes_that_are_their_anchors_are_named_and_scores_that_move_are_not(rows: int) -> None:
    (found,) = sentences(("normal", detections(1e-6, rows)), ("normal", detections(1e-6, rows)))
    assert found.startswith("y along axis 1: indices 0-3 of 6, moved by 1.")
    assert "e-06 from input to input, and a graph may be off by 3e-05: errors in" in found


def test_an_ordinary_output_is_not_named() -> None:
    assert sentences(("normal", detections(0.1)), ("normal", detections(0.1, 3))) == []


def test_a_fixed_shape_with_one_image_is_compared_with_zeros_and_with_no_other_extreme() -> None:
    one = ("normal", detections(1e-6, 1))
    assert sentences(one) == sentences(one, ("saturated", detections(1e-6, 1))) == []
    assert len(sentences(one, ("zeros", detections(1e-6, 1)))) == 1
    assert sentences(one, ("zeros", detections(0.1, 1))) == []


def test_zeros_are_not_asked_beside_two_ordinary_inputs() -> None:
    assert len(sentences(("normal", detections(1e-6)), ("zeros", detections(5.0, 1)))) == 1


def test_an_output_that_no_input_reaches_is_not_named() -> None:
    assert sentences(("normal", detections(0.0)), ("normal", detections(0.0, 3))) == []


@pytest.mark.parametrize(("moved", "named"), [(1e-8, 1), (1.0, 0)])
def test_one_number_for_each_image_is_judged_as_a_whole(moved: float, named: int) -> None:
    rows = [5 + moved * RNG.standard_normal(1) for _ in range(3)]
    found = sentences(*(("normal", row) for row in rows))
    assert len(found) == named
    assert all(one.startswith("y, moved by ") for one in found)


def test_sizes_are_compared_with_their_own_and_an_axis_that_grows_has_no_slices() -> None:
    wide = np.concatenate([detections(1e-6)] * 2, 2)
    (found,) = sentences(("normal", detections(1e-6)), ("normal", wide), ("normal", wide + 1e-7))
    assert found.startswith("y along axis 1: indices 0-3 of 6")


def test_what_is_not_finite_moves() -> None:
    assert sentences(("normal", detections(1e-6, 1)), ("zeros", np.full((1, 6, 64), np.nan))) == []


def test_what_near_ties_decide_is_no_movement() -> None:
    truth = detections(1e-6, scores=1e-9)
    truth[1, 0, 3] += 5.0
    unsettled = np.zeros(truth.shape, np.bool_)
    movement, strict = Movement(), Movement()
    strict.add("normal", reference(truth, unsettled=unsettled))
    unsettled[1, 0, 3] = True
    movement.add("normal", reference(truth, unsettled=unsettled))
    assert "indices 0-5 of 6" in movement.sentences({})[0]
    assert "indices 1-5 of 6" in strict.sentences({})[0]


def test_what_is_named_for_another_reason_is_not_named_twice() -> None:
    still = 0.5 + 1e-9 * RNG.standard_normal((2, 2, 64))
    slices, movement = Slices(), Movement()
    slices.add(reference(still), {"y": still.astype(np.float32)}, is_ordinary=True)
    movement.add("normal", reference(still))
    assert "without variation" in slices.still()[0]
    assert len(movement.sentences({})) == 1
    assert movement.sentences(slices.without_variation()) == []


def test_an_output_that_is_zero_to_float32_is_named_for_that_alone() -> None:
    truth = 1e-9 * RNG.standard_normal((2, 2, 64))
    lost = Reference({"y": truth}, {"y": truth}, {"y": Floor(0.5, 0.5, np.full(66, 0.5))}, 3.0)
    movement = Movement()
    movement.add("normal", lost)
    assert movement.sentences({}) == []
