"""Cases cover the ranges that are claimed, hold no memory, and repeat themselves."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attn2trt.core.preprocessing import Preprocessing
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError
from attn2trt.validate.cases import Case, make_cases, size_cases

AXES = {"batch": Axis(1, 2, 8), "height": Axis(16, 32, 64), "width": Axis(16, 32, 64)}
X = TensorSpec("x", ("batch", 8, "height", "width"))


def named(cases: list[Case]) -> dict[str, Case]:
    return {case.name: case for case in cases}


def test_sizes_reach_the_ends_and_the_untraced_inside() -> None:
    sizes = {name: size for name, _, size in size_cases(AXES)}
    assert sizes["traced"] == {"batch": 2, "height": 32, "width": 32}
    assert (sizes["batch_min"]["batch"], sizes["batch_max"]["batch"]) == (1, 8)
    assert (sizes["size_min"]["height"], sizes["size_max"]["width"]) == (16, 64)
    odd, uneven = sizes["size_odd"], sizes["size_uneven"]
    assert odd["height"] % 2 == 1
    assert 16 < odd["height"] < 64
    assert uneven["height"] != uneven["width"]
    assert uneven["batch"] not in (1, 2, 8)


@pytest.mark.parametrize("lengths", list(itertools.product(range(1, 6), repeat=2)))
def test_sizes_stay_in_small_ranges_and_never_repeat(lengths: tuple[int, int]) -> None:
    axes = {name: Axis(3, 3, 2 + length) for name, length in zip(("batch", "height"), lengths, strict=True)}
    found = [sizes for _, _, sizes in size_cases(axes)]
    assert all(axes[name].min <= size <= axes[name].max for sizes in found for name, size in sizes.items())
    assert len({tuple(sorted(sizes.items())) for sizes in found}) == len(found)


def test_a_huge_range_is_cheap() -> None:
    assert size_cases({"height": Axis(1, 10, 10**9)})


def test_static_shapes_have_one_size() -> None:
    cases = make_cases([TensorSpec("x", (2, 8, 4, 4))], {})
    assert [case.name for case in cases] == ["traced", "saturated", "flat", "level", "zeros", "hot_channel", "constant"]
    assert all(case.feeds["x"].shape == (2, 8, 4, 4) for case in cases)
    assert (cases[0].row_inputs, cases[0].rows_alone) == (("x",), False)


def test_values_are_what_their_kind_says() -> None:
    cases = named(make_cases([X], AXES))
    normal = cases["traced"].feeds["x"]
    assert normal.dtype == np.float32
    assert normal.std() == pytest.approx(1, abs=0.3)
    assert normal.mean((2, 3)).std() > 0.3  # channels differ, so that gates do
    assert cases["saturated"].feeds["x"].std() > 8
    assert not cases["zeros"].feeds["x"].any()
    assert np.unique(cases["constant"].feeds["x"]).size == 1
    hot = cases["hot_channel"].feeds["x"]
    assert np.flatnonzero(hot.any(axis=(0, 2, 3))).size == 1


def test_every_other_row_leans_the_other_way() -> None:
    for rows in (1, 2, 5):
        means = make_cases([TensorSpec("x", (rows, 8, 64, 64))], {})[0].feeds["x"].mean((2, 3))
        for row in range(0, rows - 1, 2):
            assert np.corrcoef(means[row], means[row + 1])[0, 1] < -0.9


def test_saturated_flat_and_level_values_come_tall_wide_and_large() -> None:
    cases = named(make_cases([X], AXES))
    tall, wide, large = (cases[name].sizes for name in ("saturated", "flat", "level"))
    assert tall["height"] > AXES["height"].opt > tall["width"]
    assert wide["height"] < AXES["height"].opt < wide["width"]
    assert AXES["height"].opt < min(large["height"], large["width"]) < 64
    assert [sizes["batch"] for sizes in (tall, wide, large)] == [2, 3, 3]
    held = named(make_cases([X], {**AXES, "batch": Axis(6, 6, 12, multiple=6)}))
    assert held["level"].sizes["batch"] == 6


def test_values_whose_rows_are_alike_come_in_the_smallest_batch() -> None:
    cases = named(make_cases([X], {**AXES, "batch": Axis(2, 6, 8)}))
    batches = {name: cases[name].sizes["batch"] for name in ("zeros", "hot_channel", "constant", "saturated", "flat")}
    assert batches == {"zeros": 2, "hot_channel": 2, "constant": 2, "saturated": 6, "flat": 6}


def test_flat_and_level_values_have_maxima_of_both_signs() -> None:
    cases = named(make_cases([X], AXES))
    flat, level = (cases[name].feeds["x"] for name in ("flat", "level"))
    assert (flat.max((2, 3)) < 0).any(axis=0).sum() >= 4
    assert (flat.min((2, 3)) > 0).any(axis=0).sum() >= 4
    assert level[0].mean() < -2
    assert level[1].mean() > 2


def test_feeds_repeat_and_seeds_differ() -> None:
    case, other = make_cases([X], AXES)[0], make_cases([X], AXES, seed=1)[0]
    assert np.array_equal(case.feeds["x"], case.feeds["x"])
    assert not np.array_equal(case.feeds["x"], other.feeds["x"])


def test_several_inputs_have_other_values_of_the_same_kind() -> None:
    mask = TensorSpec("mask", ("batch", 9), "bool")
    case = make_cases([X, mask], AXES, io="float16")[0]
    again, feeds = case.another and case.another(), case.feeds
    assert again
    assert all(again[name].shape == feeds[name].shape and (again[name] != feeds[name]).any() for name in feeds)
    assert (again["x"] == again["x"].astype(np.float16)).all()
    assert make_cases([X], AXES)[0].another is None


def test_cases_hold_no_arrays() -> None:
    big = TensorSpec("x", ("batch", 256, 512, 512))
    tracemalloc.start()
    cases = make_cases([big], {"batch": Axis(1, 8, 64)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cases) == 9
    assert peak < 1 << 20


def test_integers_stay_in_their_bounds() -> None:
    ids = TensorSpec("ids", ("batch", 500), "int64", 5, 9)
    cases = named(make_cases([ids, TensorSpec("mask", (4,), "bool")], {"batch": Axis(1, 2, 3)}))
    values = cases["traced"].feeds["ids"]
    assert (values.dtype, values.min(), values.max()) == (np.dtype("int64"), 5, 9)
    assert cases["traced"].kind == "random_int"
    assert set(np.unique(cases["lowest"].feeds["ids"])) == {5}
    assert set(np.unique(cases["highest"].feeds["ids"])) == {9}
    assert cases["traced"].feeds["mask"].dtype == np.bool_


@pytest.mark.parametrize(("low", "high"), [(1.0, 9.0), (-3.0, 3.0), (0.0, 1e-3), (2.0, 2.0)])
def test_floats_stay_in_their_bounds_and_fill_them(low: float, high: float) -> None:
    cases = make_cases([TensorSpec("size", (4, 3, 8, 8), "float32", low, high)], {})
    for case in cases:
        values = case.feeds["size"]
        assert values.dtype == np.float32
        assert np.float32(low) <= values.min() <= values.max() <= np.float32(high)
    normal, zeros = (next(case.feeds["size"] for case in cases if case.kind == kind) for kind in ("normal", "zeros"))
    assert np.ptp(normal) >= 0.7 * (high - low)
    assert (zeros == np.float32(min(max(low, 0), high))).all()


def test_inputs_with_one_row_for_each_sample_are_named() -> None:
    static, scalar = TensorSpec("table", (2, 3)), TensorSpec("scale", ())
    tokens = TensorSpec("tokens", ("dim0", 5))

    def rows(*specs: TensorSpec, axes: dict[str, Axis]) -> tuple[tuple[str, ...], bool]:
        case = make_cases(specs, axes)[0]
        return case.row_inputs, case.rows_alone

    assert rows(static, X, axes=AXES) == (("x",), True)
    assert rows(X, axes={**AXES, "batch": Axis(2, 2, 8)}) == (("x",), False)
    assert rows(scalar, static, axes={}) == (("table",), False)
    assert rows(tokens, static, axes={"dim0": Axis(1, 2, 4)}) == (("tokens",), True)
    assert rows(scalar, axes={}) == ((), False)
    square = TensorSpec("square", ("batch", "batch"))
    assert rows(square, axes={"batch": Axis(1, 2, 8)}) == (("square",), False)  # a row alone is no square


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        pixels = np.full((20, 30, 3), (10 + 100 * index, 0, 255), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_fill_batches_resized_and_normalised(folder: Path) -> None:
    image = TensorSpec("image", ("batch", 3, 8, 10))
    known = Preprocessing(mean=(0.0, 0.0, 0.5), std=(1.0, 1.0, 0.25))
    cases = make_cases([image], {"batch": Axis(1, 2, 4)}, images=folder, preprocessing=known)
    photos = [case for case in cases if case.kind == "image"]
    assert len(photos) == 2
    feeds = photos[0].feeds["image"]
    assert feeds.shape == (2, 3, 8, 10)
    assert np.allclose(feeds[1, :, 0, 0], (110 / 255, 0, 2.0))
    assert "0.png" in photos[0].why


def test_images_come_in_the_models_order_of_channels(folder: Path) -> None:
    image = TensorSpec("image", (2, 3, 8, 10))
    known = Preprocessing(order="BGR")
    photo = next(case for case in make_cases([image], {}, images=folder, preprocessing=known) if case.kind == "image")
    assert np.allclose(photo.feeds["image"][0, :, 0, 0], (1, 0, 10 / 255))


def test_images_fit_any_channel_count(folder: Path) -> None:
    for channels in (1, 64):
        case = make_cases([TensorSpec("x", (2, channels, 8, 8))], {}, images=folder)[-2]
        assert case.feeds["x"].shape == (2, channels, 8, 8)
        assert np.abs(case.feeds["x"]).max() <= 1


def test_bad_image_folders_are_one_line_errors(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match=r"received --inputs .* with no image in it"):
        make_cases([X], AXES, images=tmp_path_factory.mktemp("empty"))
    with pytest.raises(
        InputError, match=r"received --inputs .*missing, which is not there; expected a folder of photographs"
    ):
        make_cases([X], AXES, images=folder / "missing")
    with pytest.raises(InputError, match="no input is a float"):
        make_cases([TensorSpec("ids", (2, 3), "int64")], {}, images=folder)
    (folder / "0.png").write_bytes(b"broken")
    case = next(case for case in make_cases([X], AXES, images=folder) if case.kind == "image")
    with pytest.raises(InputError, match=r"cannot read the image '.*0\.png'"):
        _ = case.feeds
