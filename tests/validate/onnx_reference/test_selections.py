"""Choices between near ties in a graph: found by its own float64, left out, counted, and nothing else with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_files import saved
from near_ties import SCORED, best_boxes, scored_boxes
from onnx import TensorProto, helper

from attn2trt.core.precision import FLOAT32, PRECISIONS
from attn2trt.validate.cases import Case
from attn2trt.validate.choice import Choice
from attn2trt.validate.comparison import compare
from attn2trt.validate.hidden import Hidden
from attn2trt.validate.metrics import Reference
from attn2trt.validate.onnx_reference.evaluator import Evaluator
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator
from attn2trt.validate.onnx_reference.references import GraphLower, graph_references, unsettled_elements
from attn2trt.validate.onnx_reference.rounding import half_rounding
from attn2trt.validate.onnx_reference.selections import Choices, Moved, aligned

CASE, CLOSE = Case.of("one", {"x": SCORED}), Case.of("close", {"x": scored_boxes(0.94)})
Found = tuple[dict[str, Reference], Hidden]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(best_boxes(), tmp_path_factory.mktemp("near_ties") / "best.onnx")


@pytest.fixture(scope="module")
def found(path: Path) -> Found:
    hidden = Hidden()
    names = [node.name for node in onnx.load(path).graph.node]
    lower = [GraphLower("fp16", half_rounding(names, PRECISIONS["fp16"]))]
    with IsolatedEvaluator(path, "float64") as double, IsolatedEvaluator(path, "float32") as single:
        pairs = [*graph_references(double, single, [CASE, CLOSE], lower=lower, hidden=hidden)]
    assert all(isinstance(reference, Reference) for _, reference in pairs), pairs
    return {case.name: reference for case, reference in pairs if isinstance(reference, Reference)}, hidden


def test_boxes_that_a_near_tie_gathers_are_left_out_and_counted(found: Found) -> None:
    reference, hidden = found[0]["one"], found[1]
    mask = reference.floors["boxes"].unsettled
    assert mask is not None
    assert mask[:, 10:12].all()
    assert mask.sum() == 2 * 2 * 3
    places = reference.floors["places"].unsettled
    assert places is not None
    assert places[:, 10:12].all()
    assert places.sum() == 2 * 2
    assert reference.floors["boxes"].l2 < 1e-6
    assert any(
        said.startswith("boxes: up to 6.25% of a case's elements are not judged in float32")
        for said in hidden.choices()
    )


def test_a_precision_that_cannot_tell_most_apart_leaves_nothing_out(found: Found) -> None:
    reference, hidden = found[0]["close"], found[1]
    assert reference.lower["fp16"]["boxes"].unsettled is None
    assert reference.lower["fp16"]["boxes"].l2 > 1e-2
    assert any(said.startswith("TopK at scores can pick otherwise in float16 for ") for said in hidden.choices())


def test_what_is_left_out_may_differ_and_nothing_else_may(found: Found) -> None:
    reference = found[0]["one"]
    truth, floor = reference.outputs64["boxes"], reference.floors["boxes"]

    def judged(rows: list[int]) -> bool:
        out = truth.astype(np.float32)
        out[:, rows] = out[:, rows[::-1]]
        return compare("boxes", out, truth, floor, reference.largest).passed

    assert judged([10, 11])
    assert not judged([9, 10])
    assert not judged([11, 12])


def test_the_elements_alone_are_the_same(path: Path, found: Found) -> None:
    with IsolatedEvaluator(path, "float64") as double, IsolatedEvaluator(path, "float32") as single:
        masks = unsettled_elements(double, single, CASE)
    assert {"boxes", "places"} <= {*masks}
    for name, mask in masks.items():
        assert np.array_equal(mask, found[0]["one"].floors[name].unsettled)


def graph(node: onnx.NodeProto, feeds: dict[str, np.ndarray], kinds: dict[str, int], folder: Path) -> Evaluator:
    """An evaluator of one node that reads x, and for suppression the boxes before it."""
    inputs = [name for name in node.input if name != "k"]
    made = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * feeds[name].ndim) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [onnx.numpy_helper.from_array(np.array([2], np.int64), "k")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Evaluator(saved(model, folder / "one.onnx"), "float64")


NEAR = np.array([[[0.5, 0.9, 0.9 - 1e-7, 0.1]]], np.float32)
THRESHOLD = np.full((1, 1, 4), np.float32(0.9) - np.float32(6e-8), np.float32)
BOXES = np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5], [6, 6, 7, 7]]], np.float32)
INTEGER, BOOLEAN = {"y": TensorProto.INT64}, {"y": TensorProto.BOOL}


@pytest.mark.parametrize(
    ("node", "feeds", "kinds", "before", "after"),
    [
        (helper.make_node("ArgMax", ["x"], ["y"], axis=2, keepdims=0), {"x": NEAR}, INTEGER, [[1]], [[2]]),
        (helper.make_node("ArgMin", ["x"], ["y"], axis=-1), {"x": -NEAR}, INTEGER, [[[1]]], [[[2]]]),
        (
            helper.make_node("TopK", ["x", "k"], ["v", "y"]),
            {"x": NEAR},
            INTEGER | {"v": TensorProto.FLOAT},
            [[[1, 2]]],
            [[[2, 1]]],
        ),
        (
            helper.make_node("TopK", ["x", "k"], ["v", "y"], largest=0),
            {"x": -NEAR},
            INTEGER | {"v": TensorProto.FLOAT},
            [[[1, 2]]],
            [[[2, 1]]],
        ),
        (
            helper.make_node("NonMaxSuppression", ["b", "x", "k", "iou", "low"], ["y"], center_point_box=0),
            {"x": NEAR, "b": BOXES, "iou": np.full(1, 0.5, np.float32), "low": np.zeros(1, np.float32)},
            INTEGER,
            [[0, 0, 1], [0, 0, 2]],
            [[0, 0, 2], [0, 0, 1]],
        ),
        (
            helper.make_node("Greater", ["x", "b"], ["y"]),
            {"x": NEAR, "b": THRESHOLD},
            BOOLEAN,
            [[[False, True, False, False]]],
            [[[False, False, False, False]]],
        ),
        (
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64),
            {"x": NEAR + np.float32(0.1)},
            INTEGER,
            [[[0, 1, 0, 0]]],
            [[[0, 0, 0, 0]]],
        ),
    ],
    ids=lambda given: given.op_type if isinstance(given, onnx.NodeProto) else "",
)
def test_each_choice_goes_the_other_way_if_its_scores_are_moved(
    tmp_path: Path, node: onnx.NodeProto, feeds: dict[str, np.ndarray], kinds: dict[str, int], before: list, after: list
) -> None:
    evaluator, noted = graph(node, feeds, kinds, tmp_path), Choices()
    first = evaluator.run(feeds, around=noted)
    assert first["y"].tolist() == before
    (choice,) = noted.found
    far = np.full(choice.scores.shape, 4e-7)
    moved = [evaluator.run(feeds, around=Moved([far], draw)) for draw in range(2)]
    assert after in [one["y"].tolist() for one in moved]
    if "v" in kinds:  # the values are those of the places, not the moved ones
        (other,) = [one for one in moved if one["y"].tolist() == after]
        assert np.array_equal(other["v"], first["v"][..., ::-1])
    still = evaluator.run(feeds, around=Moved([np.zeros(())], 0))
    assert still["y"].tolist() == before


def test_choices_of_two_graphs_are_held_together_by_name() -> None:
    scores = np.array([1.0, 2.0])
    one, other, third = (Choice("Cast", name, scores * factor, None) for name, factor in (("a", 1), ("b", 2), ("c", 3)))
    moved = Choice("Cast", "b", scores * 2.001, None)
    assert aligned([one, other, third], [moved]) == [one, moved, third]
    assert aligned([other], [Choice("Cast", "b", np.zeros(3), None)]) == [other]
    assert FLOAT32.between_runs > 1
