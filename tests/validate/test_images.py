"""Photographs are the files of a folder that are images by name and by content; nothing else in there is read."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from attn2trt.core.preprocessing import Preprocessing
from attn2trt.errors import InputError, MissingRequirement
from attn2trt.modules.backbones.known import Backbone
from attn2trt.modules.backbones.timm import _RESIZE
from attn2trt.validate.images import image_feeds, images_in, read_image, read_mask
from attn2trt.workflows.reuse import files_read

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


def test_only_images_of_the_folder_itself_count(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    pixels = np.zeros((8, 8, 3), np.uint8)
    for name in ("b.png", "a.PNG", "deeper/c.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    with (tmp_path / "video.raw").open("wb") as video:
        video.truncate(30 << 30)  # holes: nothing on the disk, all of it in memory if it were read
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in images_in(tmp_path)] == ["a.PNG", "b.png"]
    assert files_read(tmp_path) == images_in(tmp_path)


def test_what_is_neither_a_file_nor_a_folder_is_refused_without_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a device, FIFO or socket; expected a file or a folder"):
        files_read(tmp_path / "pipe")
    assert files_read(None) == []


def test_postscript_under_an_images_name_is_not_given_to_another_program(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match="cannot read the image"):
        image_feeds([tmp_path / "a.jpg"], (1, 3, 8, 8), None)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_an_image_of_more_than_8_bits_is_refused_and_not_made_white(dtype: type, tmp_path: Path) -> None:
    """Pillow cuts off all above 255: nearly all of a picture of 16 bits is white then."""
    Image.fromarray(np.arange(64, dtype=dtype).reshape(8, 8) * 1000).save(tmp_path / "deep.tiff")
    with pytest.raises(InputError, match=r"cannot read the image .* more than 8 bits a channel"):
        image_feeds([tmp_path / "deep.tiff"], (1, 3, 8, 8), None)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (9, 13, 3), np.uint8)
    Image.fromarray(coarse).resize((130, 90), Image.Resampling.BICUBIC).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


def fed(path: Path, shape: tuple[int, ...], how: Preprocessing) -> np.ndarray:
    return image_feeds([path], shape, how)[0]


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(64, 64), (48, 64)])
def test_a_photograph_becomes_what_timm_makes_of_it(photograph: Path, crop_mode: str, size: tuple[int, int]) -> None:
    from timm.data.transforms_factory import transforms_imagenet_eval
    from torchvision.transforms import InterpolationMode

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    options = {"crop_pct": 0.875, "crop_mode": crop_mode, "interpolation": "bicubic", "mean": mean, "std": std}
    transform = transforms_imagenet_eval(size, **options)
    for step in transform.transforms:
        if hasattr(step, "interpolation"):  # timm up to 1.0.30 forgets it if height and width differ
            step.interpolation = InterpolationMode.BICUBIC
    backbone = Backbone("", "", mean=mean, std=std, crop=0.875, resize=_RESIZE[crop_mode])
    found = fed(photograph, (1, 3, *size), backbone.preprocessing)
    assert np.abs(found - transform(Image.open(photograph)).numpy()).max() < 1e-5


def test_a_letterbox_has_its_border(photograph: Path) -> None:
    how = Preprocessing(resize="letterbox", pad=(114.0,), scale=1.0)
    found = fed(photograph, (1, 3, 65, 65), how)
    assert (found[:, :10] == 114).all()
    assert (found[:, 55:] == 114).all()
    assert not (found[:, 10:55] == 114).all()
    corner = fed(photograph, (1, 3, 65, 65), replace(how, anchor="top-left"))
    assert np.array_equal(corner[:, :45], found[:, 10:55])


def test_without_antialiasing_four_pixels_are_sampled(photograph: Path) -> None:
    how = Preprocessing(resize="stretch", antialias=False, scale=1.0)
    found = fed(photograph, (1, 3, 45, 65), how)
    pixels = np.asarray(Image.open(photograph), np.float32)
    expected = pixels.reshape(45, 2, 65, 2, 3).mean((1, 3)).transpose(2, 0, 1)  # half of it: the middle of four
    assert np.abs(found - expected).max() <= 1
    assert np.abs(fed(photograph, (1, 3, 45, 65), replace(how, antialias=True)) - expected).max() > 1


def test_pixels_are_scaled_and_normalised_in_the_models_order(photograph: Path) -> None:
    raw = fed(photograph, (1, 3, 90, 130), Preprocessing(scale=1.0))
    assert np.array_equal(raw, np.asarray(Image.open(photograph)).transpose(2, 0, 1))
    how = Preprocessing(scale=2.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0), order="BGR")
    found = fed(photograph, (1, 3, 90, 130), how)
    assert np.allclose(found, (raw[::-1] * 2 - [[[1]], [[2]], [[3]]]) / [[[2]], [[4]], [[8]]])
    rows = image_feeds([photograph], (2, 90, 130, 3), how, layout="nhwc")
    assert np.array_equal(rows[1].transpose(2, 0, 1), found)


def test_an_image_that_does_not_fit_is_named(photograph: Path, tmp_path: Path) -> None:
    Image.new("RGB", (60000, 1)).save(tmp_path / "line.png")
    with pytest.raises(InputError, match=r"cannot use the image '.*line\.png': .* closer to square"):
        fed(tmp_path / "line.png", (1, 3, 64, 64), Preprocessing())
    with pytest.raises(InputError, match=r"mean .* one for each of the input's 1 channels"):
        fed(photograph, (1, 1, 8, 8), Preprocessing(mean=(0.1, 0.2, 0.3)))


def test_a_decoder_may_raise_whatever_it_likes(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(InputError, match=r"cannot read the image .*photograph\.png': No module named 'pi_heif'"):
        fed(photograph, (1, 3, 8, 8), Preprocessing())


def test_without_pillow_the_line_says_what_to_install(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingRequirement, match="images are read with Pillow, which is missing; pip install pillow"):
        fed(photograph, (1, 3, 8, 8), Preprocessing())


def held(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    """A photograph of a camera that was held otherwise: the pixels as they are, and how to turn them in EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize(("orientation", "quarters"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photograph_is_turned_as_its_camera_was_held(
    photograph: Path, tmp_path: Path, suffix: str, orientation: int, quarters: int
) -> None:
    path = held(tmp_path / f"held{suffix}", np.asarray(Image.open(photograph)), orientation)
    expected = np.rot90(np.asarray(Image.open(path).convert("RGB")), quarters)
    pixels, place = read_image(path, (3, *expected.shape[:2]), Preprocessing(scale=1.0))
    assert np.array_equal(pixels, expected.transpose(2, 0, 1))
    assert place.original == expected.shape[:2]


def test_a_mask_is_turned_by_its_own_exif_alone(tmp_path: Path) -> None:
    classes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    photograph = held(tmp_path / "photograph.png", np.stack([classes] * 3, -1), 6)
    _, place = read_image(photograph, (3, 4, 3), Preprocessing())
    Image.fromarray(np.rot90(classes, 3)).save(tmp_path / "upright.png")
    for mask in (tmp_path / "upright.png", held(tmp_path / "mask.png", classes, 6)):
        assert np.array_equal(read_mask(mask, place, (4, 3), 255), np.rot90(classes, 3))


def test_a_photograph_with_damaged_exif_is_read_as_it_lies(photograph: Path, tmp_path: Path) -> None:
    whole = np.asarray(Image.open(photograph))
    for number, exif in enumerate(
        (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01")
    ):
        path = tmp_path / f"{number}.png"
        Image.fromarray(whole).save(path, exif=exif)
        assert np.array_equal(fed(path, (1, 3, 90, 130), Preprocessing(scale=1.0)), whole.transpose(2, 0, 1))
