"""The metric for a graph's outputs: the one that was named, or the one that their shapes tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...core.arguments import checked
from ...core.tensor_spec import TensorSpec
from ...errors import InputError
from .classes import TOP1, TOPK, Classes, K
from .coco import CocoLabels
from .detections import DETECTIONS, IOU, SCORE, SUPPRESSION, Detections
from .heads import Activation, Dense, EndToEnd, Head, Queries
from .maps import ARGMAX_MAP, PIXELS, ClassMaps
from .metric import Metric

METRICS = (TOP1, TOPK, DETECTIONS, ARGMAX_MAP)
# The outputs of transformers, and of DETR's first authors.
_LOGITS, _BOXES = ("logits", "pred_logits"), "pred_boxes"
# A score for each class by itself, or one distribution over the classes and "no object", by the names of the models.
_SIGMOID = re.compile(r"(rt|conditional|deformable|dab|lw|dino|df|d)[-_]?detr|d[-_]?fine|deim|grounding|deta", re.I)
_SOFTMAX = re.compile(r"detr|yolos|table[-_]?transformer", re.I)

_ULTRALYTICS = re.compile(r"ultralytics|yolo", re.I)


@checked
@dataclass(frozen=True)
class Thresholds:
    """The limits beyond which a prediction counts as changed.

    Attributes:
        k: The number of best classes, for topk.
        score: The lowest score of a box.
        iou: The least overlap of boxes that match.
        suppression: The overlap above which a box gives way to a better one of its class.
        pixels: The share of pixels of a map that may differ.
        activation: How a head with queries makes scores of its logits; "auto" goes by the model's name.

    Raises:
        InputError: A number is out of its range.
    """

    k: int = K
    score: float = SCORE
    iou: float = IOU
    suppression: float = SUPPRESSION
    pixels: float = PIXELS
    activation: Literal["auto", "softmax", "sigmoid"] = "auto"

    def __post_init__(self) -> None:
        for name in ("score", "iou", "suppression", "pixels"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"received {name} {getattr(self, name):g}; expected a number from 0 to 1")
        if self.k < 1:
            raise InputError(f"received k {self.k}; expected at least 1 class")


def choose_metric(
    name: str | None,
    outputs: Sequence[TensorSpec],
    size: tuple[int, int],
    thresholds: Thresholds,
    *,
    model: str,
    labels: CocoLabels | None = None,
) -> Metric:
    """Return the metric that is asked for, or the one that the outputs tell.

    Args:
        name: One of METRICS; None for the outputs' own.
        outputs: The graph's outputs.
        size: (h, w) of its input.
        thresholds: What counts as a change.
        model: The name of the target, which tells how a detector of transformers makes scores.
        labels: True boxes.

    Raises:
        InputError: The outputs do not have it, or do not tell which it is.
    """
    asked = name or _guess(outputs, model)
    if asked == DETECTIONS:
        head = _head(outputs, thresholds, model)
        return Detections(head, size, thresholds.score, thresholds.iou, thresholds.suppression, labels)
    if asked == ARGMAX_MAP:
        spec, count = _one(outputs, _is_map, asked, "(n, classes, h, w)")
        return ClassMaps(spec.name, count, thresholds.pixels)
    spec, count = _one(outputs, _is_scores, asked, "(n, classes)")
    k = 1 if asked == TOP1 else thresholds.k
    if k >= count:
        raise InputError(f"received {asked} of {k} for the {count} classes of {spec.name}; expected fewer; give --k")
    return Classes(spec.name, count, k)


def _guess(outputs: Sequence[TensorSpec], model: str) -> str:
    names = {spec.name for spec in outputs}
    if _BOXES in names and names & {*_LOGITS}:
        return DETECTIONS
    # three axes are tokens as often as boxes
    if (_ULTRALYTICS.search(model) or "output0" in names) and _dense(outputs) is not None:
        return DETECTIONS
    scores, maps = [list(filter(fits, outputs)) for fits in (_is_scores, _is_map)]
    if len(scores) == 1:
        return TOP1
    named = [spec for spec in maps if spec.name in ("out", "logits", "masks")]
    if len(maps) == 1 == len(outputs) or named:
        return ARGMAX_MAP
    raise InputError(
        f"received outputs that do not tell what is predicted ({_listed(outputs)}); expected one (n, classes), one "
        f"(n, classes, h, w), or a detector's head; name it by --metric {', '.join(METRICS)}"
    )


def _is_scores(spec: TensorSpec) -> bool:
    sizes = spec.shape[1:]
    return (len(sizes) == 1 or (len(sizes) == 3 and sizes[1:] == (1, 1))) and isinstance(sizes[0], int) and sizes[0] > 1


def _is_map(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and isinstance(spec.shape[1], int) and not _is_scores(spec)


def _one(
    outputs: Sequence[TensorSpec], fits: Callable[[TensorSpec], bool], asked: str, expected: str
) -> tuple[TensorSpec, int]:
    """Return the first output that fits, and its number of classes."""
    found = next(filter(fits, outputs), None)
    if found is None:
        raise InputError(f"received --metric {asked} for {_listed(outputs)}; expected an output {expected}")
    count = found.shape[1]
    assert isinstance(count, int)
    return found, count


def _head(outputs: Sequence[TensorSpec], thresholds: Thresholds, model: str) -> Head:
    by_name: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
    logits = next((by_name[name] for name in _LOGITS if name in by_name), None)
    if logits is not None and _BOXES in by_name and isinstance(classes := logits.shape[-1], int):
        return Queries(logits.name, _BOXES, classes, _activation(thresholds, model))
    if (dense := _dense(outputs)) is not None:
        return dense
    raise InputError(
        f"received --metric {DETECTIONS} for {_listed(outputs)}; expected logits and pred_boxes, as transformers has "
        "them, or Ultralytics' (n, 4 + classes, anchors) or (n, boxes, 6)"
    )


def _dense(outputs: Sequence[TensorSpec]) -> Head | None:
    """Return Ultralytics' head: its only output of three axes, and a segmenter's prototypes (n, masks, h, w)."""
    threes, fours = ([spec for spec in outputs if len(spec.shape) == rank] for rank in (3, 4))
    if len(threes) != 1 or len(fours) > 1 or len(outputs) != 1 + len(fours):
        return None
    spec, masks = threes[0], fours[0].shape[1] if fours else 0
    if not isinstance(masks, int):
        return None
    if spec.shape[2] == 6 + masks:
        return EndToEnd(spec.name)
    channels = spec.shape[1]
    if not isinstance(channels, int) or channels < 5 + masks:
        return None
    return Dense(spec.name, channels - 4 - masks, masks)


def _activation(thresholds: Thresholds, model: str) -> Activation:
    if thresholds.activation != "auto":
        return thresholds.activation
    if _SIGMOID.search(model):
        return "sigmoid"
    if _SOFTMAX.search(model):
        return "softmax"
    raise InputError(
        f"received a head of logits and boxes of {model}, whose name does not tell how scores are made; give "
        "--activation softmax (DETR: the last class is no object) or --activation sigmoid (RT-DETR)"
    )


def _listed(outputs: Sequence[TensorSpec]) -> str:
    return "; ".join(map(str, outputs))
