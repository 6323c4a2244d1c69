"""Shapes from their text, and what is refused."""

from __future__ import annotations

import pytest

from attn2trt.errors import InputError
from attn2trt.modules.shapes import Shape, layouts_of, named, parse_shape, parse_shapes, with_layouts


def test_a_shape():
    assert parse_shape("1x3x224x224") == Shape("", (1, 3, 224, 224))
    assert parse_shape("mask=1x16:bool") == Shape("mask", (1, 16), "bool")
    assert parse_shape("ids=1x16:int64[0,999]") == Shape("ids", (1, 16), "int64", 0, 999)
    assert parse_shape("ids=4:int32[-1,1]") == Shape("ids", (4,), "int32", -1, 1)
    assert parse_shape("size=2:float32[1,9]") == Shape("size", (2,), "float32", 1.0, 9.0)
    assert parse_shape("sigma=2:float32[-1e-3,0.5]") == Shape("sigma", (2,), "float32", -1e-3, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x3xx4", "received shape '1x3xx4'; expected sizes joined by x"),
        ("", "received shape ''"),
        ("1,3,4", "expected sizes joined by x"),
        ("(1, 3, 64, 48)", "; write 1x3x64x48"),
        ("1X3X64X48", "; write 1x3x64x48"),
        ("Nx3x-1x-1", "; write a number for each size; --dynamic names those that vary"),
        ("0x3", "with a size of 0"),
        (
            "1x3:float64",
            "received dtype 'float64' in shape '1x3:float64'; expected one of float32, float16, int64, int32, uint8",
        ),
        ("1x3:int63", "did you mean int64"),
        ("1x3:int64[5,2]", "received range [5,2] for int64"),
        ("1x3:float32[2,1]", "received range [2,1] for float32 in shape '1x3:float32[2,1]'; expected numbers with"),
        ("1x3:int64[0.5,2]", "expected whole numbers with low <= high"),
        ("1x3:bool[0,1]", "and none for bool"),
        ("1x3:float32[0,]", "expected sizes joined by x"),
    ],
)
def test_refuses_a_shape(text, message):
    with pytest.raises(InputError) as caught:
        parse_shape(text)
    assert message in str(caught.value)


def test_the_text_of_a_shape_is_the_shape():
    for text in (
        "x=2x3x4x5",
        "2x3",
        "ids=2x16:int64[0,999]",
        "mask=4:bool",
        "x=2x8x8x3@nhwc",
        "x=2x8x8x3:int32[0,9]@nhwc",
    ):
        assert parse_shape(text).text == text


def test_several_shapes_in_one_text():
    image, ids = Shape("image", (2, 3, 8, 8)), Shape("ids", (4,), "int64", 0, 9)
    assert parse_shapes("image=2x3x8x8, ids=4:int64[0,9]") == parse_shapes(["image=2x3x8x8", "ids=4:int64[0,9]"])
    assert parse_shapes(["image=2x3x8x8,ids=4:int64[0,9]", "2x5,2x6"])[:2] == [image, ids]
    assert parse_shapes("a,b=2x3") == [Shape("a,b", (2, 3))]  # a name of an ONNX file
    assert parse_shapes("2") == [Shape("", (2,))]


@pytest.mark.parametrize("text", ["1,3,224,224", "image=1,3,224,224", "image=2x3,", "2x3,4"])
def test_sizes_that_commas_join_are_no_shapes(text):
    with pytest.raises(InputError, match=f"received shape '{text}'; expected sizes joined by x"):
        parse_shapes(text)


def test_layouts():
    image, mask = Shape("image", (2, 8, 9, 3)), Shape("mask", (2, 4))
    last = Shape("image", (2, 8, 9, 3), layout="nhwc")
    assert with_layouts([image, mask], []) == [image, mask]
    assert with_layouts([image, mask], ["nhwc"]) == with_layouts([image, mask], ["image=nhwc"]) == [last, mask]
    assert with_layouts([Shape("", image.sizes)], ["image = nhwc"]) == [Shape("", image.sizes, layout="nhwc")]
    assert layouts_of({"image": "nhwc"}) == ["image=nhwc"]
    assert (layouts_of("nhwc"), layouts_of(None)) == (["nhwc"], [])


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        (
            ["nwhc"],
            "received layout 'nwhc'; expected nchw or nhwc of an image's four sizes, or NAME=nhwc; did you mean",
        ),
        (["mask=nhwc"], "received layout 'mask=nhwc'"),
        (["picture=nhwc"], "received layout 'picture=nhwc'"),
        (["image="], "received layout 'image='"),
        (["nhwc", "image=nchw"], "received layout 'image=nchw' for image=2x8x9x3@nhwc; expected one layout for each"),
    ],
)
def test_refuses_layouts(layouts, message):
    with pytest.raises(InputError) as caught:
        with_layouts([Shape("image", (2, 8, 9, 3)), Shape("mask", (2, 4))], layouts)
    assert message in str(caught.value)


def test_names():
    a, b = Shape("a", (1,)), Shape("b", (2,))
    assert named([b, a], ["a", "b", "c"]) == [a, b]
    assert named([Shape("", (3,))], ["a", "b"]) == [Shape("a", (3,))]
    assert named([Shape("", (3,)), Shape("", (4,))], ["a", "b", "c"]) == [Shape("a", (3,)), Shape("b", (4,))]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([Shape("z", (1,))], "received a shape with the name 'z'; expected one NAME=SIZES for each input, of aa, bb"),
        ([Shape("aa", (1,)), Shape("aa", (1,))], "with the name 'aa'"),
        ([Shape("aa", (1,)), Shape("", (1,))], "with no name"),
        ([Shape("", (1,))] * 3, "with no name"),
        ([Shape("bb", (1,))], "received no shape for input 'aa'"),
    ],
)
def test_refuses_names(shapes, message):
    with pytest.raises(InputError) as caught:
        named(shapes, ["aa", "bb"])
    assert message in str(caught.value)


def test_shapes_from_python_are_texts_one_text_or_numbers() -> None:
    wanted = [Shape("", (2, 3, 8, 8))]
    assert parse_shapes("2x3x8x8") == parse_shapes(["2x3x8x8"]) == parse_shapes([(2, 3, 8, 8)]) == wanted
    with pytest.raises(InputError, match=r"received shape 2; expected text as '2x3x224x224' .* or a tuple of numbers"):
        parse_shapes((2, 3, 8, 8))  # type: ignore[arg-type]
