"""Masks are placed as their photographs are, and what does not fit is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attn2trt.core.preprocessing import Preprocessing
from attn2trt.errors import InputError
from attn2trt.validate.predictions.classes import Classes
from attn2trt.validate.predictions.detections import Detections
from attn2trt.validate.predictions.heads import EndToEnd
from attn2trt.validate.predictions.labels import coco_of, find_labels
from attn2trt.validate.predictions.maps import ClassMaps

MAPS, SIZE = ClassMaps("m", 3), (8, 8)
HOW = Preprocessing(resize="letterbox")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A mask of 4 x 8 pixels, its left half of class 1, its right half of class 2."""
    classes = np.repeat(np.array([[1, 2]], np.uint8), 4, 0).repeat(4, 1)
    (tmp_path / "masks" / "a").mkdir(parents=True)
    Image.fromarray(classes).save(tmp_path / "masks" / "a" / "0.png")
    return tmp_path / "masks"


def test_a_mask_goes_where_its_photograph_goes(masks: Path) -> None:
    labels = find_labels(masks, MAPS, ["a/0.jpg", "a/1.jpg"], HOW, SIZE)
    assert labels is not None
    assert (labels.count, labels.words) == (1, "the masks of masks")
    mask = labels.of("a/0.jpg", HOW.place((4, 8), SIZE))
    assert mask.tolist() == [[255] * 8] * 2 + [[1] * 4 + [2] * 4] * 4 + [[255] * 8] * 2
    assert labels.of("a/1.jpg", HOW.place((4, 8), SIZE)) is None
    double = HOW.place((8, 16), (16, 16))
    with pytest.raises(InputError, match=r"the mask '.*0\.png' of shape 4x8; expected one class .* 8x16"):
        labels.of("a/0.jpg", double)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 8), 7, np.uint8), "with the class 7; expected below 3, or 255 for none"),
        (np.zeros((4, 8, 3), np.uint8), "of shape 4x8x3; expected one class for each pixel"),
    ],
)
def test_a_mask_that_is_none(masks: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels).save(masks / "a" / "0.png")
    labels = find_labels(masks, MAPS, ["a/0.jpg"], HOW, SIZE)
    assert labels is not None
    with pytest.raises(InputError, match=message):
        labels.of("a/0.jpg", HOW.place((4, 8), SIZE))


def test_boxes_are_found_by_path_or_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    file = tmp_path / "instances.json"
    images = [{"id": 3, "file_name": "0.png"}, {"id": 4, "file_name": "b/1.png"}]
    file.write_text(json.dumps({"images": images, "categories": [{"id": 1}], "annotations": []}))
    metric = Detections(EndToEnd("o"), SIZE, labels=coco_of(file))
    labels = find_labels(file, metric, ["a/0.png", "b/1.png", "c.png"], HOW, SIZE)
    assert labels is not None
    assert labels.count == 2
    assert [labels.of(name, None) for name in ("a/0.png", "b/1.png", "c.png")] == [3, 4, None]


def test_labels_of_another_kind_are_one_line(masks: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a/0.jpg 1\n")
    detections, classes = Detections(EndToEnd("o"), SIZE), Classes("y", 3)
    for given, metric, message in (
        (tmp_path / "classes.txt", MAPS, "expected a folder of masks"),
        (tmp_path / "classes.txt", detections, "expected a COCO file of instances"),
        (masks, classes, "a folder; expected a file of labels"),
        ("folders", MAPS, "received --labels folders for argmax-map; expected a metric of classes"),
        (masks.parent / "masks" / "b", MAPS, "which is not there"),
    ):
        with pytest.raises(InputError, match=message):
            find_labels(given, metric, ["a/0.jpg"], HOW, SIZE)


def test_a_heading_is_left_out_and_the_line_of_an_image_is_not(tmp_path: Path) -> None:
    file, metric = tmp_path / "classes.csv", Classes("y", 3)
    file.write_text("path,class\na.png,1\na.png,1\n")
    labels = find_labels(file, metric, ["a.png"], None, SIZE)
    assert labels is not None
    assert (labels.count, labels.of("a.png", None)) == (1, 1)
    for text, message in (
        ("a.png,-1\nb.png,1\n", r"line 1: 'a.png,-1'; expected lines of PATH CLASS"),
        ("a.png\nb.png,1\n", r"line 1: 'a.png'; expected lines of PATH CLASS"),
        ("a.png,1\n./a.png,2\n", r"line 2: class 2 for a.png, which has 1 before; expected one class for each image"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            find_labels(file, metric, ["a.png", "b.png"], None, SIZE)
