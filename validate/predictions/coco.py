"""True boxes in a COCO file, and average precision by COCO's own evaluation, pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core import bounds
from ...core.preprocessing import Placement
from ...errors import InputError, MissingRequirement
from .image_boxes import ImageBoxes, in_photograph

MOST_DETECTIONS = 100  # of an image: COCO's AP counts no more


@dataclass(frozen=True)
class CocoLabels:
    """The true boxes of a data set.

    Attributes:
        path: The file.
        document: Its content.
        images: The number of each image by its file name.
        categories: The numbers of the categories, in order.
    """

    path: Path
    document: Mapping[str, Any]
    images: Mapping[str, int]
    categories: Sequence[int]

    def category_of(self, count: int) -> Sequence[int]:
        """Return the category's number for each class of a head with so many classes.

        Raises InputError if neither the categories nor their numbers are as many.
        """
        if count in (0, len(self.categories)):
            return self.categories
        if max(self.categories) <= count <= max(self.categories) + 1:  # DETR's classes are COCO's own numbers
            return range(count)
        raise InputError(
            f"received --labels {self.path} with {len(self.categories)} categories, numbers up to "
            f"{max(self.categories)}; expected the {count} classes of the head; give the labels that it was trained on"
        )


def read_coco(path: Path, document: Mapping[str, Any]) -> CocoLabels:
    """Take a JSON document as COCO's instances. Raises InputError if it is none."""
    require_pycocotools()
    try:
        images = {str(entry["file_name"]): int(entry["id"]) for entry in document["images"]}
        categories = sorted(int(entry["id"]) for entry in document["categories"])
        known = {*images.values()}
        for place, entry in enumerate(document["annotations"]):
            if int(entry["image_id"]) not in known or int(entry["category_id"]) not in categories:
                raise ValueError(f"annotation {place} names an image or category that is not there")
            if len(entry["bbox"]) != 4 or not all(np.isfinite(float(value)) for value in entry["bbox"]):
                raise ValueError(f"annotation {place} has the box {entry['bbox']}")
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"received --labels {path}, which is no COCO file of instances ({reason}); expected images, annotations "
            "with bbox, and categories"
        ) from None
    if not categories:
        raise InputError(f"received --labels {path} without a category; expected those that were annotated")
    return CocoLabels(path, document, images, categories)


def require_pycocotools() -> None:
    """Raise MissingRequirement if pycocotools is not installed or is too old."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError:
        raise MissingRequirement(
            "average precision is computed by pycocotools, which is missing; pip install pycocotools"
        ) from None
    bounds.require_within("pycocotools")


class CocoScores:
    """COCO's average precision; the boxes are kept until the end, as pycocotools wants them."""

    def __init__(self, labels: CocoLabels, count: int) -> None:
        self._labels, self._category = labels, labels.category_of(count)
        self._found: list[dict[str, Any]] = []
        self._images: list[int] = []

    def add(self, prediction: ImageBoxes | None, label: int, placement: Placement | None) -> None:
        """Keep the boxes of one image, whose number is ``label``, in the pixels of the photograph."""
        self._images.append(label)
        if prediction is None:
            return
        found = prediction.all if placement is None else in_photograph(prediction.all, placement)
        for box, score, kind in list(zip(found.boxes, found.scores, found.classes, strict=True))[:MOST_DETECTIONS]:
            if 0 <= kind < len(self._category):
                x, y, right, bottom = map(float, box)
                bounds = [x, y, right - x, bottom - y]
                category = self._category[int(kind)]
                self._found.append({"image_id": label, "category_id": category, "bbox": bounds, "score": float(score)})

    def result(self) -> dict[str, float]:
        """Return AP over the overlaps 0.5 to 0.95, and at 0.5."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        if not self._found:
            return {"mAP": 0.0, "mAP at 0.5": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
            truth = COCO()
            truth.dataset = _with_defaults(self._labels.document)
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(self._found), "bbox")
            evaluation.params.imgIds = sorted(self._images)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        every, half = float(evaluation.stats[0]), float(evaluation.stats[1])
        return {"mAP": max(0.0, every), "mAP at 0.5": max(0.0, half)}


def _with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with what pycocotools reads and many tools leave out."""
    annotations = [
        {"id": number, "iscrowd": 0, **entry, "area": entry.get("area", entry["bbox"][2] * entry["bbox"][3])}
        for number, entry in enumerate(document["annotations"], start=1)
    ]
    return {"info": {}, **json.loads(json.dumps({**document, "annotations": annotations}))}
