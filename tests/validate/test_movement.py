"""An output that hardly moves with the input is named: what is computed from it could be lost, and the graph passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from attn2trt.errors import ModuleRefused
from attn2trt.validate.cases import Case
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


def case(kind: str = "normal") -> Case:
    return Case.of(kind, {}, kind=kind)


def detections(moved: float, rows: int = 2, scores: float = 0.3) -> np.ndarray:
    """Boxes of four numbers that are their anchors but for a little, and two scores."""
    boxes = ANCHORS + moved * RNG.standard_normal((rows, 4, 64))
    return np.concatenate([boxes, 0.5 + scores * RNG.standard_normal((rows, 2, 64))], 1)


def sentences(*cases: tuple[str, np.ndarray]) -> list[str]:
    movement = Movement()
    for kind, truth in cases:
        movement.add(case(kind), reference(truth))
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
    strict.add(case(), reference(truth, unsettled=unsettled))
    unsettled[1, 0, 3] = True
    movement.add(case(), reference(truth, unsettled=unsettled))
    assert "indices 0-5 of 6" in movement.sentences({})[0]
    assert "indices 1-5 of 6" in strict.sentences({})[0]


def test_what_is_named_for_another_reason_is_not_named_twice() -> None:
    still = 0.5 + 1e-9 * RNG.standard_normal((2, 2, 64))
    slices, movement = Slices(), Movement()
    slices.add(reference(still), {"y": still.astype(np.float32)}, is_ordinary=True)
    movement.add(case(), reference(still))
    assert "without variation" in slices.still()[0]
    assert len(movement.sentences({})) == 1
    assert movement.sentences(slices.without_variation()) == []


def test_an_output_that_is_zero_to_float32_is_named_for_that_alone() -> None:
    truth = 1e-9 * RNG.standard_normal((2, 2, 64))
    lost = Reference({"y": truth}, {"y": truth}, {"y": Floor(0.5, 0.5, np.full(66, 0.5))}, 3.0)
    movement = Movement()
    movement.add(case(), lost)
    assert movement.sentences({}) == []


def of_two(
    run: Callable[[dict[str, np.ndarray]], np.ndarray], *others: np.ndarray, first: np.ndarray | None = None
) -> list[str]:
    """Return what is said of two inputs, the second of which gets these ``others``, case by case."""
    movement = Movement()
    image = RNG.standard_normal((2, 3, 8, 8))
    for other in others:
        feeds = {"image": image, "depth": RNG.standard_normal(image.shape) if first is None else first}
        again = {"image": RNG.standard_normal(image.shape), "depth": other}
        one = replace(Case.of("traced", feeds), another=lambda again=again: again)
        movement.add(one, replace(reference(run(feeds)), run=lambda feeds: {"y": run(feeds)}))
    return movement.sentences({})


OTHER = RNG.standard_normal((2, 3, 8, 8))


def test_one_of_two_inputs_that_hardly_moves_the_output_is_named() -> None:
    (found,) = of_two(lambda feeds: feeds["image"] + 1e-7 * feeds["depth"], OTHER)
    assert found.startswith("y along axis 1: indices 0-2 of 3, moved by 1.")
    assert "by other values of depth alone, and a graph may be off by" in found
    assert "errors in what is computed from depth would hardly show" in found
    assert of_two(lambda feeds: feeds["image"] + 1e-3 * feeds["depth"], OTHER) == []


def test_an_input_that_moves_nothing_in_any_case_is_named() -> None:
    (found,) = of_two(lambda feeds: feeds["image"], OTHER, OTHER)
    assert found.startswith("no output moves by other values of depth alone")
    moved_at_last = [np.minimum(OTHER, 0), np.maximum(OTHER, 0)]
    first = np.minimum(OTHER, -1)
    assert of_two(lambda feeds: feeds["image"] + np.maximum(feeds["depth"], 0), *moved_at_last, first=first) == []


def test_an_input_without_other_values_is_not_named() -> None:
    assert of_two(lambda feeds: feeds["image"], OTHER, first=OTHER) == []


def test_inputs_that_do_not_go_together_are_not_named() -> None:
    def run(feeds: dict[str, np.ndarray]) -> np.ndarray:
        if feeds["depth"] is OTHER:
            raise ModuleRefused("no such size")
        return np.asarray(feeds["image"])

    assert of_two(run, OTHER) == []


def test_what_no_input_moves_is_not_named_for_each_of_them() -> None:
    (found,) = of_two(lambda feeds: 1 + 1e-9 * feeds["image"] + 1e-9 * feeds["depth"], OTHER)
    assert "from input to input" in found
