"""Batches: the shapes and ranges that are traced for them."""

from __future__ import annotations

from typing import Any

import pytest

from attn2trt.modules import catalog
from attn2trt.workflows.batches import with_batches


@pytest.mark.parametrize(
    ("shapes", "dynamic", "batches", "expected"),
    [
        ([], None, (8,), {"x": (8, 64, 56, 56)}),
        (["1x16x4x4"], None, (1, 8, 32), {"x": ("batch", 16, 4, 4)}),
        (["2x16x4x4"], "height=2:4:8", (1,), {"x": (1, 16, "height", 4)}),
        (["2x16x4x4"], "batch=1:2:64", (32,), {"x": ("batch", 16, 4, 4)}),
    ],
)
def test_the_batches_decide_what_is_traced(
    shapes: list[str], dynamic: str | None, batches: tuple[int, ...], expected: dict[str, Any]
) -> None:
    chosen, ranges = with_batches("se", shapes, dynamic, batches, trust=False)
    plan = catalog.read("se", shapes=chosen, dynamic=ranges)
    assert {spec.name: spec.shape for spec in plan.inputs} == expected
    if "batch" in plan.axes:
        assert plan.axes["batch"].opt > 1
        assert set(batches) <= set(plan.axes["batch"].sizes)
