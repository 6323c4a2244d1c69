"""The place of a photograph in an input, and the manifest's entry about it, an older one included."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from attn2trt.core.preprocessing import MOST_PIXELS, Placement, Preprocessing
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError


@pytest.mark.parametrize(
    ("how", "original", "size", "expected"),
    [
        (Preprocessing(crop=224 / 256), (300, 400), (224, 224), (256, 341, -16, -58)),
        (Preprocessing(crop=224 / 232), (400, 300), (224, 224), (309, 232, -42, -4)),
        (Preprocessing(resize="stretch"), (300, 400), (64, 96), (64, 96, 0, 0)),
        (Preprocessing(resize="letterbox"), (1080, 810), (640, 640), (640, 480, 0, 80)),
        (Preprocessing(resize="letterbox", anchor="top-left"), (1080, 810), (640, 640), (640, 480, 0, 0)),
        (Preprocessing(resize="letterbox"), (10, 7), (16, 16), (16, 11, 0, 2)),
        (Preprocessing(resize="letterbox"), (1, 5000), (16, 16), (1, 16, 7, 0)),
    ],
)
def test_the_place_of_a_photograph(
    how: Preprocessing, original: tuple[int, int], size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert how.place(original, size) == Placement(original, *expected)


def test_a_photograph_far_from_square_is_refused_before_it_takes_the_memory() -> None:
    with pytest.raises(InputError, match=r"of 30000 x 1 pixels would be resized to 6720000 x 224 .* closer to square"):
        Preprocessing().place((1, 30000), (224, 224))
    assert MOST_PIXELS < 6720000 * 224


def test_the_entry_comes_back_as_it_was_written() -> None:
    how = Preprocessing(
        "letterbox", 0.5, "lanczos", False, (1.0, 2.0, 3.0), "top-left", 1.0, (1.0,), (2.0,), "BGR", (3, 8, 8)
    )
    entry: Any = how.to_json()
    assert Preprocessing.from_json(entry) == how
    assert set(entry) == set(Preprocessing.__dataclass_fields__)


def test_an_entry_of_an_earlier_version_is_read() -> None:
    old = {"size": [3, 224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    found = Preprocessing.from_json({**old, "interpolation": "bicubic", "crop": 0.95, "order": "BGR"})
    assert found == Preprocessing(
        crop=0.95,
        interpolation="bicubic",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        order="BGR",
        size=(3, 224, 224),
    )
    assert Preprocessing.from_json({}) is None


@pytest.mark.parametrize(
    ("size", "spec", "taken"),
    [
        ((3, 64, 32), TensorSpec("x", ("n", 3, "h", 32)), ""),
        ((3, 64, 32), TensorSpec("x", ("n", "h", 32, 3), layout="nhwc"), ""),
        ((), TensorSpec("x", ("n", 3, "h", 32)), ""),
        ((3, 48, 32), TensorSpec("x", ("n", 3, "h", 32)), "[3, 32 to 96, 32]"),
        ((3, 64, 64), TensorSpec("x", ("n", 3, "h", 32)), "[3, 32 to 96, 32]"),
        ((1, 64, 32), TensorSpec("x", ("n", 3, "h", "h/2")), "[3, 32 to 96, 32]"),
        ((64, 32), TensorSpec("x", (2, 3, 64, 32)), "[3, 64, 32]"),
    ],
)
def test_a_size_that_the_input_does_not_have_is_refused(size: tuple[int, ...], spec: TensorSpec, taken: str) -> None:
    axes = {"n": Axis(1, 2, 8), "h": Axis(32, 64, 96, 32)}
    if not taken:
        Preprocessing(size=size).check_size(spec, axes)
        return
    line = (
        f"received preprocessing with size {[*size]}; expected {taken}, as the input x has it; correct it or leave it"
    )
    with pytest.raises(InputError, match=re.escape(line)):
        Preprocessing(size=size).check_size(spec, axes)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"resize": "squash"}, "resize 'squash'; expected one of crop, letterbox, stretch"),
        ({"crop": 0}, "crop 0; expected a share above 0"),
        ({"crop": True}, "crop True; expected a number"),
        ({"scale": float("nan")}, "scale nan; expected a factor above 0"),
        ({"pad": []}, r"pad \[\]; expected one number from 0 to 255"),
        ({"pad": 300}, "pad .300.; expected one number from 0 to 255"),
        ({"mean": "grey"}, "mean 'grey'; expected a list of numbers"),
        ({"std": [0.1, 0]}, r"std \[0.1, 0\]; expected numbers above 0"),
        ({"antialias": 1}, "antialias 1; expected true or false"),
        ({"colour": "RGB"}, "'colour'; expected resize, crop"),
    ],
)
def test_what_cannot_be_is_one_line(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"received preprocessing with {message}"):
        Preprocessing.from_json(entry)


def test_values_for_other_channels_are_refused() -> None:
    how = Preprocessing(mean=(0.1, 0.2, 0.3))
    how.check_channels(3)
    replace(how, mean=(0.1,)).check_channels(64)
    with pytest.raises(InputError, match="one for each of the input's 1 channels"):
        how.check_channels(1)
