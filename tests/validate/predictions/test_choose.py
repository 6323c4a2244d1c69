"""The metric that outputs tell, and one line if they tell none."""

from __future__ import annotations

import pytest

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.errors import InputError
from attn2trt.validate.predictions.choose import Thresholds, choose_metric
from attn2trt.validate.predictions.classes import Classes
from attn2trt.validate.predictions.detections import Detections
from attn2trt.validate.predictions.heads import Dense, EndToEnd, Queries
from attn2trt.validate.predictions.maps import ClassMaps
from attn2trt.validate.predictions.metric import Metric

SIZE = (64, 64)


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, ("batch", *shape))


def chosen(*outputs: TensorSpec, metric: str | None = None, model: str = "mine", **given: object) -> Metric:
    return choose_metric(metric, outputs, SIZE, Thresholds(**given), model=model)  # type: ignore[arg-type]


LOGITS, BOXES = spec("logits", 300, 80), spec("pred_boxes", 300, 4)


@pytest.mark.parametrize(
    ("outputs", "model", "expected"),
    [
        ([spec("y", 10)], "mine", Classes("y", 10)),
        ([spec("y", 10, 1, 1)], "mine", Classes("y", 10)),
        ([spec("y", 10), spec("features", 64, 7, 7)], "mine", Classes("y", 10)),
        ([spec("y", 21, "height", "width")], "mine", ClassMaps("y", 21)),
        ([spec("out", 21, 64, 64), spec("aux", 21, 64, 64)], "mine", ClassMaps("out", 21)),
        ([spec("output0", 84, 8400)], "mine", Detections(Dense("output0", 80), SIZE)),
        ([spec("y", 84, "height*width")], "ultralytics:yolo11n.yaml", Detections(Dense("y", 80), SIZE)),
        ([spec("output0", 116, 84), spec("output1", 32, 16, 16)], "", Detections(Dense("output0", 80, 32), SIZE)),
        ([spec("output0", 300, 6)], "mine", Detections(EndToEnd("output0"), SIZE)),
        ([LOGITS, BOXES], "PekingU/rtdetr_r50vd", Detections(Queries("logits", "pred_boxes", 80, "sigmoid"), SIZE)),
        ([LOGITS, BOXES], "transformers:d_fine", Detections(Queries("logits", "pred_boxes", 80, "sigmoid"), SIZE)),
        (
            [LOGITS, BOXES],
            "transformers:conditional_detr",
            Detections(Queries("logits", "pred_boxes", 80, "sigmoid"), SIZE),
        ),
        (
            [LOGITS, BOXES],
            "transformers:facebook/detr-resnet-50",
            Detections(Queries("logits", "pred_boxes", 80, "softmax"), SIZE),
        ),
        ([LOGITS, BOXES], "hustvl/yolos-tiny", Detections(Queries("logits", "pred_boxes", 80, "softmax"), SIZE)),
    ],
)
def test_the_outputs_tell(outputs: list[TensorSpec], model: str, expected: Metric) -> None:
    found = chosen(*outputs, model=model)
    assert found == expected
    assert found.outputs[0] in found.words


@pytest.mark.parametrize(
    ("outputs", "given", "message"),
    [
        ([spec("p3", 64, 8, 8), spec("p4", 64, 4, 4)], {}, r"outputs that do not tell .*name it by --metric top1"),
        ([spec("tokens", 197, 192)], {}, "outputs that do not tell"),
        ([LOGITS, BOXES], {}, "whose name does not tell how scores are made; give --activation softmax"),
        ([spec("y", 10)], {"metric": "detections"}, r"expected logits and pred_boxes"),
        ([spec("y", 10)], {"metric": "argmax-map"}, r"expected an output \(n, classes, h, w\)"),
        ([spec("y", 10, 8, 8)], {"metric": "top1"}, r"expected an output \(n, classes\)"),
        ([spec("y", 4)], {"metric": "topk"}, r"topk of 5 for the 4 classes of y; expected fewer; give --k"),
        ([spec("cls", 300, 91), spec("boxes", 300, 4)], {"metric": "detections"}, "expected logits and pred_boxes"),
        ([spec("y", 10)], {"score": 1.5}, "received score 1.5; expected a number from 0 to 1"),
    ],
)
def test_what_they_do_not_tell_is_one_line(outputs: list[TensorSpec], given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(*outputs, **given)  # type: ignore[arg-type]


def test_what_is_asked_for_comes_before_what_they_tell() -> None:
    assert chosen(spec("y", 10), metric="topk", k=3) == Classes("y", 10, 3)
    assert chosen(spec("p3", 1, 8, 8), spec("p4", 1, 4, 4), metric="argmax-map") == ClassMaps("p3", 1)
    assert chosen(spec("y", 300, 6), metric="detections") == Detections(EndToEnd("y"), SIZE)
    asked = chosen(LOGITS, BOXES, activation="softmax")
    assert asked == Detections(Queries("logits", "pred_boxes", 80, "softmax"), SIZE)
