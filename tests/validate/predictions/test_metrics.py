"""Predictions of classifiers, segmenters and detectors: when they have changed, and what they are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from attn2trt.core.preprocessing import Preprocessing
from attn2trt.errors import InputError
from attn2trt.validate.predictions.classes import Classes
from attn2trt.validate.predictions.coco import read_coco
from attn2trt.validate.predictions.compare import Compared
from attn2trt.validate.predictions.detections import Detections
from attn2trt.validate.predictions.heads import Dense, Detected, EndToEnd, Queries
from attn2trt.validate.predictions.image_boxes import in_photograph
from attn2trt.validate.predictions.maps import ClassMaps
from attn2trt.validate.predictions.metric import Change, Difference
from attn2trt.validate.stages.stage import Stage

SIZE = (64, 64)


def scores(*rows: list[float]) -> dict[str, np.ndarray]:
    return {"y": np.asarray(rows, np.float32)}


def test_another_best_class_is_a_change_with_the_references_margin() -> None:
    top1 = Classes("y", 4)
    ours, same = (top1.read(scores(row), 0, 1e-6) for row in ([0, 3, 2, 1], [0, 9, 2, 1]))
    theirs = top1.read(scores([0, 1, 2, 0]), 0, 1e-6)
    assert top1.difference(ours, same) is None
    assert top1.difference(ours, theirs) == Difference(1.0, "class 1", "class 2", False)


def test_a_margin_within_rounding_is_a_tie() -> None:
    top1 = Classes("y", 3)
    ours, theirs = (top1.read(scores(row), 0, 1e-5) for row in ([100, 99.9995, 0], [99.9995, 100, 0]))
    difference = top1.difference(ours, theirs)
    assert difference is not None
    assert difference.is_tie
    assert not top1.read(scores([100, 99.9, 0]), 0, 1e-5).is_tie


def test_the_best_k_count_in_any_order() -> None:
    top2 = Classes("y", 4, 2)
    ours, order, other = (top2.read(scores(row), 0, 0) for row in ([9, 8, 1, 0], [8, 9, 1, 0], [9, 1, 8, 0]))
    assert top2.difference(ours, order) is None
    assert top2.difference(ours, other) == Difference(7.0, "class 1", "class 2", False)


def test_accuracies_count_the_labels() -> None:
    top1 = Classes("y", 4, scored=2)
    found = top1.scores()
    for row, label in (([9, 8, 1, 0], 0), ([9, 8, 1, 0], 1), ([9, 8, 1, 0], 3)):
        found.add(top1.read(scores(row), 0, 0), label)
    found.add(None, 0)
    assert found.result() == {"top-1 accuracy": 0.25, "top-2 accuracy": 0.5}


def maps(classes: np.ndarray) -> dict[str, np.ndarray]:
    return {"m": np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)[None]}


def test_a_map_has_changed_if_too_many_pixels_differ() -> None:
    metric = ClassMaps("m", 3, 0.01)
    ours = np.zeros((20, 20), np.int64)
    few, many = ours.copy(), ours.copy()
    few[0, :4], many[0, :5], many[1, 0] = 1, 2, 1
    reference = metric.read(maps(ours), 0, 0)
    assert metric.difference(reference, metric.read(maps(few), 0, 0)) is None
    found = metric.difference(reference, metric.read(maps(many), 0, 0))
    assert found == Difference(6 / 400, "class 0, mostly 5 of 6 pixels", "class 2", False)


def test_pixels_that_rounding_decides_make_a_tie() -> None:
    metric = ClassMaps("m", 2, 0.001)
    ours = {"m": np.stack([np.ones((8, 8)), np.ones((8, 8)) - 1e-7])[None]}
    theirs = {"m": ours["m"][:, ::-1]}
    found = metric.difference(metric.read(ours, 0, 1e-5), metric.read(theirs, 0, 1e-5))
    assert found is not None
    assert found.is_tie


def test_one_channel_is_above_or_below_zero() -> None:
    metric = ClassMaps("m", 1)
    ours, theirs = ({"m": np.full((1, 1, 4, 4), value, np.float32)} for value in (2.0, -2.0))
    found = metric.difference(metric.read(ours, 0, 0), metric.read(theirs, 0, 0))
    assert found is not None
    assert (found.reference[:7], found.found) == ("class 1", "class 0")


def test_mean_iou_is_the_formulas() -> None:
    metric = ClassMaps("m", 3)
    truth, found = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]])
    added = metric.scores()
    added.add(metric.read(maps(found), 0, 0), truth)
    assert added.result() == {"mIoU": pytest.approx((1 / 2 + 1 / 2) / 2), "pixel accuracy": pytest.approx(2 / 3)}
    added.add(None, truth)  # no prediction is a wrong one
    assert added.result()["mIoU"] == pytest.approx((1 / 4 + 1 / 3) / 2)


def dense(*boxes: tuple[float, float, float, float, float, int], anchors: int = 8) -> dict[str, np.ndarray]:
    """Ultralytics' output with these boxes: centre and size, score, class of 3."""
    found = np.zeros((1, 7, anchors), np.float32)
    for anchor, (x, y, w, h, score, kind) in enumerate(boxes):
        found[0, :4, anchor] = x, y, w, h
        found[0, 4 + kind, anchor] = score
    return {"o": found}


METRIC = Detections(Dense("o", 3), SIZE)
PAIR = ((20, 20, 10, 10, 0.9, 0), (50, 50, 12, 12, 0.6, 2))


def difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], noise: float = 0.0) -> Difference | None:
    return METRIC.difference(METRIC.read(ours, 0, noise), METRIC.read(theirs, 0, noise))


def test_boxes_that_move_a_little_are_the_same() -> None:
    moved = ((21, 20, 10, 10, 0.8, 0), (50, 50, 12, 12, 0.6, 2), (21.5, 20, 10, 10, 0.5, 0))
    assert difference(dense(*PAIR), dense(*moved)) is None


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (((20, 20, 10, 10, 0.9, 1), PAIR[1]), "2 boxes; alone: class 1, score 0.90, at (15, 15, 25, 25)"),
        ((PAIR[0], (58, 50, 12, 12, 0.6, 2)), "2 boxes; alone: class 2, score 0.60, at (52, 44, 64, 56)"),
        ((PAIR[0], (50, 50, 12, 12, 0.2, 2)), "1 box, all of them in both"),
        ((*PAIR, (5, 5, 6, 6, 0.4, 1)), "3 boxes; alone: class 1, score 0.40, at (2, 2, 8, 8)"),
        ((), "0 boxes, all of them in both"),
    ],
)
def test_another_class_place_or_number_of_boxes_is_a_change(theirs: tuple[tuple[float, ...], ...], words: str) -> None:
    found = difference(dense(*PAIR), dense(*theirs))  # type: ignore[arg-type]
    assert found is not None
    assert found.found == words


def test_a_score_at_the_threshold_is_a_tie() -> None:
    above, below = dense(*PAIR, (5, 5, 6, 6, 0.2501, 1)), dense(*PAIR, (5, 5, 6, 6, 0.2499, 1))
    assert difference(above, below, noise=1e-3) == replace(difference(above, below), is_tie=True)  # type: ignore[type-var]
    assert not difference(above, dense(), noise=1e-3).is_tie  # type: ignore[union-attr]


def test_boxes_of_untrained_weights_are_what_they_are() -> None:
    inverted, flat = (20, 20, -10, 12, 0.9, 0), (50, 50, 0, 12, 0.6, 2)
    assert difference(dense(inverted, flat), dense((20, 21, -10, 12, 0.9, 0), flat)) is None
    assert difference(dense(inverted, flat), dense((40, 20, -10, 12, 0.9, 0), flat)) is not None


def test_end_to_end_boxes_are_read_as_they_are() -> None:
    found = np.array([[[1, 2, 3, 4, 0.9, 5], [0, 0, 1, 1, 0.1, 2]]], np.float32)
    read = EndToEnd("o").read({"o": found}, 0, SIZE)
    assert read.classes.tolist() == [5, 2]
    assert Detections(EndToEnd("o"), SIZE).read({"o": found}, 0, 0).sure.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_queries_are_read_as_transformers_does(activation: str) -> None:
    draw = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(1, 6, 5, generator=draw), torch.rand(1, 6, 4, generator=draw)
    scores = logits.softmax(-1)[..., :-1] if activation == "softmax" else logits.sigmoid()
    head = Queries("logits", "pred_boxes", 5, activation)  # type: ignore[arg-type]
    read = head.read({"logits": logits.numpy(), "pred_boxes": boxes.numpy()}, 0, (32, 64))
    assert head.count == (4 if activation == "softmax" else 5)
    assert np.allclose(read.scores, scores.max(-1).values[0])
    assert np.array_equal(read.classes, scores.max(-1).indices[0])
    x, y, w, h = boxes[0, 0].tolist()
    assert np.allclose(read.boxes[0], [(x - w / 2) * 64, (y - h / 2) * 32, (x + w / 2) * 64, (y + h / 2) * 32])


def test_boxes_go_back_to_the_photograph() -> None:
    place = Preprocessing(resize="letterbox").place((100, 200), SIZE)
    found = Detected(np.array([[0.0, 16, 64, 48], [-5, 0, 32, 32]]), np.ones(2), np.zeros(2, np.int64))
    assert np.allclose(in_photograph(found, place).boxes, [[0, 0, 200, 100], [0, 0, 100, 50]])


def coco(**others: object) -> dict[str, object]:
    annotation = {"image_id": 7, "category_id": 5, "bbox": [15, 15, 10, 10]}
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 64}],
        "categories": [{"id": 1}, {"id": 3}, {"id": 5}],
        "annotations": [annotation, {**annotation, "category_id": 1, "bbox": [44, 44, 12, 12]}],
        **others,
    }


def test_average_precision_is_pycocotools(tmp_path: object) -> None:
    pytest.importorskip("pycocotools")
    from pathlib import Path

    labels = read_coco(Path("labels.json"), coco())
    metric = replace(METRIC, labels=labels)
    place = Preprocessing(resize="stretch").place(SIZE, SIZE)
    right, half, none = metric.scores(), metric.scores(), metric.scores()
    right.add(metric.read(dense((20, 20, 10, 10, 0.9, 2), (50, 50, 12, 12, 0.01, 0)), 0, 0), 7, place)
    half.add(metric.read(dense((20, 20, 10, 10, 0.9, 2), (50, 50, 12, 12, 0.6, 1)), 0, 0), 7, place)
    none.add(None, 7, place)
    assert right.result() == pytest.approx({"mAP": 1.0, "mAP at 0.5": 1.0})
    assert half.result()["mAP"] == pytest.approx(0.5)
    assert none.result() == {"mAP": 0.0, "mAP at 0.5": 0.0}


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"images": [{"id": 7}]}, r"no 'file_name'"),
        ({"annotations": [{"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "annotation 0 names an image"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1]}]}, "annotation 0 has the box"),
        ({"categories": [], "annotations": []}, "without a category"),
    ],
)
def test_a_damaged_coco_file_is_one_line(others: dict[str, object], message: str) -> None:
    pytest.importorskip("pycocotools")
    from pathlib import Path

    with pytest.raises(InputError, match=message):
        read_coco(Path("labels.json"), coco(**others))


def test_categories_are_the_classes_in_order_or_by_number() -> None:
    pytest.importorskip("pycocotools")
    from pathlib import Path

    labels = read_coco(Path("labels.json"), coco())
    assert list(labels.category_of(3)) == [1, 3, 5]
    assert list(labels.category_of(6)) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(InputError, match=r"with 3 categories, numbers up to 5; expected the 80 classes"):
        labels.category_of(80)


def test_what_all_images_may_have_in_common_is_said() -> None:
    assert METRIC.alike(METRIC.read(dense(), 0, 0)) == "no box"
    assert METRIC.alike(METRIC.read(dense(*PAIR), 0, 0)) == ""
    one, two = np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 3, 4, 4), np.float32)
    one[:, 2], two[:, 2, 0] = 1, 1
    every = ClassMaps("o", 3)
    assert every.alike(every.read({"o": one}, 0, 0)) == "class 2 at every pixel"
    assert every.alike(every.read({"o": two}, 0, 0)) == ""


def test_a_data_set_in_which_nothing_is_detected_compares_nothing() -> None:
    nothing = Compared(Stage("onnxruntime cpu"), None).result("no box")
    assert (nothing.outcome(0.0), nothing.outcome(None)) == ("not compared", "not compared")
    assert "the reference finds no box in any image" in nothing.why
    more = Compared(Stage("onnxruntime cpu"), None, changes=[Change("a.png", 0.5, "0 boxes", "1 box")], images=1)
    assert more.result("no box").outcome(0.0) == "failed"
    assert Compared(Stage("onnxruntime cpu"), None, images=1).result("class 3").outcome(0.0) == "passed"
