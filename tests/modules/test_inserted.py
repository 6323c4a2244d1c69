"""Blocks are found where they stand, those that cost the same together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attn2trt.modules import catalog
from attn2trt.modules.inserted import Inserted, alone, in_place_of, inserted

IMAGE = ["2x3x32x32"]


def found(spec: str) -> list[Inserted]:
    return inserted(catalog.read(spec, shapes=IMAGE))


def test_blocks_of_one_shape_come_once_with_their_places() -> None:
    first, second = found("resnet18+se@stage1,stage2")
    assert (first.kind, first.shape, first.paths) == ("se", (2, 64, 8, 8), ("layer1.0.se", "layer1.1.se"))
    assert (second.shape, len(second.paths)) == ((2, 128, 4, 4), 2)
    assert first.title == "se 2x64x8x8"


def test_blocks_of_one_shape_and_other_options_are_two() -> None:
    assert [block.paths for block in found("resnet18+eca:k=3@layer1.0+eca:k=5@layer1.1")] == [
        ("layer1.0.attn",),
        ("layer1.1.attn",),
    ]


def test_a_backbone_without_blocks_has_none() -> None:
    assert found("resnet18") == []


def test_a_block_alone_is_the_one_in_the_backbone() -> None:
    target = catalog.resolve("resnet18+cbam@stage1", shapes=IMAGE)
    module = target.build()
    (block,) = found("resnet18+cbam@stage1")
    part_target, part = alone(module, block)
    own = module.get_submodule("layer1.0.se").state_dict()
    assert all(torch.equal(value, own[name]) for name, value in part.state_dict().items())
    assert part.state_dict().keys() == own.keys()
    assert part_target.inputs[0].resolve({}) == (2, 64, 8, 8)
    with torch.no_grad():
        assert np.isfinite(part(torch.ones(block.shape)).numpy()).all()


@pytest.mark.parametrize(
    ("spec", "there"),
    [("resnet18+se@stage1", ""), ("resnet50+cot@stage4", "Conv2d"), ("efficientnet_b0+se", "SqueezeExcite")],
)
def test_what_a_block_stands_in_for_is_reported(spec: str, there: str) -> None:
    plan = catalog.read(spec, shapes=IMAGE)
    bare = catalog.read(spec.partition("+")[0], shapes=IMAGE)
    plain, _ = bare.recipe.structure(bare.inputs, bare.axes)
    assert in_place_of(plain, inserted(plan)[0]) == there
