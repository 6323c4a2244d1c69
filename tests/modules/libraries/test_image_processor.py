"""Image processors of transformers as preprocessing, by what they state."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from attn2trt.modules.libraries.image_processor import preprocessing_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def processor(**stated):
    common = {"do_rescale": True, "rescale_factor": 1 / 255, "image_mean": MEAN, "image_std": STD}
    return SimpleNamespace(to_dict=lambda: {**common, **stated})


def test_a_stretched_image_without_normalisation():
    found = preprocessing_of(processor(size={"height": 480, "width": 640}, do_normalize=False), 3)
    assert (found.resize, found.mean, found.std, found.size) == ("stretch", (), (), (3, 480, 640))


def test_an_image_with_a_border_that_is_zero_behind_the_normalisation():
    size = {"shortest_edge": 800, "longest_edge": 1333}
    found = preprocessing_of(processor(size=size, do_pad=True, do_normalize=True), 3)
    assert (found.resize, found.anchor, found.size) == ("letterbox", "top-left", (3, 800, 800))
    assert found.pad == pytest.approx([255 * value for value in MEAN])


def test_a_centre_that_is_cut_out():
    resample = SimpleNamespace(name="BICUBIC")
    size, crop = {"shortest_edge": 256}, {"height": 224, "width": 224}
    found = preprocessing_of(processor(size=size, crop_size=crop, do_center_crop=True, resample=resample), 3)
    assert (found.resize, found.crop, found.interpolation, found.size) == ("crop", 224 / 256, "bicubic", (3, 224, 224))
    share = preprocessing_of(processor(size={"shortest_edge": 224}, crop_pct=0.875), 3)
    assert (share.resize, share.crop, share.size) == ("crop", 0.875, (3, 224, 224))


def test_channels_the_other_way_round_and_unscaled_pixels():
    found = preprocessing_of(processor(size=224, do_flip_channel_order=True, do_rescale=False), 3)
    assert (found.order, found.scale) == ("BGR", 1.0)


def test_a_processor_without_a_size():
    assert preprocessing_of(processor(), 3) is None
