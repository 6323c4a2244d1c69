"""The names that an error suggests."""

from __future__ import annotations

import pytest

from attn2trt.core.nearest import nearest


@pytest.mark.parametrize(("name", "first"), [("gates", "gate or Gate"), ("Gates", "Gate or gate")])
@pytest.mark.parametrize("names", [("gate", "Gate"), ("Gate", "gate")])
def test_of_names_that_differ_in_capitals_the_nearest_is_first(name: str, first: str, names: tuple[str, str]) -> None:
    assert nearest(name, names, "") == f"did you mean {first}?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cmab", "cbam"),
        ("CBAM", "cbam"),
        ("nwhc", "nhwc"),
        ("ssd", "ssd300 or ssdlite or s3d"),
        ("conv2", "layer1.conv2 or layer2.conv2"),
    ],
)
def test_exchanged_letters_and_parts_of_a_name_come_first(name: str, meant: str) -> None:
    known = ("nchw", "nhwc", "bam", "cbam", "s3d", "ssd300", "ssdlite", "layer1.conv2", "layer2.conv2")
    assert nearest(name, known, "") == f"did you mean {meant}?"
