"""The stage of a module follows from its path."""

from __future__ import annotations

import pytest

from attn2trt.modules.stages import stage_of, stages_in_order


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("layer1.0.conv2", "layer1"),
        ("layer4.attn", "layer4"),
        ("model.layer3.1.se.fc", "layer3"),
        ("blocks.3.0.conv_pw", "blocks.3"),
        ("stages.2.blocks.1.mlp", "stages.2"),
        ("features.12.conv.3", "features.12"),
        ("inception_4b_3x3_bn", "inception_4"),
        ("conv1", ""),
        ("bn1", ""),
        ("stem.0", ""),
        ("conv1.2", ""),
        ("head.fc", ""),
        ("classifier.1", ""),
        ("", ""),
    ],
)
def test_paths(path: str, stage: str) -> None:
    assert stage_of(path) == stage


def test_what_stands_in_no_stage_is_before_or_after() -> None:
    found = stages_in_order(["conv1", "bn1", "layer1.0.conv1", "layer2.0.conv1", "fc", "bn1"])
    assert list(found.values()) == ["stem", "stem", "layer1", "layer2", "head"]
