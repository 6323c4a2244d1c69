"""Compute capabilities: how they are named, which TensorRT builds for them, and what they compute."""

from __future__ import annotations

import pytest

from attn2trt.engines.tensorrt.flavours import RTX, TENSORRT
from attn2trt.engines.tensorrt.targets import DEFAULT, name_targets, parse_targets, split_targets
from attn2trt.errors import InputError, MissingRequirement


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEFAULT, ("8.6", "8.9", "12.0")),
        ("sm120, SM86,sm86", ("8.6", "12.0")),
        ("8.9", ("8.9",)),
        ("none", ()),
        ("120", ("12.0",)),
    ],
)
def test_capabilities_are_read_in_ascending_order(text: str, expected: tuple[str, ...]) -> None:
    assert parse_targets(text, RTX) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sm90", "received --for sm90; expected some of sm75, sm80, sm86, sm89, sm120, sm121"),
        ("ampere", "expected compute capabilities such as sm86,sm89,sm120, or none alone; correct 'ampere'"),
        ("none,sm86", "correct 'none'"),
        ("", "correct ''"),
        ("sm86,", "correct ''"),
    ],
)
def test_what_is_no_capability_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_targets(text, RTX)


def test_tensorrt_builds_for_the_gpu_at_hand_alone() -> None:
    with pytest.raises(InputError, match="received --for sm86"):
        parse_targets("sm86", TENSORRT)


@pytest.mark.parametrize(
    ("precision", "able"),
    [
        ("fp32", "sm75, sm86, sm89"),
        ("fp16", "sm75, sm86, sm89"),
        ("int8", "sm75, sm86, sm89"),
        ("tf32", "sm86, sm89"),
        ("bf16", "sm86, sm89"),
        ("fp8", "sm89"),
    ],
)
def test_a_capability_computes_some_precisions(precision: str, able: str) -> None:
    found, others = split_targets(("7.5", "8.6", "8.9"), precision)
    assert name_targets(found) == able
    assert sorted(found + others) == ["7.5", "8.6", "8.9"]


def test_an_older_tensorrt_for_rtx_is_refused_with_the_command() -> None:
    with pytest.raises(MissingRequirement, match=r"received TensorRT for RTX 1\.2\.0; expected 1\.7\.0 or newer; pip"):
        RTX.parse_version("1.2.0")
