"""The blocks that a manifest knows are those that were put into the model."""

from __future__ import annotations

from typing import Any

import pytest

from attn2trt.modules import catalog
from attn2trt.modules.inserted import inserted
from attn2trt.modules.recorded_blocks import recorded_blocks
from attn2trt.modules.source_lines import classes_of


def entry(name: str, source: str, *modules: str) -> dict[str, Any]:
    return {"name": name, "source": source, "modules": list(modules)}


@pytest.mark.parametrize(
    "spec", ["resnet18+cbam@stage1", "resnet18+se@stage1+eca@layer2.0", "resnet18+psa@layer4.1.conv2"]
)
def test_they_are_the_ones_that_were_put_in(spec: str) -> None:
    found = catalog.read(spec, shapes=["2x3x32x32"])
    module, _ = found.recipe.structure(found.inputs, found.axes)
    wanted = {path: block.kind for block in inserted(found) for path in block.paths}
    assert recorded_blocks(spec, classes_of(module)) == wanted
    assert wanted


def test_a_block_of_the_users_own_is_its_class() -> None:
    classes = [entry("ResNet", "timm/resnet.py:3", ""), entry("Gate", "net.py:3", "layer4.attn")]
    assert recorded_blocks("resnet18+net.py:Gate@layer4", classes) == {"layer4.attn": "Gate"}
    assert recorded_blocks("resnet18+py:pkg.net:Gate@layer4", classes) == {"layer4.attn": "Gate"}


def test_a_part_of_a_block_is_no_block() -> None:
    classes = [
        entry("CBAM", "/x/modules/blocks/cbam.py:9", "a"),
        entry("Gate", "/x/modules/blocks/cbam.py:1", "a.gate"),
    ]
    assert recorded_blocks("resnet18+cbam", classes) == {"a": "cbam"}
    of_windows = [entry("CBAM", r"C:\x\modules\blocks\cbam.py:9", "a")]
    assert recorded_blocks("resnet18+cbam", of_windows) == {"a": "cbam"}


def test_a_backbones_own_block_of_that_name_is_none() -> None:
    assert recorded_blocks("resnet18+se", [entry("SE", "/timm/layers/se.py:9", "a")]) == {}


def test_a_block_alone_is_the_whole_and_other_models_have_none() -> None:
    assert recorded_blocks("se", []) == {"": "se"}
    assert recorded_blocks("resnet18", []) == {}
    assert recorded_blocks("model.onnx", []) == {}
