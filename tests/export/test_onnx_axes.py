"""A file's symbolic dimensions get ranges by the file's own names, and what is left open is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import InputError
from attn2trt.export.onnx_axes import choose_sizes
from attn2trt.export.onnx_file import FileTensor, OnnxFile


def file(*inputs: tuple[str, str, tuple[int | str, ...]]) -> OnnxFile:
    tensors = tuple(FileTensor(*one) for one in inputs)
    return OnnxFile(Path("model.onnx"), "", 17, 8, "", "fp32", {}, tensors, ())


IMAGE = file(("x", "float32", ("N", 3, "H", "W")))
FIXED = file(("x", "float32", (2, 3, 8, 8)))


def test_what_the_file_fixes_stays() -> None:
    inputs, axes = choose_sizes(FIXED)
    assert inputs[0].shape == (2, 3, 8, 8)
    assert axes == {}


@pytest.mark.parametrize("name", ["N", "", "batch", "?"])
def test_a_symbolic_batch_has_a_range_of_its_own(name: str) -> None:
    inputs, axes = choose_sizes(file(("x", "float32", (name, 3))))
    assert inputs[0].shape == ("batch", 3)
    assert axes == {"batch": Axis(1, 2, 8)}


def test_ranges_go_by_the_names_of_the_file() -> None:
    inputs, axes = choose_sizes(IMAGE, dynamic="N=1:4:16,H=8:16:32:8,W=8:16:32")
    assert inputs[0].shape == ("batch", 3, "H", "W")
    assert axes == {"batch": Axis(1, 4, 16), "H": Axis(8, 16, 32, 8), "W": Axis(8, 16, 32)}


def test_a_shape_fixes_what_has_no_range() -> None:
    inputs, axes = choose_sizes(IMAGE, ["4x3x16x24"], "H=8:16:32")
    assert inputs[0].shape == ("batch", 3, "H", 24)
    assert axes == {"batch": Axis(1, 4, 8), "H": Axis(8, 16, 32)}
    assert choose_sizes(IMAGE, ["4x3x16x24"], "none")[0][0].shape == (4, 3, 16, 24)
    assert choose_sizes(IMAGE, ["4x3x16x24"], {"batch": "none"})[1] == {}


def test_one_image_is_no_contradiction_of_a_batch_that_varies() -> None:
    inputs, axes = choose_sizes(IMAGE, ["1x3x16x16"], "batch=1:8:8")
    assert (inputs[0].shape, axes) == (("batch", 3, 16, 16), {"batch": Axis(1, 8, 8)})
    with pytest.raises(InputError, match="received batch=8:8:8 with a shape of batch 1"):
        choose_sizes(IMAGE, ["1x3x16x16"], "batch=8:8:8")


def test_one_name_is_one_axis_of_all_inputs() -> None:
    two = file(("a", "float32", ("n", 4)), ("b", "int64", ("n", "t")))
    inputs, axes = choose_sizes(two, ["b=2x5:int64[0,9]"])
    assert [spec.shape for spec in inputs] == [("batch", 4), ("batch", 5)]
    assert inputs[1].bounds == (0, 9)
    assert [*axes] == ["batch"]


@pytest.mark.parametrize(
    ("of", "shapes", "dynamic", "why"),
    [
        (
            IMAGE,
            [],
            None,
            "dimensions H, W; expected a range or a size of each; add --dynamic H=min:opt:max,W",
        ),
        (file(("x", "float32", ("n", ""))), [], None, "symbolic dimension x.dim1"),
        (IMAGE, ["2x3x16x16"], "H=8:12:32", "H=8:12:32 with a shape of H 16"),
        (IMAGE, ["2x4x16x16"], None, "expected sizes of x: Nx3xHxW"),
        (IMAGE, ["y=2x3x16x16"], None, "received --shape for 'y'; expected one of x"),
        (IMAGE, ["2x3x16x16:int64"], None, "expected float32, the type of x in the file"),
        (IMAGE, [], "H", "received dynamic H without a range"),
        (IMAGE, [], "H=W", "received dynamic H without a range"),
        (IMAGE, [], "height=8:16:32", "received dynamic axis 'height'; expected batch, N, H, W"),
        (FIXED, [], "batch=1:2:8", "expected none: the file fixes every dimension; export it again with that axis"),
    ],
)
def test_what_does_not_fit_is_one_line(of: OnnxFile, shapes: list[str], dynamic: str | None, why: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_sizes(of, shapes, dynamic)
    assert why in str(caught.value)
