"""Dynamic axes from their text: names, ranges, steps, ties, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import InputError
from attn2trt.modules.dynamic import parse_dynamic, plan, ranges_of
from attn2trt.modules.shapes import Shape, parse_shape

IMAGE = Shape("image", (2, 3, 32, 48))


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


def test_height_and_width_of_clips():
    clip = Shape("clip", (2, 3, 16, 32, 48))
    inputs, axes = plan([clip], "batch,dim2,height=16:32:64,width", fixed=True)
    assert inputs[0].shape == ("batch", 3, "dim2", "height", "width")
    assert axes["width"] == Axis(24, 48, 96)
    both = [clip, Shape("image", (2, 3, 64, 64))]
    inputs, _ = plan(both, "height,clip.height", fixed=True)
    assert [spec.shape for spec in inputs] == [(2, 3, 16, "clip.height", 48), (2, 3, "height", 64)]
    with pytest.raises(InputError, match=r"like channels; expected it by number; write clip\.dim2 for its height"):
        plan([Shape("clip", (2, 16, 32, 48, 3))], "height", fixed=True)


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


def test_several_images_of_other_sizes_are_named_separately():
    shapes = [IMAGE, Shape("small", (2, 3, 8, 48))]
    inputs, _ = plan(shapes, "small.height,width", fixed=True)
    assert [spec.shape for spec in inputs] == [(2, 3, 32, "width"), (2, 3, "small.height", "width")]
    message = (
        "height differs: image of 32, small of 8; expected the axis of one; name it as image.height, and tie others "
    )
    with pytest.raises(InputError, match=f"{message}to it: image.height,small.height=image.height/4"):
        plan(shapes, "height", fixed=True)
    with pytest.raises(InputError, match=r"name it as image\.height$"):
        plan([IMAGE, Shape("odd", (2, 3, 9, 48))], "height", fixed=True)


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ("batch=1:2", "received 'batch=1:2' in dynamic"),
        ("batch=1:2:x", "expected NAME=min:opt:max, NAME=min:opt:max:step, NAME=OTHER or NAME"),
        ("batch=", "expected NAME=min:opt:max"),
        ("batch=8", "received batch=8 in dynamic, one size; expected min:opt:max; write batch=1:8:8, or batch=none if"),
        ("batch:1:2:8", "received 'batch:1:2:8' in dynamic 'batch:1:2:8'; expected NAME=min:opt:max"),
        ("batch=1-8", "in dynamic, which names no axis"),
        ("batch=many", "received batch=many in dynamic, and 'many' is no axis; expected min:opt:max, or an expression"),
        ("batch=1:2:8:0", "a step of 0"),
        ("batch,batch", "each axis once"),
        ("b a=1:2:8", "received dynamic axis 'b a'; expected letters, digits, _ and . in it"),
        (",", "received ''"),
        ("hieght", "received dynamic axis 'hieght'; expected batch or height or width; did you mean height?"),
        ("channels", "received dynamic axis 'channels'"),
        ("batch=4:2:8", "range 4:2:8 is not min:opt:max"),
        ("batch=0:2:8", "range 0:2:8"),
        ("height=16:64:128", "received dynamic height=16:64:128 with a shape of height 32; expected the optimum"),
        ({"batch": (1, 2)}, "received (1, 2) for dynamic axis 'batch'; expected (min, opt, max)"),
        ({"batch": (1, 2, 8, 1, 1)}, "expected (min, opt, max) or (min, opt, max, step)"),
        ({"batch": "many"}, "received batch=many in dynamic"),
        ("dim2=16:32:64,height", "received dynamic axes dim2 and height for the same dimension of input 'image'"),
        ("image.dim2,height", "received dynamic axes image.dim2 and height for the same dimension"),
    ],
)
def test_refuses_ranges(dynamic, message):
    with pytest.raises(InputError) as caught:
        plan([IMAGE], dynamic, fixed=True)
    assert message in str(caught.value)


def test_refuses_an_optimum_of_one():
    with pytest.raises(InputError, match=r"batch=1:1:8, traced at 1; expected a traced size of 2 or more.*batch=1:2:8"):
        plan([IMAGE], "batch=1:1:8", fixed=False)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (replace(IMAGE, layout="nchw"), "2x3x32x48"),
        (Shape("image", (1, 32, 32, 3), layout="nchw"), "2x32x32x3@nchw"),
        (Shape("image", (1, 32, 32, 3), layout="nhwc"), "2x32x32x3@nhwc"),
    ],
)
def test_advice_on_an_optimum_of_one_has_the_layout_that_it_needs(given: Shape, shape: str) -> None:
    with pytest.raises(InputError, match=f"; write --shape {shape} --dynamic batch=1:2:8$"):
        plan([replace(given, sizes=(1, *given.sizes[1:]))], "batch=1:1:8", fixed=True)


def test_refuses_the_same_dimension_twice():
    with pytest.raises(InputError, match=r"received dynamic axes batch and image\.batch for the same dimension"):
        plan([IMAGE, Shape("ids", (2, 4))], "batch,image.batch", fixed=True)


def test_steps():
    inputs, axes = plan([IMAGE], "height=16:32:64:16", fixed=True)
    assert (inputs[0].shape, axes) == ((2, 3, "height", 48), {"height": Axis(16, 32, 64, multiple=16)})
    assert plan([IMAGE], {"height": (16, 32, 64, 16)}, fixed=True) == (inputs, axes)
    assert axes["height"].text == "16:32:64:16"


@pytest.mark.parametrize(
    ("dynamic", "nearest"),
    [
        ("height=20:32:70:32", "height=32:32:64:32"),
        ("height=8:32:64:32", "height=32:32:64:32"),
        ({"height": (30, 32, 65, 16)}, "height=32:32:64:16"),
        ("height=16:32:64:24", "height=24:24:72:24, with a shape of height 24"),
    ],
)
def test_refuses_what_is_no_multiple_with_the_nearest_that_are(dynamic, nearest):
    with pytest.raises(InputError) as caught:
        plan([IMAGE], dynamic, fixed=True)
    assert "expected multiples of" in str(caught.value)
    assert str(caught.value).endswith(f"; write {nearest}")


def test_axes_by_number():
    inputs, _ = plan([IMAGE], "dim0=1:2:4,dim2,width", fixed=True)
    assert inputs[0].shape == ("dim0", 3, "dim2", "width")
    inputs, _ = plan([IMAGE, Shape("mask", (7, 48))], "image.dim3,mask.dim0", fixed=True)
    assert [spec.shape for spec in inputs] == [(2, 3, 32, "image.dim3"), ("mask.dim0", 48)]
    for name, fix in (("dim3", r"did you mean image\.dim3\?"), ("columns", r"NAME\.dimN for axis N of input NAME")):
        with pytest.raises(InputError, match=f"received dynamic axis '{name}'; expected .*{fix}"):
            plan([IMAGE, Shape("mask", (7, 48))], name, fixed=True)


def test_height_and_width_of_channels_last():
    inputs, axes = plan([parse_shape("image=2x32x40x3@nhwc")], "batch,height=16:32:64,width", fixed=True)
    assert (inputs[0].shape, inputs[0].layout) == (("batch", "height", "width", 3), "nhwc")
    assert axes["width"] == Axis(20, 40, 80)
    both = [parse_shape("image=2x32x40x3@nhwc"), parse_shape("features=2x8x32x40@nchw")]
    inputs, _ = plan(both, "height,width", fixed=True)
    assert [spec.shape for spec in inputs] == [(2, "height", "width", 3), (2, 8, "height", "width")]


def test_asks_for_the_layout_of_what_looks_like_channels_last():
    shape = Shape("image", (2, 32, 40, 3))
    with pytest.raises(
        InputError, match=r"last axis looks like channels; .*; add --layout image=nhwc \(or image=nchw\)"
    ):
        plan([shape], "batch,height", fixed=True)
    plan([shape], "batch,dim1,dim2", fixed=True)
    inputs, _ = plan([parse_shape("image=2x32x40x3@nchw")], "height", fixed=True)
    assert inputs[0].shape == (2, 32, "height", 3)


FINE, COARSE = Shape("a", (2, 8, 32, 48)), Shape("b", (2, 8, 16, 24))


def test_ties():
    dynamic = "b.height=a.height/2,a.height=16:32:64,a.width,b.width=a.width/2"
    inputs, axes = plan([FINE, COARSE], dynamic, fixed=True)
    assert [spec.shape for spec in inputs] == [(2, 8, "a.height", "a.width"), (2, 8, "a.height/2", "a.width/2")]
    assert axes == {"a.height": Axis(16, 32, 64, multiple=2), "a.width": Axis(24, 48, 96, multiple=2)}
    assert inputs[1].resolve({"a.height": 20, "a.width": 30}) == (2, 8, 10, 15)
    assert plan([FINE, COARSE], ranges_of(inputs, axes), fixed=True) == (inputs, axes)


def test_ties_of_one_input_to_itself_and_of_equal_sizes():
    inputs, axes = plan([Shape("x", (12, 2, 8)), Shape("mask", (12, 12), "bool")], MASK, fixed=True)
    assert [spec.shape for spec in inputs] == [("x.dim0", 2, 8), ("x.dim0", "x.dim0")]
    assert axes == {"x.dim0": Axis(3, 12, 40)}
    inputs, _ = plan([IMAGE], "height=16:32:64,width=height", fixed=False)
    assert inputs[0].shape == (2, 3, "height", "height")


MASK = "x.dim0=3:12:40,mask.dim0=x.dim0,mask.dim1=x.dim0"


def test_ties_to_ties_and_to_what_another_name_made_dynamic():
    third = Shape("c", (2, 8, 8, 12))
    inputs, axes = plan([FINE, COARSE, third], "c.height=b.height/2,b.height=a.height/2,a.height=16:32:64", fixed=True)
    assert [spec.shape[2] for spec in inputs] == ["a.height", "a.height/2", "(a.height/2)/2"]
    assert axes["a.height"] == Axis(16, 32, 64, multiple=4)
    tokens = Shape("tokens", (2, 25))
    inputs, axes = plan([FINE, tokens], "height=16:32:64,tokens.dim1=a.dim2//2+9", fixed=True)
    assert (inputs[1].shape, axes) == ((2, "height//2+9"), {"height": Axis(16, 32, 64)})
    inputs, _ = plan([FINE, Shape("t", (2, 6))], "height,width,t.dim1=(height/16)*(width/16)", fixed=True)
    assert inputs[1].shape == (2, "(height/16)*(width/16)")


def test_a_tie_to_one_size_is_that_size():
    inputs, axes = plan([IMAGE], "height=40:40:40,width=height/2", fixed=False)
    assert (inputs[0].shape, axes) == ((2, 3, 40, 20), {})


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ("b.height=a.height/2", "without a range for a.height; expected one; add a.height=min:opt:max"),
        (
            "b.height=a.height/2,a.height=15:32:64",
            "expected multiples of 2 which a tie divides; write a.height=16:32:64:2",
        ),
        ("b.height=a.height/3,a.height=16:32:64", "expected multiples of 3"),
        ("b.height=a.height/3,a.height", "a size of 32, which a tie divides by 3; expected a multiple of 3"),
        ("b.height=a.height,a.height", "with a shape of b.height 16 and a.height 32; expected 32"),
        ("b.height=a.height/2,a.height,b.dim2", "received dynamic axes b.height and b.dim2 for the same dimension"),
        ("b.height=b.height/2", "which is tied to itself"),
        ("b.height=a.height/2,a.height=b.height*2", "which is tied to itself"),
        ("b.height=c.height/2,a.height", "'c.height' is no axis"),
        ("b.height=a.height%2,a.height", "expected an expression of other axes with + - * / // and whole numbers"),
        ("b.height=a.height//2/1,a.height", "expected each / to divide one axis by a whole number"),
        ("b.height=(a.height-1)/2,a.height", "which is whole at the multiples of no number; write // to round down"),
        ("b.height=a.height-16,a.height", "which is 0 at the smallest size; expected 1 or more"),
    ],
)
def test_refuses_ties(dynamic, message):
    with pytest.raises(InputError) as caught:
        plan([FINE, COARSE], dynamic, fixed=True)
    assert message in str(caught.value)


def test_refuses_a_tie_that_is_traced_at_one():
    with pytest.raises(InputError, match="which is 1 at the traced size; expected 2 or more"):
        plan([Shape("a", (4, 2)), Shape("b", (4, 1))], "a.dim1=2:2:8,b.dim1=a.dim1/2", fixed=True)


def test_one_image_is_traced_at_the_optimum_of_a_batch_that_varies():
    inputs, axes = plan([Shape("x", (1, 3, 32, 32))], "batch=1:8:8", fixed=True)
    assert (inputs[0].shape, axes) == (("batch", 3, 32, 32), {"batch": Axis(1, 8, 8)})
    with pytest.raises(InputError, match=r"batch=8:8:8 with a shape of batch 1; .* write batch=1:8:8 or change"):
        plan([Shape("x", (1, 3, 32, 32))], {"batch": Axis(8, 8, 8)}, fixed=True)


def test_an_optimum_of_one_gets_the_one_command_that_works():
    with pytest.raises(InputError) as caught:
        plan([Shape("x", (1, 3, 32, 32))], "batch=1:1:8,height=16:32:64", fixed=True)
    assert str(caught.value).endswith("; write --shape 2x3x32x32 --dynamic batch=1:2:8,height=16:32:64")
    plan([Shape("x", (2, 3, 32, 32))], "batch=1:2:8,height=16:32:64", fixed=True)


def test_the_command_for_one_image_changes_every_input_of_the_axis():
    shapes = [Shape("x", (1, 3, 8, 8)), Shape("ids", (1, 5), "int64", 0, 9), Shape("doubled", (2, 4))]
    with pytest.raises(InputError) as caught:
        plan(shapes, "batch=1:1:8,doubled.dim0=batch*2", fixed=True)
    command = (
        "--shape x=2x3x8x8 --shape ids=2x5:int64[0,9] --shape doubled=4x4 --dynamic batch=1:2:8,doubled.dim0=batch*2"
    )
    assert str(caught.value).endswith(f"; write {command}")
