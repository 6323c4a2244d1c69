"""Shapes and dynamic axes from their text, and what is refused."""

from __future__ import annotations

import pytest

from attn2trt.errors import InputError
from attn2trt.modules.shapes import Shape, named, parse_dynamic, parse_shape, plan
from attn2trt.modules.target import Axis

IMAGE = Shape("image", (2, 3, 32, 48))


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
        ("0x3", "with a size of 0"),
        ("1x3:float16", "received dtype 'float16' in shape '1x3:float16'; expected one of float32, int64, int32, bool"),
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


def test_ranges():
    assert parse_dynamic("batch=1:2:8, height") == {"batch": Axis(1, 2, 8), "height": None}
    assert parse_dynamic({"batch": (1, 2, 8), "width": Axis(1, 2, 3), "height": None}) == {
        "batch": Axis(1, 2, 8),
        "width": Axis(1, 2, 3),
        "height": None,
    }
    assert parse_dynamic(None) == parse_dynamic("") == {}


def test_axes_of_an_image():
    inputs, axes = plan([IMAGE], "batch=1:2:8,height=16:32:64,width", fixed=True)
    assert inputs[0].shape == ("batch", 3, "height", "width")
    assert axes == {"batch": Axis(1, 2, 8), "height": Axis(16, 32, 64), "width": Axis(24, 48, 96)}


def test_a_range_sets_the_size_where_no_shape_was_given():
    inputs, axes = plan([IMAGE], "height=16:64:64", fixed=False)
    assert inputs[0].shape == (2, 3, "height", 48)
    assert inputs[0].resolve({"height": axes["height"].opt}) == (2, 3, 64, 48)


def test_a_bare_batch_traced_at_one_is_traced_at_two():
    _, axes = plan([Shape("x", (1, 3, 8, 8))], "batch", fixed=True)
    assert axes == {"batch": Axis(1, 2, 16)}


def test_a_range_of_one_size_is_static():
    inputs, axes = plan([IMAGE], "height=16:16:16", fixed=False)
    assert (inputs[0].shape, axes) == ((2, 3, 16, 48), {})


def test_axes_of_other_ranks():
    inputs, _ = plan([Shape("x", (4, 16, 8))], "dim0=1:4:8,dim2", fixed=True)
    assert inputs[0].shape == ("dim0", 16, "dim2")
    inputs, _ = plan([Shape("x", (4, 16, 8))], "batch", fixed=True)
    assert inputs[0].shape == ("batch", 16, 8)


def test_several_inputs_share_what_agrees():
    shapes = [IMAGE, Shape("mask", (2, 1, 32, 48)), Shape("ids", (2, 16), "int64", 0, 9), Shape("bias", (16,))]
    inputs, axes = plan(shapes, "batch,height,ids.dim1", fixed=True)
    assert [spec.shape for spec in inputs] == [
        ("batch", 3, "height", 48),
        ("batch", 1, "height", 48),
        ("batch", "ids.dim1"),
        (16,),
    ]
    assert set(axes) == {"batch", "height", "ids.dim1"}


def test_several_images_of_other_sizes_are_named_apart():
    shapes = [IMAGE, Shape("small", (2, 3, 8, 48))]
    inputs, _ = plan(shapes, "small.height,width", fixed=True)
    assert [spec.shape for spec in inputs] == [(2, 3, 32, "width"), (2, 3, "small.height", "width")]
    with pytest.raises(InputError, match=r"received dynamic axis 'height'; expected .*image\.height"):
        plan(shapes, "height", fixed=True)


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ("batch=1:2", "received 'batch=1:2' in dynamic"),
        ("batch=1:2:x", "expected NAME=min:opt:max or NAME"),
        ("batch,batch", "each axis once"),
        (",", "received ''"),
        ("hieght", "received dynamic axis 'hieght'; expected batch or height or width; did you mean height?"),
        ("channels", "received dynamic axis 'channels'"),
        ("batch=4:2:8", "range 4:2:8 is not min:opt:max"),
        ("batch=0:2:8", "range 0:2:8"),
        ("height=16:64:128", "received dynamic height=16:64:128 with a shape of height 32; expected the optimum"),
        ({"batch": (1, 2)}, "received (1, 2) for dynamic axis 'batch'; expected (min, opt, max)"),
        ({"batch": "many"}, "expected (min, opt, max)"),
    ],
)
def test_refuses_ranges(dynamic, message):
    with pytest.raises(InputError) as caught:
        plan([IMAGE], dynamic, fixed=True)
    assert message in str(caught.value)


def test_refuses_an_optimum_of_one():
    with pytest.raises(InputError, match=r"batch=1:1:8, traced at 1; expected an optimum of 2 or more.*batch=1:2:8"):
        plan([IMAGE], "batch=1:1:8", fixed=False)


def test_refuses_the_same_dimension_twice():
    with pytest.raises(InputError, match=r"received dynamic axes batch and image\.batch for the same dimension"):
        plan([IMAGE, Shape("ids", (2, 4))], "batch,image.batch", fixed=True)


def test_names():
    a, b = Shape("a", (1,)), Shape("b", (2,))
    assert named([b, a], ["a", "b", "c"]) == [a, b]
    assert named([Shape("", (3,))], ["a", "b"]) == [Shape("a", (3,))]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([Shape("z", (1,))], "received a shape with the name 'z'; expected one NAME=SIZES for each input, of aa, bb"),
        ([Shape("aa", (1,)), Shape("aa", (1,))], "with the name 'aa'"),
        ([Shape("", (1,)), Shape("", (1,))], "with no name"),
        ([Shape("bb", (1,))], "received no shape for input 'aa'"),
    ],
)
def test_refuses_names(shapes, message):
    with pytest.raises(InputError) as caught:
        named(shapes, ["aa", "bb"])
    assert message in str(caught.value)
