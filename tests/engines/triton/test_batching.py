"""Requests are put together only if the bundle shows that their rows do not depend on each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import served_bundle

from attn2trt.core.tensor_spec import Axis
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.engines.triton.batching import Batching, choose_batching


def chosen(folder: Path, batches: tuple[tuple[int, int, int], ...] = ((1, 2, 8),), **changes: Any) -> Batching:
    bundle = served_bundle.write(folder / "b", **changes)
    axes = {name: Axis(*limits) for name, limits in bundle.manifest["axes"].items()}
    profiles = [Profile({**axes, "batch": Axis(*batch)} if "batch" in axes else axes) for batch in batches]
    return choose_batching(bundle, profiles)


def test_a_batch_from_one_on_whose_rows_are_separate(tmp_path: Path) -> None:
    assert chosen(tmp_path) == Batching("batch", 8)


def test_profiles_that_hold_every_size_together_are_preferred_sizes(tmp_path: Path) -> None:
    assert chosen(tmp_path, ((1, 1, 1), (2, 4, 4), (5, 8, 8))) == Batching("batch", 8, (4, 8))


FIXED: dict[str, Any] = {"shape": (2, 3, 4, 4), "axes": {}, "sizes": ({},)}
CHANNELS: dict[str, Any] = {
    "shape": (3, "height"),
    "axes": {"height": [2, 4, 6]},
    "sizes": ({"height": 4},),
}
FROM_TWO: dict[str, Any] = {"axes": {**served_bundle.AXES, "batch": [2, 4, 8]}, "sizes": ({"batch": 4, "height": 4},)}
EVEN: dict[str, Any] = {"axes": {**served_bundle.AXES, "batch": [2, 4, 8, 2]}, "sizes": FROM_TWO["sizes"]}


@pytest.mark.parametrize(
    ("changes", "batches", "why"),
    [
        (FIXED, ((1, 1, 1),), "do not all begin with the same dynamic axis"),
        (CHANNELS, ((1, 1, 1),), "do not all begin with the same dynamic axis"),
        ({"shape": ("batch",)}, ((1, 2, 8),), "x has no dimension but batch"),
        ({"rows": False}, ((1, 2, 8),), "no recorded case shows that the rows along batch"),
        ({"sizes": ({"batch": 1, "height": 4},)}, ((1, 2, 8),), "no recorded case shows"),
        (FROM_TWO, ((2, 4, 8),), "batch 1 lies outside"),
        (EVEN, ((2, 4, 8),), "batch 1 lies outside"),
        ({}, ((1, 1, 1), (4, 8, 8)), "batch 2 lies outside"),
    ],
)
def test_everything_else_keeps_its_whole_shape_and_says_why(
    tmp_path: Path, changes: dict[str, Any], batches: tuple[tuple[int, int, int], ...], why: str
) -> None:
    found = chosen(tmp_path, batches, **changes)
    assert (found.axis, found.largest) == ("", 0)
    assert why in found.why_not
