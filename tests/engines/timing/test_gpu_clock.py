"""The driver's tool gives a GPU's clock; without a GPU there is none."""

from __future__ import annotations

import pytest

from attn2trt.engines.timing import gpu_clock as module
from attn2trt.engines.timing.gpu_clock import GpuClock, gpu_clock, read_clock
from attn2trt.engines.timing.machine import Conditions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1980, 0x0000000000000000\n", GpuClock(1980.0, ())),
        # idle, and a clock that the user has set
        ("345, 0x0000000000000003\n", GpuClock(345.0, ())),
        ("1410, 0x0000000000000024\n", GpuClock(1410.0, ("its power limit", "its temperature"))),
        ("[N/A], [N/A]\n", None),
        ("", None),
        ("No devices were found", None),
    ],
)
def test_its_line_is_read(text: str, expected: GpuClock | None) -> None:
    assert read_clock(text) == expected


def test_without_the_tool_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOOL", "no-such-tool")
    assert gpu_clock() is None


def test_a_gpu_that_is_slowed_down_makes_the_numbers_doubtful() -> None:
    assert not Conditions(1.0, 0.0, (None, None), 0, GpuClock(1980.0, ())).doubts
    assert Conditions(1.0, 0.0, (None, None), 0, GpuClock(1200.0, ("its temperature",))).doubts
